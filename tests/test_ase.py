"""The ASE calculator."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from mdflash.core.state import Layout
from mdflash.errors import InputError, UnstableError
from mdflash.forcefields.forcefield import load_forcefield
from tests.helpers import beads, simulate, toy, volume_term

pytest.importorskip("ase", reason="these tests need ASE (pip install 'mdflash[ase]')")

from ase import units
from ase.calculators.fd import calculate_numerical_forces
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE

from mdflash.ase import MdflashCalculator, make_atoms

KCAL = units.kcal / units.mol


@pytest.fixture
def chignolin() -> tuple[MdflashCalculator, np.ndarray]:
    ff = load_forcefield("go-chignolin")
    frames = ff.system()[1]
    assert frames is not None
    return MdflashCalculator(ff), frames[0] + np.random.default_rng(5).normal(scale=0.1, size=frames[0].shape)


def test_energy_and_forces(chignolin: tuple[MdflashCalculator, np.ndarray]) -> None:
    calculator, x = chignolin
    atoms = make_atoms(calculator.system, x)
    atoms.calc = calculator
    engine = simulate(Layout((calculator.system,), (1,)), [load_forcefield("go-chignolin")], x)
    engine.evaluate()
    assert atoms.get_potential_energy() == pytest.approx(float(engine.state.energy[0]) * KCAL, rel=1e-8)
    forces = engine.state.forces.numpy() * KCAL
    assert np.abs(atoms.get_forces() - forces).max() < 1e-8 * np.abs(forces).max()
    assert atoms.get_masses().tolist() == calculator.system.masses.tolist()
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0, 4], icarts=[0, 2])
    assert np.abs(numerical - forces[[0, 4]][:, [0, 2]]).max() < 1e-5


def test_dynamics_keeps_the_energy_and_fire_loses_it(chignolin: tuple[MdflashCalculator, np.ndarray]) -> None:
    calculator, x = chignolin
    atoms = make_atoms(calculator.system, x)
    atoms.calc = calculator
    before = atoms.get_total_energy()
    VelocityVerlet(atoms, 2.0 * units.fs).run(300)
    assert atoms.get_kinetic_energy() > 0.5 * KCAL
    assert abs(atoms.get_total_energy() - before) < 0.02 * KCAL
    FIRE(atoms, logfile=None).run(fmax=0.01, steps=2000)
    assert atoms.get_potential_energy() < before - 0.5 * KCAL
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.01


def test_a_periodic_box() -> None:
    """Two beads across the wall repel each other; without the box they do not see each other."""
    system = beads("pair", 2, bonds=False)
    calculator = MdflashCalculator(toy(volume_term(1, 8.0)), system)
    atoms = make_atoms(system, np.array([[0.5, 1.0, 1.0], [19.0, 1.0, 1.0]]))
    atoms.calc = calculator
    assert not atoms.get_forces().any()
    atoms.cell, atoms.pbc = [20.0, 20.0, 20.0], True
    assert atoms.get_forces()[0, 0] > 0.0
    atoms.cell = [[20.0, 0, 0], [3.0, 20.0, 0], [0, 0, 20.0]]
    with pytest.raises(InputError, match=r"rectangular boxes .*write atoms.pbc = False"):
        atoms.get_forces()
    atoms.cell = [20.0, 20.0, 10.0]
    with pytest.raises(InputError, match="too small: an edge must be at least twice the cutoff, 16 Å"):
        atoms.get_forces()


def test_wrapped_atoms_are_made_whole(chignolin: tuple[MdflashCalculator, np.ndarray]) -> None:
    calculator, positions = chignolin
    atoms = make_atoms(calculator.system, positions)
    atoms.cell, atoms.pbc, atoms.calc = [60.0, 50.0, 55.0], True, calculator
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    for seed in range(3):
        atoms.positions += np.random.default_rng(seed).uniform(-60, 60, 3)
        atoms.wrap()
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-6)


def test_errors(chignolin: tuple[MdflashCalculator, np.ndarray]) -> None:
    calculator, x = chignolin
    atoms = make_atoms(calculator.system, x)
    atoms.calc = calculator
    atoms.positions[3] = np.nan
    with pytest.raises(UnstableError, match=r"PRO 4 CA \(bead 3\) has no finite position"):
        atoms.get_forces()
    wrong = make_atoms(calculator.system, x)[:4]
    wrong.calc = calculator
    with pytest.raises(InputError, match=r"need positions \[10, 3\], found \[4, 3\]"):
        wrong.get_forces()


def test_copies_and_pickles(chignolin: tuple[MdflashCalculator, np.ndarray]) -> None:
    """As bands of images and pools of processes make them."""
    calculator, x = chignolin
    atoms = make_atoms(calculator.system, x)
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    for own in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):
        other = make_atoms(own.system, x)
        other.calc = own
        assert other.get_potential_energy() == energy


def test_atoms_in_another_order_are_refused(chignolin: tuple[MdflashCalculator, np.ndarray]) -> None:
    calculator, x = chignolin
    atoms = make_atoms(calculator.system, x)[::-1]
    atoms.calc = calculator
    with pytest.raises(InputError, match=r"in another order than the beads of chignolin: atom \d has the mass"):
        atoms.get_potential_energy()
    plain = make_atoms(calculator.system, x)
    plain.set_masses(None)  # of carbon, which say nothing
    plain.calc = calculator
    plain.get_potential_energy()


def test_wrong_arguments() -> None:
    for wrong, says in (({"precision": "fp16"}, "precision must be one of"), ({"device": "gpu"}, "device must be one")):
        with pytest.raises(InputError, match=says):
            MdflashCalculator("go-chignolin", **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="found list"):
        MdflashCalculator([])  # type: ignore[arg-type]

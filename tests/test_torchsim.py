"""The TorchSim model."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import BeadType, ForceField
from tests.helpers import beads, simulate, volume_term

if sys.version_info < (3, 11):
    pytest.skip("TorchSim needs Python 3.11", allow_module_level=True)
pytest.importorskip("torch_sim", reason="these tests need TorchSim (pip install 'mdflash[torchsim]')")

import torch_sim as ts
from torch_sim.models.interface import validate_model_outputs

from mdflash.torchsim import EV, MdflashModel


def fluid() -> ForceField:
    """Beads of 26 types that push each other away within 2.6 Å: silicon and iron are beads 14 and 26."""
    types = tuple(BeadType(f"T{i + 1}", i, 10.0) for i in range(26))
    sigma = 2.6 + np.zeros(26 * 27 // 2)
    return ForceField("fluid", types, terms=(volume_term(26, 2.6, epsilon=0.5, sigma=sigma),))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_torchsims_own_check_of_a_model(dtype: torch.dtype) -> None:
    """Shapes, no change of the input, and the same numbers alone and in a batch, on silicon and iron crystals."""
    model = MdflashModel(fluid(), dtype=dtype)
    validate_model_outputs(model, torch.device("cpu"), dtype)
    from ase.build import bulk

    state = ts.io.atoms_to_state([bulk("Si", "diamond", a=5.43, cubic=True)], torch.device("cpu"), dtype)
    assert float(model(state)["energy"][0]) > 1e-3  # the crystal does feel the force field


@pytest.fixture
def model() -> MdflashModel:
    return MdflashModel("go-chignolin", precision="fp64")


@pytest.fixture
def positions(model: MdflashModel) -> np.ndarray:
    """[3, 10, 3] Å."""
    frames = model.forcefield.system()[1]
    assert frames is not None
    return frames[0] + np.random.default_rng(6).normal(scale=0.1, size=(3, 10, 3))


def test_energies_and_forces(model: MdflashModel, positions: np.ndarray) -> None:
    out = model(model.make_state(model.molecules[0], positions))
    engine = simulate(Layout((model.molecules[0],), (3,)), [model.forcefield], positions)
    engine.evaluate()
    assert torch.allclose(out["energy"] * EV, engine.state.energy, rtol=1e-12)
    assert torch.allclose(out["forces"] * EV, engine.state.forces, rtol=1e-10, atol=1e-10)


def test_molecules_of_different_kinds_in_one_batch() -> None:
    """In any order; each gets what it gets alone."""
    rng = np.random.default_rng(7)
    small, large = beads("small", 3, bonds=False, types="A"), beads("large", 5, bonds=False, types="A")
    ff = ForceField("fluid", (BeadType("A", 0, 10.0),), terms=(volume_term(1, 8.0, sigma=5.0),))
    model = MdflashModel(ff, [small, large])
    states = [
        model.make_state(system, rng.normal(scale=3.0, size=(1, system.n_beads, 3)))
        for system in (large, small, large, small, small)
    ]
    out = model(ts.concatenate_states(states))
    alone = [model(state) for state in states]
    assert torch.equal(out["energy"], torch.cat([a["energy"] for a in alone]))
    assert torch.equal(out["forces"], torch.cat([a["forces"] for a in alone]))
    assert bool((out["energy"] != 0).all())


def test_dynamics_keeps_the_energy(model: MdflashModel, positions: np.ndarray) -> None:
    state = model.make_state(model.molecules[0], positions)
    before = model(state)["energy"]
    final = ts.integrate(state, model, integrator=ts.integrators.nve, n_steps=200, temperature=0.0, timestep=0.002)
    kinetic = ts.calc_kinetic_energy(masses=final.masses, momenta=final.momenta, system_idx=final.system_idx)
    assert float(kinetic.min()) > 0.3 / EV
    assert float((final.energy + kinetic - before).abs().max()) < 0.02 / EV


def test_atoms_of_ase(model: MdflashModel, positions: np.ndarray) -> None:
    """As TorchSim is used: Atoms in, and the numbers of make_state."""
    from mdflash.ase import make_atoms

    molecule = model.molecules[0]
    atoms = [make_atoms(molecule, x) for x in positions]
    settings = {"integrator": ts.integrators.nve, "n_steps": 20, "temperature": 0.0, "timestep": 0.002}
    final = ts.integrate(system=atoms, model=model, **settings)
    other = ts.integrate(system=model.make_state(molecule, positions), model=model, **settings)
    assert torch.equal(final.energy, other.energy) and torch.equal(final.positions, other.positions)
    relaxed = ts.optimize(system=atoms[0], model=model, optimizer=ts.optimizers.fire, max_steps=50)
    assert float(relaxed.energy[0]) < float(other.energy.min())
    atoms[1].set_masses(np.full(10, 12.0))
    with pytest.raises(ForceFieldError, match=r"is no molecule .*chignolin \(10 beads\)\); .* mdflash.ase.make_atoms"):
        ts.integrate(system=atoms, model=model, **settings)


def test_carbons_of_several_molecules() -> None:
    from mdflash.ase import make_atoms

    types = (BeadType("A", 0, 10.0), BeadType("B", 1, 10.0))
    ff = ForceField("fluid", types, terms=(volume_term(2, 8.0, sigma=5.0 + np.zeros(3)),))
    one, other = (beads(name, 3, bonds=False, types=kind * 3) for name, kind in (("one", "A"), ("other", "B")))
    x = np.random.default_rng(2).normal(scale=3.0, size=(3, 3))
    state = ts.io.atoms_to_state([make_atoms(other, x)], torch.device("cpu"), torch.float64)
    found = MdflashModel(ff, [other])(state)
    assert torch.equal(found["energy"], MdflashModel(ff)(MdflashModel(ff).make_state(other, x))["energy"])
    with pytest.raises(ForceFieldError, match="3 carbons may be any of one, other, whose masses are the same"):
        MdflashModel(ff, [one, other])(state)


def test_states_of_many_molecules(model: MdflashModel, positions: np.ndarray) -> None:
    molecule = model.molecules[0]
    together = model(model.make_state([molecule, molecule], [positions[:2], positions[2]]))
    assert torch.equal(together["energy"], model(model.make_state(molecule, positions))["energy"])
    with pytest.raises(InputError, match="expected positions for each of 2 molecules, found 3"):
        model.make_state([molecule, molecule], positions)
    with pytest.raises(InputError, match=r"expected a System, such as model.molecules\[0\].*found str"):
        model.make_state("chignolin", positions)


def test_tab_completion_shows_what_is_public() -> None:
    import mdflash.ase
    import mdflash.torchsim

    assert dir(mdflash.torchsim) == ["EV", "MdflashModel"]
    assert dir(mdflash.ase) == ["EV", "MdflashCalculator", "make_atoms"]


def test_errors(model: MdflashModel, positions: np.ndarray) -> None:
    system = model.molecules[0]
    with pytest.raises(InputError, match=r"chignolin has 10 beads, found positions \[3, 9, 3\]"):
        model.make_state(system, positions[:, :9])
    state = model.make_state(system, positions)
    state.atomic_numbers = state.atomic_numbers.flip(0)
    with pytest.raises(ForceFieldError, match=r"is no molecule of this model \(chignolin \(10 beads\)\)"):
        model(state)
    state = model.make_state(system, positions)
    state.pbc, state.cell = True, state.cell + torch.triu(torch.ones(3, 3), 1)
    with pytest.raises(InputError, match="rectangular boxes"):
        model(state)
    with pytest.raises(NotImplementedError):
        model.compute_stress = True


def test_copies_and_pickles(model: MdflashModel, positions: np.ndarray) -> None:
    state = model.make_state(model.molecules[0], positions)
    energy = model(state)["energy"]
    for own in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(own(state)["energy"], energy)


def test_molecules_that_cannot_be_told_apart() -> None:
    """One sequence in two folds: a batch would have the energies of one of them."""
    ff = load_forcefield("go-chignolin")
    one = ff.system()[0]
    other = dataclasses.replace(one, name="other")
    with pytest.raises(InputError, match="chignolin and other have the same beads"):
        MdflashModel(ff, [one, other])
    MdflashModel(ff, [one, one])


def test_wrong_arguments() -> None:
    for wrong, says in (
        ({"dtype": torch.int64}, "must be a floating point type"), ({"device": "gpu"}, "device must be one"),
        ({"precision": "fp16"}, "precision must be one"), ({"molecules": ["chignolin"]}, "must be Systems"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=says):
            MdflashModel("go-chignolin", **wrong)  # type: ignore[arg-type]

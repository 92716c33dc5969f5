"""The force in OpenMM is the force of mdflash."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openmm
import pytest
import torch
from openmm import app

from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.errors import ForceFieldError, InputError, UnstableError
from mdflash.forcefields.model import ForceField
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.openmm import create_system, make_topology, mdflash_force, original_errors
from tests.helpers import simulate
from tests.openmm.contexts import context, energy_forces, positions_of, relative

ROOT = Path(__file__).resolve().parents[2]


def native(ff: ForceField, system: System, x: np.ndarray) -> tuple[float, np.ndarray]:
    engine = simulate(Layout((system,), (1,)), [ff], x)
    engine.evaluate()
    return float(engine.state.energy[0]), engine.state.forces.numpy().copy()


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_forces_are_the_native_ones(go: ForceField, chignolin: System, folded: np.ndarray, platform: str) -> None:
    made = context(create_system("go-chignolin", make_topology(chignolin)), folded, platform=platform)
    energy, forces = energy_forces(made)
    expected_energy, expected = native(go, chignolin, folded)
    assert energy == pytest.approx(expected_energy, rel=1e-9)
    assert relative(forces, expected) < 1e-6  # the CPU platform stores forces in float32
    if platform == "Reference":
        assert relative(forces, expected) < 1e-12


def test_forces_of_a_network(reference_dir: Path, rng: np.random.Generator) -> None:
    from mdflash.importers.mlcg import import_mlcg

    ff = import_mlcg([reference_dir / "mlcg/schnet_cln_ca_specialized_model_and_config.pt"], None, "cln")
    system, frames = ff.systems[0]
    assert frames is not None
    x = frames[0] + rng.normal(scale=0.05, size=frames[0].shape)
    made = context(create_system(ff, make_topology(system), precision="fp64"), x)
    energy, forces = energy_forces(made)
    expected_energy, expected = native(ff, system, x)
    assert energy == pytest.approx(expected_energy, rel=1e-12)
    assert relative(forces, expected) < 1e-12


def test_the_same_trajectory_as_mdflash(go: ForceField, chignolin: System, folded: np.ndarray) -> None:
    """LangevinMiddle at T = 0 from the same velocities: the same positions to 1e-9 nm after 1,000 steps."""
    steps, timestep, friction = 1000, 0.004, 1.0
    layout = Layout((chignolin,), (1,))
    engine = simulate(layout, [go], folded, LangevinMiddle(timestep, friction), 300.0, precision="fp64")
    v = engine.state.velocities.numpy().copy()
    engine.state.temperature.zero_()
    made = context(
        create_system("go-chignolin", chignolin, precision="fp64"),
        folded,
        openmm.LangevinMiddleIntegrator(0.0, friction, timestep),
    )
    made.setVelocities(v * 0.1)
    made.getIntegrator().step(steps)
    engine.run(steps)
    moved = np.abs(engine.state.positions.numpy() - folded).max()
    assert moved > 0.2  # Å
    assert np.abs(positions_of(made) - engine.state.positions.numpy()).max() * 0.1 < 1e-9  # nm


def test_masses_and_box(chignolin: System) -> None:
    system = create_system("go-chignolin", make_topology(chignolin))
    assert [system.getParticleMass(i)._value for i in range(10)] == chignolin.masses.tolist()
    assert not system.usesPeriodicBoundaryConditions()


def test_a_topology_from_a_pdb_file(go: ForceField, chignolin: System, folded: np.ndarray, tmp_path: Path) -> None:
    from mdflash.io.topology import write_pdb

    write_pdb(tmp_path / "beads.pdb", chignolin, folded)
    topology = app.PDBFile(str(tmp_path / "beads.pdb")).topology
    by_mapping = dataclasses.replace(go, systems=())  # no molecule to compare with: residues and CA atoms say it
    for ff in (go, by_mapping):
        system = create_system(ff, topology)
        assert [system.getParticleMass(i)._value for i in range(10)] == chignolin.masses.tolist()
        _, forces = energy_forces(context(system, folded))
        assert relative(forces, native(go, chignolin, folded)[1]) < 1e-12


def test_replicas_in_one_context(
    go: ForceField, chignolin: System, folded: np.ndarray, rng: np.random.Generator
) -> None:
    x = np.concatenate([folded + rng.normal(scale=0.1, size=folded.shape) for _ in range(3)])
    topology = make_topology(chignolin, copies=3)
    made = context(create_system("go-chignolin", topology, replicas=3), x)
    energy, forces = energy_forces(made)
    alone = [native(go, chignolin, x[10 * r : 10 * r + 10]) for r in range(3)]
    assert energy == pytest.approx(sum(e for e, _ in alone), rel=1e-12)
    assert relative(forces, np.concatenate([f for _, f in alone])) < 1e-12


def test_a_subset_in_another_order(
    go: ForceField, chignolin: System, folded: np.ndarray, rng: np.random.Generator
) -> None:
    """Beads are any particles of a larger System; the others feel nothing."""
    rows = rng.permutation(25)[:10]
    x = rng.normal(scale=20.0, size=(25, 3))
    x[rows] = folded
    system = openmm.System()
    for _ in range(25):
        system.addParticle(50.0)
    system.addForce(mdflash_force(go, chignolin, rows.tolist()))
    energy, forces = energy_forces(context(system, x))
    expected_energy, expected = native(go, chignolin, folded)
    assert energy == pytest.approx(expected_energy, rel=1e-12)
    assert relative(forces[rows], expected) < 1e-12
    assert not np.delete(forces, rows, axis=0).any()


def test_the_list_follows_the_molecule(
    go: ForceField, chignolin: System, folded: np.ndarray, rng: np.random.Generator
) -> None:
    """Positions may jump between calls: near, far, back."""
    made = context(create_system(go, chignolin), folded)
    for scale in (0.0, 0.3, 2.0, 0.0, 30.0, 0.1):
        x = folded * (1.0 + 0.05 * scale) + rng.normal(scale=0.05, size=folded.shape)
        made.setPositions(x * 0.1)
        assert relative(energy_forces(made)[1], native(go, chignolin, x)[1]) < 1e-10


def test_force_groups_and_multiple_time_steps(chignolin: System, folded: np.ndarray) -> None:
    system = create_system("go-chignolin", chignolin)
    system.getForce(0).setForceGroup(1)
    bias = openmm.CustomBondForce("0.5*100*(r-1)^2")
    bias.addBond(0, 9, [])
    system.addForce(bias)
    steps = openmm.MTSIntegrator(0.002, [(1, 1), (0, 2)])
    made = context(system, folded, steps)
    together = energy_forces(made)[1]
    assert relative(energy_forces(made, groups=1)[1] + energy_forces(made, groups=2)[1], together) < 1e-12
    made.setVelocitiesToTemperature(300.0, 7)
    start = made.getState(getEnergy=True)
    steps.step(500)
    end = made.getState(getEnergy=True)
    total = [s.getPotentialEnergy()._value + s.getKineticEnergy()._value for s in (start, end)]
    assert abs(total[1] - total[0]) < 1.0  # kJ/mol, of some 30 of kinetic energy


def test_a_box_that_the_molecule_lies_across(go: ForceField, chignolin: System, folded: np.ndarray) -> None:
    """Pairs of a neighbour-list term are nearest images; bonded terms see beads as they are."""
    topology = make_topology(chignolin)
    topology.setUnitCellDimensions((6.0, 6.0, 6.0))
    system = create_system("go-chignolin", topology)
    assert system.usesPeriodicBoundaryConditions()
    made = context(system, folded)
    box = (60.0, 60.0, 60.0)
    engine = simulate(Layout((chignolin,), (1,)), [go], folded, box=box)
    engine.evaluate()
    assert relative(energy_forces(made)[1], engine.state.forces.numpy()) < 1e-12
    made.setPeriodicBoxVectors((6.0, 0, 0), (1.0, 6.0, 0), (0, 0, 6.0))
    with pytest.raises(InputError, match="rectangular"), original_errors():
        energy_forces(made)
    made.setPeriodicBoxVectors((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0))
    with pytest.raises(InputError, match="too small"), original_errors():
        energy_forces(made)


def test_many_contexts_in_threads(go: ForceField, chignolin: System, folded: np.ndarray) -> None:
    system = create_system("go-chignolin", chignolin)

    def run(_: int) -> np.ndarray:
        made = context(system, folded, openmm.LangevinMiddleIntegrator(0.0, 1.0, 0.004))
        made.getIntegrator().step(400)
        return positions_of(made)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(8)))
    alone = run(0)
    assert np.abs(alone - folded).max() > 0.05
    assert all(np.array_equal(x, alone) for x in found)


def test_threads_and_replicas(chignolin: System, folded: np.ndarray) -> None:
    """Parallel kernels asked for by several threads at a time."""
    system = create_system("go-chignolin", chignolin, replicas=4)

    def run(_: int) -> np.ndarray:
        made = context(system, np.concatenate([folded] * 4))
        return np.concatenate([energy_forces(made)[1] for _ in range(50)])

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(4)))
    assert all(np.array_equal(f, found[0]) for f in found)
    assert relative(found[0][:10], found[0][-10:]) == 0.0


def test_minimizer_goes_downhill(chignolin: System, folded: np.ndarray, rng: np.random.Generator) -> None:
    made = context(create_system("go-chignolin", chignolin), folded + rng.normal(scale=0.2, size=folded.shape))
    before = energy_forces(made)[0]
    openmm.LocalEnergyMinimizer.minimize(made, tolerance=1.0)
    after, forces = energy_forces(made)
    assert after < before - 5.0
    assert np.sqrt((forces**2).mean()) < 0.1  # kcal/mol/Å


def test_metadynamics_runs_on_it(chignolin: System, folded: np.ndarray) -> None:
    system = create_system("go-chignolin", chignolin)
    distance = openmm.CustomBondForce("r")
    distance.addBond(0, 9, [])
    variable = app.BiasVariable(distance, 0.3, 3.5, 0.2, False)
    meta = app.Metadynamics(system, [variable], 300.0, 5.0, 2.0, 50)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.004)
    integrator.setRandomNumberSeed(3)
    simulation = app.Simulation(
        make_topology(chignolin), system, integrator, openmm.Platform.getPlatformByName("Reference")
    )
    simulation.context.setPositions(folded * 0.1)
    meta.step(simulation, 500)
    assert meta.getFreeEnergy().min()._value < -1.0  # ten hills of 2 kJ/mol lie there
    assert np.isfinite(positions_of(simulation.context)).all()


def test_inside_a_collective_variable(go: ForceField, chignolin: System, folded: np.ndarray) -> None:
    half = openmm.CustomCVForce("0.5*model")
    half.addCollectiveVariable("model", mdflash_force("go-chignolin", chignolin))
    system = create_system("go-chignolin", chignolin)
    system.removeForce(0)
    system.addForce(half)
    energy, forces = energy_forces(context(system, folded))
    expected_energy, expected = native(go, chignolin, folded)
    assert energy == pytest.approx(0.5 * expected_energy, rel=1e-12)
    assert relative(forces, 0.5 * expected) < 1e-12


def test_errors_name_bead_and_term_and_keep_their_class(chignolin: System, folded: np.ndarray) -> None:
    made = context(create_system("go-chignolin", chignolin), folded)
    x = folded.copy()
    x[4] = x[5]  # a bond of length 0 has no direction
    made.setPositions(x * 0.1)
    with pytest.raises(openmm.OpenMMException, match=r"UnstableError: replica 0 \(chignolin\).*term.*bead"):
        energy_forces(made)
    with pytest.raises(UnstableError, match=r"the force on .* \(bead [3-6]\) is .* term 'bonds'"), original_errors():
        energy_forces(made)
    x[4] = np.nan
    made.setPositions(x * 0.1)
    with pytest.raises(UnstableError, match=r"GLU 5 CA \(bead 4\) has no finite position"), original_errors():
        energy_forces(made)
    made.setPositions(folded * 0.1)
    assert np.isfinite(energy_forces(made)[0])
    with pytest.raises(openmm.OpenMMException, match="no registered Platform"), original_errors():
        openmm.Platform.getPlatformByName("none")  # not ours


def test_wrong_arguments(go: ForceField, chignolin: System, tmp_path: Path) -> None:
    topology = make_topology(chignolin)
    with pytest.raises(InputError, match="precision must be"):
        mdflash_force("go-chignolin", topology, precision="double")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="device must be"):
        mdflash_force("go-chignolin", topology, device="tpu")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="does not hold 3 copies"):
        mdflash_force("go-chignolin", topology, replicas=3)
    with pytest.raises(InputError, match=r"holds 4 copies of chignolin .* write replicas=4"):
        mdflash_force("go-chignolin", make_topology(chignolin, 4), replicas=2)
    with pytest.raises(InputError, match="5 particles for 1 x chignolin"):
        mdflash_force("go-chignolin", chignolin, range(5))
    with pytest.raises(ForceFieldError, match="no-such-folder"):
        mdflash_force(tmp_path / "no-such-folder", topology)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU"):
            mdflash_force("go-chignolin", topology, device="cuda")
    ion = app.Topology()
    ion.addAtom("CA", app.element.calcium, ion.addResidue("CA", ion.addChain()))
    with pytest.raises(ForceFieldError, match=r"\(CA CA, ...\) are no .*chignolin \(10 beads\)\), nor .* 'ca': "):
        mdflash_force("go-chignolin", ion)


@pytest.mark.parametrize(
    ("particles", "says"),
    [
        ([-1, *range(1, 10)], "from 0 on"),
        ([0.5, *range(1, 10)], "whole numbers"),
        ([3, *range(9)], "particle 3 2 times"),
    ],
)
def test_particles_that_are_no_beads(particles: list[int], says: str, go: ForceField, chignolin: System) -> None:
    with pytest.raises(InputError, match=says):
        mdflash_force(go, chignolin, particles)
    with pytest.raises(InputError, match=r"must be a whole number, at least 1; found 1\.5"):
        mdflash_force(go, chignolin, replicas=1.5)  # type: ignore[arg-type]


def test_all_atoms_are_no_beads(chignolin: System) -> None:
    pdb = app.PDBFile(str(ROOT / "systems" / "chignolin.pdb"))
    with pytest.raises(InputError, match=r"holds all atoms \(\d+, such as N, .*mapping is 'ca'.*`mdflash map "):
        create_system("go-chignolin", pdb.topology)
    water = app.Topology()
    for name in ("CA", "O"):
        residue = water.addResidue("GLY" if name == "CA" else "HOH", water.addChain())
        water.addAtom(name, app.element.carbon, residue)
    with pytest.raises(InputError, match=r"such as O; residues of water: 1\)"):
        mdflash_force("go-chignolin", water)


def test_arguments_in_another_order_or_of_another_kind(chignolin: System) -> None:
    mdtraj = pytest.importorskip("mdtraj")
    topology = make_topology(chignolin)
    with pytest.raises(InputError, match=r"the first argument is the force field, found Topology; write create_sys"):
        create_system(topology, "go-chignolin")
    with pytest.raises(InputError, match=r"found Topology; write topology.to_openmm\(\)"):
        create_system("go-chignolin", mdtraj.Topology.from_openmm(topology))
    with pytest.raises(InputError, match=r"found PDBFile; write \.topology after it"):
        create_system("go-chignolin", app.PDBFile(str(ROOT / "systems" / "chignolin.pdb")))
    with pytest.raises(InputError, match=r"found str; write create_system\(FORCEFIELD, topology\)"):
        create_system("go-chignolin", "topology.pdb")


def test_tab_completion_shows_what_is_public() -> None:
    import mdflash.openmm

    assert dir(mdflash.openmm) == sorted(mdflash.openmm.__all__)
    assert "create_system" in dir(mdflash.openmm) and "import_module" not in dir(mdflash.openmm)

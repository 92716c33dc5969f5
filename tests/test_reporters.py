"""StateDataReporter against OpenMM's own, and trajectories in the readers that people use."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import mdtraj
import numpy as np
import pytest

import mdflash
from mdflash import Simulation, StateDataReporter, TrajectoryReporter
from mdflash.errors import InputError, StorageError
from mdflash.io.read import read_frames
from tests.processes import python


def small(replicas: int = 2) -> Simulation:
    return Simulation("chignolin", "go-chignolin", replicas=replicas, timestep="10 fs", seed=4)


def rows(text: str) -> tuple[list[str], list[list[str]]]:
    head, *body = csv.reader(io.StringIO(text))
    return head, body


def test_columns_are_those_of_openmm() -> None:
    """The real reporter on a real OpenMM simulation writes the same first line."""
    openmm = pytest.importorskip("openmm")
    from openmm import app, unit

    system = openmm.System()
    topology = app.Topology()
    residue = topology.addResidue("ALA", topology.addChain())
    for _ in range(3):
        system.addParticle(12.0)
        topology.addAtom("CA", app.Element.getBySymbol("C"), residue)
    simulation = app.Simulation(
        topology, system, openmm.VerletIntegrator(1 * unit.femtosecond), openmm.Platform.getPlatformByName("Reference")
    )
    simulation.context.setPositions(np.eye(3))
    for separator in (",", "\t"):
        theirs, ours = io.StringIO(), io.StringIO()
        words = ("step", "time", "potentialEnergy", "kineticEnergy", "totalEnergy", "temperature", "speed")
        simulation.reporters = [
            app.StateDataReporter(theirs, 1, separator=separator, elapsedTime=True, **dict.fromkeys(words, True))
        ]
        simulation.step(2)
        sim = small()
        sim.reporters.append(StateDataReporter(ours, 1, speed=True, elapsed_time=True, separator=separator))
        sim.run(2)
        first, second = theirs.getvalue().splitlines(), ours.getvalue().splitlines()
        assert first[0] == second[0]
        assert len(first) == len(second) == 3
        assert [len(line.split(separator)) for line in first] == [len(line.split(separator)) for line in second]


def test_values_in_openmm_units(tmp_path: Path) -> None:
    unit = pytest.importorskip("openmm.unit")
    sim = small()
    sim.reporters.append(StateDataReporter(tmp_path / "state.csv", 20, replica=1))
    seen = []
    for _ in range(3):
        sim.run(20)
        r = sim.replicas[1]
        seen.append((r.energy, r.kinetic_energy, sim.instantaneous_temperature()[1]))
    head, body = rows((tmp_path / "state.csv").read_text())
    assert head[0] == '#"Step"' or head[0] == "#Step"
    kJ = (1 * unit.kilocalorie_per_mole).value_in_unit(unit.kilojoule_per_mole)
    for k, (line, (u, t, temperature)) in enumerate(zip(body, seen, strict=True), start=1):
        assert int(line[0]) == 20 * k
        np.testing.assert_allclose(
            [float(x) for x in line[1:]], [0.2 * k, u * kJ, t * kJ, (u + t) * kJ, temperature], rtol=1e-12
        )


def test_chosen_columns(tmp_path: Path) -> None:
    quiet = dict.fromkeys(("time", "kinetic_energy", "total_energy", "potential_energy"), False)
    sim = small()
    sim.reporters.append(StateDataReporter(tmp_path / "s.csv", 5, **quiet))
    sim.run(12)
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == '#"Step","Temperature (K)"'
    assert [line.split(",")[0] for line in lines[1:]] == ["5", "10"]
    with pytest.raises(InputError, match="no column"):
        StateDataReporter(tmp_path / "t.csv", 5, step=False, temperature=False, **quiet)


def test_what_reporters_refuse(tmp_path: Path) -> None:
    for interval in (0, -3, 2.0, True, "10 ps"):
        with pytest.raises(InputError, match=r"whole number of steps.*sim\.steps_in\('10 ps'\)"):
            StateDataReporter(tmp_path / "s.csv", interval)  # type: ignore[arg-type]
    sim = small()
    sim.reporters.append(StateDataReporter(tmp_path / "s.csv", 1, replica=2))
    with pytest.raises(InputError, match="no replica 2; the simulation has 2"):
        sim.run(1)
    with pytest.raises(StorageError, match="No such file"):
        StateDataReporter(tmp_path / "none" / "s.csv", 1)
    with pytest.raises(InputError, match=r"expected a folder.*TrajectoryReporter\('run', 10, 'xtc'\)"):
        TrajectoryReporter("run.xtc", 10)
    with pytest.raises(InputError, match="expected one of hdf5, xtc, dcd"):
        TrajectoryReporter("run", 10, "trr")  # type: ignore[arg-type]


@pytest.mark.parametrize(("format", "tolerance"), [("hdf5", 2e-5), ("xtc", 5.2e-3), ("dcd", 2e-5)])
def test_trajectories(tmp_path: Path, format: str, tolerance: float) -> None:
    sim = small()
    seen = []
    with TrajectoryReporter(tmp_path / "out", sim.steps_in("100 fs"), format) as reporter:  # type: ignore[arg-type]
        sim.reporters.append(reporter)
        for k in range(1, 6):
            sim.run(10)
            seen.append(sim.positions.copy())
            file = sorted((tmp_path / "out").glob(f"*.{'h5' if format == 'hdf5' else format}"))[-1]
            assert len(read_frames(file, 1)) == k, "every frame is in the file at once"
    expected = np.array(seen)  # [F, R, N, 3]
    top = tmp_path / "out" / "topology_chignolin.pdb"
    for r in range(2):
        if format == "hdf5":
            rows = range(10 * r, 10 * r + 10)
            found = mdtraj.load(str(tmp_path / "out" / "chignolin.h5"), atom_indices=rows)
        else:
            found = mdtraj.load(str(tmp_path / "out" / f"chignolin_{r:04d}.{format}"), top=str(top))
        assert np.abs(10 * found.xyz - expected[:, r]).max() < tolerance + 1e-5
    with pytest.raises(InputError, match="is closed"):
        sim.run(10)
    with pytest.raises(InputError, match=r"already holds .*; choose another folder"):
        TrajectoryReporter(tmp_path / "out", 10, format)  # type: ignore[arg-type]


def test_files_are_closed_when_the_program_ends(tmp_path: Path) -> None:
    script = (
        "import mdflash; sim = mdflash.Simulation('chignolin', 'go-chignolin', seed=4);"
        f"sim.reporters.append(mdflash.TrajectoryReporter({str(tmp_path / 'out')!r}, 5));"
        f"sim.reporters.append(mdflash.StateDataReporter({str(tmp_path / 's.csv')!r}, 5)); sim.run(15)"
    )
    python("-c", script, check=True)
    assert mdtraj.load(str(tmp_path / "out" / "chignolin.h5")).n_frames == 3
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 4


def test_a_reporter_of_ones_own_sees_current_forces() -> None:
    class Watch:
        def __init__(self) -> None:
            self.steps: list[int] = []

        def next_report(self, step: int) -> int:
            return (step // 4 + 1) * 4

        def report(self, simulation: mdflash.Engine) -> None:
            self.steps.append(simulation.state.step)
            energy, forces = simulation.state.energy.clone(), simulation.state.forces.clone()
            simulation.evaluate()
            assert np.array_equal(energy, simulation.state.energy)
            assert np.array_equal(forces, simulation.state.forces)

    sim, watch = small(), Watch()
    sim.reporters.append(watch)
    sim.run(10)
    assert watch.steps == [4, 8]

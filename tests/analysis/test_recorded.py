"""`sim.analyze()`: what a TrajectoryReporter wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mdflash import Copies, Simulation, TrajectoryReporter, chain_of, fill_box, load_forcefield
from mdflash.analysis import load_experiment, radius_of_gyration
from mdflash.errors import InputError
from mdflash.forcefields.shipped import find_shipped
from tests.helpers import go_helix, helix


def test_a_simulation_is_analyzed_as_a_run(tmp_path: Path) -> None:
    system, ff = go_helix(8)
    sim = Simulation(system, ff, replicas=3, temperatures=["300 K", "300 K", "330 K"], start=helix(8), seed=1)
    with pytest.raises(InputError, match=r"sim\.reporters has 0 of them"):
        sim.analyze()
    sim.reporters.append(TrajectoryReporter(tmp_path / "frames", 100))
    with pytest.raises(InputError, match="holds no frame yet"):
        sim.analyze()
    sim.run(10_000)
    found = sim.analyze(experiment=load_experiment(["rg=4.2 +- 0.1 angstrom", "temperature=300 K"]))
    m = found.molecules["helix"]
    assert m.sample.frames == 300 and list(m.sample.temperatures) == [300.0, 330.0]
    assert [t.states[0] for t in m.sample.tracks] == [0, 0, 1] and m.experiment is not None and m.experiment.state == 0
    x = found.run.positions[2][-1:]
    assert m.sample.tracks[2].values["rg"][-1] == pytest.approx(radius_of_gyration(x, system.masses)[0])
    np.testing.assert_allclose(x[0], sim.replicas[2].positions, atol=1e-3)
    text = found.write().read_text()
    assert (tmp_path / "frames" / "analysis" / "report.html").is_file() and "<h1>frames</h1>" in text
    sim.run(1000)
    assert sim.analyze().molecules["helix"].sample.frames == 330


def test_states_of_an_exchange_are_not_known(tmp_path: Path) -> None:
    system, ff = go_helix(6)
    ladder = {"temperatures": ["300 K", "330 K"], "interval": "400 fs"}
    sim = Simulation(system, ff, replicas=2, exchange=ladder, start=helix(6), seed=1)
    sim.reporters.append(TrajectoryReporter(tmp_path / "frames", 100))
    with pytest.raises(InputError, match="use mdflash run and mdflash analyze"):
        sim.analyze()


def test_weights_of_walkers_are_not_known(tmp_path: Path) -> None:
    system, ff = go_helix(6)
    walkers = {"name": "d", "variable": "distance", "beads": [0, 5], "bins": ["8 angstrom"], "every": "1 ps"}
    sim = Simulation(system, ff, replicas=2, weighted_ensemble=walkers, start=helix(6), seed=1)
    sim.reporters.append(TrajectoryReporter(tmp_path / "frames", 100))
    with pytest.raises(InputError, match="does not know the weights of walkers"):
        sim.analyze()


def test_hills_and_a_box_of_many_are_known(tmp_path: Path) -> None:
    ff = load_forcefield(find_shipped("forcefields", "calvados2"))
    chain = chain_of("GYGSFRGYGSFK", ff, "chain", 1)[0]
    filled = fill_box([Copies(ff, chain, 3)], (90.0, 90.0, 90.0), seed=1)
    pair = {"name": "d", "variable": "distance", "beads": ["chain A", "chain B"], "width": "1 angstrom",
            "grid": {"min": "2 angstrom", "max": "39 angstrom"}}  # fmt: skip
    sim = Simulation(
        filled.system, filled.forcefield, start=filled.frames, box=["90 angstrom"] * 3, timestep="10 fs",
        seed=1, metadynamics=[{"name": "apart", "variables": pair, "every": "1 ps"}],
    )  # fmt: skip
    sim.reporters.append(TrajectoryReporter(tmp_path / "frames", 20))
    sim.run(200)
    (m,) = sim.analyze().molecules.values()
    assert m.biased and m.sample.molecule.many and m.sample.molecule.box == (90.0, 90.0, 90.0)

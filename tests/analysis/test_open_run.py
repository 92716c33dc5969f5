"""`mdflash.open_run` on finished, running and killed runs, against what the simulation had."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import mdtraj
import numpy as np
import pytest

import mdflash
from mdflash.analysis.open_run import Run
from mdflash.config.load import load_run
from mdflash.errors import InputError
from mdflash.io.read import read_frames, read_times
from mdflash.mapping.structure import map_structure
from mdflash.runs.execute import execute
from tests.processes import Process, python

TOLERANCE = {"hdf5": 2e-5, "xtc": 5.2e-3, "dcd": 2e-5}
FORMATS = tuple(TOLERANCE)
CHIGNOLIN = Path(mdflash.__file__).parents[1] / "systems" / "chignolin.pdb"

MIXED = """
mdflash: 1
name: mixed
system:
  - {{structure: {pdb}, name: one, replicas: 2}}
  - {{structure: {pdb}, name: two, replicas: 4}}
model: {{forcefield: go-chignolin}}
exchange: {{temperatures: [300 K, 330 K], interval: 100 fs}}
dynamics: {{timestep: 10 fs, steps: 60, seed: 7}}
output:
  folder: {folder}
  trajectory: {{format: {format}, interval: 50 fs}}
  log: {{interval: 100 fs}}
"""


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def finished(tmp_path: Path, format: str) -> tuple[Run, np.ndarray]:
    """A run of two molecules in each format, and the positions [F, B, 3] it went through."""
    source = tmp_path / "mixed.yaml"
    source.write_text(MIXED.format(pdb=CHIGNOLIN, folder=tmp_path / "run", format=format))
    config = load_run(source)
    execute(config, source)
    forcefield = mdflash.load_forcefield("go-chignolin")
    molecule, start, _ = map_structure(CHIGNOLIN, "ca", forcefield)
    sim = mdflash.Simulation(
        [dataclasses.replace(molecule, name=name) for name in ("one", "two")],
        forcefield,
        start=[start, start],
        replicas=[2, 4],
        exchange={"temperatures": [300, 330], "interval": "100 fs"},
        timestep="10 fs",
        seed=7,
    )
    frames = [sim.state.positions.numpy().copy()]
    for _ in range(12):
        sim.run(5)
        frames.append(sim.state.positions.numpy().copy())
    return mdflash.open_run(tmp_path / "run"), np.array(frames)


def test_positions_are_those_of_the_run(tmp_path: Path, format: str) -> None:
    run, frames = finished(tmp_path, format)
    assert list(run.positions) == [0, 1, 2, 3, 4, 5]
    assert run.systems == {"one": 10, "two": 10}
    for r, x in run.positions.items():
        assert x.shape == (13, 10, 3) and len(x) == 13
        expected = frames[:, 10 * r : 10 * r + 10]
        assert np.abs(np.asarray(x) - expected).max() < TOLERANCE[format]
        assert np.abs(np.array(list(x)) - expected).max() < TOLERANCE[format]


def test_indexing_is_that_of_an_array(tmp_path: Path, format: str) -> None:
    run, _ = finished(tmp_path, format)
    x = run.positions[4]
    whole = np.asarray(x)
    mask = np.zeros(13, bool)
    mask[[1, 12]] = True
    for key in (
        0, -1, slice(None), slice(2, 11, 3), slice(None, None, -2), slice(5, 5), [7, 0, 7], mask, np.int64(3),
        (slice(1, 4), 5), (2, slice(None), 1), (slice(None), slice(2, 8, 2), 2), (..., 0), (3, ...), (..., 4, 1),
    ):  # fmt: skip
        np.testing.assert_array_equal(x[key], whole[key], err_msg=str(key))
    with pytest.raises(IndexError):
        x[13]


def test_tables_and_settings(tmp_path: Path) -> None:
    run, _ = finished(tmp_path, "hdf5")
    log = run.log
    assert list(log.columns[:4]) == ["step", "time_ps", "replica", "system"]
    assert len(log) == 7 * 6
    assert set(log[log.replica >= 2].system) == {"two"}
    exchange = run.exchange
    assert list(exchange.step) == [0, 10, 20, 30, 40, 50, 60]  # a column, as in log and colvars
    assert (np.sort(exchange[["replica_2", "replica_3"]].to_numpy(), axis=1) == [0, 1]).all()
    assert list(run.events.event) == ["start", "finished"]
    assert run.events.time.dt.tz is not None
    assert run.config["dynamics"]["timestep"] == "10 fs"
    assert run.manifest["status"] == "finished"
    assert "mixed" in repr(run) and "finished at step 60 of 60" in repr(run)
    with pytest.raises(InputError, match="has no biases"):
        _ = run.colvars


def test_xarray_is_lazy_and_labelled(tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, frames = finished(tmp_path, format)
    read: list[int] = []
    from mdflash.analysis import lazy

    original = lazy.LazyPositions._take
    monkeypatch.setattr(lazy.LazyPositions, "_take", lambda x, rows: (read.extend(rows), original(x, rows))[1])
    data = run.xarray("two")
    assert data.positions.dims == ("replica", "time", "bead", "xyz")
    assert data.positions.shape == (4, 13, 10, 3)
    np.testing.assert_allclose(data.time, np.arange(13) * 0.05, rtol=1e-6)
    np.testing.assert_array_equal(data.step, np.arange(13) * 5)
    assert list(data.residue.values[:2]) == ["TYR1", "TYR2"]
    assert read == [], "nothing is read before it is asked for"
    x = data.positions.sel(replica=3).isel(time=[2, 4], xyz=0).values
    assert read == [2, 4]
    assert np.abs(x - frames[[2, 4], 30:40, 0]).max() < TOLERANCE[format]
    whole = data.positions.values
    assert np.abs(whole - frames[:, 20:].reshape(13, 4, 10, 3).swapaxes(0, 1)).max() < TOLERANCE[format]
    with pytest.raises(InputError, match="several molecules; it has one, two"):
        run.xarray()


def test_mdtraj(tmp_path: Path, format: str) -> None:
    run, frames = finished(tmp_path, format)
    trajectory = run.trajectory(5, stride=3)
    assert isinstance(trajectory, mdtraj.Trajectory)
    np.testing.assert_allclose(trajectory.time, np.arange(0, 13, 3) * 0.05, rtol=1e-6)
    assert np.abs(10 * trajectory.xyz - frames[::3, 50:]).max() < TOLERANCE[format] + 1e-5
    assert run.topologies["two"].n_atoms == trajectory.topology.n_atoms == 10
    with pytest.raises(InputError, match=r"several molecules.*run\.topologies"):
        _ = run.topology
    with pytest.raises(InputError, match="no replica 6; it has 6 from 0 to 5"):
        run.positions[6]
    assert 6 not in run.positions and 5 in run.positions


def test_a_box_reaches_mdtraj(tmp_path: Path) -> None:
    source = Path(mdflash.__file__).parents[1] / "systems" / "chignolin.yaml"
    overrides = [f"output.folder={tmp_path / 'run'}", "replicas.count=1", "dynamics.steps=500"]
    execute(load_run(source, [*overrides, "box=[60 angstrom, 70 angstrom, 80 angstrom]"]), source)
    run = mdflash.open_run(tmp_path / "run")
    np.testing.assert_allclose(run.trajectory(0).unitcell_lengths, [[6, 7, 8]] * 2, rtol=1e-6)
    assert run.topology.n_atoms == 10
    assert run.xarray().positions.shape == (1, 2, 10, 3)


def test_times_without_positions(tmp_path: Path, format: str) -> None:
    run, _ = finished(tmp_path, format)
    for source in run.sources():
        frames = read_frames(source.path, source.replica)
        steps, times = read_times(source.path)
        np.testing.assert_array_equal(steps, frames.steps)
        np.testing.assert_array_equal(times, frames.times)


def test_running_and_killed(tmp_path: Path, format: str) -> None:
    folder = tmp_path / "run"
    command = ["-m", "mdflash", "run", "chignolin", "--steps", "100000000"]
    command += ["--set", f"output.folder={folder}", "--set", f"output.trajectory.format={format}"]
    command += ["--set", "replicas.count=2", "--set", "output.checkpoint.interval=100 ps"]
    child = Process(*command)
    try:
        begun = time.monotonic()
        while all(int(p.stem.removeprefix("step_")) < 20_000 for p in folder.glob("checkpoint/*.npz")):
            assert child.poll() is None, child.said()
            assert time.monotonic() - begun < 300  # kernels may have to be compiled first
            time.sleep(0.05)
        run = mdflash.open_run(folder)
        frames = [len(run.positions[r]) for r in (0, 1)]
        assert min(frames) > 10
        early = np.asarray(run.positions[1])
        assert np.isfinite(early).all()
        assert len(run.log) > 0 and run.events.event.iloc[0] == "start"
        assert run.trajectory(1).n_frames >= frames[1]
        assert run.manifest["status"] == "running"
    finally:
        child.kill()
        child.communicate()
    for when in ("killed", "repaired"):
        run = mdflash.open_run(folder)
        assert len(run.positions[1]) >= frames[1], when
        np.testing.assert_array_equal(run.positions[1][: len(early)], early)
        assert run.xarray().positions.sizes["time"] >= min(frames), when
        assert len(run.log) > 0
        if when == "killed":
            done = python("-m", "mdflash", "repair", folder)
            assert done.returncode == 0, done.stderr


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run folder"):
        mdflash.open_run(tmp_path / "none")
    with pytest.raises(InputError, match="holds no run"):
        mdflash.open_run(tmp_path)


def test_a_term_as_a_table() -> None:
    ff = mdflash.load_forcefield("go-chignolin")
    table = mdflash.term_table(ff, "contacts")
    contacts = next(t for t in ff.terms if t.name == "contacts")
    np.testing.assert_array_equal(table[["bead_1", "bead_2"]].to_numpy(), contacts.keys)
    np.testing.assert_array_equal(table["r0"], contacts.parameters["r0"])
    assert table.attrs["form"] == contacts.form
    with pytest.raises(InputError, match="no term 'contact'; its terms are"):
        mdflash.term_table(ff, "contact")

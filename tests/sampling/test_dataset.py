"""Datasets: what is written is read back, damage is named, and a killed writer goes on."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest

from mdflash.core.system import System
from mdflash.errors import InputError, StorageError
from mdflash.sampling.dataset import create_dataset, load_dataset
from mdflash.sampling.trajectory import BLOCK, TrajectoryWriter, open_trajectory
from tests.processes import python

N = 4
ENV = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def chain(name: str = "chain") -> System:
    return System(
        name=name,
        types=("ALA",) * N,
        bead_names=("CA",) * N,
        residue_index=np.arange(N),
        residue_names=("ALA",) * N,
        residue_ids=tuple(range(1, N + 1)),
        chain_ids=("A",) * N,
        masses=np.full(N, 71.0),
        bonds=np.array([[0, 1], [1, 2], [2, 3]]),
        interactions={"bonds": np.array([[0, 1], [1, 2], [2, 3]])},
    )


def fill(file: Path, frames: int, seed: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Write `frames` random frames, of which the first `first` stand there already; returns all of them."""
    rng = np.random.default_rng(seed)
    x, f = (rng.normal(0, size, (1000, N, 3))[:frames] for size in (5, 20))
    with TrajectoryWriter(file, N, seed=seed, aggregation="optimised", frames=first) as writer:
        for k in range(first, frames):
            writer.append(x[k], f[k], 300.0, 0.5 * (k + 1))
    return x - x.mean(axis=1, keepdims=True), f


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    create_dataset(folder, {"chain": (chain(), np.zeros((2, N, 3)))}, "ca", {"engine": "none", "note": "Å"})
    for k in range(2):
        fill(folder / "chain" / f"{k:03d}.h5", 300 + k, seed=k)
    return folder


def test_round_trip(dataset: Path) -> None:
    found = load_dataset(dataset)
    assert found.mapping == "ca" and found.provenance == {"engine": "none", "note": "Å"}
    assert found.n_frames == 601
    (molecule,) = found.molecules
    assert molecule.system == chain() and molecule.start is not None and molecule.start.shape == (2, N, 3)
    second = molecule.trajectories[1]
    assert (second.n_frames, second.n_beads, second.seed, second.aggregation) == (301, N, 1, "optimised")
    x, f = fill(dataset.parent / "again.h5", 301, seed=1)
    frames = second.read()
    np.testing.assert_allclose(frames.positions, x, rtol=0, atol=0.5 / 1024 + 1e-6)
    np.testing.assert_allclose(frames.forces, f, rtol=0, atol=0.5 / 128 + 1e-5)
    np.testing.assert_array_equal(frames.time, 0.5 * np.arange(1, 302))
    np.testing.assert_array_equal(frames.temperature, np.full(301, 300, np.float32))
    assert frames.replica is None
    part = second.read(10, 100, 7)
    np.testing.assert_array_equal(part.positions, frames.positions[10:100:7])


def test_digest_is_of_the_numbers(dataset: Path) -> None:
    before = load_dataset(dataset).digest()
    assert load_dataset(dataset).digest() == before
    with h5py.File(dataset / "chain" / "001.h5", "r+") as f:
        f["forces"][7, 0, 0] += 1
    assert load_dataset(dataset).digest() != before


def test_appending_and_cutting(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.h5", tmp_path / "parts.h5"
    fill(whole, 700, seed=5)
    fill(parts, 650, seed=5)
    for first in (300, 512, 690):  # behind a partial block, at its end, and close to the end of the file
        fill(parts, 700, seed=5, first=first)
        for a, b in zip(open_trajectory(whole, "x").read()[:4], open_trajectory(parts, "x").read()[:4], strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(StorageError, match="holds 700 frames of 4 beads, but the checkpoint counted 900"):
        TrajectoryWriter(parts, N, seed=5, aggregation="basic", frames=900)


def test_a_killed_writer_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "000.h5"
    script = f"""
        import os, signal, numpy as np
        from pathlib import Path
        from mdflash.sampling.trajectory import TrajectoryWriter
        rng = np.random.default_rng(8)
        x, f = rng.normal(0, 5, (1000, {N}, 3)), rng.normal(0, 20, (1000, {N}, 3))
        writer = TrajectoryWriter(Path({str(file)!r}), {N}, seed=8, aggregation="optimised")
        for k in range(600):
            writer.append(x[k], f[k], 300.0, 0.5 * (k + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    died = python("-c", textwrap.dedent(script), env=ENV)
    assert died.returncode == -signal.SIGKILL
    assert open_trajectory(file, "x").n_frames == 2 * BLOCK  # the third block was not full
    fill(file, 900, seed=8, first=2 * BLOCK)
    fill(tmp_path / "whole.h5", 900, seed=8)
    for a, b in zip(
        open_trajectory(file, "x").read()[:4], open_trajectory(tmp_path / "whole.h5", "x").read()[:4], strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("limit", [3_000, 50_000, 400_000])
def test_a_file_that_may_not_grow_is_named_and_the_process_ends_in_order(tmp_path: Path, limit: int) -> None:
    """HDF5 crashes at exit when a write failed inside it."""
    file = tmp_path / "000.h5"
    script = f"""
        import resource, sys, numpy as np
        from pathlib import Path
        from mdflash.sampling.trajectory import TrajectoryWriter
        from mdflash.errors import StorageError
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        x = np.random.default_rng(8).normal(0, 5, ({N}, 3))
        try:
            with TrajectoryWriter(Path({str(file)!r}), {N}, seed=8, aggregation="basic") as writer:
                for k in range(20_000):
                    writer.append(x, 0.1 * k * x, 300.0, 0.5 * (k + 1))
        except StorageError as error:
            sys.exit(str(error))
    """
    done = python("-c", textwrap.dedent(script), env=ENV)
    assert (done.returncode, done.stderr) == (1, f"{file}: File too large\n")
    if file.exists():
        kept = open_trajectory(file, "x")
        assert (kept.n_frames > 0) == (limit == 400_000)
        fill(file, kept.n_frames + 300, seed=8, first=kept.n_frames)
        assert open_trajectory(file, "x").n_frames == kept.n_frames + 300


def test_energies_and_replicas_stand_beside_the_frames(dataset: Path) -> None:
    file = dataset / "chain" / "000.h5"
    rng = np.random.default_rng(4)
    energies = 1e4 * rng.normal(size=BLOCK + 7)
    for first, last in ((0, BLOCK + 3), (BLOCK + 3, BLOCK + 7)):  # and goes on
        with TrajectoryWriter(file, N, seed=1, aggregation="basic", frames=first, replica=True, energy=True) as writer:
            for k in range(first, last):
                writer.append(rng.normal(size=(N, 3)), np.zeros((N, 3)), 300.0, 1.0 + k, k % 5, energies[k])
    plain = load_dataset(dataset).digest()
    frames = open_trajectory(file, "chain").read()
    np.testing.assert_array_equal(frames.energy, energies)
    np.testing.assert_array_equal(frames.replica, np.arange(BLOCK + 7) % 5)
    assert open_trajectory(dataset / "chain" / "001.h5", "chain").read().energy is None
    change(file, "energy", 100, np.nan)
    with pytest.raises(InputError, match="frame 100: energy must be finite numbers, found nan"):
        open_trajectory(file, "chain").read()
    change(file, "energy", 100, 1.0)
    assert load_dataset(dataset).digest() != plain


def test_a_file_that_is_being_written_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "000.h5"
    with TrajectoryWriter(file, N, seed=1, aggregation="basic") as writer:
        for k in range(BLOCK + 10):
            writer.append(np.ones((N, 3)), np.zeros((N, 3)), 300.0, float(k))
        script = f"""
            from pathlib import Path
            from mdflash.sampling.trajectory import open_trajectory
            print(len(open_trajectory(Path({str(file)!r}), "x").read().time))
        """
        shown = python("-c", textwrap.dedent(script), env=ENV, check=True)
        assert int(shown.stdout) == BLOCK


def change(file: Path, name: str, frame: int, value: float) -> None:
    with h5py.File(file, "r+") as f:
        f[name][frame] = value


@pytest.mark.parametrize(("name", "value"), [("forces", np.nan), ("positions", np.inf), ("temperature", -1.0)])
def test_bad_numbers_are_named_with_file_and_frame(dataset: Path, name: str, value: float) -> None:
    file = dataset / "chain" / "001.h5"
    change(file, name, 123, value)
    trajectory = load_dataset(dataset).molecules[0].trajectories[1]
    with pytest.raises(InputError, match=f"frame 123: {name}") as error:
        trajectory.read()
    assert str(file) in str(error.value)
    with pytest.raises(InputError, match="frame 123"):
        trajectory.read(121, 200, 2)
    trajectory.read(124)


def test_frames_without_forces(dataset: Path) -> None:
    file = dataset / "chain" / "000.h5"
    with h5py.File(file, "r+") as f:
        del f["forces"]
    with pytest.raises(InputError, match=r"000\.h5: frames without forces"):
        load_dataset(dataset)


def test_other_beads(dataset: Path) -> None:
    file = dataset / "chain" / "002.h5"
    with TrajectoryWriter(file, N + 1, seed=1, aggregation="basic") as writer:
        writer.append(np.ones((N + 1, 3)), np.zeros((N + 1, 3)), 300.0, 1.0)
    with pytest.raises(InputError, match=r"002\.h5: holds 5 beads, but .*system\.safetensors has 4"):
        load_dataset(dataset)


def test_other_versions_and_no_datasets(dataset: Path, tmp_path: Path) -> None:
    with h5py.File(dataset / "chain" / "000.h5", "r+") as f:
        f.attrs["mdflash_data"] = 2
    with pytest.raises(InputError, match="expected attribute mdflash_data = 1, found 2"):
        load_dataset(dataset)
    head = dataset / "dataset.yaml"
    head.write_text(head.read_text().replace("mdflash_dataset: 1", "mdflash_dataset: 7"))
    with pytest.raises(InputError, match=r"dataset\.yaml, line 1, key 'mdflash_dataset': .*found 7"):
        load_dataset(dataset)
    with pytest.raises(InputError, match=r"is not a dataset: it has no dataset\.yaml"):
        load_dataset(tmp_path)


def test_a_dataset_without_frames(tmp_path: Path) -> None:
    create_dataset(tmp_path / "empty", {"chain": (chain(), None)}, "ca", {})
    with pytest.raises(InputError, match="no frames"):
        load_dataset(tmp_path / "empty")


def test_a_file_that_is_no_hdf5(dataset: Path) -> None:
    (dataset / "chain" / "000.h5").write_text("not HDF5")
    with pytest.raises(InputError, match=r"000\.h5: cannot be read as HDF5"):
        load_dataset(dataset)

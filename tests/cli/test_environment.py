"""Whatever variables, signals and other people do, a command ends in one sentence and says which."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import mdflash
from mdflash.config.load import load_run
from mdflash.errors import ForceFieldError, InputError, StorageError
from mdflash.forcefields.model import Network
from mdflash.forcefields.networks import load_schnet, schnet_weights
from mdflash.io import runfolder
from mdflash.io.formats.base import FrameWriter
from mdflash.io.runfolder import FolderLock, RunFolder
from mdflash.potentials.schnet.network import SchNet
from mdflash.runs import prepare
from mdflash.runs.execute import execute
from tests.potentials.random_schnet import random_schnet
from tests.rank_helpers import srun_variables, write_network

ENV = {**os.environ, "PYTHONPATH": str(Path(mdflash.__file__).parents[1])}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WORLD_SIZE": "x", "RANK": "0"}, "WORLD_SIZE"),
        ({**srun_variables(7, 4, "77")}, "SLURM_PROCID"),
        ({"NUMBA_NUM_THREADS": "0"}, "NUMBA_NUM_THREADS"),
        ({"NUMBA_OPT": "x"}, "NUMBA_OPT"),
    ],
)
def test_a_variable_that_says_nonsense_is_named(variables: dict[str, str], said: str, tmp_path: Path) -> None:
    """In a process of its own: numba reads them when it is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "mdflash", "run", "chignolin", "--dry-run"],
        env={**ENV, **variables}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, ""), done
    assert said in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    """Nothing of it could be written down; a folder that is gone is another matter."""
    folder = tmp_path / os.fsdecode(b"x\xff")
    folder.mkdir()
    for cwd, argument in ((folder, "system.yaml"), (tmp_path, folder / "system.yaml")):
        done = subprocess.run(
            [sys.executable, "-m", "mdflash", "run", argument], env=ENV, cwd=cwd, capture_output=True, text=True
        )
        assert done.returncode == 2 and "x\\udcff" in done.stderr and "is no text in UTF-8" in done.stderr, done
        assert done.stderr.count("\n") == 1


def test_a_home_that_takes_no_files(tmp_path: Path) -> None:
    """Or none at all: kernels are not kept then, and all else works."""
    bare = {k: v for k, v in ENV.items() if k not in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "HOME")}
    script = (
        "import pathlib, sys\n"
        "def nowhere(): raise RuntimeError('Could not determine home directory.')\n"
        "if sys.argv.pop(1) == 'none': pathlib.Path.home = staticmethod(nowhere)\n"
        "from mdflash.__main__ import _settle_home; _settle_home()\n"
        "from own import f; print(f(2), f(2.5))"
    )
    (tmp_path / "own.py").write_text(
        "from mdflash.compiled.jit import njit\n@njit(cache=True)\ndef f(x):\n    return x + 1\n"
    )
    for home, kind in (("/dev/null", "file"), ("/proc/none", "none")):
        done = subprocess.run(
            [sys.executable, "-c", script, kind], env={**bare, "HOME": home}, cwd=tmp_path,
            capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (0, "3 3.5\n"), done
        assert done.stderr.count("compiled functions cannot be kept in") == done.stderr.count("\n") == 1, done.stderr


def test_a_lock_that_is_deleted_lets_nobody_in(tmp_path: Path) -> None:
    """The folder itself is locked too; walkers of a sampling, which share one, lock their files alone."""
    with RunFolder.open(tmp_path / "run") as run:
        (run.path / "lock").unlink()
        with pytest.raises(StorageError, match="is in use by"):
            RunFolder.open(run.path)
    RunFolder.open(tmp_path / "run").close()
    walkers = [FolderLock(tmp_path / f"{k:03d}.lock") for k in range(2)]
    for lock in walkers:
        lock.release()


def test_a_file_system_without_locks_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS, where only files that are open for writing can be locked."""
    real = runfolder.fcntl.flock

    def flock(handle: int, what: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(9, "Bad file descriptor")
        real(handle, what)

    monkeypatch.setattr(runfolder.fcntl, "flock", flock)
    with RunFolder.open(tmp_path / "run") as run, pytest.raises(StorageError, match="is in use by"):
        RunFolder.open(run.path)


@pytest.mark.parametrize("full", [False, True])
def test_a_run_that_fails_says_so_in_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    """Also where the disk takes no new file."""
    source = write_network(tmp_path)
    config = load_run(source, [f"output.folder={tmp_path / 'run'}", "dynamics.steps=2000"])
    flush, calls = FrameWriter.flush, []

    def failing(self: FrameWriter, sync: bool = False) -> None:
        calls.append(sync)
        if len(calls) > 2:
            if full:
                from mdflash.core import files

                monkeypatch.setattr(files, "_temporary", lambda path: path.with_name("missing") / "x")
            raise StorageError("the disk is full")
        flush(self, sync)

    monkeypatch.setattr(FrameWriter, "flush", failing)
    with pytest.raises(StorageError, match="the disk is full"):
        execute(config, source)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["status"] == "failed"


def test_more_replicas_than_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = write_network(tmp_path)
    config = load_run(source, ["system.replicas=1000000", "dynamics.steps=10"])
    monkeypatch.setattr(prepare.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 500_000}[name])
    with pytest.raises(InputError, match=r"1,000,000 replicas of 8 beads take about 3\.2 GB of memory"):
        prepare.prepare(config)


@pytest.mark.parametrize(
    "changes",
    [{"blocks": 10**6}, {"blocks": 2**70}, {"features": 2**40}, {"filters": 2**62}, {"basis_size": 2**40},
     {"types": 10**12}, {"filter_hidden": (10**9,)}, {"output": (10**9, 10**9)}, {"blocks": 3}],
)  # fmt: skip
def test_sizes_of_a_network_are_compared_before_it_is_made(changes: dict[str, object]) -> None:
    weights = random_schnet(5, features=16, filters=16, blocks=2, output=(16,))
    network = Network("net", "schnet", weights.hyper.to_dict(), schnet_weights(weights))
    assert isinstance(load_schnet(network), SchNet)
    with pytest.raises(ForceFieldError, match=r"SchNet|net"):
        load_schnet(replace(network, hyperparameters={**network.hyperparameters, **changes}))


def test_loading_a_network_draws_as_before() -> None:
    """What follows in a process depends on how many random numbers were drawn."""
    weights = random_schnet(5, features=16, filters=16, blocks=2, output=(16,))
    network = Network("net", "schnet", weights.hyper.to_dict(), schnet_weights(weights))
    torch.manual_seed(3)
    SchNet(weights.hyper)
    expected = torch.rand(4)
    torch.manual_seed(3)
    loaded = load_schnet(network)
    assert torch.equal(torch.rand(4), expected)
    for key, value in schnet_weights(weights).items():
        assert np.array_equal(loaded.state_dict()[key].numpy(), value)


def test_a_file_of_half_a_million_unknown_keys(tmp_path: Path) -> None:
    file = tmp_path / "system.yaml"
    many = {f"item{i}": i for i in range(20_000)}
    file.write_text("mdflash: 1\n" + yaml.safe_dump(many))
    with pytest.raises(InputError, match="is not a known key") as refused:
        load_run(file)
    assert str(refused.value).count("\n") < 100
    file.write_text("mdflash: 1\n" + "".join(f"item{i}: {i}\n" for i in range(200_000)))
    with pytest.raises(InputError, match=r"system\.yaml: cannot be read: is too large"):
        load_run(file)

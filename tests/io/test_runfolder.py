"""The run folder: creation, lock, starting over."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mdflash.core.files import atomic_write, atomic_write_json, free_bytes
from mdflash.errors import StorageError
from mdflash.io.checkpoint import save_checkpoint
from mdflash.io.events import EventLog
from mdflash.io.formats.base import Target
from mdflash.io.log import LogWriter
from mdflash.io.runfolder import RunFolder
from mdflash.io.topology import write_topology

from .conftest import build_system, fill, new_writer, run_and_kill


def populate(run: RunFolder, format: str) -> None:
    """Every kind of file that mdflash writes."""
    atomic_write(run.input, "a: 1\n")
    atomic_write(run.resolved, "a: 1\n")
    atomic_write_json(run.manifest, {"version": 1})
    names = ("pep", "other")
    for name in names:
        atomic_write(run.topology(name, names), "END\n")
        far = replace(build_system(name=name), chain_ids=("AA",) * 10)
        write_topology(run.topology(name, names), far, np.zeros((10, 3)))
        writer = new_writer(format, Target(run.trajectory, build_system(name=name), (0, 12345)))
        fill(writer, 0, 3)
        writer.close()
    LogWriter.start(run.log)
    EventLog(run.events).close()
    (run.path / "exchange.csv").write_text("step\n")
    save_checkpoint(run.checkpoint, {}, {"step": 4})
    (run.checkpoint / f".mdflash-{16 * 'a'}.tmp").write_bytes(b"half")


def test_fresh_deletes_what_mdflash_wrote_and_nothing_else(tmp_path, format):
    with RunFolder.open(tmp_path / "a" / "run") as run:
        assert run.fresh(("pep", "other")) == []
        populate(run, format)
        mine = [
            "notes.txt",
            "topology.cif",
            "topology_mine.cif",
            "topology_mine.pdb",
            "manifest.json.tmp",
            "trajectory/ref.xtc",
            "trajectory/ref_0001.xtc",
            "trajectory/old_0001.dcd",
            "trajectory/mine.h5",
            "checkpoint/step_1.npz",
            "checkpoint/step_000000000000005.npz.tmp",
        ]
        for name in mine:
            (run.path / name).write_text("mine")
        deleted = run.fresh(("pep", "other"))
        left = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
        assert left == {*mine, "lock", ".mdflash"}
        assert run.log in deleted and run.fresh(("pep",)) == []
        populate(run, format)  # and a new run can start


def test_topology_names():
    assert RunFolder.topology.__doc__
    from mdflash.io.runfolder import topology_path

    assert topology_path(Path("r"), "a", ["a"]) == Path("r/topology.pdb")
    assert topology_path(Path("r"), "a", ["a", "b"]) == Path("r/topology_a.pdb")


def test_a_live_owner_is_named(tmp_path):
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        RunFolder.open(tmp_path / "run")
        os.write(tell, b"x")
        signal.pause()
        os._exit(0)
    try:
        os.read(ready, 1)
        with pytest.raises(StorageError) as caught:
            RunFolder.open(tmp_path / "run")
        text = str(caught.value)
        assert f"is in use by process {child} on host {socket.gethostname()}" in text
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)
    with RunFolder.open(tmp_path / "run") as run:  # the dead owner's lock is taken over
        assert json.loads((run.path / "lock").read_text())["pid"] == os.getpid()


def test_the_same_process_cannot_open_it_twice_and_closing_frees_it(tmp_path):
    run = RunFolder.open(tmp_path / "run")
    with pytest.raises(StorageError, match=f"process {os.getpid()}"):
        RunFolder.open(tmp_path / "run")
    run.close()
    run.close()
    RunFolder.open(tmp_path / "run").close()


def test_a_killed_owner_leaves_no_lock(tmp_path):
    def work(report):
        RunFolder.open(tmp_path / "run")
        report(1)
        signal.pause()

    run_and_kill(work, 0.0)
    RunFolder.open(tmp_path / "run").close()


def test_too_little_disk_is_said_before_anything_is_made(tmp_path):
    with pytest.raises(StorageError, match=r"write about 1000000\.0 TB, but only .* are free"):
        RunFolder.open(tmp_path / "deep" / "run", need_bytes=10**18)
    assert list(tmp_path.iterdir()) == []
    RunFolder.open(tmp_path / "run", need_bytes=free_bytes(tmp_path) // 2).close()


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(StorageError, match="is a file"):
        RunFolder.open(tmp_path / "run")
    with pytest.raises(StorageError, match="run"):
        RunFolder.open(tmp_path / "run" / "below")
    assert (tmp_path / "run").read_text() == "mine"


def test_what_was_made_before_a_failure_is_removed(tmp_path):
    folder = tmp_path / "new" / "run"
    original = os.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith("lock"):
            raise PermissionError(13, "Permission denied")
        return original(path, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(StorageError, match="no permission to write"):
            RunFolder.open(folder)
    assert list(tmp_path.iterdir()) == []
    folder.mkdir(parents=True)
    (folder / "checkpoint").write_text("mine")
    with pytest.raises(StorageError, match="checkpoint"):
        RunFolder.open(folder)
    assert (folder / "checkpoint").read_text() == "mine" and not (folder / "trajectory").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="no permission to write"):
            RunFolder.open(tmp_path / "run")
    finally:
        tmp_path.chmod(0o700)


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def no_locks(request, monkeypatch):
    def refuse(fd, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_without_locks_of_the_file_system_one_process_writes(tmp_path, no_locks):
    with RunFolder.open(tmp_path / "run") as run:
        assert "has no locks" in run.notes[0] and "lock.held" in run.notes[0]
        with pytest.raises(StorageError, match=f"in use by process {os.getpid()} on host"):
            RunFolder.open(tmp_path / "run")
        assert (tmp_path / "run/lock.held").is_file()
    assert not (tmp_path / "run/lock.held").exists()
    run = RunFolder.open(tmp_path / "other")
    run.discard()
    assert not (tmp_path / "other").exists()


def test_without_locks_a_killed_owner_is_told_from_one_on_another_host(tmp_path, no_locks):
    def work(report):
        RunFolder.open(tmp_path / "run")
        report(1)
        signal.pause()

    run_and_kill(work, 0.0)
    held = tmp_path / "run/lock.held"
    owner = json.loads(held.read_text())
    for left in ({**owner, "host": "elsewhere"}, None):
        held.write_text("" if left is None else json.dumps(left))
        with pytest.raises(StorageError, match=rf"delete {held}"):
            RunFolder.open(tmp_path / "run")
    for left in (owner, {**owner, "pid": os.getpid(), "started": "1"}):  # and a later process of the same number
        held.write_text(json.dumps(left))
        RunFolder.open(tmp_path / "run").close()
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["checkpoint", "lock", "trajectory"]


def names_of_a_run(draw: np.random.Generator) -> list[str]:
    """Some of the names that a run of `pep` and `other` gives to its files."""
    names = [
        "input.yaml", "resolved.yaml", "log.csv", "colvars.csv", "exchange.csv", "events.jsonl", "manifest.json",
        "topology_pep.pdb", "topology_other.cif", "trajectory/pep.h5", "trajectory/other_0003.xtc",
        "trajectory/pep_0012.dcd", "checkpoint/step_000000000000400.npz", "lock",
    ]  # fmt: skip
    return sorted(draw.choice(names, size=int(draw.integers(1, 6)), replace=False).tolist())


@pytest.mark.parametrize("seed", range(12))
def test_files_that_no_run_wrote_are_in_the_way(tmp_path, seed):
    draw = np.random.default_rng(seed)
    taken, others = names_of_a_run(draw), ["notes.txt", "topology_mine.pdb", "trajectory/old_0001.dcd"]
    for name in (*taken, *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"mine, {name}")
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(StorageError, match="no run was started here before") as refused:
        RunFolder.open(tmp_path, systems=("pep", "other"))
    assert all(name in str(refused.value) for name in taken)
    assert not any(name in str(refused.value) for name in others)
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_start_that_was_killed_is_known_again(tmp_path):
    with RunFolder.open(tmp_path, systems=("pep",)) as run:
        run.fresh(("pep",))
        atomic_write(run.input, "a: 1\n")
    with RunFolder.open(tmp_path, systems=("pep",)) as run:
        assert run.fresh(("pep",)) == [run.input]

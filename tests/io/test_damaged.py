"""Trajectories whose bytes were changed, or that lead elsewhere, end in a sentence; nothing hangs, and Ctrl-C works."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mdflash.core import hdf5_check, hdf5_look
from mdflash.errors import InputError, MdflashError, StorageError
from mdflash.io.formats import written_format
from mdflash.io.formats.base import Target
from mdflash.io.formats.hdf5 import Hdf5Writer, hdf5_times, is_ours, read_hdf5, repair_hdf5
from mdflash.io.frames import load_frames
from mdflash.sampling.trajectory import TrajectoryWriter, open_trajectory
from tests.io.conftest import build_system, fill, new_writer
from tests.processes import Process

LIMIT = 60.0
"""Seconds: of a hang, not of a busy machine."""


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = Target(tmp_path_factory.mktemp("run"), build_system(), (4, 5, 9), block=4)
    writer = Hdf5Writer.create(target)
    fill(writer, 0, 60)
    writer.close()
    return writer.path


@pytest.fixture(scope="module")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "000.h5"
    rng = np.random.default_rng(0)
    with TrajectoryWriter(path, 10, seed=1, aggregation="basic") as writer:
        for i in range(300):
            writer.append(rng.normal(size=(10, 3)), rng.normal(size=(10, 3)), 300.0, float(i))
    return path


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Flipped bytes and numbers, mostly where the structure of the file is."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        at = rng.randrange(len(changed) if rng.random() < 0.4 else min(len(changed), 8192))
        kind = rng.randrange(4)
        new = [b"\xff", rng.randbytes(1), rng.randbytes(8), b"\xff\xff\xff\x7f"][kind]
        changed[at : at + len(new)] = new[: len(changed) - at]
    return bytes(changed)


def resume(path: Path) -> None:
    Hdf5Writer.resume(Target(path.parent, build_system(), (4, 5, 9), block=4), 60).close()


DOORS: dict[str, Callable[[Path], Any]] = {
    "times": hdf5_times,
    "read": lambda p: list(read_hdf5(p, None, 7, 0, None)),
    "repair": repair_hdf5,
    "resume": resume,
    "start frames": lambda p: load_frames(p, build_system()),
}


def only_sentences(door: Callable[[Path], Any], path: Path) -> bool:
    """Whether the file was refused."""
    began, refused = time.monotonic(), False
    try:
        door(path)
    except MdflashError as error:
        refused = True
        assert path.name in str(error)
    assert time.monotonic() - began < LIMIT
    return refused


@pytest.mark.parametrize("seed", range(2))
def test_flipped_bytes_of_a_run(run_file: Path, tmp_path: Path, seed: int) -> None:
    rng, refused = random.Random(seed), 0
    data = run_file.read_bytes()
    for _ in range(60):
        path = tmp_path / "pep.h5"
        path.unlink(missing_ok=True)  # or it would be one that `resume` has made this process's own
        path.write_bytes(damaged(data, rng))
        refused += only_sentences(DOORS[rng.choice(list(DOORS))], path)
    assert refused > 5


@pytest.mark.parametrize("seed", range(2))
def test_flipped_bytes_of_a_dataset(data_file: Path, tmp_path: Path, seed: int) -> None:
    rng, refused = random.Random(seed), 0
    data = data_file.read_bytes()
    for _ in range(60):
        path = tmp_path / "000.h5"
        path.unlink(missing_ok=True)  # or it would be one that `resume` has made this process's own
        path.write_bytes(damaged(data, rng))
        refused += only_sentences(lambda p: open_trajectory(p, "pep").read(), path)
    assert refused > 5


@pytest.mark.parametrize("name", ["xtc", "dcd"])
@pytest.mark.parametrize("beads", [8, 20])
def test_flipped_bytes_of_other_trajectories(tmp_path: Path, name: str, beads: int) -> None:
    """No loop, no claim of memory, no crash of a decoder."""
    form, target = written_format(name), Target(tmp_path, build_system(beads), (4,), block=4)
    writer = new_writer(name, target)
    fill(writer, 0, 12)
    writer.close()
    path, rng = form.file(target, 4), random.Random(beads)
    data, refused = path.read_bytes(), 0
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            at = rng.randrange(len(data) if rng.random() < 0.4 else 200)
            new = [b"\xff", rng.randbytes(1), rng.randbytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\xa0"][
                rng.randrange(5)
            ]
            changed[at : at + len(new)] = new[: len(data) - at]
        path.write_bytes(changed)
        for door in (form.times, lambda p: list(form.read(p, None, 5, 0, None)), form.repair):
            refused += only_sentences(door, path)
    assert refused


def link_outside(file: h5py.File, other: Path) -> None:
    del file["time"]
    file["time"] = h5py.ExternalLink(str(other), "/time")


def link_inside(file: h5py.File, other: Path) -> None:
    del file["time"]
    file["time"] = h5py.SoftLink("/nowhere")


def raw_outside(file: h5py.File, other: Path) -> None:
    del file["time"]
    file.create_dataset("time", (1,), np.float64, external=[(str(other), 0, 8)])


def virtual(file: h5py.File, other: Path) -> None:
    del file["time"]
    layout = h5py.VirtualLayout((3,), np.float64)
    layout[:] = h5py.VirtualSource(str(other), "time", (3,))
    file.create_virtual_dataset("time", layout)


def enormous(file: h5py.File, other: Path) -> None:
    del file["time"]
    file.create_dataset("time", (1 << 45,), np.float64, chunks=(1024,))


@pytest.mark.parametrize("change", [link_outside, link_inside, raw_outside, virtual, enormous])
def test_what_leads_elsewhere_or_claims_too_much(
    run_file: Path, data_file: Path, tmp_path: Path, change: Callable[[h5py.File, Path], None]
) -> None:
    """Also files inside other files: what is written into such a dataset would land there."""
    other = tmp_path / "victim"
    other.write_bytes(b"precious")
    for source, doors in ((run_file, DOORS), (data_file, {"data": lambda p: open_trajectory(p, "pep")})):
        path = tmp_path / source.name
        shutil.copy(source, path)
        with h5py.File(path, "r+") as file:
            change(file, other)
        for door in doors.values():
            assert only_sentences(door, path)
        assert not is_ours(path)
        assert other.read_bytes() == b"precious"


def test_a_file_is_looked_at_once(run_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one that this process wrote, and not again while it stays as it is."""
    asked = []
    ask = hdf5_check._Helper.ask
    monkeypatch.setattr(hdf5_check._Helper, "ask", lambda self, path: asked.append(path) or ask(self, path))
    monkeypatch.setattr(hdf5_check, "_known", set())
    for _ in range(3):
        hdf5_times(run_file)
    assert asked == [run_file]
    os.utime(run_file)
    hdf5_times(run_file)
    assert len(asked) == 2
    target = Target(run_file.parent / "own", build_system(), (4, 5, 9), block=4)
    target.folder.mkdir()
    writer = Hdf5Writer.create(target)
    fill(writer, 0, 8)
    hdf5_times(writer.path)
    writer.close()
    assert len(asked) == 2


def test_the_helper_imports_nothing_from_the_folder_of_the_user(
    run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("h5py", "json", "ctypes", "numpy"):
        (tmp_path / f"{name}.py").write_text("open('owned', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hdf5_check, "_known", set())
    monkeypatch.setattr(hdf5_check._Helper, "_one", None)
    hdf5_times(run_file)
    assert not (tmp_path / "owned").exists()


SLEEPS = """
import ctypes, h5py
def open_to_look(path):
    ctypes.PyDLL(None).sleep(1000)  # as the library in a loop: no handler of Python runs
"""


def test_a_library_that_does_not_return_is_given_up(
    run_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = Path(hdf5_look.__file__).read_text()
    stuck = tmp_path / "stuck.py"
    stuck.write_text(code.replace("def fault(", f"{SLEEPS}\ndef fault("))
    monkeypatch.setattr(hdf5_look, "__file__", str(stuck))
    monkeypatch.setattr(hdf5_check, "_known", set())
    monkeypatch.setattr(hdf5_check._Helper, "_one", None)
    monkeypatch.setattr(hdf5_check, "SECONDS", 1)
    began = time.monotonic()
    with pytest.raises(StorageError, match="does not read it within"):
        hdf5_times(run_file)
    assert time.monotonic() - began < LIMIT
    monkeypatch.setattr(hdf5_check, "SECONDS", 8)
    monkeypatch.setattr(hdf5_look, "__file__", str(tmp_path / "real.py"))
    (tmp_path / "real.py").write_text(code)
    assert len(hdf5_times(run_file)[0]) == 60  # the next file has a helper again


def test_ctrl_c_is_heard_while_the_library_hangs(run_file: Path, tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(
        Path(hdf5_look.__file__).read_text().replace("def fault(", f"{SLEEPS}\ndef fault(")
    )
    script = (
        "import sys; from pathlib import Path; from mdflash.core import hdf5_look\n"
        "from mdflash.io.formats.hdf5 import hdf5_times\n"
        "hdf5_look.__file__ = sys.argv[1]; print('on', flush=True); hdf5_times(Path(sys.argv[2]))"
    )
    process = Process("-c", script, tmp_path / "stuck.py", run_file)
    while "on" not in process.said()[0]:
        assert process.poll() is None, process.said()
        time.sleep(0.01)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    process.wait(LIMIT)
    assert "KeyboardInterrupt" in process.said()[1]


def test_no_helper_no_harm(run_file: Path) -> None:
    assert isinstance(hdf5_look.fault(str(run_file.parent)), str)  # a folder
    assert hdf5_look.fault(str(run_file)) is None
    with pytest.raises(InputError, match="no such file"):
        load_frames(run_file.with_name("nowhere.h5"), build_system())

"""What is read is an ordinary file of a bounded size; names that become files are plain words."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import string
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdflash.core import regular
from mdflash.core.regular import parse_json, read_input, read_json, read_text
from mdflash.core.system import load_system, save_system
from mdflash.core.tensors import read_tensors
from mdflash.core.words import is_word, plain_word
from mdflash.core.yamlfile import load_yaml
from mdflash.errors import ForceFieldError, InputError, MdflashError, StorageError
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.importers.pae import read_pae
from mdflash.importers.unpickle import load_torch
from mdflash.io.checkpoint import load_checkpoint, save_checkpoint
from mdflash.io.claims import claimed, is_lock
from mdflash.io.events import read_events
from mdflash.io.exchange_log import read_exchange
from mdflash.io.formats.dcd import scan_dcd
from mdflash.io.formats.hdf5 import hdf5_times
from mdflash.io.formats.xtc import scan_xtc
from mdflash.io.frames import load_frames
from mdflash.io.log import LogWriter
from mdflash.io.runfolder import load_manifest
from mdflash.io.table import last_row
from mdflash.mapping import formats
from mdflash.mapping.formats import read_bytes
from mdflash.mapping.sequence import read_fasta
from tests.helpers import beads, go_helix

READERS: dict[str, Callable[[Path], Any]] = {
    "yaml": load_yaml,
    "system": load_system,
    "torch": load_torch,
    "pae": read_pae,
    "structure": read_bytes,
    "fasta": read_fasta,
    "events": read_events,
    "table": LogWriter.repair,
    "last row": last_row,
    "xtc": scan_xtc,
    "dcd": scan_dcd,
    "hdf5": hdf5_times,
    "exchange": read_exchange,
    "manifest": lambda file: load_manifest(file.parent),
    "frames": lambda file: load_frames(file, beads("a", 3)),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", ["pipe", "zero", "folder", "socket"])
def test_no_reader_waits_for_what_is_no_file(tmp_path: Path, name: str, kind: str) -> None:
    place = tmp_path / "manifest.json"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "socket":
        import socket

        os.chdir(tmp_path)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(place.name)
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(MdflashError, match=r"manifest\.json"):
        READERS[name](place)


def test_nobody_claims_a_folder_by_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".mdflash")
    assert claimed(tmp_path, "run") is None and not is_lock(tmp_path / ".mdflash")


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "large"
    with file.open("wb") as f:
        f.truncate(regular.MOST + 1)  # a hole takes no room
    for read in (read_input, read_text, read_json, read_tensors):
        with pytest.raises(OSError, match="is too large"):
            read(file)
    assert read_input("/proc/self/status", 1 << 20).startswith(b"Name")  # which states no size
    with pytest.raises(OSError, match="is too large"):
        read_input("/proc/self/status", 10)
    monkeypatch.setattr(formats, "MOST_BYTES", 1000)
    for name, module in (("a.gz", gzip), ("a.bz2", bz2), ("a.xz", lzma)):
        for size in (1000, 1001, 500_000):
            (tmp_path / name).write_bytes(module.compress(bytes(size)))
            if size == 1000:
                assert read_bytes(tmp_path / name) == bytes(size)
            else:
                with pytest.raises(InputError, match="unpacks to more than 1,000 bytes"):
                    read_bytes(tmp_path / name)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "9" * 5000])
def test_json_that_no_reader_survives_is_no_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def packed(arrays: dict[str, bytes], compression: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in arrays.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


def test_checkpoints_hold_what_they_state(tmp_path: Path) -> None:
    """Arrays that are packed, or state another size than they have, are passed over; the older checkpoint is used."""
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([True]), "c": np.zeros((0, 3)), "d": np.array(3)}
    save_checkpoint(tmp_path, arrays, {"step": 1})
    found = load_checkpoint(tmp_path)
    assert found is not None and found.notes == ()
    for name, array in arrays.items():
        assert found.arrays[name].dtype == array.dtype and np.array_equal(found.arrays[name], array)
        assert found.arrays[name].flags.writeable
    header = npy(json.dumps({"step": 9}))
    huge = npy(np.zeros(2)).replace(b"(2,)", b"(1000000000000,)").replace(b" " * 12 + b"\n", b"\n")
    column = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    newest = tmp_path / f"step_{9:015d}.npz"
    newest.write_bytes(packed({"header": header, "a": npy(column)}, zipfile.ZIP_STORED))
    found = load_checkpoint(tmp_path)
    assert found is not None and found.notes == () and np.array_equal(found.arrays["a"], column)
    for data in (
        packed({"header": header, "a": npy(np.zeros(10**6))}, zipfile.ZIP_DEFLATED),
        packed({"header": header, "a": huge}, zipfile.ZIP_STORED),
        packed({"header": header, "a": npy(np.zeros(3))[:-8]}, zipfile.ZIP_STORED),
    ):
        newest.write_bytes(data)
        found = load_checkpoint(tmp_path)
        assert found is not None and found.header["step"] == 1 and newest.name in found.notes[0]


def test_an_array_that_states_more_than_the_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    file.write_bytes(
        npy(np.zeros((2, 3, 3))).replace(b"(2, 3, 3)", b"(9999999999, 3, 3)").replace(b" " * 9 + b"\n", b"\n")
    )
    with pytest.raises(InputError, match=r"x\.npy"):
        load_frames(file, beads("a", 3))


def test_a_folder_of_checkpoints_that_cannot_be_read_is_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "listdir", refuse)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StorageError, match="no permission to read it"):
        load_checkpoint(tmp_path)


def drawn_names(seed: int) -> list[str]:
    rng = random.Random(seed)
    parts = ["..", "/", "a", "\\", "\x1b[2J", "\n", " ", "~", "$HOME", "\0", "é", "[red]", "-x", ".", "b.c", "é" * 60]
    return ["", ".", "..", "/etc/x", *("".join(rng.choices(parts, k=rng.randint(1, 5))) for _ in range(40))]


@pytest.mark.parametrize("seed", range(3))
def test_names_are_plain_words_wherever_they_are_read(tmp_path: Path, seed: int) -> None:
    system, ff = go_helix(5, "one", 0.4)
    save_forcefield(tmp_path / "ff", ff)
    good = (tmp_path / "ff" / "forcefield.yaml").read_text()
    file = tmp_path / "s.safetensors"
    save_system(file, system)
    plain = file.read_bytes()
    for name in drawn_names(seed):
        assert is_word(plain_word(name)[:100])
        if is_word(name):
            assert set(name) <= {*string.ascii_letters, *string.digits, *"._+-"}
            continue
        header = json.loads(plain[8 : 8 + int.from_bytes(plain[:8], "little")])
        head = json.loads(header["__metadata__"]["header"])
        header["__metadata__"]["header"] = json.dumps({**head, "name": name})
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + plain[8 + int.from_bytes(plain[:8], "little") :])
        with pytest.raises(
            InputError, match=r"its name names files.*s\.safetensors|s\.safetensors.*its name names files"
        ):
            load_system(file)
        for first in (f"name: {ff.name}\n", f"- name: {ff.terms[0].name}\n"):
            changed = good.replace(first, first.split(":")[0] + f": {json.dumps(name)}\n", 1)
            assert changed != good
            (tmp_path / "ff" / "forcefield.yaml").write_text(changed)
            with pytest.raises((ForceFieldError, InputError), match="name"):
                load_forcefield(tmp_path / "ff")

"""The restricted unpickler: reads what torch.save writes, runs nothing."""

from __future__ import annotations

import builtins
import operator
import os
import pickle
import posix
import struct
import subprocess
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from mdflash.errors import InputError, UnsafePickleError
from mdflash.importers.unpickle import Inert, SparseTensor, load_torch


class Payload:
    """Unpickles to a call."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


PAYLOADS: dict[str, Callable[[Path], tuple[object, str]]] = {
    "os.system": lambda m: (Payload(os.system, f"touch {m}"), "system"),
    "posix.system": lambda m: (Payload(posix.system, f"touch {m}"), "posix.system"),
    "eval": lambda m: (Payload(builtins.eval, f"open({str(m)!r}, 'w')"), "builtins.eval"),
    "exec": lambda m: (Payload(builtins.exec, f"open({str(m)!r}, 'w')"), "exec"),
    "open": lambda m: (Payload(builtins.open, str(m), "w"), "open"),
    "getattr": lambda m: (Payload(builtins.getattr, Payload(os.system, f"touch {m}"), "x"), "getattr"),
    "Popen": lambda m: (Payload(subprocess.Popen, ["touch", str(m)]), "subprocess.Popen"),
    "numpy.load": lambda m: (Payload(np.load, str(m)), "numpy.load"),
    "torch.load": lambda m: (Payload(torch.load, str(m)), "torch.serialization.load"),
    "attrgetter": lambda m: (Payload(operator.attrgetter, "system"), "operator.attrgetter"),
    "nested pickle": lambda m: (
        Payload(pickle.loads, pickle.dumps(Payload(os.system, f"touch {m}"))),
        "pickle.loads",
    ),
    "inside a model": lambda m: (
        {"state_dict": OrderedDict(weight=torch.ones(3), b=Payload(os.system, f"touch {m}"))},
        "system",
    ),
}


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("archive", [True, False], ids=["torch.save", "bare pickle"])
def test_a_payload_is_named_and_not_run(name: str, archive: bool, tmp_path: Path) -> None:
    marker, file = tmp_path / "marker", tmp_path / "evil.pt"
    thing, named = PAYLOADS[name](marker)
    if archive:
        torch.save(thing, file)
    else:
        file.write_bytes(pickle.dumps(thing, protocol=2))
    with pytest.raises(UnsafePickleError) as caught:
        load_torch(file)
    assert not marker.exists()
    if name == "inside a model" and not archive:
        named = "torch.storage._load_from_bytes"  # how bare pickles keep tensors; it comes first
    assert named in str(caught.value) and str(file) in str(caught.value)


def short(text: str) -> bytes:
    return b"\x8c" + struct.pack("<B", len(text)) + text.encode()


def stack_global(module: str, name: str) -> bytes:
    return short(module) + short(name) + b"\x93"


def write_archive(file: Path, data: bytes, storages: dict[str, bytes] | None = None, compression: int = 0) -> None:
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("model/data.pkl", data)
        for key, content in (storages or {}).items():
            archive.writestr(f"model/data/{key}", content)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch.nn.modules.linear", "os.system"),
        ("torch.nn.modules.linear", "torch.load"),
        ("torch.nn.modules.module", "functools"),
        ("mlcg.nn.schnet", "torch.load"),
        ("mlcg", "os"),
        ("mlcgx.nn.schnet", "SchNet"),
        ("typing", "sys.modules"),
        ("builtins", "__import__"),
        ("torch", "load"),
        ("numpy", "load"),
        ("_codecs", "decode"),
        ("copyreg", "_reconstructor"),
        ("functools", "partial"),
        ("importlib", "import_module"),
    ],
)
def test_names_beside_the_list_are_refused(module: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "evil.pt"
    write_archive(file, b"\x80\x04" + stack_global(module, name) + short("touch x") + b"\x85R.")
    with pytest.raises(UnsafePickleError, match=f"{module}.{name}"):
        load_torch(file)


def test_a_call_of_a_listed_class_only_makes_a_record(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    call = stack_global("torch.nn.modules.linear", "Linear") + short("os.system") + b"\x85R"
    write_archive(file, b"\x80\x04" + call + b".")
    record = load_torch(file)
    assert isinstance(record, Inert) and record.kind == "torch.nn.modules.linear.Linear" and record.state == {}


def test_the_functions_of_the_reader_cannot_be_changed(tmp_path: Path) -> None:
    """BUILD on a function: would replace what it does, in this load or the next."""
    good, evil = tmp_path / "good.pt", tmp_path / "evil.pt"
    torch.save({"a": torch.arange(3.0)}, good)
    function = stack_global("torch._utils", "_rebuild_tensor_v2")
    for attribute in ("_function", "__class__", "__code__", "new"):
        state = b"}" + short(attribute) + stack_global("torch.serialization", "_get_layout") + b"s"
        write_archive(evil, b"\x80\x04" + function + b"N" + state + b"\x86b.")
        with pytest.raises(InputError):
            load_torch(evil)
        assert load_torch(good)["a"].tolist() == [0.0, 1.0, 2.0]


def test_tensors_come_back_exactly(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(3)
    base = torch.randn(6, 8, generator=g)
    sparse = torch.zeros(3, 4, 5)
    sparse[2, 1, 4], sparse[0, 3, 0] = -1.5, 2.25
    things = {
        "f8": base.double(), "f2": base.half(), "bf16": base.bfloat16(), "i8": torch.arange(5),
        "i4": torch.arange(5).int(), "u1": torch.arange(5).byte(), "bool": base > 0,
        "view": base[1::2, 2:7].T, "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base), "expanded": base[:1].expand(4, 8),
    }  # fmt: skip
    torch.save(
        {**things, "sparse": sparse.to_sparse(), "number": np.float64(0.1), "size": base.shape}, tmp_path / "t.pt"
    )
    found = load_torch(tmp_path / "t.pt")
    for name, expected in things.items():
        value = expected.detach().float() if name == "bf16" else expected.detach()
        assert found[name].shape == tuple(value.shape) and np.array_equal(found[name], value.numpy()), name
    coo = found["sparse"]
    assert isinstance(coo, SparseTensor) and coo.shape == (3, 4, 5)
    dense = np.zeros(coo.shape)
    dense[tuple(coo.indices)] = coo.values
    assert np.array_equal(dense, sparse.numpy())
    assert found["number"] == 0.1 and found["size"] == (6, 8)


def tensor_pickle(count: int, size: int, offset: int = 0) -> bytes:
    """A pickle of one float tensor with these claims about its storage "0"."""

    def integer(n: int) -> bytes:
        return b"\x8a" + bytes([9]) + n.to_bytes(9, "little", signed=True)

    storage = b"(" + short("storage") + stack_global("torch", "FloatStorage") + short("0") + short("cpu")
    storage += integer(count) + b"tQ"
    head = b"\x80\x04" + stack_global("torch._utils", "_rebuild_tensor_v2")
    return head + b"(" + storage + integer(offset) + integer(size) + b"\x85" + integer(1) + b"\x85" + b"\x89N" + b"tR."


@pytest.mark.parametrize(
    ("count", "size", "offset"),
    [(4, 5, 0), (10**15, 10**15, 0), (4, 4, 1), (4, 4, -1), (4, -4, 0), (4, 2**62, 0)],
)
def test_sizes_beyond_the_file_are_refused(count: int, size: int, offset: int, tmp_path: Path) -> None:
    write_archive(tmp_path / "t.pt", tensor_pickle(count, size, offset), {"0": bytes(16)})
    with pytest.raises(InputError, match=r"t\.pt"):
        load_torch(tmp_path / "t.pt")


def test_the_same_pickle_with_honest_sizes_is_read(tmp_path: Path) -> None:
    write_archive(tmp_path / "t.pt", tensor_pickle(4, 3, 1), {"0": struct.pack("<4f", 1, 2, 3, 4)})
    assert load_torch(tmp_path / "t.pt").tolist() == [2.0, 3.0, 4.0]


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    write_archive(tmp_path / "bomb.pt", tensor_pickle(10**7, 10**7), {"0": bytes(4 * 10**7)}, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pt").stat().st_size < 10**5
    with pytest.raises(InputError, match="compressed"):
        load_torch(tmp_path / "bomb.pt")


@pytest.mark.parametrize("keep", [0, 1, 30, 200, 0.5, 0.99])
def test_torn_files_are_refused(keep: float, tmp_path: Path) -> None:
    file = tmp_path / "t.pt"
    torch.save({"a": torch.arange(1000.0)}, file)
    data = file.read_bytes()
    file.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(InputError, match=r"t\.pt"):
        load_torch(file)


def test_a_flipped_byte_is_an_input_error_or_reads(tmp_path: Path) -> None:
    """Whatever a damaged pickle says, the reader never ends in another exception."""
    file = tmp_path / "t.pt"
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())
    torch.save({"model": model, "x": torch.zeros(2, 2).to_sparse()}, file)
    with zipfile.ZipFile(file) as archive:
        root = next(n for n in archive.namelist() if n.endswith("data.pkl")).removesuffix("data.pkl")
        entries = {n.removeprefix(root): archive.read(n) for n in archive.namelist()}
    rng = np.random.default_rng(5)
    for _ in range(200):
        data = bytearray(entries["data.pkl"])
        data[rng.integers(len(data))] = rng.integers(256)
        write_archive(
            file, bytes(data), {k.removeprefix("data/"): v for k, v in entries.items() if k.startswith("data/")}
        )
        with suppress(InputError):
            load_torch(file)


def test_old_torch_files_and_missing_files(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"1\.6"):
        load_torch(tmp_path / "old.pt")
    with pytest.raises(InputError, match="no such file"):
        load_torch(tmp_path / "none.pt")
    with pytest.raises(InputError, match="cannot be read"):
        load_torch(tmp_path)


def test_numbers_of_objects_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Python keeps a table as long as the largest number: 32 GB of it for these few bytes."""
    for put in (b"r" + struct.pack("<I", 2**31), b"p2147483648\n"):
        with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
            archive.writestr("m/data.pkl", b"\x80\x02}" + put + b".")
        with pytest.raises(InputError, match="numbers an object 2,147,483,648 in"):
            load_torch(tmp_path / "m.pt")

"""Compiled functions are kept by content: found by every process that would compile the same, and by no other."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import mdflash.bench.kernels
import mdflash.engine.engine  # noqa: F401  (with it, everything that a run on a CPU uses)
from mdflash.compiled import cache
from mdflash.compiled.jit import njit
from tests.processes import ROOT, python

CALLER = """
import numpy as np
from mdflash.compiled.jit import njit

@njit(cache=True)
def {name}(x):
    return x {what}
"""


@pytest.fixture()
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of compiled functions."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "kernels"))
    yield tmp_path / "kernels"


def test_an_import_of_an_import_changes_the_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "kernel.py").write_text("from mdflash.inner import middle\n")
    (tmp_path / "inner" / "middle.py").write_text("from mdflash.leaf import (\n    a,\n    b,\n)\n")
    (tmp_path / "leaf.py").write_text("a = b = 1\n")
    (tmp_path / "other.py").write_text("c = 1\n")
    monkeypatch.setattr(cache, "_PACKAGE", str(tmp_path))

    def digest() -> str:
        cache._read.cache_clear()
        cache.source_digest.cache_clear()
        return cache.source_digest(str(tmp_path / "kernel.py"))

    before = digest()
    (tmp_path / "other.py").write_text("c = 2\n")
    assert digest() == before  # nothing imports it
    (tmp_path / "leaf.py").write_text("a = b = 2\n")
    assert digest() != before
    cache._read.cache_clear()
    cache.source_digest.cache_clear()


def run(source: Path, folder: Path, arguments: str, before: str = "") -> str:
    """What `f(arguments)` gives in a new process, and how often it was compiled there; nothing on stderr."""
    script = (
        f"{before}\n"
        f"import importlib.util, numba; numba.config.CACHE_DIR = {str(folder)!r}\n"
        # (Python takes its own .pyc for that of a source of the same size that changed within the same second)
        "import sys; sys.dont_write_bytecode = True\n"
        f"spec = importlib.util.spec_from_file_location('kernel', {str(source)!r})\n"
        "module = sys.modules['kernel'] = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        f"print(module.f({arguments}), sum(module.f.stats.cache_misses.values()))"
    )
    done = python("-c", script, cwd=ROOT, check=True)
    assert done.stderr == ""
    return done.stdout


def test_other_processes_and_other_checkouts_find_it(tmp_path: Path, folder: Path) -> None:
    here, there = tmp_path / "here" / "kernel.py", tmp_path / "there" / "kernel.py"
    for source in (here, there):
        source.parent.mkdir()
        source.write_text(CALLER.format(name="f", what="+ 1"))
    assert run(here, folder, "1") == "2 1\n"
    assert run(here, folder, "1") == "2 0\n"
    assert run(there, folder, "1") == "2 0\n"
    assert run(here, folder, "1.5") == "2.5 1\n"  # other types
    there.write_text(CALLER.format(name="f", what="+ 2"))
    assert run(there, folder, "1") == "3 1\n"
    assert run(here, folder, "1") == "2 0\n"  # the older one is still there


def test_a_damaged_entry_is_compiled_again(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "kernel.py"
    source.write_text(CALLER.format(name="f", what="+ 1"))
    run(source, folder, "1")
    (entry,) = folder.glob("*.nbc")
    whole = entry.read_bytes()
    for damaged in (whole[:-1], b"", whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]):
        entry.write_bytes(damaged)
        assert run(source, folder, "1") == "2 1\n"
        assert entry.read_bytes().split(b"\n", 1)[0] == whole.split(b"\n", 1)[0]


def test_a_folder_that_cannot_be_written_is_said_once(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache._Entries, "told", False)
    folder.write_text("a file is in the way")
    for factor in (1, 2):

        @njit(cache=True)
        def f(x, factor=factor):  # type: ignore[no-untyped-def]
            return factor * x

        assert f(np.float64(2)) == 2 * factor
    said = capsys.readouterr().err
    assert said.count("cannot be kept") == 1 and str(folder) in said


READ_ONLY = """
import os, tempfile
def refuse(*arguments, **options):
    raise PermissionError(13, "Permission denied")
tempfile.mkstemp = os.utime = os.unlink = os.replace = refuse
"""


def test_a_folder_that_can_only_be_read_serves_in_silence(tmp_path: Path, folder: Path) -> None:
    """As an installation for all users of a cluster; its entries are old."""
    source = tmp_path / "kernel.py"
    source.write_text(CALLER.format(name="f", what="+ 1"))
    run(source, folder, "1")
    (entry,) = folder.glob("*.nbc")
    long_ago = time.time() - 200 * 86400
    os.utime(entry, (long_ago, long_ago))
    before = sorted(folder.iterdir())
    assert run(source, folder, "1", READ_ONLY) == "2 0\n"
    assert sorted(folder.iterdir()) == before


def test_what_killed_processes_left_is_removed(tmp_path: Path, folder: Path) -> None:
    folder.mkdir()
    for name, age in ((".old.tmp", 2), (".new.tmp", 0), ("unused-1.nbc", 100), ("used-1.nbc", 80)):
        (folder / name).touch()
        at = time.time() - age * 86400
        os.utime(folder / name, (at, at))
    (tmp_path / "kernel.py").write_text(CALLER.format(name="f", what="+ 1"))
    run(tmp_path / "kernel.py", folder, "1")
    assert {path.name for path in folder.iterdir() if "kernel" not in path.name} == {".new.tmp", ".turns", "used-1.nbc"}


def test_no_compiled_function_is_a_closure_over_another() -> None:
    """numba finds a closure in its cache by what it closes over, and knows a compiled function only in the process that
    made it: such a closure would be compiled anew in every process."""
    found = 0
    for name, module in list(sys.modules.items()):
        if name.startswith("mdflash."):
            for value in vars(module).values():
                if isinstance(value, Dispatcher):
                    found += 1
                    closed_over = [cell.cell_contents for cell in value.py_func.__closure__ or ()]
                    assert not any(isinstance(c, Dispatcher) for c in closed_over), f"{name}: {value}"
    assert found > 100


def test_a_setting_of_numba_that_changes_later_is_no_reason_to_compile_again(tmp_path: Path) -> None:
    """numba then forgets for which processor it compiles, between looking for a function and keeping it."""
    (tmp_path / "kernel.py").write_text(CALLER.format(name="f", what="+ 1"))
    script = (
        f"import os, sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import kernel; os.environ['NUMBA_DUMP_TREE'] = '0'\n"
        "print(kernel.f(1), sum(kernel.f.stats.cache_misses.values()))"
    )
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    assert [python("-c", script, env=env, check=True).stdout for _ in range(2)] == ["2 1\n", "2 0\n"]

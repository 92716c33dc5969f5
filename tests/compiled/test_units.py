"""Units: compiled once, found by callers that come from the disk, and never mistaken for another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.processes import ROOT, python

UNIT = """
from mdflash.compiled.jit import njit

@njit(cache=True, unit=True)
def inner(x):
    return 2 * x + 1

def _factory(plus):
    @njit(cache=True, unit=True)
    def added(x):
        return inner(x) + (10 if plus else 0)
    return added

plain, more = _factory(False), _factory(True)

@njit(cache=True, nogil=True)
def f(x):
    return plain(x) + 100 * more(x)
"""


def run(folder: Path, cache: Path, code: str) -> list[str]:
    """The words that `code` prints in a new process, with the module `kernel` of the folder imported."""
    script = (
        f"import sys, numba; numba.config.CACHE_DIR = {str(cache)!r}; sys.path.insert(0, {str(folder)!r})\n"
        f"import kernel\n{code}\n"
    )
    done = python("-c", script, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


CALL = "print(kernel.f(3), *(sum(d.stats.cache_misses.values()) for d in (kernel.f, kernel.plain, kernel.inner)))"


def test_callers_from_the_disk_bring_their_units(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(UNIT)
    cache = tmp_path / "cache"
    assert run(tmp_path, cache, CALL) == ["1707", "1", "1", "1"]
    assert run(tmp_path, cache, CALL) == ["1707", "0", "0", "0"]


OUTER = """
@njit(cache=True)
def middle(x):
    return f(x) - 7

@njit(cache=True)
def outer(x):
    return middle(x) / 17
"""


def test_a_caller_compiled_on_others_from_the_disk_brings_their_units(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(UNIT + OUTER)
    cache = tmp_path / "cache"
    for function, result in (("f", "1707"), ("middle", "1700"), ("outer", "100.0"), ("outer", "100.0")):
        assert run(tmp_path, cache, f"print(kernel.{function}(3))") == [result]


def test_a_unit_that_was_compiled_again_serves_its_callers(tmp_path: Path) -> None:
    """Whatever else the process has compiled before it."""
    (tmp_path / "kernel.py").write_text(UNIT)
    cache = tmp_path / "cache"
    run(tmp_path, cache, CALL)
    (entry,) = cache.glob("*kernel.inner-*.nbc")
    entry.unlink()
    other = "kernel.inner(1.5); kernel.inner(True); kernel.inner(3)\n"
    assert run(tmp_path, cache, other + CALL) == ["1707", "0", "0", "3"]
    assert run(tmp_path, cache, CALL) == ["1707", "0", "0", "0"]


def test_functions_of_two_processes_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    """Both are the second function that their process compiles, of one factory and for one type."""
    (tmp_path / "kernel.py").write_text(UNIT)
    cache = tmp_path / "cache"
    assert run(tmp_path, cache, "print(kernel.plain(3))") == ["7"]
    assert run(tmp_path, cache, "print(kernel.more(3))") == ["17"]
    assert run(tmp_path, cache, CALL) == ["1707", "1", "0", "0"]


def test_many_processes_fill_one_empty_folder_at_once(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(UNIT)
    cache = tmp_path / "cache"
    code = "from mdflash.compiled.jit import compilation; print(kernel.f(3), compilation.functions)"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: run(tmp_path, cache, code), range(8)))
    assert {result for result, _ in found} == {"1707"}
    assert sum(int(count) for _, count in found) == 4  # each function by one of them
    assert sum(path.suffix == ".nbc" for path in cache.iterdir()) == 4 == len(list(cache.iterdir())) - 1  # and locks
    assert run(tmp_path, cache, CALL) == ["1707", "0", "0", "0"]


def test_the_code_of_a_unit_is_in_no_caller(tmp_path: Path) -> None:
    (tmp_path / "kernel.py").write_text(UNIT)
    defined = (
        "kernel.f(3); text = next(iter(kernel.f.inspect_llvm().values()))\n"
        "print(*('inner' in line for line in text.splitlines() if line.startswith('define')))"
    )
    assert set(run(tmp_path, tmp_path / "cache", defined)) == {"False"}

"""What the user sees while kernels are compiled."""

from __future__ import annotations

import re
from pathlib import Path

from tests.processes import ROOT, python

SCRIPT = """
import sys, numba
numba.config.CACHE_DIR = {cache!r}
sys.path.insert(0, {folder!r})
import mdflash.compiled.progress as progress
from mdflash.compiled.jit import njit
progress.MOMENT = 0.0
import kernel
{code}
print(progress.compilation.functions)
"""

KERNEL = """
from mdflash.compiled.jit import njit

@njit(cache=True)
def inner(x):
    return x + 1

@njit(cache=True)
def f(x):
    return inner(x)
"""


def run(folder: Path, code: str) -> tuple[str, str]:
    """stdout and stderr of a new process, where every compilation takes long."""
    (folder / "kernel.py").write_text(KERNEL)
    script = SCRIPT.format(cache=str(folder / "cache"), folder=str(folder), code=code)
    done = python("-c", script, cwd=ROOT, check=True)
    return done.stdout, done.stderr


def test_a_long_compilation_is_said_once_with_its_end(tmp_path: Path) -> None:
    compiled, said = run(tmp_path, "kernel.f(1)")
    assert compiled == "2\n"
    assert re.fullmatch(
        r"mdflash: compiling kernels \(once for this version\)\nmdflash: compiled 2 functions in \d+ s\n", said
    )
    assert run(tmp_path, "kernel.f(1)") == ("0\n", "")  # from the disk


def test_silence(tmp_path: Path) -> None:
    assert run(tmp_path, "progress.compilation.quiet = True; kernel.f(1)") == ("2\n", "")
    assert run(tmp_path, "numba.njit(lambda x: x - 1)(1)") == ("0\n", "")  # not one of ours


def test_a_function_that_cannot_be_compiled(tmp_path: Path) -> None:
    code = "try: kernel.f('a')\nexcept numba.TypingError: kernel.f(1)"
    _, stderr = run(tmp_path, code)
    assert stderr.count("compiling kernels") == stderr.count("functions in") == 2

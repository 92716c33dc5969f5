"""`mdflash compile`: afterwards a run compiles nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests import processes

RUN = """
import sys
from mdflash.cli.app import app
from mdflash.compiled.jit import compilation
app(sys.argv[1:], standalone_mode=False)
from mdflash import Evaluator, load_forcefield
forcefield = load_forcefield("go-chignolin")
system, frames = forcefield.system()
for copies in (1, 2):  # what OpenMM, ASE and TorchSim ask for
    Evaluator(forcefield, system, copies, "fp32")(frames[:1].repeat(copies, 0).reshape(-1, 3))
print("compiled", compilation.functions)
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own."""
    return processes.python(*arguments, env=os.environ | {"COLUMNS": "200"}, cwd=processes.ROOT)


def test_a_run_finds_all_that_was_compiled(tmp_path: Path) -> None:
    done = python("-m", "mdflash", "compile", "chignolin", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("compiling for 1 run in 1 process\n[1/1] chignolin: ")
    done = python("-m", "mdflash", "compile", "chignolin", "--jobs", "1")
    assert done.stdout == "all is compiled\n"
    done = python("-c", RUN, "run", "chignolin", "--steps", "20", "--set", f"output.folder={tmp_path / 'run'}")
    assert done.stdout.splitlines()[-1] == "compiled 0", done.stdout + done.stderr


def test_mistakes_end_it_before_anything_is_compiled() -> None:
    done = python("-m", "mdflash", "compile", "chignolin", "absent")
    assert done.returncode == 2
    assert done.stderr.startswith("error: absent: no such file; shipped systems: ")
    done = python("-m", "mdflash", "compile", "chignolin", "--precision", "fp8")
    assert done.returncode == 2
    assert "model.precision" in done.stderr

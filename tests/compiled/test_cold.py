"""What a first run compiles: counted, since a literal number or a new type in the wrong place doubles it unseen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT

SCRIPT = """
import hashlib, sys
from mdflash import Simulation, load_forcefield
from mdflash.compiled.jit import compilation
from mdflash.forcefields.shipped import find_shipped

forcefield = load_forcefield(find_shipped("forcefields", "chignolin-ca"))
((system, start),) = forcefield.systems
given = dict(replicas=4, seed=1, timestep="2 fs", threads=1, device="cpu", start=start)
simulation = Simulation(system, forcefield, precision=sys.argv[1], **given)
simulation.run(20)
print(compilation.functions, hashlib.sha256(simulation.state.positions.numpy().tobytes()).hexdigest())
"""


def test_a_first_run_compiles_little_and_the_next_nothing(tmp_path: Path) -> None:
    """One empty folder for all of it, since it takes a minute. A second precision needs what reads a table, no more."""

    def run(precision: str) -> tuple[int, str, str]:
        command = [sys.executable, "-c", SCRIPT, precision]  # not forked: what is imported before counts here
        env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
        count, digest = done.stdout.split()
        return int(count), digest, done.stderr

    first, digest, said = run("fp32")
    assert 0 < first < 130
    assert "mdflash: compiling kernels (once for this version)" in said
    assert 0 < run("mixed16")[0] < 15
    assert run("fp32") == (0, digest, "")

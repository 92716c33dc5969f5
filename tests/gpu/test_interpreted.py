"""The GPU kernels on the CPU: each file of checks in a process with Triton's interpreter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.processes import ROOT, python

pytest.importorskip("triton", reason="the GPU kernels need triton (pip install 'mdflash[gpu]')")
FOLDER = Path(__file__).parent
QUICK = (
    "check_backbones.py",
    "check_biases.py",
    "check_classical.py",
    "check_clusters.py",
    "check_evaluator.py",
    "check_neighbors.py",
    "check_priors.py",
    "check_training.py",
)
"""The interpreter is slow: a network takes minutes."""


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(p.name, marks=() if p.name in QUICK else pytest.mark.slow)
        for p in sorted(FOLDER.glob("check_*.py"))
    ],
)
def test_interpreted(file: str) -> None:
    done = python(
        *("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", FOLDER / file),
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        bare=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

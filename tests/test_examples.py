"""The examples run, and show what they say."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np

from mdflash.config.load import load_run, locate
from mdflash.run import execute

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_fold_chignolin() -> None:
    q = runpy.run_path(str(EXAMPLES / "fold_chignolin.py"))["main"](steps=20_000)
    assert q.shape == (20, 6)
    assert q[0].mean() > 0.5  # it starts folded
    assert ((q >= 0) & (q <= 1)).all()


def test_plot_folding(tmp_path: Path) -> None:
    source = locate("chignolin")
    overrides = [f"output.folder={tmp_path / 'run'}", "replicas.count=2", "dynamics.steps=3000"]
    overrides += ["output.trajectory.interval=1 ps", "output.log.interval=1 ps", "dynamics.timestep=10 fs"]
    execute(load_run(source, overrides), source)
    q = runpy.run_path(str(EXAMPLES / "plot_folding.py"))["plot"](tmp_path / "run", tmp_path / "q.png")
    assert q.shape == (2, 31)
    assert np.isfinite(q).all()
    assert (tmp_path / "q.png").read_bytes().startswith(b"\x89PNG")

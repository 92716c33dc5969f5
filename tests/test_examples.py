"""The examples run, and show what they say."""

from __future__ import annotations

import runpy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from mdflash import open_run
from mdflash.config.load import load_run, locate
from mdflash.core.geometry import torsions
from mdflash.io.read import read_frames
from mdflash.runs.execute import execute
from mdflash.sampling.dataset import load_dataset
from mdflash.training.frames import load_frames
from mdflash.training.recipe import load_recipe
from mdflash.training.run import prepare_training
from mdflash.training.weights import frame_weights

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_fold_chignolin() -> None:
    q = runpy.run_path(str(EXAMPLES / "fold_chignolin.py"))["main"](length="200 ps")
    assert q.shape == (20, 6)
    assert q[0].mean() > 0.5  # it starts folded
    assert ((q >= 0) & (q <= 1)).all()


def test_replica_api(tmp_path: Path) -> None:
    sim = runpy.run_path(str(EXAMPLES / "replica_api.py"))["main"](tmp_path / "api", length="20 ps")
    assert sim.state.step == 2000
    assert sorted(sim.state.temperature.tolist())[0] == 300.0
    assert len((tmp_path / "api.csv").read_text().splitlines()) == 3
    assert len(read_frames(tmp_path / "api" / "chignolin_0003.xtc")) == 20


def test_own_reporter() -> None:
    times = runpy.run_path(str(EXAMPLES / "own_reporter.py"))["main"](length="200 ps")
    assert 0 < len(times) <= 16
    assert all(0 < t <= 200 for t in times.values())


def test_own_potential() -> None:
    main = runpy.run_path(str(EXAMPLES / "own_potential.py"))["main"]
    assert main(length="5 ps", radius=10.0) < 12.0  # the molecule alone drifts and stretches farther


def test_openmm_force() -> None:
    pytest.importorskip("openmm", reason="needs OpenMM (pip install 'mdflash[openmm]')")
    distances = runpy.run_path(str(EXAMPLES / "openmm_force.py"))["main"](steps=20_000)
    assert distances.shape == (40,)
    assert ((distances > 3.0) & (distances < 36.0)).all()
    assert distances[:10].mean() < 15.0  # it starts folded


def test_openmm_mixed() -> None:
    pytest.importorskip("openmmml", reason="needs OpenMM-ML (pip install 'mdflash[openmmml]')")
    from openmmml import MLPotential

    from mdflash.openmm.plugin import MdflashFactory

    MLPotential.registerImplFactory("mdflash", MdflashFactory())  # where mdflash is on the path, but not installed
    inside, outside = runpy.run_path(str(EXAMPLES / "openmm_mixed.py"))["main"](steps=5000)
    assert abs(inside - 3.8) < 0.15
    assert abs(outside - 4.0) < 0.15


def test_metadynamics() -> None:
    q, free = runpy.run_path(str(EXAMPLES / "metadynamics.py"))["main"](length="300 ps")
    assert q.shape == free.shape == (251,)
    assert q[free.argmin()] > 0.9 or q[free.argmin()] < 0.2  # folded or unfolded
    assert 1.0 < free[q < 0.95].max() < 8.0  # all of it has been filled


def test_weighted_ensemble() -> None:
    assert 60.0 < runpy.run_path(str(EXAMPLES / "weighted_ensemble.py"))["main"](length="120 ps") < 600.0


def test_westpa(tmp_path: Path) -> None:
    """Walkers go on from their parents, also in a simulation that was stopped; weights sum to one."""
    pytest.importorskip("westpa", reason="needs WESTPA (pip install westpa)")
    for iterations in (2, 4):
        command = [sys.executable, str(EXAMPLES / "westpa" / "rate.py"), str(tmp_path / "west"), str(iterations)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0 and "WEST run complete" in done.stdout, done.stdout + done.stderr
    with h5py.File(tmp_path / "west" / "west.h5") as data:
        first = [data[f"iterations/iter_{k:08d}"] for k in (1, 2, 3, 4)]
        weights = [group["seg_index"]["weight"].sum() for group in first]
        np.testing.assert_allclose(weights, 1.0)
        for before, after in pairwise(first):
            parents = after["seg_index"]["parent_id"]
            goes_on = parents >= 0
            assert goes_on.any()
            ends = before["pcoord"][:, -1, 0][parents[goes_on]]
            np.testing.assert_array_equal(after["pcoord"][:, 0, 0][goes_on], ends)
            assert (after["pcoord"][:, 1, 0] != after["pcoord"][:, 0, 0]).all()
    states = np.load(tmp_path / "west" / "states" / "000004.npz")
    assert len(states["ids"]) == len(np.unique(states["positions"][:, 0, 0])), "copies have parted"


def test_adaptive_sampling() -> None:
    reached = runpy.run_path(str(EXAMPLES / "adaptive_sampling.py"))["main"](rounds=3, length=4)
    assert len(reached) == 3 and 10.0 < reached[0] <= reached[1] <= reached[2] < 36.0


def test_umbrella() -> None:
    r, free = runpy.run_path(str(EXAMPLES / "umbrella.py"))["main"](samples=40, equilibration="50 ps")
    assert r.shape == free.shape == (32,)
    assert np.isfinite(free).sum() >= 28  # windows cover the range, save perhaps its ends
    assert 4.0 < r[np.nanargmin(free)] < 8.0  # folded, the ends are 5.3 Å apart
    assert 1.0 < np.nanmax(free) < 10.0


@pytest.mark.parametrize(
    "more",
    [
        ["replicas.count=2"],
        ["replicas.count=2", "dynamics.temperature=none", "exchange={temperatures: [320 K, 340 K], interval: 2 ps}"],
        ["replicas.count=2", "dynamics.temperature=[350 K, 330 K]"],
    ],
)
def test_plot_folding(more: list[str], tmp_path: Path) -> None:
    source = locate("chignolin")
    overrides = [f"output.folder={tmp_path / 'run'}", "dynamics.steps=3000", *more]
    overrides += ["output.trajectory.interval=1 ps", "output.log.interval=1 ps", "dynamics.timestep=10 fs"]
    execute(load_run(source, overrides), source)
    script = runpy.run_path(str(EXAMPLES / "plot_folding.py"))
    q = script["plot"](tmp_path / "run", tmp_path / "q.png")
    assert q.shape == (2, 31)
    assert np.isfinite(q).all()
    assert (tmp_path / "q.png").read_bytes().startswith(b"\x89PNG")
    held = script["folding"](tmp_path / "run").kelvin
    assert held.shape == q.shape
    rows = open_run(tmp_path / "run").log.pivot(index="step", columns="replica", values="target_K")
    assert held.T.tolist() == rows.to_numpy().tolist()
    pairs, r0 = script["native_contacts"]("ala2", open_run(tmp_path / "run").positions[0][0])
    assert len(pairs) == len(r0) > 10 and r0.max() < 8.0  # of a force field without contacts


def test_ala2_is_refined_from_its_own_frames(tmp_path: Path) -> None:
    """The recipe fits its data, which a thinner copy of it stands for as well."""
    prepared = prepare_training(load_recipe(EXAMPLES / "ala2" / "refine.yaml"))
    assert prepared.weighed is not None
    ((known,),) = prepared.weighed.weights
    assert known.effective > 10_000 and known.overlap > 0.2 and known.temperature == 300.0
    thin = runpy.run_path(str(EXAMPLES / "thin.py"))["thin"]
    kept = thin(EXAMPLES / "ala2" / "data", tmp_path / "thin", {300.0: 4, 350.0: 4, 560.0: 2})
    found = load_dataset(tmp_path / "thin")
    assert 0.4 * len(known.values) < kept == found.n_frames < 0.7 * len(known.values)
    (molecule,) = load_frames([tmp_path / "thin"], 0.2, weights="mbar").molecules
    phi = [
        torsions(m.positions.astype(float), np.array([[1, 3, 4, 5]]))[:, 0]
        for m in (prepared.weighed.molecules[0], molecule)
    ]
    left = [
        float(w[p > 0.0].sum()) for w, p in zip((known.values, frame_weights(molecule, 300.0).values), phi, strict=True)
    ]
    assert left[1] == pytest.approx(left[0], rel=0.3)


def test_chignolin_is_refined_in_the_windows_of_its_own_frames() -> None:
    prepared = prepare_training(load_recipe(EXAMPLES / "chignolin" / "refine.yaml"))
    assert prepared.weighed is not None
    ((known,),), (group,) = prepared.weighed.weights, prepared.weighed.groups
    assert known.effective > 8_000 and known.overlap > 0.1 and known.temperature == 340.0
    assert group.windows.states == 15 and group.shares[0] == 0.0
    np.testing.assert_allclose(group.shares[1:], 1.0 / 14.0, rtol=0.02)

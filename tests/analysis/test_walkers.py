"""Rates, populations and lineages of a weighted ensemble, on its page and as numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import mdflash
from mdflash.analysis.judge import judge
from mdflash.analysis.walkers import Walked, _halves, ancestors, rate_of
from tests.runs.test_weighted_ensemble import run, write

LONG = ["dynamics.steps=8_000", "weighted_ensemble.every=0.2 ps", "output.trajectory.interval=0.4 ps"]


def test_a_run_tells_its_rate(tmp_path: Path) -> None:
    folder = run(write(tmp_path), tmp_path / "out", *LONG)
    analysis = mdflash.open_run(folder).analyze()
    analysis.write()
    (molecule,) = analysis.molecules.values()
    walked, rows = molecule.walked, mdflash.open_run(folder).walkers
    assert isinstance(walked, Walked) and walked.rate is not None
    late = rows[rows["time_ps"] > 0.25 * 32.0 + 0.01]
    rate = (late["weight"] * late["arrived"]).sum() / (0.75 * 32.0)
    assert walked.rate.rate.value == pytest.approx(rate) and walked.rate.passage.value == pytest.approx(1 / rate)
    assert walked.rate.arrivals == late["arrived"].sum() and walked.population.sum() == pytest.approx(1.0)
    for times, values in walked.lineages:  # from a start frame to the target
        assert values[-1] >= 17.0 and (values[:-1] < 17.0).all() and (np.diff(times).round(6) == 0.2).all()
    assert "Ends reaches its target at" in molecule.sentences[2] and "steady state" in molecule.sentences[2]
    assert {"Steady state", "Independent stretches", "Arrivals"} <= {light.name for light in molecule.lights}
    found = json.loads((folder / "analysis" / "analysis.json").read_text())["molecules"]["helix"]["weighted_ensemble"]
    assert found["rate"]["mean_first_passage_interval_95_ps"] == list(walked.rate.passage[1:])
    table = (folder / "analysis" / "properties.csv").read_text().splitlines()
    row = dict(zip(table[0].split(","), table[1].split(","), strict=True))
    assert float(row["first_passage_ps"]) == pytest.approx(1 / rate, rel=1e-5) and row["ensemble"] == "walkers"
    page = (folder / "analysis" / "report.html").read_text()
    for key in ("walkers-flux", "walkers-population", "walkers-lineages", "walkers-ancestors"):
        assert key in page
    assert "Huber" in page and "resampled in bins every 0.2 ps" in page


def test_without_a_target_it_is_a_free_energy(tmp_path: Path) -> None:
    source = write(tmp_path)
    source.write_text(source.read_text().replace("  target: {min: 17 angstrom}\n", ""))
    (molecule,) = mdflash.open_run(run(source, tmp_path / "out", *LONG)).analyze().molecules.values()
    assert isinstance(molecule.walked, Walked) and molecule.walked.rate is None
    assert all(len(times) == 160 for times, _ in molecule.walked.lineages)
    halves, stretches = (
        next(light for light in molecule.lights if light.name == name)
        for name in ("Halves of ends agree", "Independent stretches")
    )
    assert "No walker was lost" not in {light.name for light in molecule.lights}
    judge(molecule, {}, [{"event": "walker lost", "weight": 0.02}, {"event": "walker lost", "weight": 0.01}])
    (lost,) = (light for light in molecule.lights if light.name == "No walker was lost")
    assert (lost.color, lost.value) == ("care", "2") and "a weight of 0.03 in all" in lost.sentence
    assert halves.color != "unknown" and stretches.value == f"{molecule.walked.blocks}"


def test_an_equilibrium_is_judged_by_its_halves() -> None:
    """The root mean square difference of two series, of one law and of two."""
    rng = np.random.default_rng()
    law = np.exp(-np.linspace(0.0, 3.0, 60))
    rows = rng.poisson(400 * law, (200, 60)).astype(float)
    assert _halves(rows) < 0.1
    rows[100:] *= np.where(np.arange(60) < 30, 1.0, math.exp(2.0))
    assert _halves(rows) == pytest.approx(1.0, abs=0.1)
    assert math.isnan(_halves(np.eye(60)[np.zeros(10, int)]))


def test_too_few_resamplings_are_no_rate(tmp_path: Path) -> None:
    source = write(tmp_path)
    found = mdflash.open_run(run(source, tmp_path / "out", "output.trajectory.interval=0.08 ps")).analyze()
    (molecule,) = found.molecules.values()
    assert molecule.walked == "ends was resampled only 20 times, and a rate takes 40"
    assert "Not met: the weighted ensemble tells a rate" in molecule.sentences[-1]


def test_intervals_hold_what_they_say() -> None:
    """Independent arrivals of unequal weights: 95 % intervals hold the rate in 93 to 100 % of 400 series."""
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(400):
        arrived = np.where(rng.random((400, 8)) < 0.05, rng.exponential(0.01, (400, 8)), 0.0)
        rate = rate_of(arrived, 2.0)
        assert rate is not None
        inside += rate.rate.low < 8 * 0.05 * 0.01 / 2.0 < rate.rate.high
    assert 0.93 <= inside / 400 <= 1.0
    assert rate_of(np.zeros((50, 4)), 1.0) is None
    one = np.zeros((40, 1))
    one[20] = 1.0
    rate = rate_of(one, 1.0)
    assert rate is not None and rate.effective == 1.0 and math.isclose(rate.rate.value, 1 / 30)


def test_ancestors_are_counted_back() -> None:
    parents = np.array([[0, 0, 2, 3], [0, 1, 1, 1], [0, 1, 2, 3]])
    assert ancestors(parents).tolist() == [1, 2, 4]

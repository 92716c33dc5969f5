"""What priors are fitted to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mdflash.core.system import System
from mdflash.training.frames import MoleculeFrames
from mdflash.training.priors import fit_priors
from mdflash.training.recipe import Priors


def _frames(
    ends: np.ndarray, temperature: np.ndarray, rng: np.random.Generator, radius: float, biased: np.ndarray | None = None
) -> MoleculeFrames:
    """A chain of 12 beads on a circle, `radius` Å, but for its last bead: that is `ends` Å from the first."""
    n = 12
    system = System(
        name="chain", types=tuple(f"T{k:02d}" for k in range(n)), bead_names=("CA",) * n, residue_index=np.arange(n),
        residue_names=("ALA",) * n, residue_ids=tuple(range(n)), chain_ids=("A",) * n, masses=np.full(n, 100.0),
        bonds=np.stack([np.arange(n - 1), np.arange(1, n)], axis=1),
    )  # fmt: skip
    angle = 2 * np.pi * np.arange(n) / n
    ring = radius * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    x = ring + rng.normal(0, 0.05, (len(ends), n, 3))
    away = x[:, -1] - x[:, 0]
    x[:, -1] = x[:, 0] + ends[:, None] * away / np.linalg.norm(away, axis=-1, keepdims=True)
    return MoleculeFrames(
        system, None, x.astype(np.float32), np.zeros_like(x, np.float32), None, temperature.astype(np.float32),
        np.zeros(len(x), np.int64), (Path("chain.h5"),), np.zeros(len(x), bool),
        np.zeros(len(x), bool) if biased is None else biased,
    )  # fmt: skip


def test_walls_stand_where_beads_meet_at_any_temperature() -> None:
    rng = np.random.default_rng(5)
    temperature = np.repeat([300.0, 400.0], 1000)
    ends = np.where(temperature > 350.0, rng.uniform(3.0, 6.0, 2000), rng.uniform(5.5, 6.0, 2000))
    ff, _ = fit_priors([_frames(ends, temperature, rng, 7.0)], Priors(), "ca", "chain")
    assert ff.provenance["priors_temperature"] == "300 K"
    (wall,) = (t for t in ff.terms if t.name == "repulsion")
    sigma = {tuple(key): s for key, s in zip(wall.keys.tolist(), wall.parameters["sigma"], strict=True)}
    assert 2.9 < sigma[0, 11] < 3.2  # seen at 400 K alone


def test_beads_that_stay_away_get_no_wider_walls_than_those_that_meet() -> None:
    """18 of 45 pairs come within 5.2 Å; that the others keep 5.8 Å says nothing of how near they could come."""
    rng = np.random.default_rng(6)
    data = _frames(rng.uniform(2.0, 3.0, 2000), np.full(2000, 300.0), rng, 3.0)
    ff, _ = fit_priors([data], Priors(), "ca", "chain")
    (wall,) = (t for t in ff.terms if t.name == "repulsion")
    sigma = wall.parameters["sigma"]
    assert sigma.min() < 2.1
    assert 4.9 < sigma.max() < 5.25


def test_frames_of_windows_count_for_walls_alone() -> None:
    rng = np.random.default_rng(7)
    biased = np.arange(2000) >= 1000
    ends = np.where(biased, rng.uniform(3.0, 6.0, 2000), rng.uniform(5.5, 6.0, 2000))
    data = _frames(ends, np.full(2000, 300.0), rng, 7.0, biased)
    data.positions[biased, :11] *= 1.1  # bonds that a free simulation does not have
    ff, rows = fit_priors([data], Priors(), "ca", "chain")
    bonds = [row.values for row in rows if row.term == "bonds"]
    assert len(bonds) == 11
    lengths = np.concatenate(bonds[:10])
    assert abs(lengths.mean() - 2 * 7.0 * np.sin(np.pi / 12)) < 0.02
    (wall,) = (t for t in ff.terms if t.name == "repulsion")
    sigma = {tuple(key): s for key, s in zip(wall.keys.tolist(), wall.parameters["sigma"], strict=True)}
    assert 2.9 < sigma[0, 11] < 3.4

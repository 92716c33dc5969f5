"""Positions in another unit are seen by their bonds, and those in Å never refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mdflash.core.scale import other_unit
from mdflash.core.system import System
from tests.helpers import beads, walk


def _frames(n: int, step: float = 3.8) -> np.ndarray:
    rng = np.random.default_rng()
    return np.stack([walk(n, rng, step) for _ in range(4)]) + rng.normal(size=3) * 100


@pytest.mark.parametrize(
    ("factor", "says"), [(0.1, "nm; multiply them by 10"), (10, "divide them by 10"), (100, "pm"), (1e-10, "in m;")]
)
def test_ca_in_other_units(factor: float, says: str) -> None:
    x = _frames(12)
    x[2] *= factor
    found = other_unit(beads("m", 12), x)
    assert found is not None and says in found and "frame 2" in found


def test_backbone_atoms_and_other_beads_in_nm() -> None:
    for names in (("N", "CA", "C", "O") * 3, ("BB", "SC") * 6):
        system = dataclasses.replace(beads("m", 12), bead_names=names)
        assert "nm" in str(other_unit(system, _frames(12, 1.4) * 0.1))
        assert other_unit(system, _frames(12, 1.4)) is None


@pytest.mark.parametrize("system", [beads("m", 12), beads("m", 12, bonds=False), beads("m", 1)], ids=str)
def test_usual_stretched_and_squeezed_chains_are_in_angstrom(system: System) -> None:
    for factor in (0.4, 0.75, 1.0, 1.5, 3.0):
        assert other_unit(system, _frames(system.n_beads) * factor) is None
    torn = _frames(system.n_beads)
    torn[:, -1] += 40.0  # one bond
    assert other_unit(system, torn) is None

"""Forces in another unit, or of another sign, are seen by the bonds they hold."""

from __future__ import annotations

import numpy as np
import pytest

from mdflash.training.units import other_force_unit
from mdflash.units import kT
from tests.helpers import beads


def _ensemble(frames: int, temperature: float, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """A freely jointed chain of stiff bonds, exactly sampled, and the mean forces of its bonds with noise on top."""
    rng = np.random.default_rng()
    k, r0, n = 60.0, 3.8, 9
    r = r0 + rng.normal(0, np.sqrt(kT(temperature) / (2 * k)), (frames, n - 1))
    u = rng.normal(size=(frames, n - 1, 3))
    u /= np.linalg.norm(u, axis=2, keepdims=True)
    x = np.concatenate([np.zeros((frames, 1, 3)), np.cumsum(r[..., None] * u, axis=1)], axis=1)
    pull = (2 * k * (r - r0) + 2 * kT(temperature) / r)[..., None] * u  # U = k (r - r0)^2 + 2 kT ln r
    f = np.zeros_like(x)
    f[:, :-1] += pull
    f[:, 1:] -= pull
    return x.astype(np.float32), (f + rng.normal(0, noise, f.shape)).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 20.0])
@pytest.mark.parametrize(
    ("factor", "says"),
    [(4.184, "in kJ/mol/Å"), (41.84, "in kJ/mol/nm"), (1 / 23.06, "in eV/Å"), (10.0, "kcal/mol/nm"), (-1.0, "by -1")],
)
def test_other_units_are_named(factor: float, says: str, noise: float) -> None:
    x, f = _ensemble(4000, 320.0, noise)
    found = other_force_unit(beads("m", 9), x, f * np.float32(factor), np.full(4000, 320.0, np.float32))
    assert found is not None and says in found


@pytest.mark.parametrize("noise", [0.0, 20.0, 200.0])
def test_right_forces_pass_however_noisy(noise: float) -> None:
    x, f = _ensemble(2000, 300.0, noise)
    kelvin = np.full(2000, 300.0, np.float32)
    assert other_force_unit(beads("m", 9), x, f, kelvin) is None
    assert other_force_unit(beads("m", 9), x, 0 * f, kelvin) is None
    assert other_force_unit(beads("m", 9), x[:20], -f[:20], kelvin[:20]) is None  # too few to be sure

"""Umbrella windows and MBAR against two free energies that are known exactly."""

from __future__ import annotations

import pytest

from tests.umbrella import contact, mbar_error, sample, torsion, windows


@pytest.mark.slow
@pytest.mark.parametrize("make", [contact, torsion], ids=["distance", "dihedral"])
@pytest.mark.parametrize("seed", [21, 22])
def test_free_energy_of_a_double_well(make: object, seed: int) -> None:
    """64 replicas of each window, 400 samples of each, 0.2 ps apart."""
    well = make()  # type: ignore[operator]
    simulation, bias = windows(well, 64, seed=seed)
    assert mbar_error(well, sample(simulation, bias, 500, 20, 400)) < 0.1

"""A free energy over three variables by metadynamics, and over pairs of them, against the exact one.

Three distances that know nothing of each other, each with F(r) = 1/2 k (r - r0)^2 - 2 kT ln r. 16 walkers, 800 ps each.
"""

from __future__ import annotations

import numpy as np
import pytest

from mdflash.analysis.hills import projected
from mdflash.core.state import Layout
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.bias.metadynamics import Metadynamics
from mdflash.potentials.bias.surface import Axis
from mdflash.potentials.variables.distance import Distance
from mdflash.units import kT
from tests.helpers import bead_term, beads, simulate, toy

KELVIN, STIFFNESS, LENGTH = 300.0, 1.0, 6.0
SYSTEM = beads("three", 6, masses=20.0)
AXES = [Axis(f"r{k}", Distance(SYSTEM, 2 * k, 2 * k + 1), 3.0, 9.0, 31) for k in range(3)]
TOP = 3.0
"""kcal/mol above the lowest, up to which it is compared."""


@pytest.mark.slow
def test_metadynamics_over_three_variables() -> None:
    layout = Layout((SYSTEM,), (16,))
    bonds = [bead_term(f"bond{k}", "harmonic_bond", [[2 * k, 2 * k + 1]], k=STIFFNESS / 2, x0=LENGTH) for k in range(3)]
    apart = [bead_term(f"apart{k}", "harmonic_bond", [[k, k + 2]], k=0.001, x0=30.0) for k in (0, 2)]
    start = np.zeros((16, 6, 3))
    start[:, 1::2, 0] = LENGTH
    start[:, :, 1] = [0.0, 0.0, 30.0, 30.0, 60.0, 60.0]
    meta = Metadynamics("m", AXES, layout, [0.4] * 3, 0.02, 8.0, 50, kT(KELVIN))
    engine = simulate(
        layout, [toy(*bonds, *apart)], start.reshape(-1, 3), LangevinMiddle(0.01, 8.0), KELVIN, extra=[meta], seed=3
    )
    engine.run(80_000)
    r = AXES[0].nodes
    one = 0.5 * STIFFNESS * (r - LENGTH) ** 2 - 2.0 * kT(KELVIN) * np.log(r)
    two = one[:, None] + one
    exact = two[..., None] + one
    found = meta.free_energies()
    low = exact < exact.min() + TOP
    assert (found[0] - exact)[low].std() < 0.1  # 0.06
    low = two < two.min() + TOP
    for pair in ((0, 1), (0, 2), (1, 2)):
        free = projected(found, np.full(exact.shape, True), pair, kT(KELVIN))
        assert (free[0] - two)[low].std() < 0.1  # 0.04

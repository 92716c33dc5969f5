"""The period of the fastest motion that is known of, which a step has to resolve.

Leapfrog is stable up to T / pi in a harmonic well of period T. Bonds that feel a network are not harmonic, and resonate
with steps of T/4, T/5, T/6 (Schlick, Mandziuk, Skeel & Srinivas, J. Comput. Phys. 140, 1 (1998)): replicas of alanine
dipeptide at 560 K took up energy, to kinetic temperatures of thousands of kelvin, with steps of T/6, for a
while with T/8, and none did with T/12.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from mdflash.core.state import Layout
from mdflash.potentials.base import Potential
from mdflash.potentials.priors.term import PriorTerm
from mdflash.units import ACCELERATION

RESOLVED: Final = 1.0 / 10.0
"""Periods of the fastest motion that a step should not be longer than."""


def shortest_period(terms: Sequence[Potential], layout: Layout) -> float:
    """The shortest period of a harmonic bond k (d - d0)^2, each taken for itself, ps; infinite without any."""
    stiffest = 0.0
    for term in terms:
        if not isinstance(term, PriorTerm) or term.form.name != "harmonic_bond":
            continue
        for system, (beads, parameters) in zip(layout.systems, term.tables, strict=True):
            inverse = (1.0 / system.masses)[beads].sum(axis=1)  # of the reduced masses
            stiffest = max(stiffest, float(np.max(2.0 * parameters["k"] * ACCELERATION * inverse, initial=0.0)))
    return 2.0 * math.pi / math.sqrt(stiffest) if stiffest > 0.0 else math.inf


def coarse_step(terms: Sequence[Potential], layout: Layout, timestep: float) -> str | None:
    """A warning where a step, in ps, is long for the stiffest bond; None where it is not."""
    period = shortest_period(terms, layout)
    if timestep <= RESOLVED * period:
        return None
    femtoseconds = max(0.5, math.floor(2e3 * RESOLVED * period) / 2)
    return (
        f"steps of {timestep * 1e3:g} fs are more than a tenth of the {period * 1e3:.3g} fs period of the stiffest "
        f"bond: hot replicas may take up energy from it; compare temperatures with steps of {femtoseconds:g} fs"
    )

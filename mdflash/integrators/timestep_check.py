"""The period of the fastest motion that is known of, which a step has to resolve.

Leapfrog is stable up to T / pi in a harmonic well of period T. Bonds that feel a network are not harmonic, and resonate
with steps of T/4, T/5, T/6 (Schlick, Mandziuk, Skeel & Srinivas, J. Comput. Phys. 140, 1 (1998)): replicas of alanine
dipeptide at 560 K took up energy, to kinetic temperatures of thousands of kelvin, with steps of T/6, for a
while with T/8, and none did with T/12.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from mdflash.core.state import Layout
from mdflash.integrators.base import Integrator
from mdflash.potentials.base import Potential
from mdflash.potentials.priors.term import PriorTerm
from mdflash.units import ACCELERATION

RESOLVED: Final = 1.0 / 10.0
"""Periods of the fastest motion that a step should not be longer than."""


_PLAIN: Final[Mapping[str, float]] = MappingProxyType({})


def shortest_period(terms: Sequence[Potential], layout: Layout, scales: Mapping[str, float] = _PLAIN) -> float:
    """The shortest period of a harmonic bond k (d - d0)^2, each taken for itself, ps; infinite without any.

    Args:
        terms: of the potential.
        layout: the batch.
        scales: by name of a term, how many times it counts.
    """
    stiffest = 0.0
    for term in terms:
        if not isinstance(term, PriorTerm) or term.form.name != "harmonic_bond":
            continue
        for system, (beads, parameters) in zip(layout.systems, term.tables, strict=True):
            inverse = (1.0 / system.masses)[beads].sum(axis=1)  # of the reduced masses
            scale = scales.get(term.name, 1.0)
            stiffest = max(stiffest, scale * float(np.max(2.0 * parameters["k"] * ACCELERATION * inverse, initial=0.0)))
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


def impossible_step(integrator: Integrator, period: float, friction: float) -> str | None:
    """What is wrong with a step that no bond of that period survives; None where one may.

    Leapfrog and its kin diverge beyond T / pi whatever else acts on the bond, since what is added only makes the
    stiffest motion stiffer; Euler's steps of overdamped dynamics beyond 2 friction / omega^2.

    Args:
        integrator: with its time step, ps.
        period: ps, from `shortest_period`.
        friction: 1/ps, of schemes without velocities.
    """
    most = period / math.pi if integrator.has_velocities else 2.0 * friction * (period / (2.0 * math.pi)) ** 2
    if integrator.timestep <= most:
        return None
    better = 1e3 * most * (RESOLVED * math.pi if integrator.has_velocities else 0.2)
    return (
        f"steps of {integrator.timestep * 1e3:g} fs are longer than the stiffest bond survives: its period is "
        f"{period * 1e3:.3g} fs, and beyond {most * 1e3:.3g} fs its energy grows with every step; write "
        f"`timestep: {float(f'{better:.2g}'):g} fs`"
    )

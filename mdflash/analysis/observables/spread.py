"""How far the members of a committee disagree, for runs of one of them: where the force field leaves what it knows.

It costs as much as one step of every member for each frame.
"""

from __future__ import annotations

from functools import lru_cache

from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.base import Observable, Values


@lru_cache(maxsize=4)
def _values(m: Molecule) -> Values | None:
    """Kept, since every replica asks, and what is compiled and tabulated serves all of them."""
    if m.committee is None or m.many:
        return None
    from mdflash.engine.spread import SpreadOnFrames  # torch

    measure = SpreadOnFrames(m.committee, m.system)
    return lambda x: measure(x).forces


def _levels(m: Molecule) -> tuple[tuple[str, float], ...]:
    known = None if m.committee is None else m.committee.own.get(m.name)
    return () if known is None else (("99 of 100 frames of the data are below", known.forces),)


SPREAD = Observable(
    "spread",
    "spread of the committee's forces",
    "kcal/mol/Å",
    _values,
    source="spread of a committee: root mean square deviation of its members' forces from their mean, of the bead on "
    "which they differ most (L. Zhang et al., Phys. Rev. Materials 3, 023804 (2019))",
    levels=_levels,
)

"""Distance of the ends of a chain."""

from __future__ import annotations

from mdflash.analysis.measures import end_to_end
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.base import Observable, Values


def _values(m: Molecule) -> Values | None:
    if len(m.chains) > 1 or len(m.trace) < 3:
        return None
    first, last = int(m.trace[0]), int(m.trace[-1])
    return lambda x: end_to_end(x, first, last)


END_TO_END = Observable(
    "end_to_end", "end-to-end distance", "Å", _values, source="distance of the first and the last residue"
)

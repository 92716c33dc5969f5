"""Radius of gyration."""

from __future__ import annotations

from functools import partial

from mdflash.analysis.measures import radius_of_gyration
from mdflash.analysis.observables.base import Observable

RG = Observable(
    "rg",
    "radius of gyration",
    "Å",
    lambda m: None if m.many else partial(radius_of_gyration, masses=m.system.masses),
    source="radius of gyration, weighted by mass",
)

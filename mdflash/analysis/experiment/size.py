"""Radius of gyration and hydrodynamic radius."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from mdflash.analysis.experiment.data import Data, Kind, Measured, WithError
from mdflash.analysis.measures import hydrodynamic_radius, radius_of_gyration
from mdflash.analysis.molecule import Molecule
from mdflash.core.geometry import distances
from mdflash.core.types import FloatArray
from mdflash.errors import InputError


def _rg(given: Any, m: Molecule) -> Data:
    masses = m.system.masses
    return Data(
        "rg", "radius of gyration", "Å", np.array([given.value]), np.array([given.error]),
        lambda x: radius_of_gyration(x, masses)[:, None] ** 2, 3 * m.system.n_beads, "number",
        "radius of gyration: root of the mean square, as scattering measures it, weighted by mass",
        averaged=np.square, shown=lambda v: np.sqrt(np.maximum(v, 0.0)), slope=lambda v: 2.0 * v, labels=("Rg",),
    )  # fmt: skip


def _rh(given: Any, m: Molecule) -> Data:
    beads = m.trace
    if len(beads) < 3:
        raise InputError("a hydrodynamic radius needs three residues or more", key="rh")
    pairs = np.stack(np.triu_indices(len(beads), 1), axis=1)

    def values(x: FloatArray) -> FloatArray:
        inverse = (1.0 / distances(np.ascontiguousarray(x[:, beads]), pairs)).mean(axis=1)
        return np.array([[1.0 / hydrodynamic_radius(float(v), len(beads))] for v in inverse])

    return Data(
        "rh", "hydrodynamic radius", "Å", np.array([given.value]), np.array([given.error]), values, len(pairs),
        "number", "hydrodynamic radius: Kirkwood's 1 / [(1 - 1/N) <1/r_ij>], one bead of each residue",
        averaged=np.reciprocal, shown=np.reciprocal, slope=lambda v: -1.0 / v**2, labels=("Rh",),
    )  # fmt: skip


RG = Kind(
    "rg",
    Annotated[Measured | None, WithError("length", "2.1 +- 0.1 nm")],
    "radius of gyration",
    "rg: 2.1 +- 0.1 nm",
    _rg,
)
RH = Kind(
    "rh", Annotated[Measured | None, WithError("length", "1.9 +- 0.1 nm")],
    "hydrodynamic radius, from diffusion or NMR", "rh: 1.9 +- 0.1 nm", _rh,
)  # fmt: skip

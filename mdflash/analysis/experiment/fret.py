"""Transfer efficiencies between pairs of dyes."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from mdflash.analysis.experiment.data import Data, Kind, Measured, WithError
from mdflash.analysis.molecule import Molecule
from mdflash.config.section import as_list
from mdflash.core.geometry import distances
from mdflash.core.quantity import Length, describe
from mdflash.core.section import Section
from mdflash.core.types import FloatArray
from mdflash.errors import InputError


def _read_residues(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"expected the two residues with dyes, as in `residues: [1, 40]`, found {describe(value)}")
    return tuple(str(v).strip() for v in value)


def _read_linker(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100:
        raise ValueError(f"expected a number of residues from 0 to 100, found {describe(value)}")
    return float(value)


class DyePair(Section):
    """One measurement."""

    residues: Annotated[tuple[str, ...], BeforeValidator(_read_residues)] = Field(
        description="numbers of the two residues, as in the structure; with chains as A:12", examples=["[1, 40]"]
    )
    efficiency: Annotated[Measured, WithError(None, "0.55 +- 0.03")] = Field(
        description="mean transfer efficiency", examples=["0.55 +- 0.03"]
    )
    R0: Length = Field(description="Förster radius of the dyes", examples=["5.4 nm"])
    linker: Annotated[float, BeforeValidator(_read_linker)] = Field(
        default=0.0, description="residues that both linkers together are as long as", examples=["9"]
    )


def _residue(m: Molecule, text: str) -> int:
    """The row of a residue such as '12' or 'A:12'."""
    chain, _, number = text.rpartition(":")
    s = m.system
    found = [
        r for r in range(s.n_residues)
        if str(s.residue_ids[r]) == number and (not chain or s.chain_ids[r] == chain)
    ]  # fmt: skip
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"residue {number} is in several chains; write one of "
            f"{', '.join(f'{s.chain_ids[r]}:{number}' for r in found)}",
            key="fret.residues",
        )
    raise InputError(
        f"there is no residue '{text}' in {m.name}, whose residues are {m.label(0)} to {m.label(s.n_residues - 1)}",
        key="fret.residues",
    )


def _data(given: Any, m: Molecule) -> Data:
    pairs = np.array([[_residue(m, r) for r in pair.residues] for pair in given])
    same = np.flatnonzero(pairs[:, 0] == pairs[:, 1])
    if len(same):
        raise InputError("names one residue twice; dyes are on two residues", key=f"fret.{same[0]}.residues")
    chains = np.array(m.system.chain_ids)
    for k, (i, j) in enumerate(pairs):
        if given[k].linker and chains[i] != chains[j]:
            raise InputError(
                f"residues {' and '.join(given[k].residues)} are in two chains, where a linker does not stretch their "
                "distance in proportion; leave `linker` out",
                key=f"fret.{k}.linker",
            )
    beads = m.trace[pairs]
    apart = np.abs(pairs[:, 1] - pairs[:, 0])
    stretch = np.sqrt((apart + np.array([p.linker for p in given])) / apart)
    radius = np.array([p.R0 for p in given])

    def values(x: FloatArray) -> FloatArray:
        return np.asarray(1.0 / (1.0 + (stretch * distances(x, beads) / radius) ** 6))

    return Data(
        "fret", "transfer efficiency", "", np.array([p.efficiency.value for p in given]),
        np.array([p.efficiency.error for p in given]), values, len(given), "points",
        "transfer efficiency: <1 / (1 + (r/R0)^6)> of distances between residues, stretched for linkers of l residues "
        "by ((|i-j| + l) / |i-j|)^0.5",
        labels=tuple("-".join(p.residues) for p in given),
    )  # fmt: skip


FRET = Kind(
    "fret",
    Annotated[tuple[DyePair, ...], BeforeValidator(as_list)],
    "transfer efficiencies of pairs of dyes",
    "fret: {residues: [1, 40], efficiency: 0.55 +- 0.03, R0: 5.4 nm}",
    _data,
    nothing=(),
)

"""Two ensembles of a molecule, coordinate by coordinate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mdflash.analysis.against.compare import Axis, Comparison, compare
from mdflash.analysis.against.coordinates import Coordinate, Tica, coordinates
from mdflash.analysis.against.ensemble import Ensemble
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.units import kT

BINS, BINS_2D = 60, 36
MOST: Final = 1000
"""Bonds, angles or dihedrals that are compared."""
LAG: Final = 10.0
"""ps, for TICA."""
SHORTEST: Final = 20
"""Frames of a trajectory that TICA is fitted to."""
FRAMES_FOR_EACH: Final = 5
"""Frames for each feature, below which TICA would describe their noise."""


@dataclass(frozen=True, eq=False)
class Finding:
    """One coordinate: an ensemble against the reference, and the reference's second half against its first."""

    coordinate: Coordinate
    model: Comparison
    halves: Comparison


@dataclass(frozen=True, eq=False)
class EnsembleResult:
    """A molecule against a reference ensemble.

    Attributes:
        name, reference: of both.
        kelvin: temperature of the free energies.
        frames, reference_frames: sample sizes.
        findings: by coordinate.
        tica_lag: frames of the reference.
        notes: in sentences.
    """

    name: str
    reference: str
    kelvin: float
    frames: int
    reference_frames: int
    findings: tuple[Finding, ...]
    tica_lag: int
    notes: tuple[str, ...]

    def numbers(self) -> dict[str, Any]:
        """For JSON, by coordinate."""
        return {
            f.coordinate.name: {
                "group": f.coordinate.group or "surface",
                "model_against_data": f.model.numbers(),
                "half_of_data_against_other_half": f.halves.numbers(),
            }
            for f in self.findings
        }


def compare_ensembles(
    system: System, native: FloatArray | None, reference: Ensemble, model: Ensemble, kelvin: float
) -> EnsembleResult:
    """Every coordinate of a molecule in two ensembles.

    Args:
        system: the molecule.
        native: [N, 3] Å its folded structure, if there is one.
        reference: what is compared with; TICA is fitted to it.
        model: what is compared.
        kelvin: temperature of the free energies.
    """
    lag, notes = 1, list[str]()
    found = _some(coordinates(system, native), notes)
    longest = [x for x in reference.trajectories if len(x) >= SHORTEST]
    if system.n_beads > 3 and longest:
        shortest = min(map(len, longest))
        lag = max(1, round(LAG / reference.spacing)) if reference.spacing > 0 else max(1, shortest // 100)
        lag = min(lag, max(1, shortest // 10))
        model_of_slow = Tica(system, longest, lag)
        if sum(map(len, longest)) >= FRAMES_FOR_EACH * model_of_slow.size:
            found.insert(0, Coordinate("TICA", ("TIC 1", "TIC 2"), model_of_slow))
        else:
            notes.append(
                f"{reference.frames:,} frames of {reference.name} are too few for TICA on {model_of_slow.size} features"
            )
    findings = tuple(_finding(c, reference.blocks, model.blocks, kT(kelvin)) for c in found)
    return EnsembleResult(
        model.name, reference.name, kelvin, model.frames, reference.frames, findings, lag,
        (*notes, *reference.notes, *model.notes),
    )  # fmt: skip


def _some(found: list[Coordinate], notes: list[str]) -> list[Coordinate]:
    """At most `MOST` bonds, angles and dihedrals each, evenly picked."""
    kept = [c for c in found if not c.group]
    for group in dict.fromkeys(c.group for c in found if c.group):
        mine = [c for c in found if c.group == group]
        if len(mine) > MOST:
            notes.append(f"{MOST} of {len(mine):,} {group}, evenly picked, are compared")
            mine = [mine[k] for k in np.linspace(0, len(mine) - 1, MOST).round().astype(int)]
        kept += mine
    return kept


def _finding(c: Coordinate, data: Sequence[FloatArray], model: Sequence[FloatArray], energy: float) -> Finding:
    reference, other = [c.values(x) for x in data], [c.values(x) for x in model]
    axes = []
    for k, label in enumerate(c.labels):
        low, high = c.span or _range([v[:, k] for v in (*reference, *other)])
        axes.append(Axis(label, np.linspace(low, high, (BINS if len(c.labels) == 1 else BINS_2D) + 1)))
    half = len(reference) // 2
    return Finding(
        c,
        compare(c.name, axes, reference, other, energy),
        compare(c.name, axes, reference[:half], reference[half:], energy),
    )


def _range(values: Sequence[FloatArray]) -> tuple[float, float]:
    everything = np.concatenate(values)
    low, high = np.quantile(everything, [1e-4, 1.0 - 1e-4])
    margin = 0.02 * (high - low) + 1e-6
    return float(low - margin), float(high + margin)

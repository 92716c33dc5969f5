"""Two samples of a coordinate: how far their distributions are apart, and how sure that is.

| number                    | what                                                                                  |
|---------------------------|---------------------------------------------------------------------------------------|
| Jensen-Shannon divergence | sum over bins of [p ln(p/m) + q ln(q/m)] / 2 with m = (p + q) / 2; 0 to ln 2, in nats |
| free energy RMSE          | root mean square of -kT ln(q/p) over the bins whose free energy -kT ln p in the       |
|                           | reference is within 4 kcal/mol of its minimum; every such bin counts the same         |

Free energies are of normalized distributions: no constant is fitted. A bin that is populated in the reference and empty
in the other counts as half a frame there, and is reported. Standard errors are by bootstrap over blocks (replicas of
the simulation, stretches of the data's trajectories), which are taken as independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdflash.core.types import FloatArray, IntArray

POPULATED = 4.0
"""kcal/mol above the minimum."""
RESAMPLES = 50


@dataclass(frozen=True, eq=False)
class Axis:
    """One coordinate of a histogram.

    Attributes:
        label: with its unit.
        edges: [bins + 1]; values beyond count in the end bins.
    """

    label: str
    edges: FloatArray


@dataclass(frozen=True, eq=False)
class Comparison:
    """A reference and another sample over the same bins.

    Attributes:
        name: of the coordinate(s).
        axes: one or two.
        reference, other: normalized distributions, [bins] or [bins, bins].
        jsd, jsd_error: Jensen-Shannon divergence and its standard error, nats.
        rmse, rmse_error: of the free energies, kcal/mol.
        bins, empty: populated bins of the reference, and how many of them the other never visits.
    """

    name: str
    axes: tuple[Axis, ...]
    reference: FloatArray
    other: FloatArray
    jsd: float
    jsd_error: float
    rmse: float
    rmse_error: float
    bins: int
    empty: int

    def numbers(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "jsd_nats": self.jsd,
            "jsd_standard_error": self.jsd_error,
            "free_energy_rmse_kcal_mol": self.rmse,
            "free_energy_rmse_standard_error": self.rmse_error,
            "populated_bins": self.bins,
            "bins_never_visited": self.empty,
        }


def histograms(blocks: Sequence[FloatArray], axes: Sequence[Axis]) -> FloatArray:
    """Counts of each block, [blocks, bins, ...], from values [F, axes] of each."""
    counts = []
    for values in blocks:
        inside = [np.clip(values[:, k], a.edges[0], np.nextafter(a.edges[-1], -np.inf)) for k, a in enumerate(axes)]
        counts.append(np.histogramdd(np.stack(inside, axis=1), [a.edges for a in axes])[0])
    return np.array(counts)


def compare(
    name: str,
    axes: Sequence[Axis],
    reference: Sequence[FloatArray],
    other: Sequence[FloatArray],
    kT: float,
) -> Comparison:
    """Compare samples given as blocks of values [F, axes].

    Args:
        name: of the coordinate(s).
        axes: their bins.
        reference, other: blocks, taken as independent in the errors.
        kT: kcal/mol.
    """
    p, q = histograms(reference, axes), histograms(other, axes)
    jsd, rmse, bins, empty = _distance(p.sum(axis=0), q.sum(axis=0), kT)
    rng = np.random.default_rng(0)
    samples = np.array([_distance(_resample(p, rng), _resample(q, rng), kT)[:2] for _ in range(RESAMPLES)])
    errors = samples.std(axis=0, ddof=1)
    return Comparison(
        name, tuple(axes), p.sum(axis=0) / p.sum(), q.sum(axis=0) / q.sum(), jsd, float(errors[0]), rmse,
        float(errors[1]), bins, empty,
    )  # fmt: skip


def _resample(counts: FloatArray, rng: np.random.Generator) -> FloatArray:
    picked: IntArray = rng.integers(0, len(counts), len(counts))
    total: FloatArray = counts[picked].sum(axis=0)
    return total


def _distance(reference: FloatArray, other: FloatArray, kT: float) -> tuple[float, float, int, int]:
    """JSD, RMSE, populated bins and those of them that `other` does not visit, from counts."""
    p, q = reference / reference.sum(), other / other.sum()
    m = 0.5 * (p + q)
    with np.errstate(divide="ignore", invalid="ignore"):
        jsd = 0.5 * (np.nansum(p * np.log(p / m)) + np.nansum(q * np.log(q / m)))
    populated = p > p.max() * np.exp(-POPULATED / kT)
    filled = np.where(q > 0, q, 0.5 / other.sum())
    difference = kT * np.log(filled[populated] / p[populated])
    empty = int((other[populated] == 0).sum())
    return float(jsd), float(np.sqrt((difference**2).mean())), int(populated.sum()), empty

"""Frames from the start of equilibrium on: reweighted over temperatures, and as free energies over observables."""

from __future__ import annotations

import math

import numpy as np

from mdflash.analysis import reweight
from mdflash.analysis.free_energy import surface
from mdflash.analysis.numbers import block_ids
from mdflash.analysis.result import ENERGY, MoleculeAnalysis
from mdflash.core.mbar import log_mixture, weights
from mdflash.core.types import FloatArray, IntArray
from mdflash.units import BOLTZMANN

FOLDED = 0.5
"""Q above which a frame counts as folded."""
MOST_SAMPLES = 20_000
"""Samples that are reweighted."""


def settled(found: MoleculeAnalysis, name: str) -> tuple[FloatArray, IntArray, IntArray, IntArray]:
    """Of all tracks from the first step on: values, states and blocks [N]; and the strata of the blocks."""
    sample = found.sample
    ids, strata = block_ids(sample, found.first_step)
    keep = [t.steps >= found.first_step for t in sample.tracks]
    values = np.concatenate([t.values[name][k] for t, k in zip(sample.tracks, keep, strict=True)])
    states = np.concatenate([t.states[k] for t, k in zip(sample.tracks, keep, strict=True)])
    return values, states, np.concatenate(ids), strata


def add_melting(found: MoleculeAnalysis) -> None:
    """Reweight over temperatures."""
    sample = found.sample
    kelvin = sample.temperatures
    if len(kelvin) < 2 or not np.isfinite(kelvin).all() or np.ptp(kelvin) == 0 or ENERGY not in sample.tracks[0].values:
        return
    energy, states, blocks, strata = settled(found, ENERGY)
    known = np.isfinite(energy)
    if known.sum() < 100:
        found.notes.append("too few frames have an energy to reweight over temperatures")
        return
    columns = {n: settled(found, n)[0] for n in found.measured}
    stride = max(1, math.ceil(known.sum() / MOST_SAMPLES))
    pick = np.flatnonzero(known)[::stride]
    folded = (columns["q"][pick] > FOLDED).astype(np.float64) if "q" in columns else None
    found.melting = reweight.melting(
        energy[pick],
        states[pick],
        kelvin,
        blocks[pick],
        {n: v[pick] for n, v in columns.items()},
        folded,
        strata,
        stride,
    )


def focus_state(found: MoleculeAnalysis) -> int:
    """The state nearest to the melting temperature, or the lowest temperature that has frames."""
    kelvin = found.sample.temperatures
    used = sorted({int(s) for t in found.sample.tracks for s in np.unique(t.states)})
    melting = found.melting.melting if found.melting is not None else None
    if melting is not None:
        return min(used, key=lambda s: abs(kelvin[s] - melting.value))
    return min(used, key=lambda s: (kelvin[s] if np.isfinite(kelvin[s]) else 0.0, s))


def map_states(found: MoleculeAnalysis) -> list[int]:
    """Lowest and highest temperature, and where it melts."""
    kelvin = found.sample.temperatures
    used = sorted({int(s) for t in found.sample.tracks for s in np.unique(t.states)}, key=lambda s: (kelvin[s], s))
    if np.ptp(kelvin[used]) == 0 if len(used) > 1 else True:
        return used[:1] if len(used) < 2 else used[: 1 if found.windows else 2]
    return list(dict.fromkeys([used[0], found.focus, used[-1]]))


def add_surfaces(found: MoleculeAnalysis) -> None:
    """Free energies over the key observable, Rg, and both."""
    sample = found.sample
    known = {o.name: o for o in sample.observables}
    kelvin = float(sample.temperatures[found.focus])
    if not np.isfinite(kelvin):
        found.notes.append("the temperature is not known, so there are no free energies")
        return
    names = [n for n in dict.fromkeys([found.key, "rg"]) if n in known]
    pairs: list[tuple[str, ...]] = [(n,) for n in names]
    for a, b in (("q", "rmsd"), ("rmsd_start", "rg"), ("rg", "end_to_end")):
        if a in known and b in known and (a == "q" or "q" not in known):
            pairs.append((a, b))
            break
    found.surface_kelvin = kelvin
    weight = None
    energy, states, blocks, _ = settled(found, ENERGY) if found.melting is not None else settled(found, names[0])
    keep = states == found.focus
    if found.melting is not None:
        keep = np.isfinite(energy)
        e = energy[keep] - energy[keep].mean()
        beta = 1.0 / (BOLTZMANN * sample.temperatures)
        counts = np.bincount(states[keep], minlength=len(beta)).astype(np.float64)
        mixture = log_mixture(beta[:, None] * e, counts, found.melting.free)
        weight = weights(beta[found.focus] * e, mixture)
    if keep.sum() < 50:
        found.notes.append("too few frames for free energies")
        return
    for group in pairs:
        values = [settled(found, n)[0][keep] for n in group]
        if any(np.ptp(v) == 0 for v in values):
            continue
        found.surfaces.append(surface(group, values, kelvin, weight, blocks[keep], [known[n].span for n in group]))

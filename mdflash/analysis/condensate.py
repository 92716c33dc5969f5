"""A condensate beside its dilute phase: density profiles along the longest edge of the box, and concentrations.

Every frame is centered on its slab. First the densest place of its profile is brought to the middle, then the middle of
mass of the stretch around it that is denser than the box on average (so do the programs of CALVADOS, Tesei &
Lindorff-Larsen, Open Res. Europe 2, 94 (2023)); last, each frame is moved to where it correlates best with the mean of
all, so that noise in a frame moves it little. Each side of the mean profile is fitted by

    rho(z) = (dense + dilute)/2 + (dilute - dense)/2 tanh((|z| - c)/d)

The dense phase is |z| < c - d/2, the dilute one |z| > c + 6 d. The saturation concentration is that of the dilute
phase, its error that of the mean of a correlated series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.analysis.molecule import Molecule
from mdflash.analysis.statistics import cut_blocks
from mdflash.core.geometry import long_axis
from mdflash.core.types import FloatArray, IntArray
from mdflash.units import BOLTZMANN

BIN: Final = 2.0
"""Å, about."""
SMOOTH: Final = 10.0
"""Å over which a frame's profile is averaged to find its slab."""
ROUNDS: Final = 3
"""In which frames are aligned with their mean."""
INSIDE, OUTSIDE = 0.5, 6.0
"""Widths d of the interface between its middle and the dense phase, and the dilute phase."""
CONTRAST: Final = 2.0
"""The dense phase is at least so many times as dense as the dilute one; less is a fluctuation."""
HIGHEST: Final = 1.2
"""The dense phase is at most so many times as dense as the densest place."""
THINNEST: Final = 12.0
"""Å; what is thinner is a fluctuation that every frame was centered on."""
FEWEST: Final = 4.0
"""Molecules that a slab holds, at least."""
MG_PER_ML: Final = 1660.53907
"""mg/mL of 1 Da/Å^3."""
MILLIMOLAR: Final = 1.66053907e6
"""mM of one molecule in 1 Å^3."""


class Interface(NamedTuple):
    """Where a slab ends, on both sides, in Å from its middle.

    Attributes:
        middle: [2] c, below and above.
        width: [2] d.
        dense, dilute: [2] of the fit, in the profile's unit.
    """

    middle: FloatArray
    width: FloatArray
    dense: FloatArray
    dilute: FloatArray


@dataclass(frozen=True, eq=False)
class Profiles:
    """The mass of every frame along the longest edge, by species.

    Attributes:
        names: of the species.
        masses: [S] Da, of one molecule.
        z: [Z] Å, the middle of the bins, 0 in the middle of the box.
        mass: [F, S, Z] Da in each bin, centered.
        volume: Å^3, of a bin.
    """

    names: tuple[str, ...]
    masses: FloatArray
    z: FloatArray
    mass: FloatArray
    volume: float

    @property
    def density(self) -> FloatArray:
        """[F, Z] mg/mL of all species."""
        found: FloatArray = self.mass.sum(axis=1) * (MG_PER_ML / self.volume)
        return found

    def concentrations(self, where: npt.NDArray[np.bool_]) -> FloatArray:
        """[F, S] mM of each species in the bins `where` [Z] is true for."""
        mass = self.mass[:, :, where].sum(axis=2)
        found: FloatArray = mass / self.masses * (MILLIMOLAR / (self.volume * where.sum()))
        return found


def bin_mass(molecule: Molecule, positions: FloatArray) -> FloatArray:
    """[F, S, Z] Da along the longest edge of the box, from positions [F, N, 3] Å in any image."""
    assert molecule.box is not None
    axis, edges = long_axis(molecule.box), np.array(molecule.box)
    bins, frames, kinds = round(edges[axis] / BIN), len(positions), len(molecule.species)
    u = positions[:, :, axis] / edges[axis]
    at = np.minimum(((u - np.floor(u)) * bins).astype(np.int64), bins - 1)
    row = np.zeros(molecule.system.n_beads, np.int64)
    for s, species in enumerate(molecule.species):
        row[species.beads.ravel()] = s
    flat = (np.arange(frames)[:, None] * kinds + row) * bins + at
    weights = np.broadcast_to(molecule.system.masses, at.shape)
    total = np.bincount(flat.ravel(), weights=weights.ravel(), minlength=frames * kinds * bins)
    mass: FloatArray = total.reshape(frames, kinds, bins).astype(np.float64)
    return mass


def profiles(molecule: Molecule, mass: FloatArray, *, center: bool = True) -> Profiles:
    """The profiles of a run, from `bin_mass` of its frames [F, S, Z].

    Args:
        molecule: a box of many.
        mass: Da.
        center: whether each frame is centered on its slab. A fluctuation is taken for a slab where there is none, so a
            profile that is to be flat is not centered.
    """
    assert molecule.box is not None
    edges = np.array(molecule.box)
    axis, bins = long_axis(molecule.box), mass.shape[2]
    if center:
        shifts = aligned(mass.sum(axis=1), centers(mass.sum(axis=1), edges[axis]))
        at = (np.arange(bins) + (shifts - bins // 2)[:, None]) % bins  # [F, Z]
        mass = np.take_along_axis(mass, at[:, None], axis=2)
    width = edges[axis] / bins
    z = (np.arange(bins) - bins // 2 + (0.0 if center else 0.5)) * width
    kinds = molecule.species
    return Profiles(
        tuple(s.name for s in kinds), np.array([s.mass for s in kinds]), z, mass, width * edges.prod() / edges[axis]
    )


def centers(mass: FloatArray, edge: float) -> IntArray:
    """[F] the bin in the middle of each frame's slab, from its periodic profile [F, Z] along `edge` Å."""
    frames, bins = mass.shape
    reach = max(1, round(SMOOTH * bins / edge / 2))
    smooth = sum(np.roll(mass, k, axis=1) for k in range(-reach, reach + 1)) / (2 * reach + 1)
    found = np.empty(frames, np.int64)
    for f in range(frames):
        top = int(smooth[f].argmax())
        around = np.roll(smooth[f], bins // 2 - top)
        thin = np.flatnonzero(around <= around.mean())
        low, high = thin[thin < bins // 2], thin[thin > bins // 2]
        a, b = (low[-1] + 1 if len(low) else 0), (high[0] if len(high) else bins)
        part = np.arange(a, b)
        middle = float((part * around[a:b]).sum() / around[a:b].sum()) if b > a else bins // 2
        found[f] = (round(middle) + top - bins // 2) % bins
    return found


def aligned(mass: FloatArray, middle: IntArray) -> IntArray:
    """[F] the bins in the middle of each frame [F, Z], moved to where its profile correlates best with the mean of all.

    Args:
        mass: periodic profiles.
        middle: [F] a first guess.
    """
    bins = mass.shape[1]
    waves = np.fft.rfft(mass, axis=1)
    for _ in range(ROUNDS):
        mean = np.take_along_axis(mass, (np.arange(bins) + middle[:, None]) % bins, axis=1).mean(axis=0)
        mean = mean + np.roll(mean[::-1], 1)  # the same on both sides, so that its middle stays in bin 0
        overlap = np.fft.irfft(waves * np.fft.rfft(mean).conj(), bins, axis=1)
        middle = overlap.argmax(axis=1)
    return middle


def fit_interface(z: FloatArray, density: FloatArray) -> Interface | None:
    """Both sides of a mean profile [Z] by the equation of the module; None where no slab stands out of it."""
    from scipy.optimize import curve_fit

    edge = float(-2 * z.min())
    top, low = float(density.max()), float(np.quantile(density, 0.05))
    if not top > 0:
        return None
    half = 0.5 * float((density > (top + low) / 2).mean()) * edge

    def tanh(x: FloatArray, dense: float, dilute: float, c: float, d: float) -> FloatArray:
        return (dense + dilute) / 2 + (dilute - dense) / 2 * np.tanh((x - c) / d)

    sides = []
    for side in (z <= 0, z >= 0):
        x, y = np.abs(z[side]), density[side]
        try:
            fit, _ = curve_fit(
                tanh, x, y, p0=(top, low, max(half, BIN), 10.0),
                bounds=([0.0, 0.0, 0.0, 0.1], [HIGHEST * top, top, edge / 2, edge / 2]), maxfev=20_000,
            )  # fmt: skip
        except RuntimeError:  # it found no minimum
            return None
        sides.append(fit)
    dense, dilute, c, d = np.array(sides).T
    if (dense < CONTRAST * dilute).any() or c.sum() < THINNEST:
        return None
    return Interface(c, d, dense, dilute)


def dense_phase(z: FloatArray, at: Interface) -> npt.NDArray[np.bool_]:
    """[Z] which bins are in the dense phase."""
    ends = at.middle - INSIDE * at.width
    inside: npt.NDArray[np.bool_] = (z > -ends[0]) & (z < ends[1])
    return inside


def dilute_phase(z: FloatArray, at: Interface) -> npt.NDArray[np.bool_]:
    """[Z] which bins are in the dilute phase."""
    ends = at.middle + OUTSIDE * at.width
    outside: npt.NDArray[np.bool_] = (z < -ends[0]) | (z > ends[1])
    return outside


def mean_profile(density: FloatArray, lengths: list[int]) -> tuple[FloatArray, FloatArray]:
    """Mean and standard error [Z] of profiles [F, Z] of replicas, of `lengths` frames each, over blocks of them."""
    starts = np.cumsum([0, *lengths])
    blocks = np.array([density[starts[k] + a : starts[k] + b].mean(axis=0) for k, a, b in cut_blocks(lengths)])
    weights = np.array([b - a for _, a, b in cut_blocks(lengths)], np.float64)
    mean: FloatArray = (blocks * weights[:, None]).sum(axis=0) / weights.sum()
    n = len(blocks)
    error = np.sqrt(((blocks - mean) ** 2).sum(axis=0) / max(n - 1, 1) / n) if n > 1 else np.full(len(mean), np.nan)
    return mean, error


def transfer_free_energy(dilute: float, dense: float, kelvin: float) -> float:
    """kcal/mol, RT ln(c_dilute/c_dense): of a molecule that goes from the dilute phase to the dense one."""
    return float(BOLTZMANN * kelvin * np.log(dilute / dense)) if dilute > 0 and dense > 0 else float("nan")

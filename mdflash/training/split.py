"""Which frames are held out: decided once, for forces and for where the frames are.

Trajectories without a window are held out whole, the last ones of a molecule; of a single one its end, and so of every
trajectory in an umbrella window, since no other one is there. Where frames are weighed, every part (a window at a
temperature) must be learned from and held out. Where that rule leaves a part out, the end of each trajectory is held
out, part by part.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mdflash.core.types import IntArray

SAME_TEMPERATURE = 1.0
"""K; what counts as the temperature asked for."""

Chosen = npt.NDArray[np.bool_]


def temperatures(kelvin: npt.NDArray[np.floating]) -> list[float]:
    """The distinct temperatures among those of frames, K."""
    found: list[float] = []
    for value in np.unique(np.round(kelvin.astype(np.float64), 3)).tolist():
        if not found or value - found[-1] > SAME_TEMPERATURE:
            found.append(value)
    return found


def parts_of(windows: IntArray, kelvin: npt.NDArray[np.floating]) -> IntArray:
    """[F] the number of the part that a frame is of, from those of its window [F] and its temperature [F] in K."""
    known = temperatures(kelvin)
    at = np.searchsorted(known, np.round(kelvin.astype(np.float64), 3), side="right") - 1
    return np.asarray(windows * len(known) + at)


def hold_out(source: IntArray, biased: Chosen, share: float, parts: IntArray | None = None) -> Chosen:
    """[F] which frames are held out.

    Args:
        source: [F] number of each frame's trajectory.
        biased: [F] whether a frame was held in a window; all of a trajectory or none.
        share: of them to hold out.
        parts: [F] see `parts_of`; None where frames are not weighed.
    """
    free, held_in_windows = np.unique(source[~biased]), np.unique(source[biased])
    most = len(free) - 1  # one is left to learn from
    whole = free[-min(most, max(1, round(share * len(free)))) :] if most > 0 else free[:0]
    held = np.isin(source, whole)
    for k in held_in_windows if len(free) > 1 else np.unique(source):
        held[_end(np.flatnonzero(source == k), share, 1)] = True
    if parts is None or all(_is_split(held[parts == p]) for p in np.unique(parts)):
        return held
    held = np.zeros(len(source), bool)
    for p in np.unique(parts):
        for k in np.unique(source[parts == p]):
            held[_end(np.flatnonzero((parts == p) & (source == k)), share, 0)] = True
    return held


def _end(frames: IntArray, share: float, fewest: int) -> IntArray:
    return frames[len(frames) - max(fewest, round(share * len(frames))) :]


def _is_split(held: Chosen) -> bool:
    return bool(held.any() and not held.all())

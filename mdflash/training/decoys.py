"""Frames that no simulation would visit, on which the network is trained to output zero.

Between and beyond the frames of the data a network is free, and may create spurious minima that simulations fall into.
A decoy is a frame with noise on every bead: its bonds and angles are far from any that the priors allow, and its target
is that the priors act alone. Decoys are made once, for training; the frames held out have none.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mdflash.training.recipe import Decoys

Float32 = npt.NDArray[np.float32]


def make_decoys(positions: Float32, settings: Decoys, seed: int) -> Float32:
    """Noised copies [D, N, 3] of frames [F, N, 3], in Å.

    Args:
        positions: frames for training, Å.
        settings: how many, as a share of the frames, and the noise. Each decoy has its own, between half of it and all.
        seed: seed of the choice and of the noise.
    """
    rng = np.random.default_rng(seed)
    count = max(1, round(settings.share * len(positions)))
    chosen = positions[np.sort(rng.integers(len(positions), size=count))]
    size = rng.uniform(settings.noise / 2, settings.noise, (count, 1, 1))
    return (chosen + size * rng.standard_normal(chosen.shape)).astype(np.float32)

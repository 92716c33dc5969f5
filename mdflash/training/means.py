"""How much frames whose forces are means count in the force loss: by 1/(error² + floor).

The error of a frame is the root mean square of the standard errors of its components. What a network cannot learn adds
to it, so no weight may grow without bound where an error happens to be small: the floor is the median of error², and no
frame counts more than twice the median one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mdflash.core.types import FloatArray
from mdflash.training.frames import MoleculeFrames


def weights_of_means(molecules: Sequence[MoleculeFrames]) -> tuple[torch.Tensor, ...] | None:
    """Weights [F] of the frames of each molecule, of mean 1 over all means to learn from; 1 where forces are none.

    None: no frame has an error.
    """
    errors = [np.full(len(m.forces), np.nan) if m.force_error is None else m.force_error for m in molecules]
    learned = np.concatenate([e[~m.validation] for e, m in zip(errors, molecules, strict=True)])
    known = learned[np.isfinite(learned)] ** 2
    floor = float(np.median(known)) if len(known) else 0.0
    if floor == 0.0:  # nothing is known, or everything exactly
        return None
    mean = float((1.0 / (known + floor)).mean())
    return tuple(torch.from_numpy(_weights(e, floor, mean).astype(np.float32)) for e in errors)


def _weights(error: FloatArray, floor: float, mean: float) -> FloatArray:
    """[F] of errors [F]."""
    found: FloatArray = np.where(np.isfinite(error), 1.0 / (error**2 + floor) / mean, 1.0)
    return found

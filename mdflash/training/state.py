"""What a training needs to resume, to the last bit, and its file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from mdflash.core.damage import reading
from mdflash.core.files import atomic_write
from mdflash.core.tensors import read_tensors
from mdflash.errors import InputError


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        epoch: number of the current epoch, from 0.
        step: steps done in all.
        batch: batches of this epoch that are done.
        squares, components: sum of squared residuals of this epoch so far, and how many there were.
        rate_factor: what the plateau schedule has made of the learning rate.
        best, best_epoch: lowest validation loss and the epochs done when it was found.
        stale: epochs since then.
        log_bytes: length of log.csv that belongs to this state.
        identity: what a training must have in common with the one that it resumes.
    """

    epoch: int = 0
    step: int = 0
    batch: int = 0
    squares: float = 0.0
    components: int = 0
    rate_factor: float = 1.0
    best: float = float("inf")
    best_epoch: int = 0
    stale: int = 0
    log_bytes: int = 0
    identity: str = ""
    tensors: dict[str, Tensor] = field(default_factory=dict)


def save_progress(path: Path, progress: Progress) -> None:
    """Replace the file by this state; a kill leaves the old or the new one.

    Raises:
        StorageError: it cannot be written.
    """
    from safetensors.torch import save

    numbers = {key: value for key, value in asdict(progress).items() if key != "tensors"}
    tensors = {key: value.detach().cpu().contiguous() for key, value in progress.tensors.items()}
    atomic_write(path, save(tensors, metadata={"progress": json.dumps(numbers)}))


def read_identity(path: Path) -> tuple[str, int]:
    """The identity of a state, and how many epochs it has done.

    Raises:
        InputError: not such a file.
    """
    numbers, _ = _read(path)
    return str(numbers["identity"]), int(numbers["epoch"])


def _read(path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """The numbers of a `Progress`, each of its kind, and its tensors."""
    known = {f.name: type(f.default) for f in fields(Progress) if f.name != "tensors"}
    with reading(path, "cannot be read as the state of a training"):
        tensors, metadata = read_tensors(path)
        numbers = json.loads(metadata["progress"])
        if not isinstance(numbers, dict) or numbers.keys() != known.keys():
            raise ValueError(f"its numbers are not {', '.join(known)}")
        for name, kind in known.items():
            if not isinstance(numbers[name], (int, float) if kind is float else kind):
                raise ValueError(f"its '{name}' is {str(numbers[name])[:60]}")
    return numbers, tensors


def load_progress(path: Path, identity: str) -> Progress:
    """Read what `save_progress` wrote.

    Raises:
        InputError: not such a file, or of another training.
    """
    numbers, tensors = _read(path)
    if numbers["identity"] != identity:
        raise InputError(
            "belongs to another recipe or other data than this training; give another `folder:`, or remove that "
            "folder to start over",
            file=path,
        )
    return Progress(**numbers, tensors={key: torch.from_numpy(array.copy()) for key, array in tensors.items()})

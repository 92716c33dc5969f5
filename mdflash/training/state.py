"""What a training needs to resume, to the last bit, and its file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from mdflash.core.damage import reading
from mdflash.core.files import atomic_write
from mdflash.core.tensors import read_tensors
from mdflash.errors import InputError


@dataclass
class EntropyProgress:
    """Where a training by relative entropy stands.

    Attributes:
        update: updates done.
        renewals: simulations done.
        last_renewal: updates that were done at the last one.
        shortened: steps since the last row of log.csv that were cut to keep the overlap.
        left_out: replicas that became unstable since then.
        variance: sigma² of the forces, (kcal/mol/Å)²: the loss of the start.
        best, best_update: lowest relative entropy of the frames held out, and the updates done when it was found.
        log_bytes: length of log.csv that belongs to this state.
        identity: what a training must have in common with the one that it resumes.
    """

    update: int = 0
    renewals: int = 0
    last_renewal: int = 0
    shortened: int = 0
    left_out: int = 0
    variance: float = 0.0
    best: float = float("inf")
    best_update: int = 0
    log_bytes: int = 0
    identity: str = ""
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Progress:
    """Where a training by force matching stands.

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


UNREADABLE_STATE = "cannot be read as the state of a training"
State = TypeVar("State", Progress, EntropyProgress)


def save_progress(path: Path, progress: Progress | EntropyProgress) -> None:
    """Replace the file by this state; a kill leaves the old or the new one.

    Raises:
        StorageError: it cannot be written.
    """
    from safetensors.torch import save

    numbers = {f.name: getattr(progress, f.name) for f in fields(progress) if f.name != "tensors"}
    tensors = {key: value.detach().cpu().contiguous() for key, value in progress.tensors.items()}
    atomic_write(path, save(tensors, metadata={"progress": json.dumps(numbers)}))


def read_identity(path: Path) -> tuple[str, int]:
    """The identity of a state of any training, and how many epochs (0: none are counted) it has done.

    Raises:
        InputError: not such a file.
    """
    with reading(path, UNREADABLE_STATE):
        numbers = _numbers(read_tensors(path)[1], Progress, EntropyProgress)
    return str(numbers["identity"]), int(numbers.get("epoch", 0))


def _numbers(metadata: dict[str, str], *kinds: type[Progress] | type[EntropyProgress]) -> dict[str, Any]:
    """The numbers of a state of one of these kinds, each of its own kind."""
    numbers = json.loads(metadata["progress"])
    known = [{f.name: type(f.default) for f in fields(kind) if f.name != "tensors"} for kind in kinds]
    if not isinstance(numbers, dict) or numbers.keys() not in [names.keys() for names in known]:
        raise ValueError(f"its numbers are not {', '.join(known[0])}")
    for name, kind in next(names for names in known if names.keys() == numbers.keys()).items():
        if not isinstance(numbers[name], (int, float) if kind is float else kind):
            raise ValueError(f"its '{name}' is {str(numbers[name])[:60]}")
    return numbers


def check_state(path: Path, identity: str) -> None:
    """Whether the state is of this training.

    Raises:
        InputError: not such a file, or of another training.
    """
    if read_identity(path)[0] != identity:
        raise InputError(
            "belongs to another recipe or other data than this training (recipe.yaml beside it is its own); give "
            "another `folder:`, or remove that folder to start over",
            file=path,
        )


def load_progress(path: Path, identity: str, kind: type[State]) -> State:
    """Read what `save_progress` wrote.

    Raises:
        InputError: not such a file, or of another training.
    """
    check_state(path, identity)
    with reading(path, UNREADABLE_STATE):
        tensors, metadata = read_tensors(path)
        numbers = _numbers(metadata, kind)
    return kind(**numbers, tensors={key: torch.from_numpy(array.copy()) for key, array in tensors.items()})

"""What a training needs to resume, to the last bit, and its file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from torch import Tensor

from mdflash.core.damage import DAMAGE
from mdflash.core.files import atomic_write
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
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as f:
            numbers = json.loads((f.metadata() or {})["progress"])
        return str(numbers["identity"]), int(numbers["epoch"])
    except (SafetensorError, OSError, *DAMAGE) as error:
        raise _unreadable(path, error) from None


def _check_numbers(numbers: object) -> None:
    """That the numbers are those of a `Progress`, each of its kind."""
    known = {f.name: type(f.default) for f in fields(Progress) if f.name != "tensors"}
    if not isinstance(numbers, dict) or numbers.keys() != known.keys():
        raise ValueError(f"its numbers are not {', '.join(known)}")
    for name, kind in known.items():
        if not isinstance(numbers[name], (int, float) if kind is float else kind):
            raise ValueError(f"its '{name}' is {str(numbers[name])[:60]}")


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"cannot be read as the state of a training: {error}", file=path)


def load_progress(path: Path, identity: str) -> Progress:
    """Read what `save_progress` wrote.

    Raises:
        InputError: not such a file, or of another training.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as f:
            numbers = json.loads((f.metadata() or {})["progress"])
            tensors = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118 (not a dict)
        _check_numbers(numbers)
    except (SafetensorError, OSError, *DAMAGE) as error:
        raise _unreadable(path, error) from None
    if numbers["identity"] != identity:
        raise InputError(
            "belongs to another recipe or other data than this training; give another `folder:`, or remove that "
            "folder to start over",
            file=path,
        )
    return Progress(**numbers, tensors={key: torch.clone(value) for key, value in tensors.items()})

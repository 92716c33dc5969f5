"""The folder of a training: whose it is, what it may replace, and what is written before the first step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from mdflash.core.files import atomic_write, storage_errors
from mdflash.errors import InputError
from mdflash.io.claims import claim, claimed, drop_unfinished, is_lock, refuse_in_the_way, refuse_links
from mdflash.io.runfolder import FolderLock, is_run_folder
from mdflash.training.plots import plot_priors
from mdflash.training.run import PreparedTraining, own_identity
from mdflash.training.state import check_state, read_identity

_FILES = ("lock", "recipe.yaml", "log.csv", "state.safetensors", "priors", "progress", "weights", "forcefield",
          "committee.yaml", "tensorboard")  # fmt: skip


@contextmanager
def training_folder(folder: Path) -> Iterator[None]:
    """The right to train into a folder, while the block lasts.

    Raises:
        InputError: it holds a run.
        StorageError: another process trains there; it cannot be written; it holds files that no training wrote and that
            this one would replace, or symbolic links in the place of its own.
    """
    owned = _check_folder(folder)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder / "lock", folder)
    try:
        if owned:
            drop_unfinished([folder, *(folder / name for name in _FILES)])
        else:
            claim(folder, "training")
        yield
    finally:
        lock.release()


def _check_folder(folder: Path) -> bool:
    """Whether a training began in a folder. Raises what `training_folder` says, but for locks; writes nothing."""
    if is_run_folder(folder):
        raise InputError("holds a run; choose another folder", file=folder, key="folder")
    owned = _is_training(folder)
    if not owned:
        foreign = [] if is_lock(folder / "lock") else ["lock"]
        refuse_in_the_way(folder, [folder / name for name in (*foreign, *_FILES[1:-1])], "training", "folder")
    refuse_links(folder, _FILES)
    return owned


def resumes(prepared: PreparedTraining) -> bool:
    """Whether a training would go on from what its folder holds; writes nothing.

    Raises:
        InputError: the folder holds a run, or another training.
        StorageError: it holds files that no training wrote and that this one would replace.
    """
    state = prepared.recipe.output / "state.safetensors"
    begun = _check_folder(prepared.recipe.output) and state.is_file()
    if begun:
        check_state(state, own_identity(prepared))
    return begun


def _is_training(folder: Path) -> bool:
    """Whether a training of mdflash began here: its mark, or its state."""
    if claimed(folder, "training") is not None:
        return True
    with suppress(InputError):
        read_identity(folder / "state.safetensors")
        return is_lock(folder / "lock")
    return False


def write_head(prepared: PreparedTraining, source: Path | None = None) -> None:
    """Write what is known before training: the recipe with every default, and pictures of the fits.

    Args:
        prepared: from `prepare_training`.
        source: the file of the recipe; stays as it is where it is the one in the folder.

    Raises:
        InputError: the folder holds another training, or the force field that this one begins from.
        StorageError: the folder cannot be written.
    """
    recipe = prepared.recipe
    folder, state = recipe.output, recipe.output / "state.safetensors"
    for key, begun in (("start", recipe.start), ("priors.forcefield", recipe.priors.forcefield)):
        if begun is not None and begun.resolve() == (folder / "forcefield").resolve():
            raise InputError(
                "is where this training writes its result, so its own input would be lost; give another `folder:`",
                file=begun,
                key=key,
            )
    if state.is_file():
        check_state(state, own_identity(prepared))  # before anything of another training is replaced
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / "recipe.yaml"
        if source is None or not (target.exists() and source.samefile(target)):
            atomic_write(target, yaml.safe_dump(prepared.recipe.model_dump(mode="json"), sort_keys=False))
        if prepared.fits:
            plot_priors(folder / "priors", prepared.fits, prepared.priors)

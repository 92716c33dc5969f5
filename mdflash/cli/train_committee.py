"""What `mdflash train --committee` shows of its members."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mdflash.cli.lines import show_line, styled
from mdflash.cli.training_bar import TrainingBar
from mdflash.core.plural import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from mdflash.engine.distributed import Ranks
    from mdflash.training.committee import Standing
    from mdflash.training.recipe import Recipe
    from mdflash.training.run import PreparedTraining


def check(recipe: Recipe, ranks: Ranks) -> None:
    """Whether this recipe has members.

    Raises:
        InputError: it has not.
    """
    from mdflash.errors import InputError

    if recipe.relative_entropy is not None:
        raise InputError(
            "goes on from one force field, so members would hardly differ; train the committee by force matching, and "
            "refine one of its members",
            key="--committee",
        )
    if ranks.size > 1:
        raise InputError("starts a process for each member by itself; leave out torchrun", key="--committee")


def run(
    prepared: PreparedTraining, file: Path, overrides: Sequence[str], count: int, threads: int, console: Console
) -> None:
    """Train the members side by side, measure their spread, and say what came of it."""
    from mdflash.core.signals import stop_signals
    from mdflash.forcefields.committee import load_committee
    from mdflash.training.committee import make_members, train_members, write_committee
    from mdflash.training.folder import training_folder

    folder, began = prepared.recipe.output, time.monotonic()
    members = list(make_members(prepared, count))
    first = prepared.recipe.training.seed
    show_line(console, f"committee of {plural(count, 'member')} (seeds {first} to {first + count - 1}) in {folder}")
    if prepared.start:
        console.print(
            styled(("note", "yellow"), " members that go on from one force field (start:) differ by the order of their "
                   "batches alone, so their spread is too small; begin with new networks to compare it with others"),
            soft_wrap=True,
        )  # fmt: skip
    with training_folder(folder):
        with stop_signals() as received, _Bar(console, count, prepared.recipe.training.epochs) as bar:
            trained = train_members(file, overrides, members, threads, bar.show, lambda: bool(received))
        show_line(console, "measuring the spread of the members on the frames they learned from")
        written = write_committee(prepared, trained)
    for name, own in load_committee(folder).own.items():
        show_line(
            console,
            f"{name}: the members' forces differ by {own.median:.3g} kcal/mol/Å in the median frame of the data, by "
            f"{own.forces:.3g} in 1 of 100",
        )
    console.print(
        f"wrote {written} after {time.monotonic() - began:.0f} s\n"
        f"next: run one of its members ({trained[0]}); mdflash analyze shows where it leaves what it knows",
        soft_wrap=True,
    )


class _Bar(TrainingBar):
    """The epochs of all members; outside a terminal a line for each."""

    def __init__(self, console: Console, members: int, epochs: int) -> None:
        super().__init__(console)
        self._done, self._epochs = [0] * members, epochs

    def show(self, standing: Standing) -> None:
        """After an epoch of a member."""
        self._done[standing.number - 1] = standing.epochs
        epoch = f"epoch {standing.epochs} of {self._epochs}"
        text = f"member {standing.number}: {epoch}, validation loss {standing.loss:.5g}"
        total = self._epochs * len(self._done)
        self._bar.update(self._task, total=total, completed=sum(self._done), description=text)
        if not self._console.is_terminal:
            show_line(self._console, text)

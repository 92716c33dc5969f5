"""What `mdflash train` shows of a training by relative entropy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mdflash.cli import weighed
from mdflash.cli.lines import show_line, show_rows, styled
from mdflash.cli.training_bar import TrainingBar
from mdflash.core.plural import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from mdflash.engine.distributed import Ranks
    from mdflash.training.entropy.loop import EntropyTrainer
    from mdflash.training.entropy.section import RelativeEntropy
    from mdflash.training.run import PreparedTraining
    from mdflash.training.weights import FrameWeights


TOLD_EVERY = 30.0
"""Seconds between lines about one simulation."""
HELD_BY = {
    "data": "the frames: relative entropy and forces",
    "start": "the ensembles of the start: what targets leave open stays near them",
}


def show_plan(prepared: PreparedTraining, console: Console) -> None:
    """What will be done."""
    from mdflash.training.run import remarks

    recipe, data = prepared.recipe, prepared.data
    settings, found = recipe.relative_entropy, prepared.weighed
    assert settings is not None and found is not None
    rows = {
        "goes on from": str(recipe.start),
        "frames for forces": f"{data.count(False):,} for training, {data.count(True):,} held out"
        + ("" if recipe.data.temperature is None else f", those at {recipe.data.temperature:g} K"),
        **{
            key: value
            for molecule, weights in zip(found.molecules, found.weights, strict=True)
            for known in weights
            for key, value in weighed.rows(_name(molecule.system.name, known, weights), known).items()
        },
        "samples": f"{_replicas(settings)} of {settings.length:g} ps whenever the effective share falls below "
        f"{settings.renew_below:g}",
        "updates": f"at most {settings.updates}",
        **{
            f"target {t.name}": f"{t.variable}, at {t.temperature:g} K: "
            + (f"mean {t.mean:g}" if t.population is None else f"population {t.population:g}")
            + f" ± {t.error:g}"
            for t in recipe.targets
        },
        **{f"target {m.name}": m.said for m in prepared.measurements},
        **({"held by": HELD_BY[settings.hold]} if recipe.aims else {}),
        "folder": str(recipe.output),
    }
    show_rows(console, rows)
    for note in remarks(prepared):
        console.print(styled(("note", "yellow"), f" {note}"), soft_wrap=True)


def _name(molecule: str, known: FrameWeights, weights: Sequence[FrameWeights]) -> str:
    """Of a molecule's weights at one of its temperatures."""
    return molecule if len(weights) == 1 else f"{molecule} at {known.temperature:g} K"


def _replicas(settings: RelativeEntropy) -> str:
    """How many are simulated."""
    if not settings.ladder:
        return f"{settings.replicas} replicas"
    hotter = ", ".join(f"{t:g} K" for t in settings.ladder)
    return f"{settings.replicas} ladders of {len(settings.ladder) + 1} replicas (with {hotter})"


def run(prepared: PreparedTraining, source: Path, ranks: Ranks, console: Console) -> None:
    """Train, and say what came of it."""
    from mdflash.core.signals import stop_signals
    from mdflash.training.entropy.run import train_entropy
    from mdflash.training.folder import training_folder, write_head

    with training_folder(prepared.recipe.output):
        write_head(prepared, source)
        found = prepared.weighed
        assert found is not None
        named = [
            (_name(molecule.system.name, known, weights), known)
            for molecule, weights in zip(found.molecules, found.weights, strict=True)
            for known in weights
        ]
        weighed.draw(prepared.recipe.output / "weights", named)
        with stop_signals() as received, _Bar(console) as bar:
            folder, trainer = train_entropy(prepared, ranks.size, bar.show, lambda: bool(received))
    p, row = trainer.progress, trainer.best_row()
    aim = "the targets came no nearer" if trainer.material.targets else "the relative entropy held out no longer fell"
    why = "" if p.update == trainer.settings.updates else f", where {aim}"
    console.print(
        f"{plural(p.update, 'update')}{why}; {plural(p.renewals, 'simulation')}; relative entropy held out "
        f"{row['held_out_entropy']:+.3f} from the start, after update {p.best_update}",
        soft_wrap=True,
    )
    for profile in trainer.material.profiles:
        console.print(
            f"{profile.name}: off by {row[f'{profile.name}_rmse']:.2f} kcal/mol from the frames, which themselves are "
            f"uncertain by {profile.uncertainty:.2f}",
            soft_wrap=True,
        )
    for target in trainer.material.targets:
        console.print(f"{target.name}: {target.said(row[target.name])}")
    if trainer.material.targets:
        console.print(f"price: {row['price']:.3f} nats from the ensembles of the start")
    console.print(
        f"wrote {folder}\npicture: {prepared.recipe.output / 'progress' / 'progress.png'}\n"
        f"next: mdflash validate {folder} --against {prepared.recipe.data.dataset[0]}{_as_here(trainer.settings)}",
        soft_wrap=True,
    )


def _as_here(settings: RelativeEntropy) -> str:
    """Options of a validation that simulates as this training did."""
    said = f" --timestep '{1e3 * settings.timestep:g} fs'"
    if settings.ladder:
        ladder = ", ".join(f"{t:g} K" for t in settings.ladder)
        said += f" --replicas {settings.replicas} --ladder '{ladder}' --interval '0.5 ps'"
    return said


class _Bar(TrainingBar):
    """The progress: a bar with the last row of the log and the time left; outside a terminal a line for each row."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._row, self._left_out = -1.0, 0
        self._first: tuple[int, int, float] | None = None  # update, renewals and time when updates began
        self._simulating, self._told = 0.0, 0.0  # since when, and when it was said
        self._one, self._all = 0.0, 0.0  # seconds of a renewal, and of all since then

    def show(self, trainer: EntropyTrainer) -> None:
        """Before, in and after a simulation, and after an update."""
        p, row = trainer.progress, trainer.row
        if trainer.doing == "simulating":
            self._time_simulation(trainer)
        for said in trainer.left_out[self._left_out :]:
            show_line(self._console, f"left out, unstable: {said}")
        self._left_out = len(trainer.left_out)
        text = f"update {p.update} of {trainer.settings.updates}"
        if row:
            text += (
                f": relative entropy {row['held_out_entropy']:+.3f}, effective share {row['effective_share']:.2f}, "
                f"force loss {row['force_loss']:.4g}"
            )
            text += "".join(f", {t.name} {t.said(row[t.name], short=True)}" for t in trainer.material.targets)
            text += "".join(
                f", {c.removesuffix('_rmse')} off by {v:.2f}" for c, v in row.items() if c.endswith("_rmse")
            )
        share = f" {trainer.simulated:.0%}" if trainer.doing == "simulating" and trainer.simulated else ""
        description = text if trainer.doing == "updating" else f"{text} ({trainer.doing}{share})"
        self._bar.update(self._task, total=trainer.settings.updates, completed=p.update, description=description)
        if row and row["update"] != self._row and not self._console.is_terminal:
            show_line(self._console, text + self._left(trainer))
            self._row = row["update"]

    def _time_simulation(self, trainer: EntropyTrainer) -> None:
        """How long simulations take; outside a terminal a line for what is simulated before the first update."""
        now, settings, p = time.monotonic(), trainer.settings, trainer.progress
        first = settings.settle + settings.length if p.renewals <= 1 and not p.update else 0.0
        if not trainer.simulated:
            self._simulating = now
        elif trainer.simulated == 1.0:
            self._one = (now - self._simulating) * (settings.length / first if first else 1.0)
            self._all += self._one if self._first else 0.0
            self._first = self._first or (p.update, p.renewals, now)
        if not first or self._console.is_terminal:
            return
        if not trainer.simulated:
            show_line(self._console, f"simulating {_replicas(settings)} for {first:g} ps before the first update")
        elif trainer.simulated < 1.0 and now - self._told > TOLD_EVERY:
            left = (now - self._simulating) * (1.0 - trainer.simulated) / trainer.simulated
            show_line(self._console, f"  {trainer.simulated:.0%} simulated; {left / 60:.1f} minutes left until updates")
            self._told = now

    def _left(self, trainer: EntropyTrainer) -> str:
        """The time left at most, from that of updates and renewals so far."""
        p, settings = trainer.progress, trainer.settings
        if self._first is None or p.update == self._first[0]:
            return ""
        update, renewals, since = self._first
        done = p.update - update
        often = max((p.renewals - renewals) / done, 1.0 / settings.renew_after)
        each = (time.monotonic() - since - self._all) / done + often * self._one
        return f"; at most about {each * (settings.updates - p.update) / 60:.1f} minutes left"

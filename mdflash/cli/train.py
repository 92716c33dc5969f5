"""`mdflash train` and `mdflash fit`: a dataset becomes a force field."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdflash.cli import train_committee, weighed
from mdflash.cli.lines import PlainConsole, show_line, show_rows, styled
from mdflash.cli.outputs import Force, forcefield_files, may_write
from mdflash.cli.training_bar import TrainingBar
from mdflash.core.plural import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from mdflash.engine.distributed import Ranks
    from mdflash.training.run import PreparedTraining
    from mdflash.training.trainer import Trainer

RecipeFile = Annotated[Path, typer.Argument(help="What to train: a recipe.yaml.", metavar="RECIPE", show_default=False)]


SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set training.epochs=100.")
]


def train(
    recipe: RecipeFile,
    set_: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check everything, time one step, and write nothing.")
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads; the same number gives the same bits.", show_default="all cores"),
    ] = None,
    committee: Annotated[
        int | None,
        typer.Option(
            min=2, max=64, help="Train so many members that differ by their seeds, side by side.", show_default=False
        ),
    ] = None,
) -> None:
    """Train a SchNet on the forces of a dataset; rerun the same command to resume, with more epochs to go on.

    With `relative_entropy:` in the recipe, go on from a force field until its molecules are where the frames are.
    With --committee 4, four networks in one folder, whose disagreement says where the force field knows nothing.
    With many processes: torchrun --nproc-per-node N -m mdflash train RECIPE.
    """
    from mdflash.engine.distributed import join

    with join() as ranks:
        if ranks.note:
            typer.echo(f"note: {ranks.note}", err=True)
        _train(recipe, set_ or [], dry_run, threads, ranks, committee)


def fit(
    recipe: RecipeFile,
    out: Annotated[Path, typer.Option(help="The force field folder to write.", show_default=False)],
    set_: SetOption = None,
    force: Force = False,
) -> None:
    """Fit the priors of RECIPE by Boltzmann inversion, with a picture of each fit; no training."""
    from mdflash.core.files import storage_errors
    from mdflash.forcefields.forcefield import save_forcefield
    from mdflash.training.plots import plot_priors
    from mdflash.training.recipe import load_recipe
    from mdflash.training.run import read_priors

    may_write(forcefield_files(out), force, [recipe])
    _, priors, fits = read_priors(load_recipe(recipe, set_ or []))
    with storage_errors(out):
        save_forcefield(out, priors)
        pictures = plot_priors(out / "pictures", fits, priors)
    typer.echo(f"wrote {out}: " + ", ".join(f"{len(t.keys)} {t.name}" for t in priors.terms))
    for picture in pictures:
        typer.echo(f"  {picture}")


def _train(
    file: Path, overrides: Sequence[str], dry_run: bool, threads: int | None, ranks: Ranks, committee: int | None
) -> None:
    from mdflash.training.recipe import load_recipe

    plan = load_recipe(file, overrides)
    if committee is not None:
        train_committee.check(plan, ranks)

    # heavy, and useless for a recipe that is not valid
    import torch

    from mdflash.core.gpu import find_gpu
    from mdflash.core.signals import stop_signals
    from mdflash.engine.blocks.compiled import set_threads
    from mdflash.engine.devices import seating, seats_of
    from mdflash.training.committee import make_members
    from mdflash.training.folder import training_folder, write_head
    from mdflash.training.run import make_trainer, prepare_training, train

    cores = set_threads(threads or ranks.threads)
    torch.set_num_threads(cores)
    console = PlainConsole(quiet=ranks.rank > 0)
    prepared = prepare_training(plan)
    if plan.relative_entropy is not None:
        from mdflash.cli import train_entropy

        train_entropy.show_plan(prepared, console)
        if dry_run:
            _foresee([prepared], console)
        else:
            train_entropy.run(prepared, file, ranks, console)
        return
    _show_plan(prepared, console)
    if dry_run:
        seconds = make_trainer(prepared, ranks).time_step()
        rate = plan.training.batch / seconds
        minutes = prepared.data.count(False) / rate / 60
        console.print(f"a step: {1e3 * seconds:.0f} ms; {rate:,.0f} frames/s; {minutes:.1f} minutes an epoch")
        if committee is not None:
            console.print(f"that is of one member; a committee has {committee} of them, side by side")
        _foresee([prepared] if committee is None else list(make_members(prepared, committee)), console)
        return
    if committee is not None:
        train_committee.run(prepared, file, overrides, committee, cores, console)
        return
    if plan.training.device == "cuda" and ranks.size > 1:
        for note in seating(seats_of(ranks, find_gpu(ranks.local_rank, "training.device"))):
            console.print(f"note: {note}", soft_wrap=True)
    with training_folder(plan.output) if ranks.rank == 0 else nullcontext():
        if ranks.rank == 0:
            write_head(prepared, file)
            names = [molecule.system.name for molecule in prepared.data.molecules]
            weighed.draw(plan.output / "weights", list(zip(names, prepared.weights, strict=False)))
        with stop_signals() as received, _Bar(console) as bar:
            folder, trainer = train(prepared, ranks, bar.show, lambda: bool(received))
    p = trainer.progress
    console.print(
        f"{plural(p.epoch, 'epoch')}, {plural(p.step, 'step')}; "
        f"lowest validation loss {p.best:.5g}, after epoch {p.best_epoch}\n"
        f"wrote {folder}\nnext: mdflash validate {folder} --against {plan.data.dataset[0]}",
        soft_wrap=True,
    )


def _foresee(trainings: Sequence[PreparedTraining], console: Console) -> None:
    """The end of a dry run: whether something that was begun would go on."""
    from mdflash.training.folder import resumes

    begun = [training.recipe.output for training in trainings if resumes(training)]
    if begun:
        others = f", and {plural(len(begun) - 1, 'other')} like it" if len(begun) > 1 else ""
        console.print(f"The training in {begun[0]} was begun before: it would go on{others}.", soft_wrap=True)
    console.print("Dry run: nothing was written.")


def _show_plan(prepared: PreparedTraining, console: Console) -> None:
    from mdflash.potentials.schnet.network import Hyperparameters
    from mdflash.training.run import remarks

    recipe, data = prepared.recipe, prepared.data
    n = Hyperparameters.from_dict(prepared.network.hyperparameters)
    rows = {
        "molecules": ", ".join(f"{m.system.name} ({m.system.n_beads} beads)" for m in data.molecules),
        "frames": f"{data.count(False):,} for training, {data.count(True):,} held out",
        "priors": ", ".join(f"{len(t.keys)} {t.name}" for t in prepared.priors.terms) or "none",
        "network": f"SchNet, {n.features} features, {plural(n.blocks, 'block')}, cutoff {n.cutoff:g} Å",
        **({} if n.backbone is None else {"backbone": _said(n.backbone.to_dict())}),
        "loss of the priors alone": f"{prepared.loss_without_network():.5g} (kcal/mol/Å)², on the frames held out",
        **{
            key: value
            for molecule, weights in zip(data.molecules, prepared.weights, strict=False)
            for key, value in weighed.rows(molecule.system.name, weights).items()
        },
        "folder": str(recipe.output),
    }
    show_rows(console, rows)
    for note in remarks(prepared):
        console.print(styled(("note", "yellow"), f" {note}"), soft_wrap=True)


def _said(choices: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in choices.items())


class _Bar(TrainingBar):
    """The progress: a bar with epoch, losses and time left; outside a terminal a line for each epoch."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._epoch: tuple[int, str] | None = None

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._line()

    def show(self, trainer: Trainer) -> None:
        """After a step."""
        p, epochs = trainer.progress, trainer.settings.epochs
        best = f", lowest validation loss so far {p.best:.5g}" if p.best_epoch else ""
        text = f"epoch {p.epoch + 1} of {epochs}: training loss {p.squares / p.components:.5g}{best}"
        if self._epoch is not None and self._epoch[0] != p.epoch:
            self._line()
        self._epoch = (p.epoch, text)
        self._bar.update(self._task, total=epochs * trainer.steps_per_epoch, completed=p.step, description=text)

    def _line(self) -> None:
        if self._epoch is not None and not self._console.is_terminal:
            show_line(self._console, self._epoch[1])

"""`mdflash sample`: all-atom simulations, mapped to beads while they run, become a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdflash.cli.options import duration, quantity
from mdflash.core.plural import plural

if TYPE_CHECKING:
    from mdflash.sampling.recipe import SampleRecipe
    from mdflash.sampling.schedule import Progress


def sample(
    recipe: Annotated[
        Path, typer.Argument(help="What to sample: a recipe.yaml.", metavar="RECIPE", show_default=False)
    ],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set length='1 ns'.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build and map everything, estimate the time, and write nothing.")
    ] = False,
    where: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Start from frames of this run that its committee knows least of; the dataset is the recipe's folder "
            "with -RUN after its name.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="With --where: frames to choose.", show_default="50")] = None,
    apart: Annotated[
        str | None,
        typer.Option(help="With --where: RMSD between any two of them, at least.", show_default="1 angstrom"),
    ] = None,
    committee: Annotated[
        Path | None,
        typer.Option(
            help="With --where: the folder of the committee.",
            show_default="that of which RUN's force field is a member",
        ),
    ] = None,
) -> None:
    """Sample molecules all-atom (ff14SB, implicit solvent) into a dataset of beads and forces.

    Rerun the same command to resume.

    With --where, sample around frames where a force field knows nothing, to train it again with both datasets.
    """
    from mdflash.errors import InputError
    from mdflash.sampling.around import Where, describe, only_molecule
    from mdflash.sampling.dataset import load_dataset
    from mdflash.sampling.recipe import load_recipe
    from mdflash.sampling.sample import sample as run_sampling
    from mdflash.sampling.where import APART, COUNT, choose

    plan = load_recipe(recipe, set_ or [])
    chosen = None
    if where is None:
        for option, given in (("--count", count), ("--apart", apart), ("--committee", committee)):
            if given is not None:
                raise InputError("is for frames of a run; say of which: --where RUN", key=option)
    else:
        assert plan.folder is not None  # load_recipe fills it in
        only_molecule(plan)
        run = where.absolute()
        away = APART if apart is None else quantity("--apart", apart, "length")
        chosen = Where(run, committee, count or COUNT, away)
        plan = plan.model_copy(update={"folder": plan.folder.with_name(f"{plan.folder.name}-{run.name}")})
    if dry_run:
        starts = 1
        if chosen is not None:
            found_frames = choose(chosen.run, chosen.committee, chosen.count, chosen.apart, typer.echo)
            typer.echo(describe(found_frames, chosen.count))
            starts = len(found_frames.labels)
        _show_plan(plan, starts)
        return
    folder = run_sampling(plan, typer.echo, _show_progress, chosen)
    found = load_dataset(folder)
    size = sum(t.file.stat().st_size for m in found.molecules for t in m.trajectories)
    typer.echo(f"{folder}: {plural(found.n_frames, 'frame')}, {size / 1e6:.1f} MB")
    if plan.hold is not None:
        _show_disagreements(folder, found.n_frames)


def _show_disagreements(folder: Path, configurations: int) -> None:
    from mdflash.sampling.configurations import disagreements

    bad = disagreements(folder)
    for sentence in bad:
        typer.echo(f"  {sentence}")
    typer.echo(
        f"the two halves disagree in {len(bad):,} of {plural(configurations, 'configuration')}"
        + ("; something slow moves there: average for longer, or do not trust these means" if bad else "")
    )


def _show_plan(plan: SampleRecipe, starts: int) -> None:
    from mdflash.sampling.sample import prepare, speed

    hours = 0.0
    for molecule in prepare(plan):
        system = molecule.beads.system
        windows = next(entry.umbrella for entry in plan.molecule if entry.name == molecule.name)
        rate = speed(molecule, plan)
        if plan.hold is not None:
            count, each, kind = plan.hold.count, plan.hold.settle + plan.hold.average, "configuration"
            what = f"{each:g} ps"
        else:
            assert plan.length is not None  # load_recipe asks for it
            count = starts * plan.walkers * len(plan.temperatures) * (windows.count if windows else 1)
            each, kind, what = plan.length, "replica", plural(plan.frames, "frame")
        hours += count * each / rate / 3600 / plan.processes
        typer.echo(
            f"{molecule.name}: {len(molecule.groups)} atoms, {plural(system.n_beads, 'bead')} ({plan.mapping}); "
            f"{plural(count, kind)} of {what}, {rate * 86.4:.0f} ns/day each"
        )
        for name, rows in system.interactions.items():
            typer.echo(f"  {len(rows)} {name}")
    typer.echo(
        f"about {duration(hours * 3600)} with {plural(plan.processes, 'process')} on as many idle cores, "
        f"into {plan.folder}\n"
        "Dry run: nothing was written."
    )


def _show_progress(progress: Progress) -> None:
    rate = progress.new / progress.seconds
    typer.echo(
        f"{100 * progress.done / progress.total:5.1f} %  {progress.walker.label}: {progress.frames} frames; "
        f"{rate:.1f} frames/s, {duration(progress.seconds_left)} left"
    )

"""`mdflash run`: run a system.yaml, or resume it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mdflash.cli.lines import PlainConsole

if TYPE_CHECKING:
    from pathlib import Path

    from mdflash.engine.distributed import Ranks


def run(
    file: Annotated[
        str,
        typer.Argument(
            help="A system.yaml, the name of a shipped system, or a run folder to resume.", metavar="FILE|RUN"
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set replicas.count=8."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Total steps, instead of dynamics.length or dynamics.steps.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Stop with a checkpoint after this wall time: --until 23h."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete what an earlier run wrote in the folder and start over.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="At the end write analysis/report.html, as mdflash analyze does.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run, and stop before writing anything.")
    ] = False,
) -> None:
    """Run a simulation; rerun the same command, or give its run folder, to resume it.

    With many processes: torchrun --nproc-per-node N -m mdflash run FILE, or srun --ntasks N mdflash run FILE.
    """
    from mdflash.engine.distributed import join

    overrides = [*(set_ or []), *([] if steps is None else [f"dynamics.steps={steps}"])]
    with join() as ranks:
        if ranks.note:
            typer.echo(f"note: {ranks.note}", err=True)
        length = "its length" if steps is None else f"--steps {steps}"
        folder = follow(file, overrides, length, until, fresh, dry_run, ranks)
    if report and folder is not None and ranks.rank == 0:
        from mdflash.cli.analyze import report as make_report

        make_report(folder, PlainConsole())


def follow(
    file: str, overrides: list[str], length: str, until: str | None, fresh: bool, dry_run: bool, ranks: Ranks
) -> Path | None:
    """Run what a file says, show how far it is, and return the run folder; None where nothing was written.

    Args:
        file: a system.yaml, a shipped system or a run folder.
        overrides: as of `--set`.
        length: what asked for the number of steps, in words.
        until: wall time after which it stops, or None.
        fresh, dry_run: as the options.
        ranks: who runs it together.
    """
    from mdflash.cli.options import quantity
    from mdflash.config.load import load_run, locate, naming_lines

    path = locate(file)
    config = load_run(file, overrides)
    limit = None if until is None else quantity("--until", until, "wall")

    # heavy, and useless for a run that is not valid

    from mdflash.cli.terminal import Follower, show_plan
    from mdflash.compiled.jit import compilation
    from mdflash.io.runfolder import is_run_folder
    from mdflash.runs.execute import execute, foresee
    from mdflash.runs.place import at_its_folder, other_run

    found = config if fresh else at_its_folder(config, path, overrides)
    if found.folder != config.folder and ranks.rank == 0:
        typer.echo(
            f"note: {file} was run from another folder before; going on in {found.folder} (or --fresh)", err=True
        )
    elif not fresh and ranks.rank == 0 and (other := other_run(config, path, overrides)) is not None:
        typer.echo(
            f"note: the run in {other} was made from another file or with other settings, so a new one begins in "
            f"{config.folder}; to resume that one, write mdflash run {other}",
            err=True,
        )
    config = found
    compilation.quiet = ranks.rank > 0
    if dry_run:
        with naming_lines(file, overrides):
            plan = foresee(config, fresh=fresh, ranks=ranks)
        console = PlainConsole(quiet=ranks.rank > 0)
        show_plan(plan, console)
        if plan.start == "finished":
            console.print(f"The run in {config.folder} has made these steps: there is nothing to do.", soft_wrap=True)
        elif fresh and is_run_folder(config.folder):
            console.print(f"--fresh would delete the run in {config.folder}.", soft_wrap=True)
        console.print("Dry run: nothing was written.")
        return None
    with naming_lines(file, overrides), Follower(limit, quiet=ranks.rank > 0) as follower:
        plan = execute(config, path, fresh=fresh, watch=follower.watch, ranks=ranks)
    follower.show_end(plan, length)
    return config.folder

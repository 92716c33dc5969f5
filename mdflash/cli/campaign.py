"""`mdflash campaign`: many runs of one plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdflash.cli.lines import PlainConsole, show_line
from mdflash.core.plural import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mdflash.campaigns.expand import Planned
    from mdflash.campaigns.folder import Row
    from mdflash.campaigns.state import Stand
    from mdflash.campaigns.work import Outcome

app = typer.Typer(
    help="Many runs of one plan: systems, force fields, temperatures, seeds, or any keys.", no_args_is_help=True
)

_SMALL = 200
"""Runs of a campaign, up to which each task of an array writes the table of all: it reads the folder of every run."""

_EARLY, _OFTEN, _LATER = 300.0, 10.0, 60.0
"""Seconds: until `_EARLY` a line comes every `_OFTEN`, then every `_LATER`."""
_NAMED = 2
"""Runs that such a line names."""

Folder = Annotated[Path, typer.Argument(help="The folder of a campaign.", metavar="FOLDER", show_default=False)]


@app.command()
def plan(
    sweep: Annotated[
        Path,
        typer.Argument(help="A sweep.yaml; make one with mdflash init --campaign.", metavar="FILE", show_default=False),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs, and write nothing.")] = False,
) -> None:
    """Write a folder for each run, with all that it reads, a list of them, and a job script.

    The same command adds runs where values were added to the sweep; runs that are there stay as they are.
    """
    from mdflash.campaigns.expand import expand
    from mdflash.campaigns.jobs import SUBMIT
    from mdflash.campaigns.plan import lay_out
    from mdflash.campaigns.recipe import load_campaign

    console = PlainConsole()
    if dry_run:
        runs = list(expand(*load_campaign(sweep)))
        for number, run in enumerate(runs, 1):
            show_line(console, f"{number:>5}  {run.name}  {', '.join(f'{k}: {v}' for k, v in run.values.items())}")
        show_line(console, f"Dry run: {plural(len(runs), 'run')}; nothing was written.")
        return
    progress = _Progress()
    laid = lay_out(sweep, lambda runs: _check(runs, sweep, progress), progress)
    old = len(laid.rows) - laid.added
    show_line(console, f"planned {plural(laid.added, 'run')} in {laid.folder}" + (f", beside {old:,}" if old else ""))
    submit = f"cd {laid.folder} && {SUBMIT[laid.scheduler]} {laid.script.name}"
    show_line(console, f"next: mdflash campaign run {laid.folder}, or edit {laid.script.name} and: {submit}")


def _check(runs: Sequence[Planned], sweep: Path, progress: _Progress) -> None:
    """Prepare the runs as they will be, those that differ in temperature, length or seed once.

    Raises:
        MdflashError: one could not start; names it.
    """
    from mdflash.config.write import to_data
    from mdflash.errors import InputError, MdflashError
    from mdflash.runs.prepare import prepare

    different: dict[str, Planned] = {}
    for run in runs:
        data = to_data(run.config)
        for key in ("temperature", "seed", "length", "steps"):
            del data["dynamics"][key]
        different.setdefault(repr({k: v for k, v in data.items() if k not in ("name", "output", "hardware")}), run)
    for k, run in enumerate(different.values()):
        progress("checking runs", k, len(different))
        try:
            prepare(run.config.with_seed())
        except MdflashError as error:
            raise InputError(f"the run {run.name} could not start: {error}", file=sweep) from None


class _Progress:
    """Says now and then what is done, on stderr."""

    def __init__(self) -> None:
        import time

        self._clock, self._last = time.monotonic, time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._clock() - self._last > 2.0:
            self._last = self._clock()
            typer.echo(f"{what}: {done:,}" + (f" of {total:,}" if total else ""), err=True)


@app.command()
def run(
    folder: Folder,
    executor: Annotated[str, typer.Option(help="local (this machine) | parsl (Parsl's workers).")] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time.", show_default="one for each GPU, or 1")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of each run.", show_default="what the run says; of several, a share"),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop all with a checkpoint after this wall time: 23h.")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="Attempts after a crash that wrote no further checkpoint.")] = 3,
    failed: Annotated[bool, typer.Option("--failed", help="Try runs again that failed before.")] = False,
    task: Annotated[
        int | None,
        typer.Option(min=1, metavar="NUMBER", help="Only this run, by its number in runs.csv: for job scripts."),
    ] = None,
    analysis: Annotated[bool, typer.Option(help="Analyze each run at its end, for properties.csv.")] = True,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of parsl: a Python file with `config = parsl.Config(...)`.")
    ] = None,
) -> None:
    """Work off the runs that are left; runs that were stopped go on where they were.

    Ctrl-C stops all with a checkpoint (exit code 75). Several of these may work on one folder.
    """
    import time

    from mdflash.campaigns.executors import EXECUTORS, Workers, share_of_cores
    from mdflash.campaigns.folder import read_rows
    from mdflash.campaigns.runner import Watch, stop_file, work_through
    from mdflash.campaigns.state import stand_of
    from mdflash.campaigns.table import write_table
    from mdflash.campaigns.work import Job, Manner
    from mdflash.cli.options import quantity
    from mdflash.core.signals import stop_signals
    from mdflash.errors import InputError, StorageError

    if executor not in EXECUTORS:
        raise InputError(f"expected {' or '.join(EXECUTORS)}, found '{executor}'", key="--executor")
    if config is not None and executor == "local":
        raise InputError("is for Parsl; add --executor parsl, or leave it out", key="--config")
    rows = read_rows(folder)
    small = task is None or len(rows) <= _SMALL
    if task is not None:
        if task > len(rows):
            raise InputError(f"the campaign has runs 1 to {len(rows)}, found {task}", key="--task")
        rows = rows[task - 1 : task]
    deadline = None if until is None else time.time() + quantity("--until", until, "wall")
    shown = _Shown(PlainConsole(), {row.name: folder / "runs" / row.name for row in rows})
    shown.begin(_summary([stand_of(folder / "runs" / row.name) for row in rows]))
    using = Workers(1 if task else workers, folder.absolute(), config)
    with stop_signals() as signals, stop_file(folder.absolute()) as stop:
        manner = Manner(stop, deadline, retries, threads or share_of_cores(using), analysis, failed)
        jobs = [Job(folder.absolute(), row, manner) for row in rows]
        with EXECUTORS[executor](using) as pool:
            watch = Watch(shown.ended, shown.waiting, lambda: shown.stopping(next(iter(signals), None)))
            outcomes = work_through(jobs, pool, watch)
    try:
        if small:
            shown.table(write_table(folder))
    except StorageError as error:  # the runs are what they are
        typer.echo(f"note: properties.csv was not written: {error}; mdflash campaign table {folder} does", err=True)
    _end(folder, outcomes, next(iter(signals), None), until)


class _Shown:
    """A line for each run that ends; between them a line of what is done, as often as `mdflash run` writes one."""

    def __init__(self, console: PlainConsole, places: Mapping[str, Path]) -> None:
        import time

        self._console, self._places, self._clock = console, dict(places), time.monotonic
        self._total = len(places)
        self._begun = self._last = time.monotonic()
        self._over = self._before = 0
        self._stops = False

    def begin(self, summary: str) -> None:
        show_line(self._console, summary)

    def ended(self, outcome: Outcome) -> None:
        self._places.pop(outcome.name, None)
        if outcome.result == "stopped" and not outcome.said:  # it was not begun
            return
        self._over += 1
        if outcome.result == "before":
            self._before += 1
            return
        self._last = self._clock()
        said = outcome.said.splitlines()[0] if outcome.said else ""
        where = "is run by " if outcome.result == "elsewhere" else f"{outcome.result}{': ' if said else ''}"
        self._say(f"{outcome.name}: {where}{said}")

    def stopping(self, reason: str | None) -> str | None:
        """Say what happens now; returns the reason."""
        if reason is not None:
            self._stops = True
            show_line(self._console, f"{reason}: the runs that go on write a checkpoint and stop")
        return reason

    def waiting(self) -> None:
        now = self._clock()
        if now - self._last > (_OFTEN if now - self._begun < _EARLY else _LATER):
            self._last = now
            self._say(self._work())

    def _work(self) -> str:
        """What the runs do that somebody works on, by their own last words."""
        from mdflash.campaigns.state import held_by, last_said

        held = [(name, place) for name, place in self._places.items() if held_by(place) is not None]
        if not held:
            return "waiting for workers"
        parts = [f"{name}: {last_said(place) or 'starting'}" for name, place in held[:_NAMED]]
        return "; ".join(parts + ([f"and {len(held) - _NAMED:,} more at work"] if len(held) > _NAMED else []))

    def table(self, path: Path) -> None:
        show_line(self._console, f"wrote {path}")

    def _say(self, what: str) -> None:
        from mdflash.cli.options import duration

        if self._stops:  # nothing of what is left is done now
            show_line(self._console, what)
            return
        took = self._clock() - self._begun
        worked = self._over - self._before
        left = (
            f", about {duration(took / worked * (self._total - self._over))} left"
            if 0 < self._over < self._total and worked
            else ""
        )
        show_line(self._console, f"{what}  [{self._over:,} of {self._total:,}, after {duration(took)}{left}]")


def _end(folder: Path, outcomes: Sequence[Outcome], signal: str | None, until: str | None) -> None:
    """Say how the campaign stands, and end with the exit code that says so too.

    Raises:
        Interrupted: runs were stopped.
        MdflashError: runs failed.
    """
    from collections import Counter

    from mdflash.errors import Interrupted, MdflashError, NoSpaceError, UnstableError

    count = Counter(outcome.result for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.result == "failed"]
    if count["elsewhere"]:
        typer.echo(f"note: {plural(count['elsewhere'], 'run')} left to others that work on this campaign", err=True)
    if failed:
        codes = {outcome.code for outcome in failed}
        kind = next((k for k in (UnstableError, NoSpaceError) if codes == {k.exit_code}), MdflashError)
        raise kind(
            f"{plural(len(failed), 'run')} of {len(outcomes):,} failed, the first is {failed[0].name}: "
            f"{failed[0].said}\nmdflash campaign status {folder} lists them; mdflash campaign run {folder}"
            f"{'' if kind is NoSpaceError else ' --failed'} tries them again"
        )
    if count["stopped"]:
        why = signal or f"--until {until}"
        raise Interrupted(
            f"{why}: stopped with {plural(count['stopped'], 'run')} of {len(outcomes):,} left, checkpoints written; "
            "run the same command again to go on"
        )


@app.command()
def status(folder: Folder) -> None:
    """Print where every run stands: waiting, running, stopped, done, or failed and why. Reads only."""
    from mdflash.campaigns.folder import read_rows
    from mdflash.campaigns.state import stand_of

    console = PlainConsole()
    found = [(row, stand_of(folder / "runs" / row.name)) for row in read_rows(folder)]
    if console.is_terminal:
        console.print(_table(found))
    else:
        width = max(len(row.name) for row, _ in found)
        for row, stand in found:
            state, share, about = _cells(stand)
            show_line(console, f"{row.number:>6}  {row.name:<{width}}  {state:<7}  {share:>5}  {about}".rstrip())
    show_line(console, _summary([stand for _, stand in found]))


def _summary(stands: Sequence[Stand]) -> str:
    from collections import Counter

    from mdflash.campaigns.state import STATES

    count = Counter(stand.state for stand in stands)
    return f"{plural(len(stands), 'run')}: " + ", ".join(f"{count[s]:,} {s}" for s in STATES if count[s])


def _cells(stand: Stand) -> list[str]:
    """State, progress, and what else there is to say, each without line ends."""
    from mdflash.cli.options import duration

    share = f"{100 * stand.step / stand.total:.0f} %" if stand.total else ""
    about = stand.reason
    if stand.state == "running":
        over = stand.total and stand.step >= stand.total
        left = ", in its analysis" if over else "" if stand.left is None else f", about {duration(stand.left)} left"
        about = f"by {stand.where}{left}"
    return [stand.state, share, " ".join(about.split())]


def _table(found: Sequence[tuple[Row, Stand]]) -> object:
    from rich.table import Table

    from mdflash.cli.lines import styled

    colors = {"done": "green", "running": "cyan", "failed": "red", "stopped": "yellow"}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", justify="right")
    table.add_column("run")
    table.add_column("state")
    table.add_column("steps", justify="right")
    table.add_column("")
    for row, stand in found:
        state, share, about = _cells(stand)
        table.add_row(str(row.number), styled(row.name), styled((state, colors.get(state, ""))), share, styled(about))
    return table


@app.command()
def table(folder: Folder) -> None:
    """Write properties.csv again: the analysis of every run, beside the swept values."""
    from mdflash.campaigns.table import write_table

    show_line(PlainConsole(), f"wrote {write_table(folder)}")

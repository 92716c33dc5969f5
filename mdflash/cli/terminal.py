"""What the user sees of a run: the banner, the progress bar, the end; and how signals reach it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from mdflash import __version__
from mdflash.core.signals import stop_signals
from mdflash.engine.engine import Engine
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.io.formats import EXPORTED
from mdflash.runs.execute import Plan, Watch

STARTING = "starting (the first run compiles its kernels: up to a minute)"


def _span(values: np.ndarray, unit: str, digits: int = 4) -> str:
    low, high = f"{values.min():.{digits}g}", f"{values.max():.{digits}g}"
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def show_plan(plan: Plan, console: Console | None = None) -> None:
    """The start-up banner: what runs, under what, with which numbers."""
    console = console or Console()
    config, layout, engine = plan.prepared.config, plan.prepared.layout, plan.engine
    dt, every = config.dynamics.timestep, config.dynamics.network_every
    fields = dict.fromkeys(plan.prepared.forcefields)
    networks = any(f.networks for f in fields)
    kernels = {
        "compiled": "compiled loop (numba)",
        "python": "plain loop: a term has no compiled kernel yet, or kernels: reference",
        "cuda": "captured graphs (Triton)",
    }[engine.propagator.kernels]
    rows = {
        "system": layout.describe(),
        "force field": ", ".join(
            f"{f.name} ({len(f.terms)} terms{', ' + ', '.join(n.kind for n in f.networks) if f.networks else ''})"
            for f in fields
        ),
        "replicas": str(layout.n_replicas),
        "temperature": _span(engine.state.temperature.numpy(), "K"),
        **_sampling(plan),
        "integrator": engine.integrator.name,
        "time step": f"{dt * 1e3:g} fs" + (f", networks every {every * dt * 1e3:g} fs" if every > 1 else ""),
        "friction": f"{engine.integrator.friction:g} /ps",
        "masses": _span(layout.masses.numpy(), "Da"),
        "length": f"{config.total_steps:,} steps = {_time(config.total_steps * dt)} per replica",
        "device": engine.device,
        **({"ranks": "; ".join(plan.places)} if plan.places else {}),
        "kernels": kernels + (f"; networks in {config.model.precision}" if networks else ""),
        "seed": str(engine.seed),
        "run folder": str(config.folder),
    }
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(f"[bold]{name}[/]", value)
    console.rule(f"[bold]mdflash {__version__}[/]  {config.name}")
    console.print(table)
    for note in (*plan.notes, *engine.notes):
        console.print(f"[yellow]note[/] {note}")
    if plan.start == "resume":
        console.print(f"[green]resuming[/] at step {engine.state.step:,} ({_time(engine.time)})")


def _sampling(plan: Plan) -> dict[str, str]:
    """Exchange, guards and biases, where there are any."""
    engine = plan.engine
    exchange, guard = engine.exchange, engine.guard
    rows = {}
    if exchange is not None:
        k, n = len(exchange.temperatures), len(exchange.ladders)
        every = _time(exchange.every * engine.integrator.timestep)
        rows["exchange"] = (
            f"{n} ladder{'s' if n > 1 else ''} of {k} {_states(exchange)}, {exchange.scheme}, every {every}"
        )
    if guard.nonfinite != "stop":
        rows["unstable replicas"] = guard.nonfinite
    biases = plan.prepared.biases
    if biases:
        rows["biases"] = ", ".join(f"{bias.name} ({bias.variable.name.replace('_', ' ')})" for bias in biases)
    return rows


def _states(exchange: ReplicaExchange) -> str:
    return "states" if exchange.biases else "temperatures"


def _time(ps: float) -> str:
    for unit, size in (("ms", 1e9), ("µs", 1e6), ("ns", 1e3)):
        if ps >= size:
            return f"{ps / size:g} {unit}"
    return f"{ps:g} ps"


class Follower:
    """Shows a run and stops it on SIGINT, SIGTERM, SIGUSR1 or when its wall time is over.

    A second signal of the same kind ends the process at once.

    Args:
        limit: seconds of wall time, or None.
        quiet: show nothing.
    """

    def __init__(self, limit: float | None = None, *, quiet: bool = False) -> None:
        self.watch = Watch(self._planned, self._progress, self._should_stop)
        self._console = Console(quiet=quiet)
        self._deadline = None if limit is None else time.monotonic() + limit
        self._received: list[str] = []  # signals
        self._signals = ExitStack()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._mark = (0.0, 0)

    def __enter__(self) -> Follower:
        self._received = self._signals.enter_context(stop_signals())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signals.close()
        if self._bar is not None:
            self._bar.stop()

    def _should_stop(self) -> str | None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "reached the time limit set by --until"
        return self._received[-1] if self._received else None

    def _planned(self, plan: Plan) -> None:
        show_plan(plan, self._console)
        total, step = plan.prepared.config.total_steps, plan.engine.state.step
        if plan.start == "finished":
            return
        self._bar = Progress(
            TextColumn("{task.fields[step]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[temperature]}"),
            TextColumn("left"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=self._console,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task(
            "", total=total, completed=step, step=f"step {step:,}", speed=STARTING, temperature=""
        )
        self._mark = (time.monotonic(), step)
        self._bar.start()

    def _progress(self, engine: Engine) -> None:
        if self._bar is None:
            return
        began, first = self._mark
        step = engine.state.step
        speed = ""
        if step > first:
            ns = (step - first) * engine.integrator.timestep * 1e-3 * engine.layout.n_replicas
            speed = f"{ns / (time.monotonic() - began) * 86400:,.0f} ns/day"
        self._bar.update(
            self._task,
            completed=step,
            step=f"step {step:,}",
            speed=speed or STARTING,
            temperature=f"{engine.instantaneous_temperature().mean():.0f} K",
        )

    def show_end(self, plan: Plan) -> None:
        """Where the results are, and what to type next."""
        config = plan.prepared.config
        folder = config.folder
        self._show_sampling(plan)
        verb = "was already finished" if plan.start == "finished" else "finished"
        self._console.print(f"[green bold]{config.name} {verb}[/]: {config.total_steps:,} steps. Results:")
        table = Table.grid(padding=(0, 2))
        for path, about in (
            ("trajectory/", "frames of every replica"),
            ("log.csv", "energies and temperatures"),
            ("exchange.csv", "which replica held which state"),
            ("colvars.csv", "variables and bias energies"),
            ("topology.pdb", "the beads, for viewers"),
            ("manifest.json", "versions, hashes, speed"),
        ):
            if (folder / path).exists():
                table.add_row(f"  {folder / path}", about)
        self._console.print(table)
        first = plan.prepared.layout.replica_ids[0]
        self._console.print("Next:")
        self._console.print(f"  mdflash info {folder}")
        kind = EXPORTED[0]
        self._console.print(f"  mdflash export {folder} --replica {first} --format {kind} --out replica.{kind}")
        if plan.engine.exchange is not None:
            which = " --ladder 0" if len(plan.engine.exchange.ladders) > 1 else ""
            self._console.print(f"  mdflash export {folder} --by temperature --state 0{which} --out state0.{kind}")
        self._console.print(
            f"  mdflash run ... --steps {2 * config.total_steps}   (the same command, longer: continues from here)"
        )

    def _show_sampling(self, plan: Plan) -> None:
        """Acceptance, round trips and frozen replicas."""
        exchange, guard = plan.engine.exchange, plan.engine.guard
        for replica, since in zip(plan.prepared.layout.replica_ids, guard.frozen_since.tolist(), strict=True):
            if since >= 0:
                self._console.print(
                    f"[yellow]note[/] replica {replica} is frozen since step {since:,}; see events.jsonl"
                )
        if exchange is None:
            return
        for system, shares in exchange.acceptance().items():
            shown = " ".join("-" if share is None else f"{share:.2f}" for share in shares)
            self._console.print(
                f"[bold]exchange[/] {system}: accepted between neighboring {_states(exchange)}: {shown}"
            )
        trips = exchange.round_trips
        self._console.print(f"[bold]exchange[/] {trips.sum()} round trips, {trips.min()} to {trips.max()} a replica")

"""What the user sees of a run: the banner, its progress, the end; and how signals reach it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType

import numpy as np
from rich.console import Console

from mdflash import __version__
from mdflash.cli.lines import PlainConsole, show_line, show_rows, styled
from mdflash.cli.progress import OFTEN, Bar, Display, Lines, Waiting, Where, lasting_console
from mdflash.core.files import size_text
from mdflash.core.plural import plural
from mdflash.core.signals import stop_signals
from mdflash.engine.engine import Engine
from mdflash.engine.ensemble.bins import Bins
from mdflash.engine.ensemble.ensemble import WeightedEnsemble
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.forcefields.model import ForceField
from mdflash.io.events import read_events
from mdflash.io.formats import EXPORTED
from mdflash.runs.execute import Plan, Watch


def _span(values: np.ndarray, unit: str, digits: int = 4) -> str:
    low, high = f"{values.min():.{digits}g}", f"{values.max():.{digits}g}"
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _arithmetic(plan: Plan, networks: bool) -> str:
    """What `model.precision` is about in this run; a CPU computes all but networks in float64."""
    precision = plan.prepared.config.model.precision
    if networks:
        return f"; networks in {precision}"
    if plan.engine.gpu is None:
        return ""
    return f"; forces in {'fp64' if precision == 'fp64' else 'fp32'}"


def show_plan(plan: Plan, console: Console | None = None) -> None:
    """The start-up banner: what runs, under what, with which numbers."""
    console = console or PlainConsole()
    config, layout, engine = plan.prepared.config, plan.prepared.layout, plan.engine
    dt, every = config.dynamics.timestep, config.dynamics.network_every
    fields = dict.fromkeys(plan.prepared.forcefields)
    networks = any(f.networks for f in fields)
    kernels = {
        "compiled": "compiled loop (numba)",
        "python": "plain loop: a term has no compiled kernel yet, or kernels: reference",
        "cuda": "captured graphs (Triton)",
        "whole": "one program for all steps of a replica's block (Triton)",
    }[engine.propagator.kernels]
    rows = {
        "system": layout.describe(),
        "force field": ", ".join(
            f"{f.name} ({', '.join([plural(len(f.terms), 'term'), *(n.kind for n in f.networks)])})" for f in fields
        ),
        "replicas": str(layout.n_replicas),
        "temperature": _span(engine.state.temperature.numpy(), "K"),
        **_environment(fields),
        **_sampling(plan),
        "integrator": engine.integrator.name,
        "time step": f"{dt * 1e3:g} fs" + (f", networks every {every * dt * 1e3:g} fs" if every > 1 else ""),
        "friction": f"{engine.integrator.friction:g} /ps",
        "masses": _span(layout.masses.numpy(), "Da"),
        "length": f"{config.total_steps:,} steps = {_time(config.total_steps * dt)} per replica",
        "device": engine.device,
        **({"ranks": "; ".join(plan.places)} if plan.places else {}),
        "kernels": kernels + _arithmetic(plan, networks),
        "seed": str(engine.seed),
        "run folder": str(config.folder),
    }
    console.rule(styled((f"mdflash {__version__}", "bold"), f"  {config.name}"))
    show_rows(console, rows)
    for note in (*plan.notes, *engine.notes):
        console.print(styled(("note", "yellow"), f" {note}"), soft_wrap=True)
    if plan.start == "resume":
        console.print(styled(("resuming", "green"), f" at step {engine.state.step:,} ({_time(engine.time)})"))


def _environment(forcefields: Iterable[ForceField]) -> dict[str, str]:
    """What the force fields are evaluated in, where they depend on it."""
    found: dict[str, str] = {}
    for ff in forcefields:
        if ff.environment is not None and ff.needs:
            around = ff.environment.describe()
            text = ", ".join(f"pH {around[k]}" if k == "pH" else str(around[k]) for k in around if k in ff.needs)
            found.setdefault(text, ff.name)
    one = len(found) == 1
    shown = "; ".join(text if one else f"{name}: {text}" for text, name in found.items())
    return {"environment": shown} if found else {}


def _sampling(plan: Plan) -> dict[str, str]:
    """Exchange, guards and biases, where there are any."""
    engine = plan.engine
    exchange, guard, dt = engine.exchange, engine.guard, engine.integrator.timestep
    rows = {}
    if exchange is not None:
        k, n = len(exchange.temperatures), len(exchange.ladders)
        every = _time(exchange.every * engine.integrator.timestep)
        rows["exchange"] = f"{plural(n, 'ladder')} of {k} {_states(exchange)}, {exchange.scheme}, every {every}"
    if engine.annealing.stages:
        rows["annealing"] = ", ".join(
            f"{_time(s.start * dt)} to {_time(s.stop * dt)}: to {s.kelvin:g} K" for s in engine.annealing.stages
        )
    if guard.nonfinite != "stop":
        rows["unstable replicas"] = guard.nonfinite
    for word, entries in (("biases", plan.prepared.biases), ("monitor", plan.prepared.monitored)):
        if entries:
            rows[word] = ", ".join(f"{entry.name} ({entry.variable.name.replace('_', ' ')})" for entry in entries)
    if engine.ensemble is not None:
        rows["weighted ensemble"] = _walkers(engine.ensemble, engine.integrator.timestep)
    for bias in engine.deposits.biases:
        walkers = len(bias.replica_ids) // bias.groups
        shared = (
            plural(walkers, "walker") if bias.groups == 1 else f"{bias.groups} groups of {plural(walkers, 'walker')}"
        )
        every = _time(bias.every * engine.integrator.timestep)
        over = " and ".join(f"{axis.name} ({axis.points} points)" for axis in bias.axes)
        rows["metadynamics"] = "; ".join(
            [
                *filter(None, [rows.get("metadynamics")]),
                f"{bias.name} along {over}, {shared}, hills every {every}, {size_text(bias.bytes)}",
            ]
        )
    return rows


def _walkers(ensemble: WeightedEnsemble, timestep: float) -> str:
    scheme = ensemble.scheme
    how = f"in {len(scheme.edges) + 1} bins" if isinstance(scheme, Bins) else "by REVO"
    until = ", to a target" if ensemble.target is not None else ""
    every = _time(ensemble.every * timestep)
    return f"{len(ensemble.weights)} walkers along {ensemble.variable.name} {how}{until}, resampled every {every}"


def _states(exchange: ReplicaExchange) -> str:
    return "states" if exchange.biases else "temperatures"


def _time(ps: float) -> str:
    for unit, size in (("ms", 1e9), ("µs", 1e6), ("ns", 1e3)):
        if ps >= size:
            return f"{ps / size:g} {unit}"
    return f"{ps:g} ps"


class Follower:
    """Shows a run, and stops it on a signal of `signals.STOP` or when its wall time is over.

    Args:
        limit: seconds of wall time, or None.
        quiet: show nothing.
    """

    def __init__(self, limit: float | None = None, *, quiet: bool = False) -> None:
        self.watch = Watch(self._planned, self._progress, self._should_stop, self._said)
        self._console = lasting_console(quiet)
        self._deadline = None if limit is None else time.monotonic() + limit
        self._received: list[str] = []  # signals
        self._signals = ExitStack()
        self._display: Display | None = None
        self._waiting: Waiting | None = None
        self._where: Where | None = None
        self._begun = time.monotonic()
        self._first, self._total = 0, 0
        self._told = -OFTEN  # what happens before the first step
        self._mark: tuple[float, int] | None = None  # after the first steps, whose time includes compilation

    def __enter__(self) -> Follower:
        self._received = self._signals.enter_context(stop_signals())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signals.close()
        if self._waiting is not None:
            self._waiting.stop()
        if self._display is not None:
            self._display.end(self._where, time.monotonic() - self._begun)

    def _should_stop(self) -> str | None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "reached the time limit set by --until"
        return self._received[-1] if self._received else None

    def _planned(self, plan: Plan) -> None:
        show_plan(plan, self._console)
        if plan.start == "finished":
            return
        if plan.start == "fresh":
            folder = plan.prepared.config.folder
            self._console.print(styled(("starting", "green"), f" a new run in {folder}"), soft_wrap=True)
        self._begun = time.monotonic()
        self._first, self._total = plan.engine.state.step, plan.prepared.config.total_steps
        terminal = self._console.is_terminal
        self._display = Bar(self._console, self._first, self._total) if terminal else Lines(self._console)
        self._waiting = Waiting(self._display.wait, 1.0 if terminal else OFTEN)

    def _said(self, text: str) -> None:
        if self._display is not None:
            now = time.monotonic()
            if self._console.is_terminal or now - self._told >= OFTEN:
                self._told = now
                self._display.wait(text)

    def _progress(self, engine: Engine) -> None:
        step = engine.state.step
        if self._display is None or self._waiting is None or step == self._first:
            return
        now = time.monotonic()
        if self._mark is None:
            self._mark = (now, step)
            self._waiting.stepped()
        began, first = self._mark
        speed = left = None
        if step > first and now > began:
            rate = (step - first) / (now - began)
            speed = rate * engine.integrator.timestep * 1e-3 * engine.layout.n_replicas * 86400
            left = (self._total - step) / rate
        moving = engine.integrator.has_velocities
        temperature = float(engine.instantaneous_temperature().mean()) if moving else None
        self._where = Where(step, self._total, speed, temperature, left)
        self._display.show(self._where)

    def show_end(self, plan: Plan, length: str = "its length") -> None:
        """Where the results are, and what to type next.

        Args:
            plan: from `execute`.
            length: what asked for the number of steps, in words.
        """
        config = plan.prepared.config
        folder, step = config.folder, plan.engine.state.step
        self._show_sampling(plan)
        if step > config.total_steps:
            state = f"the run stands at step {step:,}, beyond {length}. Results:"
        else:
            verb = "was already finished" if plan.start == "finished" else "finished"
            state = f"{verb}: {config.total_steps:,} steps. Results:"
        self._console.print(styled((config.name, "green bold"), f" {state}"), soft_wrap=True)
        results = {
            "trajectory/": "frames of every replica",
            "log.csv": "energies and temperatures",
            "exchange.csv": "which replica held which state",
            "colvars.csv": "variables and bias energies",
            "hills.csv": "every hill of metadynamics",
            "walkers.csv": "weights and parents of walkers",
            "topology.pdb": "the beads, for viewers",
            "manifest.json": "versions, hashes, speed",
        }
        there = {str(folder / path): about for path, about in results.items() if (folder / path).exists()}
        show_rows(self._console, there, indent="  ", style="")
        first = plan.prepared.layout.replica_ids[0]
        run, kind = shlex.quote(str(folder)), EXPORTED[0]
        self._console.print("Next:")
        commands = [
            f"analyze {run}",
            f"info {run}",
            f"export {run} --replica {first} --format {kind} --out replica.{kind}",
        ]
        if plan.engine.exchange is not None:
            which = " --ladder 0" if len(plan.engine.exchange.ladders) > 1 else ""
            commands.append(f"export {run} --by temperature --state 0{which} --out state0.{kind}")
        commands.append(f"run {run} --steps {2 * max(step, config.total_steps)}   # continues from here")
        for command in commands:
            show_line(self._console, f"  mdflash {command}")

    def _show_sampling(self, plan: Plan) -> None:
        """Acceptance, round trips, frozen replicas, and those that left what a committee knows."""
        exchange, guard = plan.engine.exchange, plan.engine.guard
        for replica, since in zip(plan.prepared.layout.replica_ids, guard.frozen_since.tolist(), strict=True):
            if since >= 0:
                note = f" replica {replica} is frozen since step {since:,}; see events.jsonl"
                self._console.print(styled(("note", "yellow"), note), soft_wrap=True)
        if plan.prepared.config.guards.spread is not None:
            events = read_events(plan.prepared.config.folder / "events.jsonl")
            left = {event["replica"] for event in events if event["event"] == "unknown territory"}
            if left:
                note = (
                    f" {plural(len(left), 'replica')} left what the committee knows: see 'unknown territory' in "
                    "events.jsonl. To learn there: mdflash sample RECIPE --where RUN"
                )
                self._console.print(styled(("note", "yellow"), note), soft_wrap=True)
        if exchange is None:
            return
        for system, shares in exchange.acceptance().items():
            shown = " ".join("-" if share is None else f"{share:.2f}" for share in shares)
            line = f" {system}: accepted between neighboring {_states(exchange)}: {shown}"
            self._console.print(styled(("exchange", "bold"), line), soft_wrap=True)
        trips = exchange.round_trips
        rounds = f" {trips.sum()} round trips, {trips.min()} to {trips.max()} a replica"
        self._console.print(styled(("exchange", "bold"), rounds))

"""How far a run is: a bar in a terminal, lines elsewhere, and a word while kernels compile.

Outside a terminal (a batch job, a pipe) a line comes every 10 s in the first 5 minutes of stepping, then every minute.
Until the first step, and whenever kernels compile later, a line comes every 10 s as well.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, Protocol, cast

from numba.core import event
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from mdflash.cli.lines import PlainConsole, show_line
from mdflash.cli.options import duration
from mdflash.compiled.progress import MOMENT, compilation
from mdflash.compiled.turns import WAIT

EARLY, OFTEN, LATER = 300.0, 10.0, 60.0
"""Seconds: until `EARLY` after the first step a line comes every `OFTEN`, then every `LATER`."""


def due_after(seconds: float) -> float:
    """In how many seconds the next line comes, so long after the first step."""
    return OFTEN if seconds < EARLY else LATER


@dataclass(frozen=True)
class Where:
    """Where a run is.

    Attributes:
        step, total: steps.
        speed: ns/day of all replicas together; None: not known yet.
        temperature: mean over the replicas, K; None: the integrator has no velocities.
        left: seconds; None: not known yet.
    """

    step: int
    total: int
    speed: float | None
    temperature: float | None
    left: float | None

    @property
    def speed_text(self) -> str:
        """With its unit."""
        return "" if self.speed is None else f"{self.speed:,.0f} ns/day"

    @property
    def temperature_text(self) -> str:
        """With its unit."""
        return "" if self.temperature is None else f"{self.temperature:.0f} K"


class Display(Protocol):
    """Shows a run."""

    def wait(self, text: str) -> None:
        """Say why no steps are done."""

    def show(self, where: Where) -> None:
        """Show where the run is; called between blocks of steps."""

    def end(self, where: Where | None, seconds: float) -> None:
        """Show where it ended and what it took."""


class Bar:
    """A progress bar, in a terminal."""

    def __init__(self, console: Console, step: int, total: int) -> None:
        self._bar = Progress(
            TextColumn("{task.fields[step]}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[speed]}", markup=False),
            TextColumn("{task.fields[temperature]}", markup=False),
            TextColumn("{task.fields[clock]}", markup=False),
            console=console,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task(
            "", total=total, completed=step, step=f"step {step:,}", speed="starting", temperature="", clock=""
        )
        self._bar.start()

    def wait(self, text: str) -> None:
        """In the place of the speed."""
        self._bar.update(self._task, speed=text)

    def show(self, where: Where) -> None:
        """Move on."""
        self._move(where, "" if where.left is None else f"left {_clock(where.left)}")

    def end(self, where: Where | None, seconds: float) -> None:
        """Leave the bar as it is, with what it took."""
        if where is not None:
            self._move(where, f"took {_clock(seconds)}")
        self._bar.stop()

    def _move(self, where: Where, clock: str) -> None:
        self._bar.update(
            self._task,
            completed=where.step,
            step=f"step {where.step:,}",
            temperature=where.temperature_text,
            clock=clock,
            speed=where.speed_text,
        )


class Lines:
    """A line now and then, where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun: float | None = None
        self._due = 0.0

    def wait(self, text: str) -> None:
        """A line of its own."""
        show_line(self._console, text)

    def show(self, where: Where) -> None:
        """A line where one is due."""
        now = time.monotonic()
        if self._begun is None:
            if where.speed is None:
                return
            self._begun, self._due = now, now + OFTEN
        if now >= self._due:
            self._due = now + due_after(now - self._begun)
            self._line(where, f"{'' if where.left is None else f'about {duration(where.left)} left'}")

    def end(self, where: Where | None, seconds: float) -> None:
        """The last line."""
        if where is not None:
            self._line(where, f"took {duration(seconds)}")

    def _line(self, where: Where, clock: str) -> None:
        parts = (f"step {where.step:,} of {where.total:,}", where.speed_text, where.temperature_text, clock)
        show_line(self._console, ", ".join(part for part in parts if part))


class Waiting:
    """Tells `say` why nothing moves: every `every` seconds before the first step, and while kernels compile.

    Args:
        say: shows a text.
        every: seconds.
    """

    def __init__(self, say: Callable[[str], None], every: float) -> None:
        self._say, self._every = say, every
        self._begun = time.monotonic()
        self._stepping = False
        self._over = threading.Event()
        self._compilations = _Compilations()
        self._quiet, compilation.quiet = compilation.quiet, True  # one writer
        self._thread = threading.Thread(target=self._work, name="mdflash-waiting", daemon=True)
        for kind in ("numba:compile", WAIT):
            event.register(kind, self._compilations)
        self._thread.start()

    def stepped(self) -> None:
        """A step was done: from now on only compilation is worth a word."""
        self._stepping = True

    def stop(self) -> None:
        """Say nothing more."""
        self._over.set()
        self._thread.join()
        for kind in ("numba:compile", WAIT):
            event.unregister(kind, self._compilations)
        compilation.quiet = self._quiet

    def _work(self) -> None:
        last, told = self._begun, False
        while not self._over.wait(min(1.0, self._every)):
            now = time.monotonic()
            compiling = self._compilations.seconds(now)
            first = compiling is not None and compiling > MOMENT and not told
            if now - last < self._every and not first:
                continue
            told = compiling is not None
            if compiling is not None:
                self._say(f"compiling kernels (once for this version; {compiling:.0f} s so far)")
            elif not self._stepping:
                self._say(f"starting ({now - self._begun:.0f} s so far)")
            else:
                continue
            last = now


class _Compilations(event.Listener):  # type: ignore[misc]
    """Hears from numba of every function that this process compiles, or another while this one waits for it."""

    def __init__(self) -> None:
        self._depth, self._first, self._ended = 0, 0.0, 0.0

    def on_start(self, event: Any) -> None:
        now = time.monotonic()
        if self.seconds(now) is None:
            self._first = now
        self._depth += 1

    def on_end(self, event: Any) -> None:
        self._depth -= 1
        self._ended = time.monotonic()

    def seconds(self, now: float) -> float | None:
        """Since when it has compiled, with little in between; None: it does not."""
        return now - self._first if self._depth or now - self._ended < 2.0 else None


class LastingOutput:
    """A stream that is written for as long as somebody reads it.

    A terminal that was closed, or a pipe into a program that has ended, takes no more text; that ends no run.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As of the stream."""
        try:
            return self._stream.write(text)
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """As of the stream."""
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """Let the rest go nowhere, also what the interpreter would flush at its end."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def lasting_console(quiet: bool) -> Console:
    """On standard output; see `LastingOutput`."""
    return PlainConsole(file=cast(IO[str], LastingOutput(sys.stdout)), quiet=quiet)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"

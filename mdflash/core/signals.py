"""Signals to this process, caught for as long as a block of code runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

from mdflash.errors import Interrupted

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
"""What asks a run or a training to stop: the user, a batch system, a terminal that is closed, a limit of CPU time."""
REPEATED = (signal.SIGHUP, signal.SIGXCPU)
"""Those that the system itself sends more than once."""


class Stopped(BaseException):
    """A signal came where nothing has yet been done that would have to be kept; no `except Exception` holds it.

    Attributes:
        number: of the signal.
        said: for the user.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        name = signal.Signals(number).name
        super().__init__(name)
        self.said = Interrupted(f"{name}: stopped before it was done; run the same command again")


ASKED_TO_STOP = (KeyboardInterrupt, Stopped)
"""What a signal raises, in a program of the user and in a verb of the command line."""

Handler: TypeAlias = Callable[[int, FrameType | None], object] | signal.Handlers


@contextmanager
def handling(handler: Handler, *signals: signal.Signals) -> Iterator[None]:
    """Let `handler` have these signals inside the block; afterwards they are handled as before."""
    previous = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let signals of `STOP` end the block by `Stopped`. SIGHUP stays ignored where it is already.

    Where a library cannot pass an exception on, as while its compiled part is imported, the signal comes again.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    def lost(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, Stopped):
            threading.Timer(0.01, os.kill, (os.getpid(), unraisable.exc_value.number)).start()
        else:
            before(unraisable)

    before, sys.unraisablehook = sys.unraisablehook, lost
    try:
        with handling(stop, *_heard()):
            yield
    finally:
        sys.unraisablehook = before


def _heard() -> list[signal.Signals]:
    """Those of `STOP` that mean something here: without a terminal, as under `nohup`, SIGHUP is ignored."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [number for number in STOP if not (number == signal.SIGHUP and ignored)]


@contextmanager
def stop_signals() -> Iterator[list[str]]:
    """Collect the names of the signals of `STOP` that come inside the block.

    A second of a kind ends the process, save those of `REPEATED`, which are ignored from then on. SIGHUP stays ignored
    where it is already, as under `nohup`.
    """
    received: list[str] = []

    def catch(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        signal.signal(number, signal.SIG_IGN if number in REPEATED else signal.SIG_DFL)

    with handling(catch, *_heard()):
        yield received

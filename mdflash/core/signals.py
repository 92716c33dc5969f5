"""Signals to this process, caught for as long as a block of code runs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""What asks a run or a training to stop."""

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
def stop_signals() -> Iterator[list[str]]:
    """Collect the names of the signals of `STOP` that come inside the block; a second of a kind ends the process."""
    received: list[str] = []

    def catch(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        signal.signal(number, signal.SIG_DFL)

    with handling(catch, *STOP):
        yield received

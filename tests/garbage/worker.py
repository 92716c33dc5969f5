"""A process that reads damaged files, so that one that never comes back, or takes the process along, is a finding."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

from hypothesis import HealthCheck, Phase, settings

from mdflash.core import hdf5_check
from tests.garbage.judge import SLOW, Outcome, judge
from tests.garbage.kinds import Seed


def drawing(examples: int) -> settings:
    """Hypothesis draws so many inputs, and neither keeps nor shrinks them."""
    return settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


class Worker:
    """Reads what it is given with the readers of some seeds, each within so many seconds."""

    def __init__(self, seeds: Sequence[Seed], seconds: float = SLOW) -> None:
        self.seeds, self.seconds = seeds, seconds
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self.seeds), daemon=True)
        self._process.start()
        theirs.close()

    def try_(self, seed: int, content: bytes) -> Outcome:
        """The outcome of one damaged file."""
        self._pipe.send((seed, content))
        began = time.monotonic()
        if not self._pipe.poll(self.seconds):
            self.close()
            self.seeds[seed].file.write_bytes(self.seeds[seed].content)
            self._start()
            return Outcome("hang", f"{self.seeds[seed].file.name}: not read within {self.seconds:g} s")
        try:
            outcome: Outcome = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self.seeds[seed].file.write_bytes(self.seeds[seed].content)
            self._start()
            return Outcome("traceback", f"{self.seeds[seed].file.name}: the process ended with {code}")
        if time.monotonic() - began > self.seconds:
            return Outcome("hang", self.seeds[seed].file.name)
        return outcome

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection, seeds: Sequence[Seed]) -> None:
    """Until the other side is gone."""
    warnings.simplefilter("ignore")
    with open(os.devnull, "w") as nowhere, contextlib.suppress(EOFError, BrokenPipeError):
        sys.stdout = sys.stderr = nowhere
        for number in (1, 2):  # libraries in C write there
            os.dup2(nowhere.fileno(), number)
        while True:
            k, content = pipe.recv()
            seed = seeds[k]
            seed.file.write_bytes(content)
            hdf5_check._known.clear()  # this process wrote the sound file, and would not look at it again
            try:
                pipe.send(judge(seed.read, seed.file, seed.names))
            finally:
                seed.file.write_bytes(seed.content)


@contextlib.contextmanager
def worker(seeds: Sequence[Seed], seconds: float = SLOW) -> Iterator[Worker]:
    """One for as long as the block lasts."""
    found = Worker(seeds, seconds)
    try:
        yield found
    finally:
        found.close()


def sound(seeds: Sequence[Seed]) -> None:
    """That the files are taken as long as they are whole, else nothing would be tried.

    Raises:
        AssertionError: one is not.
    """
    with worker(seeds, 120.0) as helper:
        for k, seed in enumerate(seeds):
            outcome = helper.try_(k, seed.content)
            assert outcome.verdict == "taken", (str(seed.file), outcome)

"""Work off a campaign with any `concurrent.futures.Executor`."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mdflash.campaigns.state import finished, held_by
from mdflash.campaigns.work import Job, Outcome, Result, work_off
from mdflash.core.files import storage_errors
from mdflash.errors import Interrupted, MdflashError

LOST: Final = 3
"""How often a run is given to another worker because its worker was lost."""
GRACE: Final = 5.0
"""Seconds after which a run that nobody has begun is not waited for any more, where all are asked to stop."""


@dataclass(frozen=True)
class Watch:
    """How the caller follows a campaign.

    Attributes:
        ended: called when a worker is through with a run.
        waiting: called about twice a second.
        should_stop: asked about twice a second; a reason ("SIGTERM") lets all runs stop with a checkpoint.
    """

    ended: Callable[[Outcome], None] = lambda outcome: None
    waiting: Callable[[], None] = lambda: None
    should_stop: Callable[[], str | None] = lambda: None


@contextmanager
def stop_file(campaign: Path) -> Iterator[Path]:
    """A name for the file that asks the workers of this runner to stop; the file is gone afterwards."""
    path = campaign / f".stop-{secrets.token_hex(8)}"
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def work_through(jobs: Sequence[Job], executor: Executor, watch: Watch) -> list[Outcome]:
    """Give every job to the executor, and wait for all; stops them when asked.

    Args:
        jobs: with one stop file, which does not exist yet.
        executor: who works; stays open.
        watch: how to follow and stop it.

    Returns:
        How each ended, in the order of the jobs; jobs that were not begun are "stopped".
    """
    futures: dict[Future[Outcome], Job] = {executor.submit(work_off, job): job for job in jobs}
    lost = {job.row.name: 0 for job in jobs}
    found: dict[str, Outcome] = {}

    def end(job: Job, outcome: Outcome) -> None:
        found[job.row.name] = outcome
        watch.ended(outcome)

    asked: float | None = None
    while futures:
        done, _ = wait(futures, timeout=0.5, return_when=FIRST_COMPLETED)
        watch.waiting()
        for future in done:
            job = futures.pop(future)
            try:
                outcome = future.result()
            except Exception as error:  # of the executor: `work_off` itself returns what went wrong
                lost[job.row.name] += 1
                if lost[job.row.name] <= LOST and asked is None:
                    futures[executor.submit(work_off, job)] = job
                    continue
                said = f"its worker was lost: {str(error) or type(error).__name__}"
                outcome = Outcome(job.row.name, "failed", said, MdflashError.exit_code)
            end(job, outcome)
        if asked is None and watch.should_stop() is not None:
            asked = time.monotonic()
            _ask_to_stop(jobs[0].manner.stop)
        if asked is not None:
            late = time.monotonic() - asked > GRACE
            for future, job in list(futures.items()):
                if _cancel(future) or (late and held_by(job.place) is None):  # it waits for a worker
                    del futures[future]
                    result: Result = "before" if finished(job.place) else "stopped"
                    end(job, Outcome(job.row.name, result, code=Interrupted.exit_code))
    return [found[job.row.name] for job in jobs]


def _ask_to_stop(path: Path) -> None:
    with storage_errors(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _cancel(future: Future[Outcome]) -> bool:
    try:
        return future.cancel()
    except NotImplementedError:  # Parsl's
        return False

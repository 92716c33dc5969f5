"""One run of a campaign, worked off by one worker: locked, started, watched, and started again after a crash.

A worker starts `mdflash run` as a process of its own, so that a crash takes nothing along. It holds the lock of the
run, and the process inherits it: it is free again when both have ended, however they ended. Nothing here is heavy to
import: workers of any executor call `work_off` in their processes.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from mdflash.campaigns.folder import Row, refuse_links
from mdflash.campaigns.inputs import SYSTEM, digest_of_run
from mdflash.campaigns.state import (
    LOCK,
    OUTPUT,
    Attempt,
    Verdict,
    finished,
    held_by,
    is_held,
    is_taken,
    last_attempt,
    newest_checkpoint,
    note_attempt,
)
from mdflash.core.files import storage_errors
from mdflash.core.regular import open_own, read_input
from mdflash.engine.job import alone
from mdflash.errors import Interrupted, MdflashError, NoSpaceError, StorageError, UnstableError
from mdflash.io.runfolder import FolderLock

PROGRAM: Final = (sys.executable, "-m", "mdflash")
POLL: Final = 0.25
"""Seconds between two looks at a process."""
_SHOWN: Final = 2000
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True)
class Manner:
    """How the runs of a campaign are worked off.

    Attributes:
        stop: a file that asks to stop with a checkpoint when it appears; all workers see it, on whatever machine.
        deadline: when all stop likewise, in seconds since the epoch, or None.
        retries: attempts after the first that end by a crash without another checkpoint.
        threads: CPU threads of each run, or None for all.
        analyze: whether to write analysis/ at the end.
        again: whether to try runs that failed before.
    """

    stop: Path
    deadline: float | None = None
    retries: int = 3
    threads: int | None = None
    analyze: bool = True
    again: bool = False

    def over(self) -> bool:
        """Whether it is time to stop."""
        return self.stop.exists() or (self.deadline is not None and time.time() >= self.deadline)


class Job(NamedTuple):
    """A run to work off: of the campaign in a folder (absolute), and how."""

    campaign: Path
    row: Row
    manner: Manner

    @property
    def place(self) -> Path:
        """The folder of the run."""
        return self.campaign / "runs" / self.row.name


Result = Literal["done", "stopped", "failed", "elsewhere", "before"]


class Outcome(NamedTuple):
    """How a run stands after a worker had it.

    Attributes:
        name: of the run.
        result: "done", "stopped", "failed", "elsewhere" (another runner has it), or "before" (was done already).
        said: why.
        code: exit status of the last process.
    """

    name: str
    result: Result
    said: str = ""
    code: int = 0


def work_off(job: Job, environment: Mapping[str, str] = NOTHING) -> Outcome:
    """Bring a run to its end, as far as that goes; every end is an `Outcome`.

    Args:
        job: the run.
        environment: variables of its process beside those of this one.
    """
    name, place = job.row.name, job.place
    try:
        with storage_errors(place):
            refuse_links(job.campaign, name)
            lock = _take(place)
            if lock is None:
                return Outcome(name, "elsewhere", held_by(place) or "another process")
            try:
                return _attempts(job, place, lock, environment)
            finally:
                lock.release()
    except MdflashError as error:
        return Outcome(name, "failed", str(error), error.exit_code)


def _take(place: Path) -> FolderLock | None:
    """The lock of a run; None where another runner, or the run itself, has it.

    Raises:
        StorageError: it cannot be written.
    """
    left = 3
    while True:
        try:
            lock = FolderLock(place / LOCK)
            break
        except StorageError:
            if is_taken(place / LOCK):
                return None
            left -= 1
            if not left:
                raise
            time.sleep(0.2)  # who only looks takes it for an instant
    if is_held(place / "run" / "lock"):
        lock.release()
        return None
    return lock


def _attempts(job: Job, place: Path, lock: FolderLock, environment: Mapping[str, str]) -> Outcome:
    """Start the run until it is done, stopped or given up."""
    name, manner, before = job.row.name, job.manner, last_attempt(place)
    if finished(place) and (not manner.analyze or (before is not None and before.verdict == "done")):
        return Outcome(name, "before", "" if before is None else before.said)
    if before is not None and before.verdict == "failed":
        if not manner.again and before.code != NoSpaceError.exit_code:  # there may be room by now
            return Outcome(name, "failed", before.said, before.code)
        before = None
    if manner.over():
        return Outcome(name, "stopped", code=Interrupted.exit_code)
    if digest_of_run(place) != job.row.digest:
        said = f"{place}: {SYSTEM} or inputs/ was changed since the run was planned; put it back"
        note_attempt(place, Attempt("failed", 0, MdflashError.exit_code, said), **_when(None))
        return Outcome(name, "failed", said, MdflashError.exit_code)
    tries = 0 if before is None else before.tries
    while not manner.over():
        step, begun = newest_checkpoint(place), time.monotonic()
        code, said = _run(manner, place, lock, environment)
        tries = 1 if newest_checkpoint(place) > step else tries + 1
        verdict = judge(code, finished(place), manner.over(), tries <= manner.retries)
        note_attempt(place, Attempt(verdict, tries if verdict == "again" else 0, code, said), **_when(begun))
        if verdict != "again":
            return Outcome(name, verdict, said, code)
    return Outcome(name, "stopped", code=Interrupted.exit_code)


def judge(code: int, complete: bool, asked: bool, left: bool) -> Verdict:
    """What follows from the end of a process.

    Args:
        code: its exit status, see `mdflash.errors`.
        complete: whether the simulation has all its steps.
        asked: whether the worker is to stop.
        left: whether there are tries left.
    """
    if code == 0 or (complete and code == MdflashError.exit_code):  # the simulation is there, its analysis is not
        return "done"
    if code in (MdflashError.exit_code, UnstableError.exit_code, NoSpaceError.exit_code):
        return "failed"  # the same would happen again at once
    if asked:
        return "stopped"
    return "again" if left else "failed"


def _when(begun: float | None) -> dict[str, Any]:
    """What else is noted of an attempt."""
    seconds = 0.0 if begun is None else round(time.monotonic() - begun, 1)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"ended": now, "seconds": seconds, "host": socket.gethostname()}


def _run(manner: Manner, place: Path, lock: FolderLock, environment: Mapping[str, str]) -> tuple[int, str]:
    """One process of the run: its exit status, and what it said at its end where that is not 0."""
    words = [*PROGRAM, "run", SYSTEM]
    words += ["--report"] if manner.analyze else []
    words += [] if manner.threads is None else ["--set", f"hardware.threads={manner.threads}"]
    words += [] if manner.deadline is None else ["--until", f"{max(manner.deadline - time.time(), 1.0):.0f} s"]
    output = place / OUTPUT
    handle = open_own(output, "append")
    try:
        begin = os.fstat(handle).st_size
        process = subprocess.Popen(
            words, cwd=place, env={**alone(os.environ), **environment},
            stdin=subprocess.DEVNULL, stdout=handle, stderr=handle,
            start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on once
            pass_fds=(lock.handle,),
        )  # fmt: skip
    finally:
        os.close(handle)
    told = False
    while (code := process.poll()) is None:
        if not told and manner.stop.exists():
            process.send_signal(signal.SIGTERM)
            told = True
        time.sleep(POLL)
    return code, "" if code == 0 else _said(output, begin, code)


def _said(output: Path, begin: int, code: int) -> str:
    """The last error in what a process said, else how it ended."""
    with suppress(OSError):
        text = read_input(output)[begin:].decode(errors="replace")
        errors = re.split(r"^error: ", text, flags=re.MULTILINE)[1:]
        if errors:
            return errors[-1].strip()[:_SHOWN]
        if code > 0 and (lines := text.strip().splitlines()):
            return lines[-1].strip()[:_SHOWN]
    if code < 0:
        with suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
    return f"ended with exit status {code}"

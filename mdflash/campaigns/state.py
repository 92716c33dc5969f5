"""Where a run of a campaign stands: read from its folder, so it holds whoever ran it, on whatever machine."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

from mdflash.core.files import storage_errors
from mdflash.core.regular import open_input, open_own, parse_json, read_input, read_json

ATTEMPTS, OUTPUT, LOCK = "attempts.jsonl", "output.txt", "lock"

Verdict = Literal["done", "again", "stopped", "failed"]
"""What follows from an attempt: nothing is left; another one; another one later; nothing more without being asked."""

_VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
State = Literal["done", "running", "stopped", "waiting", "failed"]
STATES: Final[tuple[State, ...]] = get_args(State)


class Attempt(NamedTuple):
    """How one process of a run ended.

    Attributes:
        verdict: what follows.
        tries: of this kind in a row: attempts that ended by themselves before another checkpoint was written.
        code: exit status, negative for a signal.
        said: the last error, or the end of the output.
    """

    verdict: Verdict
    tries: int
    code: int
    said: str


@dataclass(frozen=True)
class Stand:
    """Where a run stands.

    Attributes:
        state: "stopped" is half done, and goes on with the next `mdflash campaign run`.
        step, total: of the simulation; 0 and 0 before it began.
        reason: why it failed, or what is missing although it is done.
        where: the process that runs it.
        speed: steps per second, the mean of the run.
    """

    state: State
    step: int = 0
    total: int = 0
    reason: str = ""
    where: str = ""
    speed: float | None = None

    @property
    def left(self) -> float | None:
        """Seconds to the end."""
        return None if not self.speed else max(self.total - self.step, 0) / self.speed


def stand_of(place: Path) -> Stand:
    """Where the run in a folder of a campaign stands; reads only."""
    manifest = _manifest(place / "run")
    step, total = (_whole(manifest.get(key)) for key in ("step", "total_steps"))
    timing = manifest.get("timing")
    seconds = timing.get("wall_seconds") if isinstance(timing, dict) else None
    speed = step / seconds if isinstance(seconds, (int, float)) and seconds > 0 and step else None
    last = last_attempt(place)
    owner = held_by(place)
    if owner is not None:
        return Stand("running", step, total, where=owner, speed=speed)
    if manifest.get("status") == "finished":
        why = last.said if last is not None and last.verdict == "done" else ""
        return Stand("done", step, total, why)
    if last is not None and last.verdict == "failed":
        return Stand("failed", step, total, last.said)
    return Stand("stopped" if manifest else "waiting", step, total)


def finished(place: Path) -> bool:
    """Whether the simulation has all its steps."""
    return bool(_manifest(place / "run").get("status") == "finished")


def _manifest(folder: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = read_json(folder / "manifest.json")
        if isinstance(found, dict):
            return found
    return {}


def _whole(value: object) -> int:
    return value if type(value) is int else 0


def newest_checkpoint(place: Path) -> int:
    """The step of the newest checkpoint, -1 where there is none."""
    steps = [path.stem.removeprefix("step_") for path in (place / "run" / "checkpoint").glob("step_*.npz")]
    return max((int(step) for step in steps if step.isdigit()), default=-1)


_TAIL: Final = 20_000


def last_attempt(place: Path) -> Attempt | None:
    """How the last process of a run ended; a line that was cut by a kill is no line."""
    with suppress(OSError):
        for line in reversed(read_input(place / ATTEMPTS)[-_TAIL:].split(b"\n")):
            with suppress(ValueError, KeyError, TypeError, OverflowError):
                found = parse_json(line)
                return Attempt(_verdict(found["verdict"]), int(found["tries"]), int(found["code"]), str(found["said"]))
    return None


def _verdict(found: object) -> Verdict:
    """ValueError where it is none."""
    return _VERDICTS[_VERDICTS.index(found)]


def last_said(place: Path) -> str:
    """The last whole line that the process of a run wrote; "" where there is none."""
    with suppress(OSError), open_input(place / OUTPUT) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        lines = [line.strip() for line in file.read(_TAIL).decode(errors="replace").split("\n")[:-1]]
        return next((line for line in reversed(lines) if line), "")
    return ""


def note_attempt(place: Path, attempt: Attempt, **more: object) -> None:
    """Add a line to attempts.jsonl.

    Raises:
        StorageError: it cannot be written.
    """
    line = json.dumps({**attempt._asdict(), **more}, ensure_ascii=False)
    with storage_errors(place / ATTEMPTS):
        handle = open_own(place / ATTEMPTS, "append")
        try:
            os.write(handle, f"\n{line}\n".encode())  # a line end first: the line before may have been cut
            os.fsync(handle)
        finally:
            os.close(handle)


def held_by(place: Path) -> str | None:
    """Who runs a run: 'process 17 on host node3'; None where nobody does."""
    for lock in (place / LOCK, place / "run" / "lock"):
        if is_taken(lock):
            return _owner(lock)
    return None


def is_taken(lock: Path) -> bool:
    """Whether a process holds a lock, or did when it ended where the file system has no locks."""
    return is_held(lock) or lock.with_name(f"{lock.name}.held").exists()


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock; takes it, shared, for an instant."""
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _owner(lock: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        owner = parse_json(read_input(lock, 1000))
        return f"process {int(owner['pid'])} on host {owner['host']}"
    return "another process"

"""What a run folder says of a run that goes on: read beside the writer, never locked, never written."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.core.files import storage_errors
from mdflash.core.regular import open_input
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.io.claims import refuse_campaign
from mdflash.io.events import read_events
from mdflash.io.runfolder import load_manifest

TAIL = 2_000_000
"""Bytes from the end of log.csv that are read at most."""


@dataclass(frozen=True, eq=False)
class Glance:
    """A look at a run.

    Attributes:
        name, status: of the run; "running" also after a kill.
        step, total: steps.
        updated: seconds since the folder was written.
        speed: steps per second of wall time since an earlier look, or the mean of the run; None: not known.
        nanoseconds_per_day: all replicas together, as the manifest has it.
        replicas: their numbers.
        targets: K, of the state each holds.
        temperatures, energies: [R, T] of the last rows of log.csv; K and kcal/mol. Temperatures are NaN where the
            integrator has no velocities.
        steps: [T] of those rows.
        acceptance: by molecule, between neighboring states.
        round_trips: of all replicas, or None.
        events: the last ones.
    """

    name: str
    status: str
    step: int
    total: int
    updated: float
    speed: float | None
    nanoseconds_per_day: float | None
    replicas: tuple[int, ...] = ()
    targets: FloatArray = field(default_factory=lambda: np.zeros(0))
    temperatures: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    energies: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    steps: FloatArray = field(default_factory=lambda: np.zeros(0))
    acceptance: dict[str, list[float | None]] = field(default_factory=dict)
    round_trips: int | None = None
    events: tuple[dict[str, Any], ...] = ()

    @property
    def left(self) -> float | None:
        """Seconds to the end."""
        return None if not self.speed else max(self.total - self.step, 0) / self.speed


def look(folder: Path, before: tuple[float, int] | None = None, now: float | None = None) -> Glance:
    """Read what is new in a run folder.

    Args:
        folder: of the run.
        before: wall time (s since the epoch) and step of an earlier look, from which the speed follows.
        now: wall time; default: the clock.

    Raises:
        InputError: no run there.
    """
    if not (folder / "manifest.json").is_file():
        refuse_campaign(folder)
        raise InputError("holds no run yet: manifest.json, written with the first checkpoint, is missing", file=folder)
    manifest = load_manifest(folder)
    now = datetime.now(timezone.utc).timestamp() if now is None else now
    log = folder / "log.csv"
    written = max(path.stat().st_mtime for path in (folder / "manifest.json", log) if path.is_file())
    rows = _rows(log)
    step = max([int(manifest.get("step", 0)), *(int(r[0]) for r in rows[-1:])])
    timing = manifest.get("timing") or {}
    speed = None
    if before is not None and step > before[1] and now > before[0]:
        speed = (step - before[1]) / (now - before[0])
    elif timing.get("wall_seconds") and manifest.get("step"):
        speed = float(manifest["step"]) / float(timing["wall_seconds"])
    exchange = manifest.get("exchange") or {}
    trips = exchange.get("round_trips")
    events = folder / "events.jsonl"
    return Glance(
        str(manifest.get("name", folder.name)), str(manifest.get("status")), step, int(manifest.get("total_steps", 0)),
        max(0.0, now - written), speed, timing.get("aggregate_ns_per_day"), **_table(rows),
        acceptance=exchange.get("acceptance") or {}, round_trips=None if trips is None else int(sum(trips)),
        events=tuple(read_events(events)[-6:]) if events.is_file() else (),
    )  # fmt: skip


def _rows(log: Path) -> list[tuple[float, ...]]:
    """The last complete rows: step, replica, target, potential, temperature."""
    if not log.is_file():
        return []
    with storage_errors(log), open_input(log) as file:
        head = file.readline().decode(errors="replace").rstrip("\n").split(",")
        size = os.fstat(file.fileno()).st_size
        first = file.tell()
        file.seek(max(first, size - TAIL))
        if size - TAIL > first:
            file.readline()
        data = file.read()
    lines = io.StringIO(data[: data.rfind(b"\n") + 1].decode(errors="replace"))
    at = {name: k for k, name in enumerate(head)}
    wanted = [
        "step",
        "replica",
        "target_K" if "target_K" in at else "temperature_K",
        "potential_kcal_mol",
        "temperature_K",
    ]
    if not all(name in at for name in wanted):
        return []
    found = []
    for line in lines:
        words = line.rstrip("\n").split(",")
        if len(words) == len(head):
            found.append(tuple(float(words[at[name]] or "nan") for name in wanted))
    return found


def _table(rows: list[tuple[float, ...]]) -> dict[str, Any]:
    """Reports [T] of all replicas [R]; a report that is not complete is left out."""
    if not rows:
        return {}
    table = np.array(rows)
    replicas = np.unique(table[:, 1])
    steps, counts = np.unique(table[:, 0], return_counts=True)
    steps = steps[counts == len(replicas)]
    kept = table[np.isin(table[:, 0], steps)]
    if not len(kept):
        return {}
    kept = kept[np.lexsort((kept[:, 0], kept[:, 1]))].reshape(len(replicas), len(steps), -1)
    return {
        "replicas": tuple(int(r) for r in replicas),
        "steps": steps,
        "targets": kept[:, -1, 2],
        "energies": kept[:, :, 3],
        "temperatures": kept[:, :, 4],
    }


BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: FloatArray, width: int, low: float | None = None, high: float | None = None) -> str:
    """`values` as a line of blocks, means of `width` stretches; "·" where a value is not finite."""
    if not len(values) or width < 1:
        return ""
    parts = np.array_split(np.asarray(values, np.float64), min(width, len(values)))
    means = np.array([p.mean() for p in parts])
    known = means[np.isfinite(means)]
    if not len(known):
        return "·" * len(means)
    low = float(known.min()) if low is None else low
    high = float(known.max()) if high is None else high
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        BLOCKS[int(np.clip(round((m - low) * scale), 0, len(BLOCKS) - 1))] if np.isfinite(m) else "·" for m in means
    )


def event_line(event: dict[str, Any]) -> str:
    """An event as a line of text."""
    rest = {k: v for k, v in event.items() if k not in ("time", "step", "event") and v not in ([], None, "")}
    detail = ", ".join(
        f"{k} {json.dumps(v, ensure_ascii=False) if isinstance(v, (list, dict)) else v}" for k, v in rest.items()
    )
    return f"step {event.get('step', 0):,}: {event.get('event')}" + (f" ({detail})" if detail else "")

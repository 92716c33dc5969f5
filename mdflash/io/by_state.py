"""Frames of one temperature: of whichever replica of a ladder held it when the frame was taken.

A frame at the step of an attempt belongs to the state before it, by the rule of `exchange_log`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.core.quantity import show_quantity
from mdflash.errors import InputError
from mdflash.io.events import read_events
from mdflash.io.exchange_log import ExchangeTable, read_exchange
from mdflash.io.export import trajectories
from mdflash.io.formats import no_trajectory
from mdflash.io.formats.base import Frames, Source
from mdflash.io.read import iter_frames


@dataclass(frozen=True)
class StateFrames:
    """The frames of one state in one ladder; see `find_state`.

    Attributes:
        sources: the ladder's replicas.
        table: who held what.
        state: the label.
        last_good: by replica, the step after which it is frozen and its frames mean nothing.
    """

    sources: tuple[Source, ...]
    table: ExchangeTable
    state: int
    last_good: dict[int, int]

    def frames(self, stride: int = 1) -> Iterator[Frames]:
        """Every `stride`-th frame of the run; without those of frozen replicas.

        Raises:
            StorageError: a trajectory cannot be read.
        """
        columns = [self.table.replica_ids.index(s.replica) for s in self.sources]
        last = np.array([self.last_good.get(s.replica, np.iinfo(np.int64).max) for s in self.sources])
        streams = [iter_frames(s.path, s.replica, stride) for s in self.sources]
        for parts in zip(*streams, strict=False):  # a running simulation may have one frame more of some replicas
            n = min(map(len, parts))
            steps = parts[0].steps[:n]
            holder = (self.table.at(steps)[:, columns] == self.state).argmax(axis=1)
            good = np.flatnonzero(steps <= last[holder])
            if len(good):
                positions = np.stack([parts[holder[i]].positions[i] for i in good])
                yield Frames(positions, steps[good], parts[0].times[good], parts[0].box)


def find_state(
    run: Path,
    temperatures: Sequence[float],
    *,
    state: int | None = None,
    temperature: float | None = None,
    system: str | None = None,
    ladder: int | None = None,
) -> StateFrames:
    """What to read for one temperature of a run.

    Args:
        run: the run folder.
        temperatures: temperatures of its ladder, K.
        state: number of the temperature, from 0; or
        temperature: the temperature itself, K.
        system: needed where the run has several.
        ladder: number of the ladder (from 0) among those of the system; needed where there are several.

    Raises:
        InputError: no exchange, no trajectory, no such state, system or ladder; the message lists what there is.
    """
    table = read_exchange(run / "exchange.csv")
    label = _label(temperatures, state, temperature)
    sources = trajectories(run)
    if not sources:
        raise no_trajectory(run)
    systems = sorted({s.system for s in sources})
    if (system or systems[0]) not in systems or (system is None and len(systems) > 1):
        raise InputError(f"give --system, one of {', '.join(systems)}", file=run)
    by_replica = {s.replica: s for s in reversed(sources) if s.system == (system or systems[0])}  # most exact last
    mine = [by_replica[r] for r in sorted(by_replica)]
    k = len(temperatures)
    ladders = [mine[i : i + k] for i in range(0, len(mine), k)]
    if ladder is None and len(ladders) > 1:
        raise InputError(
            f"has {len(ladders)} ladders of {k} replicas; give --ladder, 0 to {len(ladders) - 1}", file=run
        )
    if not 0 <= (ladder or 0) < len(ladders):
        raise InputError(f"has no ladder {ladder}; it has {len(ladders)}, from 0", file=run)
    return StateFrames(tuple(ladders[ladder or 0]), table, label, _last_good(run / "events.jsonl"))


def _label(temperatures: Sequence[float], state: int | None, temperature: float | None) -> int:
    shown = ", ".join(f"{k}: {show_quantity(t, 'temperature', ('K',))}" for k, t in enumerate(temperatures))
    if (state is None) == (temperature is None):
        raise InputError(f"give one of --temperature and --state; the ladder is {shown}")
    if temperature is not None:
        near = int(np.abs(np.array(temperatures) - temperature).argmin())
        if abs(temperatures[near] - temperature) > 0.5:  # what people type is rounded
            raise InputError(f"{temperature:g} K is not on the ladder: {shown}", key="--temperature")
        return near
    if state is None or not 0 <= state < len(temperatures):
        raise InputError(f"there is no state {state}; the ladder is {shown}", key="--state")
    return state


def _last_good(events: Path) -> dict[int, int]:
    """By replica, the step at which it was frozen; as written by `Guard`."""
    found: list[dict[str, Any]] = read_events(events) if events.is_file() else []
    return {e["replica"]: e["last_good_step"] for e in found if e["event"] == "freeze"}

"""What a run has sampled: the observables of every complete frame, by replica, with the state each frame belongs to.

Frames are streamed: memory holds one number of each frame and observable, never the positions of a replica.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas

from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables import OBSERVABLES, PROFILES
from mdflash.analysis.observables.base import Observable
from mdflash.analysis.open_run import Run
from mdflash.core.plural import plural
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.io.exchange_log import ExchangeTable, read_exchange
from mdflash.io.formats.base import Source
from mdflash.io.read import iter_frames, read_times

CHUNK_NUMBERS = 2_000_000
"""Coordinates that are read at once."""
PROFILE_COST = 1.5e9
"""Numbers that a profile computes for a molecule, over which its frames are thinned."""
GROUPS = 8
"""Groups of replicas, or of stretches of one, from which a profile has its error."""
VIEW_BYTES = 1_500_000
"""Of the positions that the page shows, at most."""
VIEW_FRAMES = 200
"""Of each replica, at most."""

Progress = Callable[[str, int, int], None]
"""What is done, how much of it, of how much."""


@dataclass(eq=False)
class Track:
    """One replica.

    Attributes:
        replica: its number.
        steps, times, states: [F] of its frames; ps; the number of the state each frame belongs to.
        values: [F] by observable.
        frozen: the step from which it no longer moved, or None.
        lost: frames left out, because they are not finite or it was frozen.
        view: which frames the page shows.
        positions: [V, N, 3] Å of those.
    """

    replica: int
    steps: IntArray
    times: FloatArray
    states: IntArray
    values: dict[str, FloatArray] = field(default_factory=dict)
    frozen: int | None = None
    lost: int = 0
    view: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    positions: FloatArray = field(default_factory=lambda: np.zeros((0, 0, 3)))

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True, eq=False)
class Averaged:
    """A profile at one state: what its result gives for all frames, and standard errors over groups of replicas."""

    values: dict[str, Any]
    errors: dict[str, Any]
    frames: int


@dataclass(eq=False)
class Sample:
    """What was sampled of one molecule.

    Attributes:
        molecule: which.
        temperatures: [S] K, of the states.
        exchanged: whether replicas trade their states.
        observables: those that this molecule has.
        tracks: its replicas.
        profiles: by profile and state.
        stride: by profile, every how many frames it was taken from.
        notes: what is missing, in sentences.
    """

    molecule: Molecule
    temperatures: FloatArray
    exchanged: bool
    observables: tuple[Observable, ...]
    tracks: list[Track]
    profiles: dict[str, dict[int, Averaged]] = field(default_factory=dict)
    stride: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def frames(self) -> int:
        return sum(map(len, self.tracks))

    @property
    def interval(self) -> float:
        """ps between frames; 0 where there is no replica with two."""
        steps = [float(np.median(np.diff(t.times))) for t in self.tracks if len(t) > 1]
        return float(np.median(steps)) if steps else 0.0

    def series(self, name: str) -> list[FloatArray]:
        """[F] of each replica."""
        return [t.values[name] for t in self.tracks]


@dataclass(frozen=True, eq=False)
class States:
    """Which state each replica held when.

    Attributes:
        temperatures: by system, [S] K.
        exchange: where replicas trade states.
        fixed: by replica, the state that it keeps.
    """

    temperatures: dict[str, FloatArray]
    exchange: ExchangeTable | None
    fixed: dict[int, int]

    def of(self, replica: int, steps: IntArray) -> IntArray:
        """[F] of what the replica reported at `steps`."""
        if self.exchange is not None and replica in self.exchange.replica_ids:
            column = self.exchange.replica_ids.index(replica)
            return np.asarray(self.exchange.at(steps)[:, column])
        return np.full(len(steps), self.fixed.get(replica, 0), np.int64)


def read_states(run: Run, log: pandas.DataFrame | None) -> States:
    """From manifest, exchange.csv and log.csv (or, without it, from the run's settings)."""
    settings = run.manifest.get("exchange")
    if settings is not None and (run.folder / "exchange.csv").is_file():
        kelvin = np.array(settings["temperatures_K"], np.float64)
        return States(dict.fromkeys(run.systems, kelvin), read_exchange(run.folder / "exchange.csv"), {})
    if log is not None and len(log) and "state" in log.columns:
        last = log.groupby("replica").last()  # the temperature may have moved: what it came to
        fixed = {int(r): int(s) for r, s in last["state"].items()}
        found: dict[str, FloatArray] = {}
        for name, rows in last.groupby("system"):
            kelvin = np.full(int(rows["state"].max()) + 1, np.nan)
            kelvin[rows["state"].to_numpy()] = rows["target_K"].to_numpy()
            found[str(name)] = kelvin
        return States(found, None, fixed)
    return _from_settings(run)


def _from_settings(run: Run) -> States:
    """Temperatures as the run file gives them."""
    kelvins = run.temperatures
    found: dict[str, FloatArray] = {}
    fixed: dict[int, int] = {}
    at = 0
    for entry in run.manifest["systems"]:
        mine = kelvins[at : at + entry["replicas"]]
        if len(mine) < entry["replicas"]:
            mine = np.full(entry["replicas"], np.nan)
        kelvin, order = np.unique(mine, return_inverse=True)
        found[entry["name"]] = kelvin
        fixed |= {at + k: int(s) for k, s in enumerate(order)}
        at += entry["replicas"]
    return States(found, None, fixed)


def collect(
    run: Run,
    molecules: Mapping[str, Molecule],
    states: States,
    observables: Sequence[Observable] = OBSERVABLES,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Sample]:
    """The observables of every complete frame, by molecule.

    Raises:
        InputError: the run writes no trajectory.
    """
    frozen = {int(e["replica"]): int(e["last_good_step"]) for e in _events(run) if e.get("event") == "freeze"}
    sources = run.sources()
    samples: dict[str, Sample] = {}
    for name, molecule in molecules.items():
        own = tuple(o for o in observables if o.values(molecule) is not None)
        kelvin = states.temperatures.get(name, np.array([np.nan]))
        samples[name] = Sample(molecule, kelvin, states.exchange is not None, own, [], notes=list(molecule.notes))
    for done, source in enumerate(sources):
        progress("reading frames", done, len(sources))
        sample = samples[source.system]
        alike = sum(s.system == source.system for s in sources)
        room = VIEW_BYTES // (6 * sample.molecule.system.n_beads * max(alike, 1))
        track = _track(source, sample, states, frozen.get(source.replica), min(VIEW_FRAMES, max(room, 10)))
        sample.tracks.append(track)
    for sample in samples.values():
        lost = [t for t in sample.tracks if t.lost]
        if lost:
            sample.notes.append(
                f"{plural(sum(t.lost for t in lost), 'frame')} of {plural(len(lost), 'replica')} "
                f"({', '.join(str(t.replica) for t in lost[:8])}{', ...' if len(lost) > 8 else ''}) left out: "
                "not finite, the replica was frozen, or a member of its committee has no finite energy there"
            )
        if not sample.molecule.many and any(sample.molecule.crossed(t.positions) for t in sample.tracks):
            sample.notes.append(
                "chains of the complex left each other through the walls of the box: sizes, RMSD and contacts are of "
                "chains as they lie, not of nearest images, and mean little then; hold the chains together by a "
                "bias on their distance, or run without a box"
            )
        empty = [t.replica for t in sample.tracks if not len(t)]
        if empty:
            sample.notes.append(f"replicas without a complete frame: {', '.join(map(str, empty))}")
    progress("reading frames", len(sources), len(sources))
    return samples


def _events(run: Run) -> list[dict[str, Any]]:
    from mdflash.io.events import read_events

    path = run.folder / "events.jsonl"
    return read_events(path) if path.is_file() else []


def _track(source: Source, sample: Sample, states: States, frozen: int | None, most: int) -> Track:
    """Read one replica."""
    molecule = sample.molecule
    functions = {o.name: f for o in sample.observables if (f := o.values(molecule)) is not None}
    total = len(read_times(source.path)[0])
    view = np.unique(np.linspace(0, max(total - 1, 0), min(most, total)).round().astype(np.int64))
    chunk = max(1, CHUNK_NUMBERS // (3 * molecule.system.n_beads))
    found: dict[str, list[FloatArray]] = {name: [] for name in functions}
    steps, times, shown, chosen, at, kept, lost = [], [], [], [], 0, 0, 0
    for frames in iter_frames(source.path, source.replica, chunk=chunk, last=total):
        x = frames.positions
        good = np.isfinite(x).all(axis=(1, 2)) & ((frozen is None) | (frames.steps <= (frozen or 0)))
        values = {name: function(x[good]) for name, function in functions.items()}
        sound = ~np.isinf([*values.values(), np.zeros(good.sum())]).any(axis=0)  # no mean is left with one
        good[good] = sound
        mine = np.isin(np.arange(at, at + len(x)), view) & good
        rows = np.cumsum(good) - 1 + kept
        shown.append(molecule.in_box(x[mine]) if molecule.many else x[mine])
        chosen.append(rows[mine])
        at += len(x)
        lost += int((~good).sum())
        kept += int(good.sum())
        steps.append(frames.steps[good])
        times.append(frames.times[good])
        for name, own in values.items():
            found[name].append(own[sound])
    if not steps:
        return Track(source.replica, np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64),
                     {name: np.zeros(0) for name in functions}, frozen)  # fmt: skip
    step = np.concatenate(steps)
    return Track(
        source.replica, step, np.concatenate(times), states.of(source.replica, step),
        {name: np.concatenate(parts) for name, parts in found.items()}, frozen, lost,
        np.concatenate(chosen).astype(np.int64), np.concatenate(shown),
    )  # fmt: skip


def average_profiles(
    run: Run,
    sample: Sample,
    at: Sequence[int],
    first_step: int,
    progress: Progress = lambda what, done, total: None,
) -> None:
    """Fill `sample.profiles`: every profile at the states `at`, over frames from `first_step` on."""
    molecule = sample.molecule
    known = {p.name: p for p in PROFILES}
    functions = {p.name: f for p in PROFILES if (f := p.parts(molecule)) is not None}
    used = sum(int((np.isin(t.states, at) & (t.steps >= first_step)).sum()) for t in sample.tracks)
    if not functions or not used:
        return
    stride = {n: max(1, int(np.ceil(used * known[n].cost(molecule) / PROFILE_COST))) for n in functions}
    sums: dict[tuple[str, int, int], dict[str, FloatArray]] = {}
    counts: dict[tuple[str, int, int], int] = {}
    sources = {s.replica: s for s in run.sources()}
    chunk = max(1, CHUNK_NUMBERS // (3 * molecule.system.n_beads))
    for done, track in enumerate(sample.tracks):
        progress("averaging maps", done, len(sample.tracks))
        here = track.steps[np.isin(track.states, at) & (track.steps >= first_step)]
        if not len(here):
            continue
        wanted = {n: here[::k] for n, k in stride.items()}
        source, place = sources[track.replica], 0
        for frames in iter_frames(source.path, source.replica, chunk=chunk):
            for name, function in functions.items():
                pick = np.isin(frames.steps, wanted[name])
                if not pick.any():
                    continue
                states = track.states[np.searchsorted(track.steps, frames.steps[pick])]
                for s in np.unique(states).tolist():
                    x = frames.positions[pick][states == s]
                    group = track.replica % GROUPS if len(sample.tracks) >= GROUPS else _stretch(place, track, done)
                    key = (name, s, group)
                    counts[key] = counts.get(key, 0) + len(x)
                    total = sums.setdefault(key, {})
                    for part, value in function(x).items():
                        total[part] = total[part] + value if part in total else value
            place += len(frames)
    progress("averaging maps", len(sample.tracks), len(sample.tracks))
    sample.stride = stride
    for name in functions:
        sample.profiles[name] = {}
        for s in at:
            keys = [k for k in sums if k[0] == name and k[1] == s]
            if keys:
                sample.profiles[name][s] = _averaged(molecule, known[name].result, [(sums[k], counts[k]) for k in keys])


def _stretch(place: int, track: Track, number: int) -> int:
    """The group of a chunk where there are few replicas: stretches of each."""
    return number * GROUPS + place * GROUPS // max(len(track), 1)


def _averaged(molecule: Molecule, result: Any, groups: Sequence[tuple[dict[str, FloatArray], int]]) -> Averaged:
    """The result of all groups, with errors by jackknife over them."""
    n = sum(count for _, count in groups)
    total = {part: sum(s[part] for s, _ in groups) for part in groups[0][0]}
    values = result(molecule, {part: v / n for part, v in total.items()})
    errors: dict[str, Any] = {}
    if len(groups) > 1:
        left = []
        for s, count in groups:
            if n > count:
                left.append(result(molecule, {part: (total[part] - s[part]) / (n - count) for part in total}))
        b = len(left)
        for key, value in values.items():
            if isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype == np.float64):
                other = np.array([x[key] for x in left])
                spread = np.sqrt((b - 1) / b * ((other - other.mean(axis=0)) ** 2).sum(axis=0))
                errors[key] = float(spread) if isinstance(value, float) else spread
    return Averaged(values, errors, n)


def energies(run: Run, log: pandas.DataFrame, name: str) -> pandas.DataFrame:
    """The rows of log.csv of one molecule.

    Raises:
        InputError: none.
    """
    rows = log[log["system"] == name]
    if not len(rows):
        raise InputError(f"has no row of '{name}' yet", file=run.folder / "log.csv")
    return rows

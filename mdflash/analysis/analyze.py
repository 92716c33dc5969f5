"""`mdflash analyze`: everything that can be said of a run so far, as numbers; the page is made from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from mdflash.analysis import ladder, reweight
from mdflash.analysis.free_energy import Surface, surface
from mdflash.analysis.hills import METHODS, Filled, find_hills
from mdflash.analysis.kinetics import Kinetics, kinetics
from mdflash.analysis.molecule import load_molecules
from mdflash.analysis.numbers import Measured, block_ids, equilibration, measure
from mdflash.analysis.open_run import Run
from mdflash.analysis.pulling import Pulled, find_pulled
from mdflash.analysis.sample import Progress, Sample, States, average_profiles, collect, read_states
from mdflash.analysis.statistics import Equilibration
from mdflash.analysis.verdict import Light, grade, measured, time_text, worst
from mdflash.analysis.windows import Windows, find_windows
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import MdflashError
from mdflash.mapping.choices import Reading
from mdflash.units import BOLTZMANN

FOLDED = 0.5
"""Q above which a frame counts as folded."""
PASSAGE = (0.8, 0.2)
"""Q of a folded and of an unfolded frame, between which a passage is complete."""
MOST_SAMPLES = 20_000
"""Samples that are reweighted."""
ENERGY = "energy"
FEWEST = 20
"""Frames of a replica, below which an equilibrium cannot be told from a start."""


@dataclass(eq=False)
class MoleculeAnalysis:
    """What is known of one molecule.

    Attributes:
        sample: its frames.
        equilibration: what is left out, and the step from which on frames count.
        first_step: that step.
        measured: by observable.
        energy: of log.csv, likewise.
        key: the observable that tells most: Q, RMSD from the reference, or Rg.
        focus: the state that pictures are of.
        walk: its exchange.
        acceptance: [K - 1] between neighboring states, or empty.
        melting: where states are temperatures.
        surfaces: free energies.
        windows: umbrella sampling.
        filled: metadynamics.
        pulled: biases that moved.
        kinetics: the slowest motions, of replicas that keep their state.
        passages: of folding and unfolding, all replicas.
        lights: what must hold.
        sentences: the verdict.
        notes: what is missing, and why.
        biased: what biases do to the means, in a sentence; empty without them.
    """

    sample: Sample
    equilibration: Equilibration
    first_step: int
    measured: dict[str, Measured]
    energy: Measured | None
    key: str
    focus: int
    walk: ladder.Walk | None = None
    acceptance: list[float | None] = field(default_factory=list)
    exchange_ps: float = 0.0
    melting: reweight.Melting | None = None
    surfaces: list[Surface] = field(default_factory=list)
    surface_kelvin: float = math.nan
    windows: list[Windows] = field(default_factory=list)
    filled: list[Filled] = field(default_factory=list)
    pulled: list[Pulled] = field(default_factory=list)
    kinetics: Kinetics | None = None
    passages: int | None = None
    lights: list[Light] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    biased: str = ""

    @property
    def name(self) -> str:
        return self.sample.molecule.name

    @property
    def length(self) -> float:
        """ps of the longest replica."""
        return max((float(t.times[-1]) for t in self.sample.tracks if len(t)), default=0.0)

    @property
    def left_out(self) -> float:
        """ps before equilibrium."""
        for t in self.sample.tracks:
            if len(t):
                rows = np.flatnonzero(t.steps >= self.first_step)
                return float(t.times[rows[0]]) if len(rows) else 0.0
        return 0.0


@dataclass(eq=False)
class Analysis:
    """What is known of a run.

    Attributes:
        run: where it is.
        manifest: as it was when the analysis began.
        molecules: by name.
        events: of the run, in order.
        notes: what is missing, of the run as a whole.
    """

    run: Run
    manifest: dict[str, Any]
    molecules: dict[str, MoleculeAnalysis]
    events: list[dict[str, Any]]
    notes: list[str]

    def __repr__(self) -> str:
        """The verdict, and a table of means."""
        from mdflash.analysis.report.results import table

        parts = [f"<Analysis of {self.run.folder}>"]
        for m in self.molecules.values():
            parts += [*m.sentences, table(m)]
        return "\n".join(part for part in parts if part)

    def numbers(self) -> dict[str, Any]:
        """For JSON; NaN is null."""
        from mdflash.analysis.report.results import as_json

        return as_json(self)

    def write(self, folder: Path | None = None, progress: Progress = lambda what, done, total: None) -> Path:
        """Write report.html, properties.csv and analysis.json into `folder` (default: analysis/ in the run folder).

        Returns:
            The path of the page.
        """
        from mdflash.analysis.report.page import write_page

        return write_page(self, folder or self.run.folder / "analysis", progress)


def analyze(
    run: Run,
    reference: Path | None = None,
    progress: Progress = lambda what, done, total: None,
    reading: Reading | None = None,
) -> Analysis:
    """Analyze what is complete of a run: finished, running, killed or torn.

    Args:
        run: from `mdflash.open_run`.
        reference: a structure file to compare with; default: the native structure of a Gō force field.
        progress: called with what is done, how much of it, of how much.
        reading: how the reference is to be read; choices that are not made are those of the run.

    Raises:
        InputError: the run writes no trajectory, or the reference is of another molecule.
        MissingExtraError: pandas is not installed.
    """
    notes: list[str] = []
    manifest = run.manifest
    molecules = load_molecules(run, reference, reading)
    log = _log(run, notes)
    states = read_states(run, log)
    samples = collect(run, molecules, states, progress=progress)
    events: list[dict[str, Any]] = []
    path = run.folder / "events.jsonl"
    if path.is_file():
        from mdflash.io.events import read_events

        events = read_events(path)
    found = {}
    for name, sample in samples.items():
        progress(f"statistics of {name}", 0, 1)
        found[name] = _molecule(run, manifest, sample, states, log, progress)
        _judge(found[name], manifest, events)
    return Analysis(run, manifest, found, events, notes)


def _log(run: Run, notes: list[str]) -> pandas.DataFrame | None:
    try:
        return run.log
    except MdflashError as error:
        notes.append(f"log.csv could not be read, so energies are missing ({error})")
        return None


def _molecule(
    run: Run, manifest: dict[str, Any], sample: Sample, states: States, log: pandas.DataFrame | None,
    progress: Progress,
) -> MoleculeAnalysis:  # fmt: skip
    names = [o.name for o in sample.observables]
    key = next((n for n in ("q", "rmsd", "rg") if n in names), names[0] if names else "")
    watched = [n for n in names if n in (key, "rg")]
    settled, first = equilibration(sample, watched)
    if _minimized(run) and any((t.steps > 0).any() for t in sample.tracks):
        first = max(first, 1)  # the frame at step 0 is a minimum, and no sample
    found = MoleculeAnalysis(sample, settled, first, {}, None, key, 0, notes=list(sample.notes))
    if not sample.frames:
        found.notes.append("there is no complete frame yet")
        return found
    if sample.frames < FEWEST * len(sample.tracks):
        found.notes.append(
            f"only {sample.frames} frames of {len(sample.tracks)} replicas: too few to tell an equilibrium from a start"
        )
    found.measured = {n: measure(sample, n, first) for n in names}
    _attach_energy(run, found, log)
    if sample.molecule.reference is None:
        found.notes.append(
            "no reference structure is known, so there are no native contacts and no RMSD from one: give one with "
            "--reference FILE"
        )
    _exchange(found, manifest, states, run)
    found.windows, why = find_windows(run, found.name, states, first)
    found.notes += why
    found.filled, why = find_hills(run, found.name)
    found.notes += why
    found.pulled, why = find_pulled(run, found.name)
    found.notes += why
    if "q" in names:
        found.passages = sum(passages(t.values["q"]) for t in sample.tracks)
    biased = bool(found.windows) or (run.folder / "colvars.csv").is_file()
    if biased:
        found.biased = (
            "Biases act in this run, so means and distributions of frames are those of the biased ensembles; only the "
            "free energies along biased variables are freed of them."
        )
    else:
        _melting(found)
    found.focus = _focus(found)
    ends = _map_states(found)
    average_profiles(run, sample, ends, first, progress)
    if not biased:
        _surfaces(found)
        slow = kinetics(run, sample, found.focus, first)
        if isinstance(slow, str):
            found.notes.append(slow)
        else:
            found.kinetics = slow
    return found


def _minimized(run: Run) -> bool:
    """Whether frames at step 0 were minimized; False where the settings are gone."""
    try:
        return bool(run.config.get("dynamics", {}).get("minimize"))
    except (MdflashError, OSError):
        return False


def _attach_energy(run: Run, found: MoleculeAnalysis, log: pandas.DataFrame | None) -> None:
    """Potential energies of the frames that have a row in log.csv; NaN for others."""
    if log is None:
        return
    rows = log[log["system"] == found.name] if "system" in log.columns else log
    by_replica = {int(r): g for r, g in rows.groupby("replica")}
    matched = 0
    for track in found.sample.tracks:
        energy = np.full(len(track), np.nan)
        mine = by_replica.get(track.replica)
        if mine is not None and len(track):
            steps = mine["step"].to_numpy()
            _, a, b = np.intersect1d(track.steps, steps, return_indices=True)
            energy[a] = mine["potential_kcal_mol"].to_numpy()[b]
            matched += len(a)
        track.values[ENERGY] = energy
    complete = matched == found.sample.frames
    if complete:
        found.energy = measure(found.sample, ENERGY, found.first_step)
    else:
        found.notes.append(
            f"{matched:,} of {found.sample.frames:,} frames have a row in log.csv at the same step; write "
            "`output.log.interval` equal to `output.trajectory.interval` to use them all for reweighting"
        )


def _exchange(found: MoleculeAnalysis, manifest: dict[str, Any], states: States, run: Run) -> None:
    table, settings = states.exchange, manifest.get("exchange")
    if table is None or settings is None:
        return
    mine = [k for k, r in enumerate(table.replica_ids) if r in {t.replica for t in found.sample.tracks}]
    found.walk = ladder.walk(table.steps, table.labels[:, mine], len(found.sample.temperatures))
    counted = (settings.get("acceptance") or {}).get(found.name)
    if counted is None:
        each = 1.0 if settings.get("scheme") == "gibbs" or found.walk.states == 2 else 2.0
        counted = [float(x) * each for x in found.walk.moved]
    found.acceptance = list(counted)
    steps, times = found.sample.tracks[0].steps, found.sample.tracks[0].times
    if len(steps) > 1 and len(table.steps) > 1:
        found.exchange_ps = float(np.median(np.diff(table.steps)) * (times[-1] - times[0]) / (steps[-1] - steps[0]))


def passages(q: FloatArray) -> int:
    """How often one replica goes from folded (Q >= 0.8) to unfolded (Q <= 0.2) or back, from Q [F]."""
    side = np.where(q >= PASSAGE[0], 1, np.where(q <= PASSAGE[1], -1, 0))
    side = side[side != 0]
    return int((np.diff(side) != 0).sum())


def _settled(found: MoleculeAnalysis, name: str) -> tuple[FloatArray, IntArray, IntArray, IntArray]:
    """Of all tracks from the first step on: values, states and blocks [N]; and the strata of the blocks."""
    sample = found.sample
    ids, strata = block_ids(sample, found.first_step)
    keep = [t.steps >= found.first_step for t in sample.tracks]
    values = np.concatenate([t.values[name][k] for t, k in zip(sample.tracks, keep, strict=True)])
    states = np.concatenate([t.states[k] for t, k in zip(sample.tracks, keep, strict=True)])
    return values, states, np.concatenate(ids), strata


def _melting(found: MoleculeAnalysis) -> None:
    """Reweight over temperatures."""
    sample = found.sample
    kelvin = sample.temperatures
    if len(kelvin) < 2 or not np.isfinite(kelvin).all() or np.ptp(kelvin) == 0 or ENERGY not in sample.tracks[0].values:
        return
    energy, states, blocks, strata = _settled(found, ENERGY)
    known = np.isfinite(energy)
    if known.sum() < 100:
        found.notes.append("too few frames have an energy to reweight over temperatures")
        return
    columns = {n: _settled(found, n)[0] for n in found.measured}
    stride = max(1, math.ceil(known.sum() / MOST_SAMPLES))
    pick = np.flatnonzero(known)[::stride]
    folded = (columns["q"][pick] > FOLDED).astype(np.float64) if "q" in columns else None
    found.melting = reweight.melting(
        energy[pick],
        states[pick],
        kelvin,
        blocks[pick],
        {n: v[pick] for n, v in columns.items()},
        folded,
        strata,
        stride,
    )


def _focus(found: MoleculeAnalysis) -> int:
    """The state nearest to the melting temperature, or the lowest temperature that has frames."""
    kelvin = found.sample.temperatures
    used = sorted({int(s) for t in found.sample.tracks for s in np.unique(t.states)})
    melting = found.melting.melting if found.melting is not None else None
    if melting is not None:
        return min(used, key=lambda s: abs(kelvin[s] - melting.value))
    return min(used, key=lambda s: (kelvin[s] if np.isfinite(kelvin[s]) else 0.0, s))


def _map_states(found: MoleculeAnalysis) -> list[int]:
    """Lowest and highest temperature, and where it melts."""
    kelvin = found.sample.temperatures
    used = sorted({int(s) for t in found.sample.tracks for s in np.unique(t.states)}, key=lambda s: (kelvin[s], s))
    if np.ptp(kelvin[used]) == 0 if len(used) > 1 else True:
        return used[:1] if len(used) < 2 else used[: 1 if found.windows else 2]
    return list(dict.fromkeys([used[0], found.focus, used[-1]]))


def _surfaces(found: MoleculeAnalysis) -> None:
    """Free energies over the key observable, Rg, and both."""
    sample = found.sample
    known = {o.name: o for o in sample.observables}
    kelvin = float(sample.temperatures[found.focus])
    if not np.isfinite(kelvin):
        found.notes.append("the temperature is not known, so there are no free energies")
        return
    names = [n for n in dict.fromkeys([found.key, "rg"]) if n in known]
    pairs: list[tuple[str, ...]] = [(n,) for n in names]
    for a, b in (("q", "rmsd"), ("rmsd_start", "rg"), ("rg", "end_to_end")):
        if a in known and b in known and (a == "q" or "q" not in known):
            pairs.append((a, b))
            break
    found.surface_kelvin = kelvin
    weight = None
    energy, states, blocks, _ = _settled(found, ENERGY) if found.melting is not None else _settled(found, names[0])
    keep = states == found.focus
    if found.melting is not None:
        keep = np.isfinite(energy)
        e = energy[keep] - energy[keep].mean()
        beta = 1.0 / (BOLTZMANN * sample.temperatures)
        counts = np.bincount(states[keep], minlength=len(beta)).astype(np.float64)
        mixture = reweight.log_mixture(beta[:, None] * e, counts, found.melting.free)
        weight = reweight.weights(beta[found.focus] * e, mixture)
    if keep.sum() < 50:
        found.notes.append("too few frames for free energies")
        return
    for group in pairs:
        values = [_settled(found, n)[0][keep] for n in group]
        if any(np.ptp(v) == 0 for v in values):
            continue
        found.surfaces.append(surface(group, values, kelvin, weight, blocks[keep], [known[n].span for n in group]))


def _judge(found: MoleculeAnalysis, manifest: dict[str, Any], events: Sequence[dict[str, Any]]) -> None:
    """Lights and sentences."""
    sample = found.sample
    if not sample.frames:
        found.sentences = [f"{found.name}: there is no complete frame yet."]
        return
    lights = found.lights
    title = {o.name: o.title for o in sample.observables}[found.key]
    share = found.left_out / found.length if found.length else 0.0
    few = sample.frames < FEWEST * len(sample.tracks)
    moved = bool(found.filled or found.pulled)  # a bias that changes has no equilibrium
    if not moved:
        lights.append(_equilibrium(found, few, share))
    _judge_windows(found, lights)
    _judge_hills(found, lights)
    _judge_works(found, lights)
    if not found.windows and not moved:
        _judge_means(found, lights, title)
    if found.walk is not None:
        _judge_walk(found, lights)
    frozen = [t.replica for t in sample.tracks if t.frozen is not None]
    broken = [e for e in events if e.get("event") in ("failure", "unstable")]
    spikes = [e for e in events if "spike" in str(e.get("event"))]
    lights.append(
        Light(
            "Stable", "bad" if broken or frozen else "care" if spikes else "good",
            f"{len(frozen)} frozen, {len(spikes)} spikes",
            "no replica frozen, no spike of energy or force",
            f"Frozen: replica {', '.join(map(str, frozen))}." if frozen
            else "The run ended because it became unstable." if broken else "Nothing out of order is in events.jsonl."
            if not spikes else "See the events below.",
        )
    )  # fmt: skip
    status, step, total = manifest.get("status"), manifest.get("step", 0), manifest.get("total_steps", 0)
    lights.append(
        Light(
            "Complete", "good" if status == "finished" else "care",
            f"{100 * step / total:.0f} %" if total else str(status), "finished",
            f"The run is at step {step:,} of {total:,} ({status})." if status != "finished"
            else f"All {total:,} steps are done.",
        )
    )  # fmt: skip
    biased = [found.biased] if found.biased else []
    found.sentences = [_what(found), *biased, _numbers(found, title), _enough(found)]


def _judge_means(found: MoleculeAnalysis, lights: list[Light], title: str) -> None:
    key = found.measured[found.key]
    lights.append(
        Light(
            "Independent samples", grade(key.effective, 100, 20, more=True), f"{key.effective:,.0f}",
            f"100 of the {title} or more (care: 20)",
            f"One in {key.inefficiency:.1f} frames is independent, by the {title} of each replica.",
        )
    )  # fmt: skip
    rhat = max((m.rhat for m in found.measured.values() if math.isfinite(m.rhat)), default=math.nan)
    lights.append(
        Light(
            "Replicas agree", grade(rhat, 1.05, 1.2, more=False), "-" if math.isnan(rhat) else f"R-hat {rhat:.3f}",
            "R-hat at most 1.05 (care: 1.2)",
            "There are not two replicas that sample the same state." if math.isnan(rhat)
            else "The largest R-hat over observables compares the spread between replicas with that within each.",
        )
    )  # fmt: skip
    drift = key.states[found.focus].drift if found.focus in key.states else math.nan
    halves = key.states[found.focus].halves if found.focus in key.states else ()
    lights.append(
        Light(
            "Halves agree", grade(drift, 2.0, 3.0, more=False), "-" if math.isnan(drift) else f"{drift:.1f} σ",
            "means of the first and second half within 2 standard errors (care: 3)",
            f"The {title} at {_state(found, found.focus)}: "
            + " then ".join(measured(*half) for half in halves),
        )
    )  # fmt: skip


def _equilibrium(found: MoleculeAnalysis, few: bool, share: float) -> Light:
    """Of frames: how much of the run was before it."""
    sample = found.sample
    if few:
        return Light(
            "Equilibrium", "unknown", "not judged", f"at least {FEWEST} frames of each replica",
            f"{sample.frames:,} frames of {len(sample.tracks)} replicas are too few to tell it from a start.",
        )  # fmt: skip
    return Light(
        "Equilibrium", grade(share, 0.25, 0.5, more=False), f"{100 * share:.0f} %",
        "at most 25 % of the run before it (care: 50 %)",
        f"The first {time_text(found.left_out)} of {time_text(found.length)} are left out.",
    )  # fmt: skip


def _judge_windows(found: MoleculeAnalysis, lights: list[Light]) -> None:
    """Umbrella sampling stands on its free energies; a mean of one window says little of them."""
    for w in found.windows:
        lights.append(
            Light(
                "Independent samples", grade(float(w.effective.min()), 50, 10, more=True), f"{w.effective.min():,.0f}",
                f"50 of {w.name} or more in every window (care: 10)",
                f"The fewest of a window: state {int(w.effective.argmin())}, centered at "
                f"{w.centers[int(w.effective.argmin())]:.4g}{f' {w.unit}' if w.unit else ''}.",
            )
        )  # fmt: skip
        lights.append(
            Light(
                f"Halves of {w.name} agree", grade(w.difference, 0.5, 1.0, more=False),
                "-" if math.isnan(w.difference) else f"{w.difference:.2f} kT",
                "curves of both halves within 0.5 kT, root mean square (care: 1 kT)",
                f"The free energies along {w.name} from both halves of every window, less a constant.",
            )
        )  # fmt: skip
        lights.append(
            Light(
                f"Windows of {w.name} overlap", grade(w.weakest, 0.03, 0.01, more=True), f"{w.weakest:.2f}",
                "neighbors at least 0.03 (care: 0.01)",
                "The least overlap of two neighboring windows; below, the free energy between them is a guess.",
            )
        )  # fmt: skip


def _judge_hills(found: MoleculeAnalysis, lights: list[Light]) -> None:
    """Metadynamics stands on two estimates of one function, and on whether it still changes."""
    for f in found.filled:
        thermal = BOLTZMANN * f.kelvin
        late = float(f.drift[-1]) / thermal
        lights.append(
            Light(
                f"Bias of {f.name} has settled", grade(late, 0.5, 1.0, more=False),
                "-" if math.isnan(late) else f"{late:.2f} kT",
                "within 0.5 kT over the last tenth of the run, root mean square (care: 1 kT)",
                f"What {f.hills:,} hills add up to, over places up to 8 kT above the lowest, less a constant.",
            )
        )  # fmt: skip
        if f.method == "opes-explore":  # whose kernels are too wide to be an estimate
            continue
        apart = f.disagreement / thermal
        lights.append(
            Light(
                f"Estimates of {f.name} agree", "unknown" if math.isnan(apart) else grade(apart, 0.5, 1.0, more=False),
                "-" if math.isnan(apart) else f"{apart:.2f} kT",
                "bias and reweighted frames within 0.5 kT, root mean square (care: 1 kT)",
                f"Two estimates of the free energy along {' and '.join(f.variables)}, less a constant.",
            )
        )  # fmt: skip


def _judge_works(found: MoleculeAnalysis, lights: list[Light]) -> None:
    """Jarzynski's average stands on the smallest works, which must not be too rare."""
    for p in found.pulled:
        spread = p.spread / (BOLTZMANN * p.kelvin)
        lights.append(
            Light(
                f"Works of {p.name} are near each other", grade(spread, 2.0, 4.0, more=False), f"{spread:.1f} kT",
                "a standard deviation of 2 kT or less (care: 4 kT); pull slower where it is more",
                f"The works of {p.replicas} replicas at the end.",
            )
        )  # fmt: skip


def _judge_walk(found: MoleculeAnalysis, lights: list[Light]) -> None:
    walk = found.walk
    assert walk is not None
    accepted = [a for a in found.acceptance if a is not None]
    least = min(accepted, default=math.nan)
    lights.append(
        Light(
            "Exchange accepted", grade(least, 0.1, 0.03, more=True), "-" if not accepted else f"{least:.2f}",
            "0.1 or more between all neighbors (care: 0.03)",
            "The least share of accepted swaps between two neighboring states.",
        )
    )  # fmt: skip
    trips = float(walk.round_trips.mean()) if len(walk.round_trips) else 0.0
    lights.append(
        Light(
            "Round trips", grade(trips, 2.0, 0.5, more=True), f"{walk.round_trips.sum():,}",
            "2 or more a replica on average (care: 0.5)",
            f"From the lowest state to the highest and back: {trips:.1f} a replica.",
        )
    )  # fmt: skip
    mixing = walk.mixing_attempts * found.exchange_ps
    times = found.length / mixing if mixing > 0 else math.inf
    lights.append(
        Light(
            "States mix", grade(times, 20.0, 5.0, more=True), f"λ = {walk.eigenvalue:.4f}",
            "the run at least 20 times as long as mixing takes (care: 5)",
            f"A replica forgets its state in {time_text(mixing)} (second eigenvalue of the transition matrix)."
            if math.isfinite(mixing) else "Replicas do not leave their states.",
        )
    )  # fmt: skip


def _left_out(found: MoleculeAnalysis) -> str:
    return f"the first {time_text(found.left_out)} are left out" if found.left_out > 0 else "all of them count"


def _state(found: MoleculeAnalysis, state: int) -> str:
    kelvin = found.sample.temperatures
    t = kelvin[state]
    text = f"{t:.4g} K" if np.isfinite(t) else f"state {state}"
    return text if (kelvin == t).sum() == 1 or not np.isfinite(t) else f"{text}, state {state}"


def _what(found: MoleculeAnalysis) -> str:
    sample = found.sample
    kelvin = sample.temperatures[np.isfinite(sample.temperatures)]
    several = (
        f"{len(set(kelvin.tolist()))} temperatures from {kelvin.min():.4g} to {kelvin.max():.4g} K"
        if len(kelvin)
        else ""
    )
    at = several if len(set(kelvin.tolist())) > 1 else f"{kelvin[0]:.4g} K" if len(kelvin) else "unknown temperature"
    how = " that exchange" if sample.exchanged else ""
    if found.windows:
        at += f" in {len(found.windows[0].centers)} windows of {' and '.join(w.name for w in found.windows)}"
    for f in found.filled:
        at += f" under {METHODS[f.method]} of {f.name}"
    many = len(sample.tracks)
    return (
        f"{many} replica{'s' if many > 1 else ''} of {found.name}{how if many > 1 else ''}, {time_text(found.length)} "
        f"each at {at}: {sample.frames:,} frames; {_left_out(found)}."
    )


def _numbers(found: MoleculeAnalysis, title: str) -> str:
    parts = []
    if found.melting is not None and found.melting.melting is not None:
        parts.append(f"it melts at {measured(*found.melting.melting, 'K')} (half of the frames folded)")
    known = {o.name: o for o in found.sample.observables}
    means = []
    unfolded = [] if "q" in found.measured else ["end_to_end"]
    for n in () if found.windows or found.filled or found.pulled else dict.fromkeys([found.key, "rg", *unfolded]):
        if n in found.measured and found.focus in found.measured[n].states:
            o = known[n]
            name = o.title if o.title.startswith("RMSD") else f"the {o.title}"
            means.append(f"{name} is {measured(*found.measured[n].states[found.focus].mean, o.unit)}")
    pairs = found.sample.profiles.get("pairs", {}).get(found.focus)
    if means and unfolded and pairs is not None and "nu" in pairs.values:
        means.append(f"the scaling exponent nu is {measured(pairs.values['nu'], pairs.errors.get('nu', math.nan))}")
    if means:
        text = f"{', '.join(means[:-1])} and {means[-1]}" if len(means) > 1 else means[0]
        parts.append(f"at {_state(found, found.focus)} {text}")
    if found.passages and not found.biased:
        parts.append(f"it folds or unfolds {found.passages:,} times")
    for w in found.windows:
        x = 0.5 * (w.profile.edges[0][1:] + w.profile.edges[0][:-1])
        known_bins = np.isfinite(w.profile.energy)
        if known_bins.any():
            best = float(x[int(np.nanargmin(w.profile.energy))])
            top = int(np.nanargmax(w.profile.energy))
            height = measured(float(w.profile.energy[top]), float(w.profile.errors[top]), "kcal/mol")
            unit = f" {w.unit}" if w.unit else ""
            parts.append(
                f"the free energy along {w.name} is lowest at {best:.4g}{unit} and rises by {height} "
                f"to {x[top]:.4g}{unit}"
            )
    for f in found.filled:
        if len(f.nodes) == 1:
            best = float(f.nodes[0][int(f.scaled.argmin())])
            parts.append(f"the free energy by {METHODS[f.method]} is lowest where the {f.variables[0]} is {best:.4g}")
    for p in found.pulled:
        change = measured(float(p.free[-1]), float(p.error[-1]), "kcal/mol")
        parts.append(f"the free energy changes by {change} while the {p.what} of {p.name} moves (Jarzynski)")
    text = "; ".join(parts) or "there are no numbers yet"
    return text[0].upper() + text[1:] + "."


def _enough(found: MoleculeAnalysis) -> str:
    color = worst(found.lights)
    reasons = [light for light in found.lights if light.color == color and color in ("care", "bad")]
    if color == "good":
        n = f"{found.measured[found.key].effective:,.0f} independent samples"
        if found.windows:
            fewest = min(float(w.effective.min()) for w in found.windows)
            n = f"{fewest:,.0f} independent samples or more in each window"
        elif found.filled:
            n = " and ".join(f"{f.hills:,} hills of {f.name}" for f in found.filled)
        elif found.pulled:
            n = f"the work of {found.pulled[0].replicas} replicas"
        trips = f", {found.walk.round_trips.sum():,} round trips" if found.walk is not None else ""
        agree = [light.value for light in found.lights if light.name == "Replicas agree" and light.value != "-"]
        return f"Sampled enough: yes, with {n}{trips}" + (f", and replicas that agree ({agree[0]})." if agree else ".")
    why = "; ".join(f"{light.name.lower()} ({light.value}; wanted: {light.rule})" for light in reasons[:3])
    return f"Sampled enough: {'no' if color == 'bad' else 'not surely'}. Not met: {why}."

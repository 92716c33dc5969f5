"""`mdflash analyze`: everything that can be said of a run so far, as numbers; the page is made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas

from mdflash.analysis import ladder
from mdflash.analysis.against.ensemble import Reference
from mdflash.analysis.against.of_run import against_ensemble
from mdflash.analysis.annealed import annealed
from mdflash.analysis.experiment.compare import compare, molecule_of
from mdflash.analysis.experiment.file import Experimental
from mdflash.analysis.hills import find_hills
from mdflash.analysis.judge import FEWEST, judge
from mdflash.analysis.kinetics import kinetics
from mdflash.analysis.molecule import load_molecules
from mdflash.analysis.numbers import equilibration, measure
from mdflash.analysis.open_run import Run
from mdflash.analysis.phases import measure_phases
from mdflash.analysis.pulling import find_pulled
from mdflash.analysis.result import BIAS, ENERGY, Analysis, MoleculeAnalysis
from mdflash.analysis.sample import Progress, Sample, States, average_profiles, collect, read_states
from mdflash.analysis.thermodynamics import add_melting, add_surfaces, focus_state, map_states
from mdflash.analysis.walkers import find_walkers
from mdflash.analysis.windows import bias_energies, find_windows
from mdflash.core.blas import one_thread
from mdflash.core.plural import plural
from mdflash.core.types import FloatArray
from mdflash.errors import MdflashError
from mdflash.mapping.choices import Reading

PASSAGE = (0.8, 0.2)
"""Q of a folded and of an unfolded frame, between which a passage is complete."""


@one_thread()
def analyze(
    run: Run,
    reference: Path | None = None,
    progress: Progress = lambda what, done, total: None,
    reading: Reading | None = None,
    experiment: Experimental | None = None,
    against: Reference | None = None,
) -> Analysis:
    """Analyze what is complete of a run: finished, running, killed or torn.

    Args:
        run: from `mdflash.open_run`.
        reference: a structure file to compare with; default: the native structure of a Gō force field.
        progress: called with what is done, how much of it, of how much.
        reading: how the reference is to be read; choices that are not made are those of the run.
        experiment: what was measured, from `load_experiment`.
        against: an ensemble to compare with.

    Raises:
        InputError: the run writes no trajectory, or the reference or the experiment is of another molecule.
        MissingExtraError: pandas or threadpoolctl is not installed.
    """
    notes: list[str] = []
    manifest = run.manifest
    measured = None if experiment is None else molecule_of(experiment, list(run.systems))
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
        if name == measured:
            _compare(run, found[name], experiment, progress)
        if against is not None:
            _against(run, found[name], against, reading, progress)
        judge(found[name], manifest, events)
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
    key = next((n for n in ("q", "rmsd", "condensation", "rg") if n in names), names[0] if names else "")
    watched = [n for n in names if n in (key, "rg", "chain_rg")]
    end = max((float(t.times[-1]) for t in sample.tracks if len(t)), default=0.0)
    moved = annealed(run, end)
    settled, first = equilibration(sample, watched, -1.0 if moved is None else moved.until)
    if _minimized(run) and any((t.steps > 0).any() for t in sample.tracks):
        first = max(first, 1)  # the frame at step 0 is a minimum, and no sample
    found = MoleculeAnalysis(sample, settled, first, {}, None, key, 0, notes=list(sample.notes))
    if moved is not None:
        found.annealed = min(moved.until, end)
    if not sample.frames:
        found.notes.append("there is no complete frame yet")
        return found
    if sample.frames < FEWEST * len(sample.tracks):
        seen = f"{plural(sample.frames, 'frame')} of {plural(len(sample.tracks), 'replica')}"
        found.notes.append(f"only {seen}: too few to tell an equilibrium from a start")
    found.measured = {n: measure(sample, n, first) for n in names}
    _attach_energy(run, found, log)
    if sample.molecule.reference is None and not sample.molecule.many:
        found.notes.append(
            "no reference structure is known, so there are no native contacts and no RMSD from one: give one with "
            "--reference FILE"
        )
    _exchange(found, manifest, states, run)
    found.windows, why = find_windows(run, found.name, states, first)
    found.notes += why
    found.filled, unfilled, why = find_hills(run, found.name)
    found.pulled, unpulled = find_pulled(run, found.name)
    found.walked = find_walkers(run, found.name)
    found.lacking = [*unfilled, *unpulled]
    found.notes += [*found.lacking, *why]
    if "q" in names:
        found.passages = sum(passages(t.values["q"][t.times >= found.annealed]) for t in sample.tracks)
    biased = bool(found.windows) or run.biased or found.walked is not None
    if found.annealed and found.annealed >= found.length:
        found.biased = "The temperature still moves at the end of this run (annealing), so no frame is of an ensemble."
    elif found.walked is not None:
        found.biased = (
            "Replicas are walkers of a weighted ensemble, so means and distributions of frames, which leave the "
            "weights out, are those of no ensemble; rates and populations are weighted."
        )
    elif biased:
        freed = bool(found.windows or found.filled or found.pulled)
        found.biased = (
            "Biases act in this run, so means and distributions of frames are those of the biased ensembles"
            f"{'; only the free energies along biased variables are freed of them' if freed else ''}."
        )
    else:
        add_melting(found)
    found.focus = focus_state(found)
    ends = map_states(found)
    average_profiles(run, sample, ends, first, progress)
    found.phases = measure_phases(run, sample, found.focus, first, progress)
    if not biased and not sample.molecule.many:
        add_surfaces(found)
        slow = kinetics(run, sample, found.focus, first)
        if isinstance(slow, str):
            found.notes.append(slow)
        else:
            found.kinetics = slow
            if isinstance(slow.states, str):
                found.notes.append(slow.states)
    return found


def _why_not(found: MoleculeAnalysis) -> str:
    """Why frames are compared with nothing."""
    if not found.biased:
        return "it is a box of many molecules"
    if found.annealed:
        return "the temperature moves"
    return "walkers have weights" if found.walked is not None else "biases change the ensemble"


def _compare(run: Run, found: MoleculeAnalysis, experiment: Experimental | None, progress: Progress) -> None:
    """Add the comparison with experiments, or a note why there is none."""
    if experiment is None:
        return
    if found.biased or found.sample.molecule.many:
        found.notes.append(f"the frames are not compared with experiments: {_why_not(found)}")
        return
    result = compare(run, found.sample, experiment, found.first_step, found.focus, progress)
    if isinstance(result, str):
        found.notes.append(result)
    else:
        found.experiment = result
        found.notes += result.notes


def _against(
    run: Run, found: MoleculeAnalysis, against: Reference, reading: Reading | None, progress: Progress
) -> None:
    """Add the comparison with another ensemble, or a note why there is none."""
    if found.biased or found.sample.molecule.many:
        found.notes.append(f"the frames are not compared with another ensemble: {_why_not(found)}")
        return
    progress(f"comparing with {against.paths[0].name}", 0, 1)
    result = against_ensemble(run, found.sample, against, reading, found.first_step, found.focus)
    if isinstance(result, str):
        found.notes.append(result)
    else:
        found.against = result
        found.notes += result.notes


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
    if matched == found.sample.frames:
        _without_biases(run, found)
        found.energy = measure(found.sample, ENERGY, found.first_step)
    else:
        found.notes.append(
            f"{matched:,} of {found.sample.frames:,} frames have a row in log.csv at the same step; write "
            "`output.log.interval` equal to `output.trajectory.interval` to use them all for reweighting"
        )


def _without_biases(run: Run, found: MoleculeAnalysis) -> None:
    """Take the energy of biases, which log.csv counts in, out of the potential energies; it is one of its own."""
    if not run.biased:
        return
    by_replica = bias_energies(run, found.name)
    known = 0
    for track in found.sample.tracks:
        bias = np.full(len(track), np.nan)
        steps, energy = by_replica.get(track.replica, (np.zeros(0, np.int64), np.zeros(0)))
        _, a, b = np.intersect1d(track.steps, steps, return_indices=True)
        bias[a] = energy[b]
        known += int(np.isfinite(bias).sum())
        track.values[BIAS] = bias
    if known == found.sample.frames:
        for track in found.sample.tracks:
            track.values[ENERGY] = track.values[ENERGY] - track.values[BIAS]
        found.bias = measure(found.sample, BIAS, found.first_step)
    else:
        found.notes.append(
            f"the potential energy holds that of the biases: {known:,} of {found.sample.frames:,} frames have a row in "
            "colvars.csv at the same step; write `output.colvars.interval` so that it divides "
            "`output.trajectory.interval` to have them apart"
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

"""What must hold before the numbers of a molecule are believed; `sentences` says it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mdflash.analysis.experiment.compare import ExperimentResult
from mdflash.analysis.hills import STAGES, Filled
from mdflash.analysis.observables.base import Observable
from mdflash.analysis.phases import phase_lights
from mdflash.analysis.result import MoleculeAnalysis
from mdflash.analysis.sentences import sentences, state_text
from mdflash.analysis.verdict import HARDLY, Light, grade, measured, rhat_text, time_text
from mdflash.analysis.walkers import ENOUGH, SHORTEST, Walked
from mdflash.core.plural import plural
from mdflash.units import BOLTZMANN

FEWEST = 20
"""Frames of a replica, below which an equilibrium cannot be told from a start."""

NEAR = (0.25, 0.5)
"""kT by which parts of a run may differ in a free energy: of no cause for care, and of some."""
_NEAR_TEXT = "{:g} kT (care: {:g} kT)".format(*NEAR)
BEYOND = (0.05, 0.2)
"""Shares of frames beyond what 99 of 100 frames of the data have: of no cause for care, and of some."""
SOME = 0.3
"""Effective fraction of frames, from which on weights are no cause for care."""


def judge(found: MoleculeAnalysis, manifest: dict[str, Any], events: Sequence[dict[str, Any]]) -> None:
    """Lights and sentences."""
    sample = found.sample
    if not sample.frames:
        found.sentences = [f"{found.name}: there is no complete frame yet."]
        return
    lights = found.lights
    title = {o.name: o.title for o in sample.observables}[found.key]
    rest = found.length - found.annealed
    share = (found.left_out - found.annealed) / rest if rest > 0 else 1.0 if found.annealed else 0.0
    few = sample.frames < FEWEST * len(sample.tracks)
    # frames under a bias that changes, or with weights, show no equilibrium
    moved = bool(found.filled or found.pulled or found.lacking or found.walked)
    if found.annealed and found.annealed >= found.length:
        lights.append(
            Light(
                "One temperature", "bad", "moves", "a temperature that stays",
                "Frames were made while the temperature moved (annealing), so they are no equilibrium.",
            )
        )  # fmt: skip
    if not moved:
        lights.append(_equilibrium(found, few, share))
    _judge_windows(found, lights)
    _judge_hills(found, lights)
    _judge_works(found, lights)
    if found.walked is not None:
        _judge_walkers(found.walked, lights)
        if lost := [e for e in events if e.get("event") == "walker lost"]:
            lights.append(_lost(lost))
    if found.lacking:
        lights.append(_lacking(found))
    if not found.windows and not moved:
        _judge_means(found, lights, title)
    if found.phases is not None:
        lights += phase_lights(found.phases, found.focus)
    if found.walk is not None:
        _judge_walk(found, lights)
    if found.experiment is not None:
        lights.append(_weights(found.experiment))
    lights += [_known(found, o, level) for o in sample.observables for _, level in o.levels(sample.molecule)]
    frozen = [t.replica for t in sample.tracks if t.frozen is not None]
    broken = [e for e in events if e.get("event") in ("failure", "unstable")]
    left = any(e.get("event") == "left known territory" for e in events)
    spikes = [e for e in events if "spike" in str(e.get("event"))]
    lights.append(
        Light(
            "Stable", "bad" if broken or frozen else "care" if spikes or left else "good",
            f"{len(frozen)} frozen, {len(spikes)} spikes",
            "no replica frozen, no spike of energy or force",
            f"Frozen: replica{'s' if len(frozen) > 1 else ''} {', '.join(map(str, frozen))}." if frozen
            else "The run ended because it became unstable." if broken
            else "The run ended because it left known territory." if left
            else "Nothing out of order is in events.jsonl." if not spikes else "See the events below.", proof=False,
        )
    )  # fmt: skip
    status, total = manifest.get("status"), manifest.get("total_steps", 0)
    step = manifest.get("step") or max(int(t.steps[-1]) for t in sample.tracks if len(t))  # before the first checkpoint
    lights.append(
        Light(
            "Complete", "good" if status == "finished" else "care",
            f"{100 * step / total:.0f} %" if total else str(status), "finished",
            f"The run is at step {step:,} of {total:,} ({status})." if status != "finished"
            else f"All {total:,} steps are done.", proof=False,
        )
    )  # fmt: skip
    found.sentences = sentences(found)


def _known(found: MoleculeAnalysis, o: Observable, level: float) -> Light:
    """Whether the frames are where the force field learned."""
    beyond = [t.values[o.name] > level for t in found.sample.tracks if len(t)]
    share = float(np.concatenate(beyond).mean())
    most = max((float(b.mean()), t.replica) for b, t in zip(beyond, filter(len, found.sample.tracks), strict=True))
    return Light(
        "Known territory", grade(share, *BEYOND, more=False), f"{100 * share:.2g} % beyond",
        f"at most {100 * BEYOND[0]:g} % of the frames beyond what 99 of 100 frames of the data have (care: "
        f"{100 * BEYOND[1]:g} %)",
        f"The {o.title} is more than {level:.3g} {o.unit} in these frames"
        + (f", most often in replica {most[1]} ({100 * most[0]:.2g} %)" if share else "")
        + ("; mdflash sample RECIPE --where RUN makes data there." if share > BEYOND[0] else "."),
    )  # fmt: skip


def _judge_means(found: MoleculeAnalysis, lights: list[Light], title: str) -> None:
    key = found.measured[found.key]
    lights.append(
        Light(
            "Independent samples", grade(key.effective, 100, 20, more=True), f"{key.effective:,.0f}",
            f"100 or more of the {title} (care: 20)",
            f"One in {key.inefficiency:.1f} frames is independent, by the {title} of each replica.",
        )
    )  # fmt: skip
    rhat = max((m.rhat for m in found.measured.values() if math.isfinite(m.rhat)), default=math.nan)
    lights.append(
        Light(
            "Replicas agree", grade(rhat, 1.05, 1.2, more=False),
            "-" if math.isnan(rhat) else f"R-hat {rhat_text(rhat)}",
            "R-hat at most 1.05 (care: 1.2)",
            _alone(found) if math.isnan(rhat)
            else "The largest R-hat over observables compares the spread between replicas with that within each.",
        )
    )  # fmt: skip
    drift = key.states[found.focus].drift if found.focus in key.states else math.nan
    halves = key.states[found.focus].halves if found.focus in key.states else ()
    lights.append(
        Light(
            "Halves agree", grade(drift, 2.0, 3.0, more=False), "-" if math.isnan(drift) else f"{drift:.1f} σ",
            "means of the first and second half within 2 standard errors (care: 3)",
            f"The {title} at {state_text(found, found.focus)}: "
            + ("too few frames for an error of each half." if math.isnan(drift)
               else " then ".join(measured(*half) for half in halves) + "."),
        )
    )  # fmt: skip


def _alone(found: MoleculeAnalysis) -> str:
    """Why replicas cannot be compared."""
    if len(found.sample.tracks) > 1 and found.sample.frames < FEWEST * len(found.sample.tracks):
        return "There are too few frames of each replica."
    return "There are not two replicas that sample the same state."


def _equilibrium(found: MoleculeAnalysis, few: bool, share: float) -> Light:
    """Of frames: how much of the run was before it."""
    sample = found.sample
    if few:
        seen = f"{plural(sample.frames, 'frame')} of {plural(len(sample.tracks), 'replica')}"
        return Light(
            "Equilibrium", "unknown", "not judged", f"at least {FEWEST} frames of each replica",
            f"{seen}: too few to tell it from a start.", proof=False,
        )  # fmt: skip
    return Light(
        "Equilibrium", grade(share, 0.25, 0.5, more=False), f"{100 * share:.0f} %",
        "at most 25 % of the run before it (care: 50 %)",
        f"The first {time_text(found.left_out)} of {time_text(found.length)} are left out." if found.left_out > 0
        else f"All of {time_text(found.length)} counts.", proof=False,
    )  # fmt: skip


def _judge_windows(found: MoleculeAnalysis, lights: list[Light]) -> None:
    """Umbrella sampling stands on its free energies; a mean of one window says little of them."""
    for w in found.windows:
        lights.append(
            Light(
                "Independent samples", grade(float(w.effective.min()), 50, 10, more=True), f"{w.effective.min():,.0f}",
                f"50 or more of {w.name} in every window (care: 10)",
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
        late = float(f.drift[STAGES // 2 - 1]) / thermal
        lights.append(
            Light(
                f"Bias of {f.name} has settled", grade(late, *NEAR, more=False), _kT(late),
                f"within {_NEAR_TEXT} over the last half of the run, root mean square",
                f"What {f.hills:,} hills add up to, over places up to 8 kT above the lowest, less a constant.",
            )
        )  # fmt: skip
        _judge_frames(f, lights)
        if f.method == "opes-explore":  # whose kernels are too wide to be an estimate
            continue
        apart = f.disagreement / thermal
        lights.append(
            Light(
                f"Estimates of {f.name} agree", "unknown" if math.isnan(apart) else grade(apart, 0.5, 1.0, more=False),
                _kT(apart), "bias and reweighted frames within 0.5 kT, root mean square (care: 1 kT)",
                f"Two estimates of the free energy along {' and '.join(f.variables)}, less a constant.",
            )
        )  # fmt: skip


def _judge_frames(f: Filled, lights: list[Light]) -> None:
    """A bias that has settled is right only where walkers have crossed often, and where parts of the frames agree."""
    if f.check is None:
        lights.append(
            Light(
                f"Frames of {f.name}", "bad", "too few", "100 rows of colvars.csv or more, after the first fifth",
                "Without them nobody knows how often walkers have crossed; write `output.colvars.interval` shorter.",
            )
        )  # fmt: skip
        return
    thermal = BOLTZMANN * f.kelvin
    names = " and ".join(f.variables)
    lights += [
        Light(
            f"Round trips of {f.name}", grade(f.check.trips, 10.0, 2.0, more=True), f"{f.check.trips:,.0f}",
            "10 or more, all walkers together (care: 2)",
            f"From one end of what was visited along {names} to the other and back"
            + (", of the variable that is crossed least." if len(f.variables) > 1 else "."),
        ),
        Light(
            f"Effective frames of {f.name}", grade(f.check.effective, 300.0, 50.0, more=True),
            f"{f.check.effective:,.0f}", "300 or more (care: 50)",
            "Independent frames, after the first fifth of the run, that are left by the weights exp((V - c(t)) / kT).",
        ),
        Light(
            f"Halves of {f.name} agree", grade(f.check.halves / thermal, *NEAR, more=False),
            _kT(f.check.halves / thermal), f"free energies within {_NEAR_TEXT}, root mean square",
            "Frames of the first and of the second half of the run, each reweighted.",
        ),
    ]  # fmt: skip
    if f.groups > 1:
        apart = float(np.sqrt(f.groups * np.mean(f.scaled_error[f.visited] ** 2))) / thermal
        what = f"The free energies of {f.groups} groups of walkers, each by its own bias: their standard deviation."
    else:
        apart, what = f.check.walkers / thermal, "Frames of every second walker and of the others, each reweighted."
    if math.isfinite(apart):
        lights.append(
            Light(
                f"Walkers of {f.name} agree", grade(apart, *NEAR, more=False), _kT(apart),
                f"free energies within {_NEAR_TEXT}, root mean square", what,
            )
        )  # fmt: skip


def _kT(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.2f} kT"


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


def _judge_walkers(walked: Walked | str, lights: list[Light]) -> None:
    """A rate stands on a flux that is stationary, on independent stretches of it, and on many arrivals."""
    if isinstance(walked, str) or (walked.target is not None and walked.rate is None):
        lights.append(
            Light(
                "The weighted ensemble tells a rate", "bad", "not yet", "resamplings, and arrivals in the target",
                f"{walked}." if isinstance(walked, str) else
                f"No walker reached the target of {walked.name} in the part that is used; run longer, or place bins "
                "nearer to each other.",
            )
        )  # fmt: skip
        return
    if walked.rate is None:
        _judge_weights(walked, lights)
        return
    rate = walked.rate
    lights.append(
        Light(
            "Steady state", grade(rate.drift, 2.0, 3.0, more=False),
            "-" if math.isnan(rate.drift) else f"{rate.drift:.1f} σ",
            "fluxes of the first and second half within 2 standard errors (care: 3)",
            "The flux per ps: " + " then ".join(measured(*half) for half in rate.halves)
            + f", after the first {time_text(float(walked.times[walked.first]))} were left out.",
        )
    )  # fmt: skip
    lights.append(
        Light(
            "Independent stretches", grade(rate.blocks, ENOUGH, 4, more=True), f"{rate.blocks}",
            f"{ENOUGH} blocks of {SHORTEST} resamplings or more (care: 4)",
            f"By the correlation of the flux one in {rate.inefficiency:.1f} resamplings is independent, and walkers "
            "share ancestors for longer. An interval from few blocks is wide, and misses the rate more often than 5 %.",
        )
    )  # fmt: skip
    lights.append(
        Light(
            "Arrivals", grade(rate.effective, 30, 10, more=True), f"{rate.effective:.0f}",
            "worth 30 of equal weight or more (care: 10)",
            f"{rate.arrivals:,} walkers arrived; a flux that hangs on few heavy ones has a larger error than it shows.",
        )
    )  # fmt: skip


def _lost(events: Sequence[dict[str, Any]]) -> Light:
    """Of walkers that became unstable: their weight went on somewhere else."""
    weight = sum(float(e.get("weight") or 0.0) for e in events)
    return Light(
        "No walker was lost", "care", f"{len(events):,}", "no walker that became unstable",
        f"Copies of the nearest walkers took over a weight of {weight:.3g} in all; rates and populations are wrong by "
        "what that changes.",
    )  # fmt: skip


def _judge_weights(walked: Walked, lights: list[Light]) -> None:
    """An equilibrium stands on weights that no longer change, and on independent stretches of them."""
    lights.append(
        Light(
            f"Halves of {walked.name} agree", grade(walked.halves, *NEAR, more=False), _kT(walked.halves),
            f"free energies within {_NEAR_TEXT}, root mean square",
            "Walkers of the first and of the second half of what is used, over places up to 8 kT above the lowest.",
        )
    )  # fmt: skip
    lights.append(
        Light(
            "Independent stretches", grade(walked.blocks, ENOUGH, 4, more=True), f"{walked.blocks}",
            f"{ENOUGH} blocks of {SHORTEST} resamplings or more (care: 4)",
            f"By the correlation of the mean of {walked.name}, and since walkers share ancestors.",
        )
    )  # fmt: skip


def _lacking(found: MoleculeAnalysis) -> Light:
    """Of biases that changed and have no estimate: their frames are no equilibrium that anything else could judge."""
    return Light(
        "Every changing bias tells a free energy", "bad", f"{len(found.lacking)} not",
        "enough hills or works of each, in one ensemble", "; ".join(found.lacking) + ".",
    )  # fmt: skip


def _weights(e: ExperimentResult) -> Light:
    """Of frames reweighted to an experiment: how many of them still count."""
    within = not e.given and e.chi2 <= 1.0
    fraction = 1.0 if within else e.used.fraction
    return Light(
        "Frames still count against experiment", grade(fraction, SOME, HARDLY, more=True), f"{100 * fraction:.0f} %",
        f"an effective fraction of {100 * SOME:.0f} % or more (care: {100 * HARDLY:.0f} %)",
        "The simulation is within the errors without weights." if within
        else f"The effective fraction of frames at theta {e.used.theta:.3g}; a small one rests on frames that were "
        "hardly seen.", proof=False,
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
            f"A replica forgets its state in {time_text(mixing, 2)} (second eigenvalue of the transition matrix)."
            if math.isfinite(mixing) else "Replicas do not leave their states.",
        )
    )  # fmt: skip

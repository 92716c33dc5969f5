"""The verdict on a molecule in sentences: what was run, what came out, and whether it is enough."""

from __future__ import annotations

import math

import numpy as np

from mdflash.analysis.hills import METHODS
from mdflash.analysis.phases import phase_words
from mdflash.analysis.result import MoleculeAnalysis
from mdflash.analysis.verdict import HARDLY, enough, measured, not_judged, time_text, worst
from mdflash.analysis.walkers import Walked, interval_text, passage_text
from mdflash.core.plural import plural

MOVES = "a temperature that still moves"


def sentences(found: MoleculeAnalysis) -> list[str]:
    """All of them, once the lights are known."""
    biased = [found.biased] if found.biased else []
    return [_what(found), *biased, _numbers(found), *_experiment(found), *_against(found), _enough(found)]


def _left_out(found: MoleculeAnalysis) -> str:
    if found.annealed and found.annealed >= found.length:
        return "none of them counts"
    return f"the first {time_text(found.left_out)} are left out" if found.left_out > 0 else "all of them count"


def state_text(found: MoleculeAnalysis, state: int) -> str:
    """The temperature of a state, with its number where others have the same."""
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
    if isinstance(found.walked, Walked):
        at += f" as walkers of a weighted ensemble along {found.walked.name}"
    for bias, method in dict.fromkeys((f.bias, f.method) for f in found.filled):
        at += f" under {METHODS[method]} of {bias}"
    if found.annealed:
        at = f"{at}, annealed until {time_text(found.annealed)}" if found.annealed < found.length else MOVES
    many = len(sample.tracks)
    return (
        f"{plural(many, 'replica')} of {found.name}{how if many > 1 else ''}, {time_text(found.length)}"
        f"{' each' if many > 1 else ''} at {at}: {plural(sample.frames, 'frame')}; {_left_out(found)}."
    )


def _numbers(found: MoleculeAnalysis) -> str:
    parts = []
    if found.melting is not None and found.melting.melting is not None:
        parts.append(f"it melts at {measured(*found.melting.melting, 'K')} (half of the frames folded)")
    known = {o.name: o for o in found.sample.observables}
    means = []
    unfolded = [] if "q" in found.measured or found.sample.molecule.many else ["end_to_end"]
    for n in (
        ()
        if found.windows or found.filled or found.pulled or found.lacking or found.walked
        else dict.fromkeys([found.key, "rg", "chain_rg", *unfolded])
    ):
        if n in found.measured and found.focus in found.measured[n].states:
            o = known[n]
            name = o.title if o.title.startswith("RMSD") else f"the {o.title}"
            means.append(f"{name} is {measured(*found.measured[n].states[found.focus].mean, o.unit)}")
    pairs = found.sample.profiles.get("pairs", {}).get(found.focus)
    if means and (unfolded or found.sample.molecule.many) and pairs is not None and "nu" in pairs.values:
        means.append(
            f"the scaling exponent nu is {measured(pairs.values['nu'], pairs.errors.get('nu', math.nan), most=3)}"
        )
    if means:
        text = f"{', '.join(means[:-1])} and {means[-1]}" if len(means) > 1 else means[0]
        parts.append(f"at {state_text(found, found.focus)} {text}")
    if found.phases is not None:
        parts += phase_words(found.phases, found.focus, float(found.sample.temperatures[found.focus]))
    if found.passages and not found.biased:
        parts.append(f"it folds or unfolds {plural(found.passages, 'time')}")
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
    lowest: dict[str, list[str]] = {}
    for f in found.filled:  # three variables are three pairs
        at = [_place(v, x) for v, x in zip(f.variables, f.lowest, strict=True)]
        lowest.setdefault(METHODS[f.method], []).append(f"at {' and '.join(at)}")
    parts += [f"the free energy by {method} is lowest {', '.join(places)}" for method, places in lowest.items()]
    if isinstance(found.walked, Walked) and found.walked.rate is not None:
        rate = found.walked.rate
        parts.append(
            f"{found.walked.name} reaches its target at {interval_text(rate.rate, '/ps')}, a mean first passage time "
            f"of {passage_text(rate)}; the flux is {'' if rate.drift <= 2.0 else 'not '}in a steady state"
        )
    for p in found.pulled:
        change = measured(float(p.free[-1]), float(p.error[-1]), "kcal/mol")
        parts.append(f"the free energy changes by {change} while the {p.what} of {p.name} moves (Jarzynski)")
    text = "; ".join(parts) or "there are no numbers yet"
    return text[0].upper() + text[1:] + "."


def _place(variable: str, value: float) -> str:
    """A value of a variable that is named as for an axis: "distance (ends) / Å"."""
    name, _, unit = variable.partition(" / ")
    return f"{name} = {value:.3g}" + (f" {unit}" if unit else "")


def _experiment(found: MoleculeAnalysis) -> list[str]:
    """How far it is from what was measured, and what it takes to agree."""
    e = found.experiment
    if e is None:
        return []
    parts = ", ".join(f"{a.data.name} {a.before.chi2:.3g}" for a in e.kinds) if len(e.kinds) > 1 else ""
    text = f"Against experiment chi² is {e.chi2:.3g}" + (f" ({parts})" if parts else "")
    if not e.given and e.chi2 <= 1.0:
        return [f"{text}: within the errors, without reweighting."]
    used = e.used
    few = ", too few: the simulation hardly saw what was measured" if used.fraction < HARDLY else ""
    return [
        f"{text}; reweighted (theta {used.theta:.3g}) it is {used.chi2:.3g}, and {100 * used.fraction:.0f} % of the "
        f"frames still count{few}."
    ]


def _against(found: MoleculeAnalysis) -> list[str]:
    """How far it is from a reference ensemble, where that is most."""
    r = found.against
    if r is None:
        return []
    large = [f for f in r.findings if not f.coordinate.group]
    worst = max(large, key=lambda f: f.model.rmse)
    empty = (
        f", and {worst.model.empty} of {worst.model.bins} populated bins are never visited" if worst.model.empty else ""
    )
    return [
        f"Against {r.reference} free energies differ by up to {measured(worst.model.rmse, worst.model.rmse_error)} "
        f"kcal/mol ({worst.coordinate.name}; the halves of {r.reference} by {worst.halves.rmse:.2g}){empty}."
    ]


def _enough(found: MoleculeAnalysis) -> str:
    color, lights = worst(found.lights), found.lights
    parts = [f"Sampled enough: {enough(lights)}{_with(found) if color == 'good' else ''}."]
    if color in ("care", "bad"):
        reasons = [light for light in lights if light.color == color]
        why = "; ".join(
            f"{light.name.lower()} ({light.value}; wanted: {light.rule.partition(' (care')[0]})"
            for light in reasons[:3]
        )
        parts.append(f"Not met: {why}.")
    if unknown := not_judged(lights):
        parts.append(f"Not judged: {'; '.join(light.name.lower() for light in unknown)}.")
    return " ".join(parts)


def _with(found: MoleculeAnalysis) -> str:
    """What a run that meets all that was judged stands on."""
    if not any(light.proof and light.color == "good" for light in found.lights):
        return ""
    n = f"{found.measured[found.key].effective:,.0f} independent samples"
    if found.windows:
        fewest = min(float(w.effective.min()) for w in found.windows)
        n = f"{fewest:,.0f} independent samples or more in each window"
    elif found.filled:
        n = " and ".join(
            f"{f.hills:,} hills of {f.name}" + (f", {f.check.trips:,.0f} round trips" if f.check else "")
            for f in found.filled
        )
    elif isinstance(found.walked, Walked):
        rate = found.walked.rate
        n = f"{len(found.walked.times):,} resamplings" + (f", {rate.arrivals:,} arrivals" if rate else "")
    elif found.pulled:
        n = f"the work of {found.pulled[0].replicas} replicas"
    trips = f", {found.walk.round_trips.sum():,} round trips" if found.walk is not None else ""
    agree = [light.value for light in found.lights if light.name == "Replicas agree" and light.color == "good"]
    return f", with {n}{trips}" + (f", and replicas that agree ({agree[0]})" if agree else "")

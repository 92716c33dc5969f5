"""The numbers of an analysis as a table (properties.csv) and as JSON."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import numpy as np

from mdflash.analysis.experiment.compare import ExperimentResult
from mdflash.analysis.kinetics import States
from mdflash.analysis.phases import Phases
from mdflash.analysis.result import BIAS, ENERGY, Analysis, MoleculeAnalysis
from mdflash.analysis.verdict import measured
from mdflash.analysis.walkers import Rate, Walked

SCALARS = (
    ("pairs", "rh", "rh_A", "hydrodynamic radius / Å"),
    ("pairs", "nu", "nu", "nu"),
    ("pairs", "r0", "r0_A", "R0 / Å"),
    ("secondary", "helix_fraction", "helix", "in a helix"),
    ("secondary", "strand_fraction", "strand", "in a strand"),
)
"""Numbers of profiles: the profile, the number, its column in properties.csv, and its title on the page."""
WEIGHTS_HEADER = "replica,step,weight"
"""The first line of weights.csv."""
_UNITS = {"Å": "_A", "": "", "kcal/mol": "_kcal_mol", "kcal/mol/Å": "_kcal_mol_A"}


def properties_csv(analysis: Analysis) -> str:
    """A row for each molecule and state: means and standard errors of every observable."""
    rows = properties(analysis)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns or ["molecule"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def properties(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for each molecule and state, by column."""
    return [row for m in analysis.molecules.values() for row in _rows(m)]


def _rows(m: MoleculeAnalysis) -> list[dict[str, Any]]:
    kelvin = m.sample.temperatures
    known = {o.name: o for o in m.sample.observables}
    found = []
    for s in sorted({s for x in m.measured.values() for s in x.states}):
        row: dict[str, Any] = {"molecule": m.name, "state": s, "temperature_K": _text(kelvin[s])}
        row["ensemble"] = "walkers" if m.walked is not None else "biased" if m.biased else "unbiased"
        row["frames"] = next(x.states[s].frames for x in m.measured.values() if s in x.states)
        for name, x in m.measured.items():
            if s not in x.states:
                continue
            column = name + _UNITS[known[name].unit]
            at = x.states[s]
            row |= {column: _text(at.mean.value), f"{column}_error": _text(at.mean.error)}
            row[f"{name}_independent"] = _text(at.effective)
        for name, of in ((ENERGY, m.energy), (BIAS, m.bias)):
            if of is not None and s in of.states:
                mean = of.states[s].mean
                row |= {f"{name}_kcal_mol": _text(mean.value), f"{name}_kcal_mol_error": _text(mean.error)}
        if m.phases is not None:
            row |= _concentrations(m.phases, s)
        for profile, key, column, _ in SCALARS:
            p = m.sample.profiles.get(profile, {}).get(s)
            if p is not None and key in p.values:
                row |= {column: _text(p.values[key]), f"{column}_error": _text(p.errors.get(key, np.nan))}
        if isinstance(m.walked, Walked) and m.walked.rate is not None:
            row |= _rate_columns(m.walked.rate)
        if m.experiment is not None and m.experiment.state == s:
            row |= _experiment_columns(m.experiment, {n: _UNITS[known[n].unit] for n in m.experiment.observables})
        found.append(row)
    return found


def _rate_columns(rate: Rate) -> dict[str, str]:
    """Rate and mean first passage time of a weighted ensemble, with their 95 % intervals."""
    numbers = {"rate_per_ps": rate.rate, "first_passage_ps": rate.passage}
    return {
        f"{name}{end}": _text(value)
        for name, interval in numbers.items()
        for end, value in zip(("", "_low", "_high"), interval, strict=True)
    }


def _experiment_columns(e: ExperimentResult, units: dict[str, str]) -> dict[str, str]:
    """chi² of every kind of data, and observables of the reweighted frames."""
    used = e.used
    row = {"chi2": _text(e.chi2), "chi2_reweighted": _text(used.chi2)}
    for a in e.kinds:
        row |= {f"{a.data.name}_chi2": _text(a.before.chi2), f"{a.data.name}_chi2_reweighted": _text(a.after.chi2)}
    row |= {"theta": _text(used.theta), "effective_fraction": _text(used.fraction)}
    return row | {f"{n}{units[n]}_reweighted": _text(after) for n, (_, after) in e.observables.items()}


def weights_csv(e: ExperimentResult) -> str:
    """The weight of every frame that was compared."""
    rows = (f"{r},{s},{w:.9g}" for r, s, w in zip(e.replicas, e.steps, e.used.weights, strict=True))
    return "\n".join([WEIGHTS_HEADER, *rows, ""])


def _concentrations(phases: Phases, state: int) -> dict[str, str]:
    """Columns of the dense and the dilute phase: mM of each kind of molecule, mg/mL of all."""
    found: dict[str, str] = {}
    for phase, by_name, mass in (
        ("dilute", phases.dilute, phases.dilute_mass), ("dense", phases.dense, phases.dense_mass),
    ):  # fmt: skip
        columns = {f"{phase}_{name}_mM": m for name, m in by_name.items()}
        if mass is not None:
            columns[f"{phase}_mg_mL"] = mass
        for column, measured_ in columns.items():
            if state in measured_.states:
                mean = measured_.states[state].mean
                found |= {column: _text(mean.value), f"{column}_error": _text(mean.error)}
    return found


def table(m: MoleculeAnalysis) -> str:
    """Means with standard errors by state, as text; empty without frames."""
    known = {o.name: f"{o.name} / {o.unit}" if o.unit else o.name for o in m.sample.observables if o.name in m.measured}
    kelvin = m.sample.temperatures
    rows = [["state", "T / K", "frames", *known.values()]]
    for s in sorted({s for x in m.measured.values() for s in x.states}):
        frames = next(x.states[s].frames for x in m.measured.values() if s in x.states)
        means = [measured(*m.measured[n].states[s].mean) if s in m.measured[n].states else "-" for n in known]
        rows.append([str(s), _text(kelvin[s]) or "-", f"{frames:,}", *means])
    if len(rows) == 1:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)


def _text(value: float) -> str:
    return "" if not math.isfinite(value) else f"{value:.6g}"


def as_json(analysis: Analysis) -> dict[str, Any]:
    """Everything but series and maps; what is not known is null."""
    manifest = analysis.manifest
    about = {k: manifest.get(k) for k in ("name", "status", "step", "total_steps", "seed", "versions", "device_name")}
    found: dict[str, Any] = _plain(
        {
            "mdflash_analysis": 1,
            "run": str(analysis.run.folder.absolute()),
            **about,
            "notes": analysis.notes,
            "molecules": {name: _molecule(m) for name, m in analysis.molecules.items()},
        }
    )
    return found


def _molecule(m: MoleculeAnalysis) -> dict[str, Any]:
    found: dict[str, Any] = {
        "verdict": m.sentences,
        "lights": [vars(light) for light in m.lights],
        "notes": m.notes,
        "replicas": len(m.sample.tracks),
        "frames": m.sample.frames,
        "left_out_ps": m.left_out,
        "length_ps": m.length,
        "states": _rows(m),
        "agreement": {
            n: {"r_hat": x.rhat, "independent": x.effective, "statistical_inefficiency_frames": x.inefficiency}
            for n, x in m.measured.items()
        },
        "folding_passages": m.passages,
    }
    if m.melting is not None:
        k = m.melting
        found["melting"] = {
            "temperature_K": k.melting and k.melting.value,
            "temperature_error_K": k.melting and k.melting.error,
            "heat_capacity_peak_K": k.peak.value,
            "heat_capacity_peak_error_K": k.peak.error,
            "temperatures_K": k.temperatures,
            "heat_capacity_kcal_mol_K": k.heat_capacity.values,
            "heat_capacity_errors": k.heat_capacity.errors,
            "folded": None if k.folded is None else k.folded.values,
            "folded_errors": None if k.folded is None else k.folded.errors,
            "samples": k.samples,
        }
    if m.phases is not None:
        p = m.phases
        found["phases"] = {
            "why_not": p.why or None,
            "z_A": p.profiles.z,
            "density_mg_mL": p.density,
            "density_errors": p.error,
            "species": dict(zip(p.profiles.names, p.by_species, strict=True)),
            "interface_A": p.interface and p.interface.middle,
            "interface_width_A": p.interface and p.interface.width,
            **_concentrations(p, m.focus),
        }
    if m.walk is not None:
        found["exchange"] = {
            "acceptance": m.acceptance,
            "round_trips": m.walk.round_trips,
            "second_eigenvalue": m.walk.eigenvalue,
            "mixing_ps": m.walk.mixing_attempts * m.exchange_ps,
        }
    if m.kinetics is not None:
        slow = m.kinetics
        found["slow_motions"] = {"lags_ps": slow.lags, "timescales_ps": slow.timescales, "errors_ps": slow.errors}
        if not isinstance(slow.states, str):
            found["markov_model"] = _states(slow.states, slow.lag)
    if m.experiment is not None:
        found["experiment"] = _experiment(m.experiment)
    if m.against is not None:
        r = m.against
        found["against"] = {
            "reference": r.reference,
            "reference_frames": r.reference_frames,
            "frames": r.frames,
            "temperature_K": r.kelvin,
            "coordinates": r.numbers(),
        }
    found["free_energies"] = [
        {"variables": s.names, "temperature_K": s.kelvin, "edges": s.edges, "kcal_mol": s.energy, "errors": s.errors}
        for s in (*m.surfaces, *(w.profile for w in m.windows))
    ]
    found["windows"] = [
        {
            "name": w.name,
            "variable": w.variable,
            "centers": w.centers,
            "overlap": w.overlap,
            "least_overlap": w.weakest,
            "independent": w.effective,
            "halves_differ_kT": w.difference,
        }
        for w in m.windows
    ]
    found["pulling"] = [
        {
            "name": p.name,
            "moves": p.what,
            "temperature_K": p.kelvin,
            "replicas": p.replicas,
            "times_ps": p.times,
            "parameter": p.parameter,
            "kcal_mol": p.free,
            "errors": p.error,
            "mean_work_kcal_mol": p.mean,
        }
        for p in m.pulled
    ]
    if isinstance(m.walked, Walked):
        found["weighted_ensemble"] = _walkers(m.walked)
    found["metadynamics"] = [
        {
            "name": f.name,
            "variables": f.variables,
            "temperature_K": f.kelvin,
            "hills": f.hills,
            "groups": f.groups,
            "nodes": f.nodes,
            "kcal_mol": f.scaled,
            "errors": f.scaled_error,
            "times_ps": f.times,
            "drift_kcal_mol": f.drift,
            "reweighted": None
            if f.reweighted is None
            else {"edges": f.reweighted.edges, "kcal_mol": f.reweighted.energy, "errors": f.reweighted.errors},
            "estimates_differ_kcal_mol": f.disagreement,
            "round_trips": f.check and f.check.trips,
            "effective_frames": f.check and f.check.effective,
            "halves_differ_kcal_mol": f.check and f.check.halves,
            "walkers_differ_kcal_mol": f.check and f.check.walkers,
        }
        for f in m.filled
    ]
    return found


def _walkers(w: Walked) -> dict[str, Any]:
    rate = w.rate
    return {
        "name": w.name,
        "target": w.target,
        "temperature_K": w.kelvin,
        "walkers": w.walkers,
        "resamplings": len(w.times),
        "interval_ps": w.every,
        "left_out": w.first,
        "rate": rate
        and {
            "per_ps": rate.rate.value,
            "interval_95": rate.rate[1:],
            "mean_first_passage_ps": rate.passage.value,
            "mean_first_passage_interval_95_ps": rate.passage[1:],
            "statistical_inefficiency_resamplings": rate.inefficiency,
            "blocks": rate.blocks,
            "arrivals": rate.arrivals,
            "effective_arrivals": rate.effective,
            "halves_per_ps": rate.halves,
        },
        "edges": w.edges,
        "population": w.population,
        "population_errors": w.errors,
        "population_blocks": w.blocks,
        "population_halves_differ_kT": w.halves,
    }


def _states(s: States, lag: float) -> dict[str, Any]:
    model = s.model
    ps = lag / model.lag
    return {
        "lag_ps": lag,
        "states": len(model.stationary),
        "timescales_ps": ps * model.timescales,
        "populations": model.populations,
        "population_errors": model.population_errors,
        "mean_first_passage_ps": ps * model.passages,
        "observables": s.values,
        "chapman_kolmogorov": {
            "times_ps": lag * model.multiples,
            "predicted": model.predicted,
            "observed": model.observed,
            "errors": model.errors,
        },
    }


def _experiment(e: ExperimentResult) -> dict[str, Any]:
    return {
        "state": e.state,
        "frames": len(e.steps),
        "chi2": e.chi2,
        "theta": e.used.theta,
        "chi2_reweighted": e.used.chi2,
        "effective_fraction": e.used.fraction,
        "scan": [{"theta": r.theta, "chi2": r.chi2, "effective_fraction": r.fraction} for r in e.found],
        "data": {
            a.data.name: {
                "chi2": a.before.chi2,
                "chi2_reweighted": a.after.chi2,
                "labels": a.data.labels,
                "x": a.data.x,
                "measured": a.data.measured,
                "errors": a.data.errors,
                "simulated": a.data.shown(a.before.average),
                "simulated_errors": a.errors,
                "reweighted": a.data.shown(a.after.average),
                "scale": a.before.scale if a.data.fitted else None,
                "offset": a.before.offset if a.data.fitted else None,
            }
            for a in e.kinds
        },
        "observables": {n: {"simulated": a, "reweighted": b} for n, (a, b) in e.observables.items()},
    }


def _plain(value: Any) -> Any:
    """Arrays as lists; numbers that are not finite as None."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value

"""Where the numbers come from: versions, hashes, speed, seeds; and what to write about it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mdflash.analysis.hills import METHODS
from mdflash.analysis.observables import PROFILES
from mdflash.analysis.result import Analysis
from mdflash.analysis.verdict import time_text
from mdflash.analysis.walkers import Walked
from mdflash.config.metadynamics import BIAS_FACTOR
from mdflash.core.plural import plural
from mdflash.core.regular import read_input
from mdflash.errors import MdflashError

INTEGRATOR_PAPERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "langevin-middle": "Zhang, Liu, Yan, Tuckerman & Liu, J. Phys. Chem. A 123, 6056 (2019)",
        "brownian": "Ermak & McCammon, J. Chem. Phys. 69, 1352 (1978)",
        "verlet": "Swope, Andersen, Berens & Wilson, J. Chem. Phys. 76, 637 (1982)",
    }
)

PLACES: Final = frozenset({"folder", "structure", "start", "forcefield", "reference", "name"})
"""Settings that say where files are, which does not change what is run."""
SHORT: Final = 160
"""Characters of a value that are shown."""


def facts(analysis: Analysis) -> dict[str, str]:
    """By name, for the table."""
    m = analysis.manifest
    timing = m.get("timing") or {}
    versions = m.get("versions") or {}
    fields = m.get("forcefields", [])
    device = m.get("device_name", m.get("device", "unknown"))
    found = {
        "run": str(analysis.run.folder.absolute()),
        "mdflash": str(versions.get("mdflash", "unknown")),
        "other versions": ", ".join(f"{k} {v}" for k, v in versions.items() if k != "mdflash"),
        "molecules": ", ".join(f"{s['replicas']} x {s['name']} ({s['beads']} beads, sha256 {s.get('sha256', '?')[:16]})"
                               for s in m["systems"]),
        "force fields": ", ".join(f"{f['name']} (sha256 {f.get('sha256', '?')[:16]})" for f in fields),
        "seed": str(m.get("seed", "unknown")),
        "device": f"{device}, {m.get('precision', '')}, {m.get('kernels', '')}",
        "steps": f"{m.get('step', 0):,} of {m.get('total_steps', 0):,} ({m.get('status', 'unknown')})",
    }  # fmt: skip
    if timing.get("aggregate_ns_per_day"):
        found["speed"] = f"{timing['aggregate_ns_per_day']:,.0f} ns/day, all replicas together"
    if m.get("updated"):
        found["last written"] = str(m["updated"])
    return found


def _settings(analysis: Analysis) -> dict[str, Any]:
    try:
        return analysis.run.config
    except (MdflashError, OSError):
        return {}


def methods(analysis: Analysis) -> str:
    """A paragraph."""
    m, c = analysis.manifest, _settings(analysis)
    d = c.get("dynamics", {})
    version = (m.get("versions") or {}).get("mdflash", "")
    first = next(iter(analysis.molecules.values()), None)
    replicas = ", ".join(
        f"{plural(s['replicas'], 'replica')} of {s['name']} ({plural(s['beads'], 'bead')})" for s in m["systems"]
    )
    fields = ", ".join(f["name"] for f in m.get("forcefields", []))
    parts = [f"Simulations of {replicas} were carried out with mdflash {version} and the force field {fields}."]
    if d:
        friction = f" and a friction of {d['friction']}" if d.get("friction") not in (None, "none") else ""
        parts.append(
            f"Equations of motion were integrated with the {d.get('integrator')} scheme, a time step of "
            f"{d.get('timestep')}{friction}; the seed was {m.get('seed')}."
        )
    parts += conditions(c)
    if (stages := d.get("annealing")) not in (None, "none", []):
        told = [f"to {s['to']} within {s['length']} ({s['form']}) after {s['after']}" for s in stages]
        parts.append(f"The temperature was moved in stages: {', then '.join(told)}.")
    exchange = m.get("exchange")
    if exchange is not None:
        kelvin = exchange["temperatures_K"]
        what = (
            f"{len(kelvin)} temperatures from {min(kelvin):.4g} to {max(kelvin):.4g} K" if len(set(kelvin)) > 1
            else f"{len(kelvin)} states at {kelvin[0]:.4g} K"
        )  # fmt: skip
        every = c.get("exchange", {}).get("interval", f"{exchange['every_steps']} steps")
        scheme = "Gibbs sampling" if exchange.get("scheme") == "gibbs" else "neighboring pairs in turn"
        parts.append(f"Replicas exchanged among {what} every {every} ({scheme}).")
    if first is not None and first.sample.frames:
        parts.append(
            f"Of {time_text(first.length)} of each replica the first {time_text(first.left_out)} were left out, by the "
            f"start that maximizes the number of uncorrelated samples; frames were saved every "
            f"{time_text(first.sample.interval)}."
            if first.sample.interval > 0
            else "One frame of each replica was saved."
        )
        used = [o.source for o in first.sample.observables if o.source]
        used += [p.source for p in PROFILES if p.name in first.sample.profiles and p.source]
        parts.append("Observables: " + "; ".join(dict.fromkeys(used)) + ".")
        if first.melting is not None:
            parts.append(
                "Averages over temperature were reweighted with MBAR; errors are standard deviations of a "
                "bootstrap over replicas."
            )
        if first.windows:
            parts.append("Free energies along biased variables were computed with MBAR.")
        if first.experiment is not None:
            e = first.experiment
            parts.append(
                f"Experiments were compared with {len(e.steps):,} frames "
                f"({'; '.join(a.data.source for a in e.kinds)}); "
                f"frames were reweighted by Bayesian maximum entropy with theta = {e.used.theta:.3g}, which leaves an "
                f"effective fraction of {e.used.fraction:.2f}."
            )
        if first.pulled:
            parts.append(
                "Free energies of pulling are Jarzynski averages of the work over replicas; errors are bootstrap "
                "standard deviations over them."
            )
        if isinstance(first.walked, Walked) and first.walked.rate is not None:
            parts.append(
                "The rate is the mean flux of weight into the target after the first quarter of the resamplings, the "
                "mean first passage time its inverse; 95 % intervals are Student's, of the logarithm, over "
                f"{first.walked.rate.blocks} blocks of resamplings."
            )
        if first.filled:
            parts.append(
                "Free energies by metadynamics are the bias times -gamma / (gamma - 1), by OPES -kT ln of the kernels, "
                "and of both histograms of frames with weights exp((V - c(t)) / kT); errors are bootstrap standard "
                "deviations over stretches of walkers."
            )
        parts.append("Errors of means are standard errors over replicas or over uncorrelated stretches of them.")
    return " ".join(parts)


def conditions(c: dict[str, Any]) -> list[str]:
    """Temperature, solvent, biases, starts and box in sentences, of settings as resolved.yaml has them."""
    d, parts = c.get("dynamics") or {}, []
    kelvin = d.get("temperature")
    if _given(kelvin):
        several = isinstance(kelvin, list) and len(set(kelvin)) > 1
        text = ", ".join(dict.fromkeys(kelvin)) if isinstance(kelvin, list) else kelvin
        stages = _listed(d.get("annealing"))
        begins = " at first" if stages else ""
        parts.append(f"The temperature{'s were' if several else ' was'} {text}{begins}.")
        if stages:
            moves = [
                (f"after {s.get('after')} " if _given(s.get("after")) and not str(s["after"]).startswith("0 ") else "")
                + f"to {s.get('to')} in {s.get('length')}"
                for s in stages
            ]
            parts.append(f"It moved {', then '.join(moves)}.")
    names = (("temperature", "a temperature of"), ("ionic_strength", "an ionic strength of"), ("pH", "a pH of"))
    solvent = c.get("environment") or {}
    given = [f"{word} {solvent[key]}" for key, word in names if _given(solvent.get(key))]
    if given:
        parts.append(f"The solvent had {', '.join(given)}.")
    for bias in _listed(c.get("biases")):
        centers, constants = (_listed(bias.get(key)) for key in ("center", "force_constant"))
        where = f"{len(centers)} windows from {centers[0]} to {centers[-1]}" if len(centers) > 1 else f"{centers[0]}"
        parts.append(
            f"A {bias.get('form', 'harmonic')} bias '{bias.get('name')}' acted on the "
            f"{str(bias.get('variable')).replace('_', ' ')}, at {where}, with a force constant of "
            f"{' to '.join(dict.fromkeys([str(constants[0]), str(constants[-1])]))}{_moved(bias)}."
        )
    for hills in _listed(c.get("metadynamics")):
        method = str(hills.get("method", "well-tempered"))
        over = " and ".join(str(v.get("variable")).replace("_", " ") for v in _listed(hills.get("variables")))
        if method != "well-tempered":
            parts.append(
                f"{METHODS.get(method, method)} '{hills.get('name')}' acted on the {over}, with kernels every "
                f"{hills.get('every')} and a barrier of {hills.get('barrier')}."
            )
            continue
        walkers = hills.get("walkers")
        gamma = f"{float(hills['bias_factor']) if _given(hills.get('bias_factor')) else BIAS_FACTOR:g}"
        parts.append(
            f"Well-tempered metadynamics '{hills.get('name')}' acted on the {over}, with hills of "
            f"{hills.get('height')} every {hills.get('every')}, a bias factor of {gamma}, and "
            f"{'all replicas' if walkers == 'all' else f'{walkers} replicas'} as walkers of one bias."
        )
    for walkers in _listed(c.get("weighted_ensemble")):
        how = "in bins" if _given(walkers.get("bins")) else "by REVO"
        again = "; those that reached the target started again" if _given(walkers.get("target")) else ""
        parts.append(
            f"Replicas were walkers of a weighted ensemble along the {str(walkers.get('variable')).replace('_', ' ')}, "
            f"resampled {how} every {walkers.get('every')}{again}."
        )
    if d.get("minimize"):
        parts.append(f"Start frames were minimized in at most {d['minimize']} steps.")
    for entry in _listed(c.get("system")):
        parts.append(f"Replicas of {entry.get('name')} started from {_origin(entry)}.")
        if _given(entry.get("compress")):
            parts.append(
                "Where molecules did not fit at once, they were placed in a larger box, which was compressed to its "
                f"size in {entry['compress']} and moved on for as long, before step 0."
            )
    if _given(c.get("box")):
        parts.append(f"Boundaries were periodic, with edges of {' x '.join(map(str, _listed(c['box'])))}.")
    return parts


def _moved(bias: Mapping[str, Any]) -> str:
    """Where a bias moves to, as the end of a sentence; nothing for one that does not."""
    moving = bias.get("moving")
    if not isinstance(moving, dict):
        return ""
    ends = [
        f"{word} {bias[key]}"
        for key, word in (("center_to", "a center of"), ("force_constant_to", "a force constant of"))
        if _given(bias.get(key))
    ]
    after = "" if str(moving.get("after", "0")).startswith("0 ") else f" after {moving['after']}"
    return f"; it moved to {' and '.join(ends)} within {moving.get('length')}{after}"


def _origin(entry: Mapping[str, Any]) -> str:
    """What the replicas of a system started from."""
    start, molecules = entry.get("start"), _listed(entry.get("molecules"))
    if isinstance(start, dict):
        return f"frame {start.get('frame')} of {Path(str(start.get('file'))).name}"
    if _given(start):
        return f"frames of {Path(str(start)).name}"
    if molecules:
        copies = ", ".join(f"{m.get('count', 1)} of {m.get('name')}" for m in molecules)
        where = "in a slab" if entry.get("geometry") == "slab" else "everywhere in the box"
        return f"molecules at random places {where} ({copies}), other ones for each replica"
    if _given(entry.get("structure")):
        return f"frames of {Path(str(entry['structure'])).name}"
    return "random coils of the sequence, each another"


def _given(value: Any) -> bool:
    return value not in (None, "none")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if _given(value) else []


def changes_of(analysis: Analysis) -> list[str]:
    """Settings of the run that its file has otherwise, as 'dynamics.length: 1 ns (in the file: 10 ns)'."""
    from mdflash.config.load import parse_run
    from mdflash.config.write import to_data

    folder = analysis.run.folder
    source = folder / str(analysis.manifest.get("source") or "input.yaml")
    try:
        text = read_input(folder / "input.yaml").decode(errors="replace")
        given = to_data(parse_run(text, Path(os.path.abspath(source))))
    except (MdflashError, OSError):
        return []
    return list(_differences(given, _settings(analysis)))


def _differences(given: Any, used: Any, key: str = "") -> Iterator[str]:
    filled_in = key == "dynamics.seed" or key.startswith("environment.")
    if key.rpartition(".")[2] in PLACES or (filled_in and not _given(given)):
        return
    if isinstance(given, dict) and isinstance(used, dict):
        for word in [w for w in given if w in used]:
            yield from _differences(given[word], used[word], f"{key}.{word}" if key else word)
    elif given != used:
        yield f"{key}: {_short(used)} (in the file: {_short(given)})"


def _short(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, (dict, list)) else "none" if value is None else str(value)
    return text if len(text) <= SHORT else f"{text[:SHORT]} ..."


def references(analysis: Analysis) -> list[str]:
    """What to cite."""
    m, c = analysis.manifest, _settings(analysis)
    version = (m.get("versions") or {}).get("mdflash", "")
    found = [f"mdflash {version}: molecular dynamics of coarse-grained proteins with neural potentials"]
    found += _model_papers(analysis)
    paper = INTEGRATOR_PAPERS.get(str(c.get("dynamics", {}).get("integrator")))
    if paper:
        found.append(f"{paper} (integrator)")
    if m.get("exchange") is not None:
        found.append("Sugita & Okamoto, Chem. Phys. Lett. 314, 141 (1999) (replica exchange)")
    if any(x.melting is not None or x.windows for x in analysis.molecules.values()):
        found.append("Shirts & Chodera, J. Chem. Phys. 129, 124105 (2008) (MBAR)")
    measured = [x.experiment for x in analysis.molecules.values() if x.experiment is not None]
    if measured:
        found.append("Bottaro, Bengtsen & Lindorff-Larsen, Methods Mol. Biol. 2112, 219 (2020) (BME)")
    if any(a.data.fitted for e in measured for a in e.kinds):
        found.append("Ballabio et al., J. Chem. Theory Comput. 19, 8401 (2023) (form factors of residues)")
        found.append("Pesce & Lindorff-Larsen, Biophys. J. 120, 5124 (2021) (BME with scale and background)")
    if any(x.kinetics is not None for x in analysis.molecules.values()):
        found.append("Pérez-Hernández et al., J. Chem. Phys. 139, 015102 (2013) (TICA)")
        found.append("Prinz et al., J. Chem. Phys. 134, 174105 (2011) (Markov models)")
    if any(x.pulled for x in analysis.molecules.values()):
        found.append("Jarzynski, Phys. Rev. Lett. 78, 2690 (1997) (free energies from work)")
    if any(isinstance(x.walked, Walked) for x in analysis.molecules.values()):
        found.append("Huber & Kim, Biophys. J. 70, 97 (1996) (weighted ensemble)")
        found.append("Zuckerman & Chong, Annu. Rev. Biophys. 46, 43 (2017) (rates by weighted ensembles)")
        if not _given((c.get("weighted_ensemble") or {}).get("bins")):
            found.append("Donyapour, Roussey & Dickson, J. Chem. Phys. 150, 244112 (2019) (REVO)")
    if any(x.filled for x in analysis.molecules.values()):
        methods = {f.method for x in analysis.molecules.values() for f in x.filled}
        if methods & {"opes", "opes-explore"}:
            found.append("Invernizzi & Parrinello, J. Phys. Chem. Lett. 11, 2731 (2020) (OPES)")
        if "opes-explore" in methods:
            found.append("Invernizzi & Parrinello, J. Chem. Theory Comput. 18, 3988 (2022) (OPES explore)")
    if any(f.method == "well-tempered" for x in analysis.molecules.values() for f in x.filled):
        found.append("Barducci, Bussi & Parrinello, Phys. Rev. Lett. 100, 020603 (2008) (well-tempered metadynamics)")
        found.append("Tiwary & Parrinello, J. Phys. Chem. B 119, 736 (2015) (reweighting of metadynamics)")
    found.append("Chodera, J. Chem. Theory Comput. 12, 1799 (2016) (detection of equilibration)")
    return found


def _model_papers(analysis: Analysis) -> list[str]:
    """What the force fields say of themselves."""
    from mdflash.config.load import load_run
    from mdflash.forcefields.forcefield import load_forcefield

    try:
        fields = [load_forcefield(f) for f in dict.fromkeys(load_run(analysis.run.folder).forcefields)]
    except MdflashError:
        return []
    return [f"{ff.name}: {ff.provenance['model']}" for ff in fields if ff.provenance.get("model")]

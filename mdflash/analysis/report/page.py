"""The report: one HTML file that needs no network, with properties.csv and analysis.json beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.analysis.report.document import document, escape, section, table
from mdflash.analysis.report.figure import Figure
from mdflash.analysis.report.provenance import changes_of, facts, methods, references
from mdflash.analysis.report.results import SCALARS, WEIGHTS_HEADER, as_json, properties_csv, weights_csv
from mdflash.analysis.report.sections import SECTIONS
from mdflash.analysis.report.sections.base import Section, cap
from mdflash.analysis.report.viewer import view
from mdflash.analysis.result import Analysis, MoleculeAnalysis
from mdflash.analysis.sample import Progress
from mdflash.analysis.verdict import Light, measured, rhat_text
from mdflash.core.files import atomic_write, atomic_write_json, storage_errors
from mdflash.core.regular import MOST_TEXT, read_input

PAGE, TABLE, NUMBERS, WEIGHTS = "report.html", "properties.csv", "analysis.json", "weights.csv"
MOST_EVENTS = 40
_WORDS = {"good": "fine", "care": "take care", "bad": "not fine", "unknown": "not known"}
_SIGNS = {"good": "●", "care": "▲", "bad": "■", "unknown": "○"}


def write_page(analysis: Analysis, folder: Path, progress: Progress = lambda what, done, total: None) -> Path:
    """Write the page, the tables, and weights where there are any; returns the path of the page.

    Raises:
        StorageError: the folder cannot be written.
    """
    progress("writing the report", 0, 1)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / TABLE, properties_csv(analysis))
    atomic_write_json(folder / NUMBERS, as_json(analysis))
    weighed = [m.experiment for m in analysis.molecules.values() if m.experiment is not None]
    for experiment in weighed:
        atomic_write(folder / WEIGHTS, weights_csv(experiment))
    if not weighed and _is_weights(folder / WEIGHTS):  # of an earlier analysis, which this one replaces
        with storage_errors(folder / WEIGHTS):
            (folder / WEIGHTS).unlink()
    atomic_write(folder / PAGE, page(analysis))
    progress("writing the report", 1, 1)
    return folder / PAGE


def _is_weights(file: Path) -> bool:
    """Whether a file is a table that `write_page` wrote, and no other of that name."""
    if file.is_symlink() or not file.is_file():
        return False
    with storage_errors(file), file.open("rb") as table_:
        return table_.readline().decode(errors="replace").rstrip("\n") == WEIGHTS_HEADER


def figures(analysis: Analysis) -> Iterator[tuple[int, Section, list[Figure]]]:
    """Every figure, by number of the molecule and section; keys are unique over molecules."""
    several = len(analysis.molecules) > 1
    for k, molecule in enumerate(analysis.molecules.values()):
        if not molecule.sample.frames:
            continue
        for about in SECTIONS:
            found = about.figures(molecule)
            if several:
                found = [dataclasses.replace(f, key=f"{molecule.name}-{f.key}") for f in found]
            if found:
                yield k, about, found


def page(analysis: Analysis) -> str:
    """The HTML of the report."""
    name = str(analysis.manifest.get("name", analysis.run.folder.name))
    several = len(analysis.molecules) > 1
    by_molecule: dict[int, list[tuple[Section, list[Figure]]]] = {}
    for k, about, found in figures(analysis):
        by_molecule.setdefault(k, []).append((about, found))
    shown = {s.key: s.title for parts in by_molecule.values() for s, _ in parts}
    views = [view(m) for m in analysis.molecules.values()]
    head = [
        _all_molecules(analysis) if several else "",
        *(_verdict(m, k, several) for k, m in enumerate(analysis.molecules.values())),
        *(f'<p class="sub">{escape(note)}</p>' for note in analysis.notes),
    ]
    body = []
    for k, molecule in enumerate(analysis.molecules.values()):
        body.append(f'<div data-molecule="{k}">')
        if several:
            body.append(f'<h2 class="molecule" id="molecule{k}">{escape(molecule.name)}</h2>')
        if views[k] is not None:
            body.append(_viewer(k))
        for about, found in by_molecule.get(k, []):
            body.append(section(about, found, f"{about.key}{k or ''}"))
        body.append(_numbers(molecule, k))
        body.append("</div>")
    body += [_events(analysis), _provenance(analysis)]
    links = _links(shown, any(views), list(analysis.molecules) if several else [])
    return document(name, analysis.run.folder.absolute(), "".join(head), links, "".join(body), views)


def _all_molecules(analysis: Analysis) -> str:
    """The size of every molecule, at the state its pictures are of."""
    rows = []
    for m in analysis.molecules.values():
        means = [
            measured(*m.measured[n].states[m.focus].mean)
            if n in m.measured and m.focus in m.measured[n].states
            else "-"
            for n in ("rg", "end_to_end")
        ]
        pairs = m.sample.profiles.get("pairs", {}).get(m.focus)
        known = pairs is not None and "nu" in pairs.values
        nu = (
            measured(pairs.values["nu"], pairs.errors.get("nu", np.nan), most=3) if pairs is not None and known else "-"
        )
        kelvin = m.sample.temperatures[m.focus] if m.sample.frames else np.nan
        rows.append([m.name, str(len(m.sample.tracks)), f"{kelvin:.4g} K" if np.isfinite(kelvin) else "-", *means, nu])
    head = ["molecule", "replicas", "temperature", "radius of gyration / Å", "end-to-end distance / Å", "nu"]
    return table(head, rows)


def _verdict(m: MoleculeAnalysis, k: int, several: bool) -> str:
    title = (
        f'<h3 style="margin-top:18px"><a style="color:inherit" href="#molecule{k}">{escape(m.name)}</a></h3>'
        if several
        else ""
    )
    parts = [f"<p>{escape(s)}</p>" for s in m.sentences[:-1]]
    parts += [f'<p class="last">{escape(s)}</p>' for s in m.sentences[-1:]]
    lights = "".join(map(_light, m.lights))
    return f'{title}<div class="verdict">{"".join(parts)}</div><div class="lights">{lights}</div>'


def _light(light: Light) -> str:
    return (
        f'<div class="light {light.color}"><span class="v" title="{_WORDS[light.color]}">{_SIGNS[light.color]} '
        f"{escape(light.value)}</span><b>{escape(light.name)}</b><br>{escape(light.sentence)}"
        f"<small>Wanted: {escape(light.rule)}.</small></div>"
    )


def _links(shown: dict[str, str], moving: bool, molecules: Sequence[str]) -> list[tuple[str, str]]:
    """Anchors and names of the navigation."""
    links = [(f"molecule{k}", name) for k, name in enumerate(molecules)]
    if not links:  # sections of several molecules are reached from their headings
        links = ([("view", "Molecule")] if moving else []) + [*shown.items()]
    return [*links, ("numbers", "Numbers"), ("events", "Events"), ("provenance", "Provenance")]


def _viewer(k: int) -> str:
    return (
        f'<h2 id="view{k or ""}">Molecule</h2><p class="want">Drag to turn it. A click into a figure below shows that '
        f'frame.</p><div class="viewer" data-view="{k}"><div><div class="stage"><canvas tabindex="0" '
        'aria-label="the molecule, moving"></canvas></div><div class="controls"><button class="play">play</button>'
        '<input type="range" min="0" value="0" step="1" aria-label="frame"><select class="pick" aria-label="replica">'
        '</select><button class="many">all replicas</button><select class="color" aria-label="color by">'
        '<option value="residue">color by residue</option><option value="chain">color by chain</option>'
        '<option value="rmsf">color by fluctuation</option></select></div></div><div><h3>This frame</h3>'
        '<table class="now"></table></div></div>'
    )


def _numbers(m: MoleculeAnalysis, k: int) -> str:
    """The table of means by state."""
    known = list(m.sample.observables)
    kelvin = m.sample.temperatures
    states = sorted({s for x in m.measured.values() for s in x.states})
    head = ["state", "temperature", "frames"] + [o.label for o in known]
    rows = []
    profiles = m.sample.profiles
    extra = [(profile, key, title) for profile, key, _, title in SCALARS
             if any(key in p.values for p in profiles.get(profile, {}).values())]  # fmt: skip
    mapped = sorted({s for profile, _, _ in extra for s in profiles[profile]})
    for s in states:
        any_one = next(x.states[s] for x in m.measured.values() if s in x.states)
        row = [str(s), f"{kelvin[s]:.4g} K" if np.isfinite(kelvin[s]) else "-", f"{any_one.frames:,}"]
        row += [measured(*m.measured[o.name].states[s].mean) if s in m.measured[o.name].states else "-" for o in known]
        for profile, key, _ in extra:
            p = profiles[profile].get(s)
            row.append(
                "-" if p is None or key not in p.values else measured(p.values[key], p.errors.get(key, np.nan), most=3)
            )
        rows.append(row)
    quality = [
        [o.title, f"{m.measured[o.name].effective:,.0f}", f"{m.measured[o.name].inefficiency:.1f}",
         rhat_text(m.measured[o.name].rhat) if np.isfinite(m.measured[o.name].rhat) else "-"]
        for o in known if o.name in m.measured
    ]  # fmt: skip
    notes = "".join(f"<li>{escape(n[:1].upper() + n[1:])}</li>" for n in m.notes)
    return (
        f'<h2 id="numbers{k or ""}">Numbers</h2><p class="want">Means over frames after the start, with standard '
        "errors over replicas (or stretches of few replicas).</p>"
        + table(head + [title for _, _, title in extra], rows)
        + (
            f'<p class="want">{escape(cap(", ".join(title.split(" /")[0] for _, _, title in extra)))}: of the states '
            f"that maps are drawn of ({', '.join(map(str, mapped))}); every frame of a state is read for them.</p>"
            if extra and len(mapped) < len(states)
            else ""
        )
        + '<h3 style="margin-top:18px">How much they are worth</h3>'
        + table(["observable", "independent samples", "frames for one", "R-hat"], quality)
        + (f'<h3 style="margin-top:18px">What is missing</h3><ul class="notes">{notes}</ul>' if notes else "")
    )


def _events(analysis: Analysis) -> str:
    events = analysis.events
    shown = events if len(events) <= MOST_EVENTS else [*events[: MOST_EVENTS // 2], *events[-MOST_EVENTS // 2 :]]
    rows = []
    for e in shown:
        rest = {k: v for k, v in e.items() if k not in ("time", "step", "event")}
        text = "; ".join(f"{k}: {_event_text(v)}" for k, v in rest.items() if v != [])
        rows.append(
            [str(e.get("time", ""))[:19].replace("T", " "), f"{e.get('step', 0):,}", str(e.get("event", "")), text]
        )
    more = (
        f"<p>{len(events) - len(shown):,} events in between are in events.jsonl.</p>"
        if len(shown) < len(events)
        else ""
    )
    return (
        '<h2 id="events">Events and warnings</h2><p class="want">What you want to see: a start, and an end.</p>'
        + table(["time (UTC)", "step", "event", ""], rows, ' class="facts events"') + more
    )  # fmt: skip


def _event_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} = {x}" for name, x in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _text_of(path: Path) -> str:
    """A file of the run, to be shown; what a link leads to is not the run's, and a page may be passed on."""
    if path.is_symlink():
        return f"{path.name} is a symbolic link; what it leads to is not shown"
    try:
        return read_input(path, MOST_TEXT).decode("utf-8", "replace")
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"


def _provenance(analysis: Analysis) -> str:
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in facts(analysis).items())
    cited = "".join(f"<li>{escape(r)}</li>" for r in references(analysis))
    given, settings = (_text_of(analysis.run.folder / name) for name in ("input.yaml", "resolved.yaml"))
    told = changes_of(analysis)
    changes = f'<p class="want">Changed on the command line: {escape("; ".join(told))}.</p>' if told else ""
    return (
        '<h2 id="provenance">Provenance</h2><p class="want">What it takes to do this again, and to write it up.</p>'
        f'<div class="wide"><table class="facts"><tbody>{rows}</tbody></table></div>'
        f'<h3 style="margin-top:18px">A methods paragraph to paste</h3><p class="paste">{escape(methods(analysis))}</p>'
        f'<h3>What to cite</h3><ul class="notes">{cited}</ul>'
        f'<h3 style="margin-top:18px">The run file as it was given</h3>{changes}<pre>{escape(given)}</pre>'
        f"<details><summary>Every setting of the run, as resolved</summary><pre>{escape(settings)}</pre></details>"
    )

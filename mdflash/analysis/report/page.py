"""The report: one HTML file that needs no network, with properties.csv and analysis.json beside it."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import html
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mdflash.analysis.analyze import Analysis, MoleculeAnalysis
from mdflash.analysis.report.figure import Figure
from mdflash.analysis.report.provenance import changes_of, facts, methods, references
from mdflash.analysis.report.results import as_json, properties_csv
from mdflash.analysis.report.sections import SECTIONS, Section
from mdflash.analysis.report.svg import draw
from mdflash.analysis.report.viewer import view
from mdflash.analysis.sample import Progress
from mdflash.analysis.verdict import Light, measured
from mdflash.core.files import atomic_write, atomic_write_json, storage_errors
from mdflash.core.regular import MOST_TEXT, read_input

PAGE, TABLE, NUMBERS = "report.html", "properties.csv", "analysis.json"
LARGE = 60_000
"""Bytes of CSV text from which it is compressed inside the page."""
MOST_EVENTS = 40
_WORDS = {"good": "fine", "care": "take care", "bad": "not fine", "unknown": "not known"}
_SIGNS = {"good": "●", "care": "▲", "bad": "■", "unknown": "○"}


def write_page(analysis: Analysis, folder: Path, progress: Progress = lambda what, done, total: None) -> Path:
    """Write the three files; returns the path of the page.

    Raises:
        StorageError: the folder cannot be written.
    """
    progress("writing the report", 0, 1)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / TABLE, properties_csv(analysis))
    atomic_write_json(folder / NUMBERS, as_json(analysis))
    atomic_write(folder / PAGE, page(analysis))
    progress("writing the report", 1, 1)
    return folder / PAGE


def figures(analysis: Analysis) -> Iterator[tuple[int, Section, list[Figure]]]:
    """Every figure, by number of the molecule and section; keys are unique over molecules."""
    several = len(analysis.molecules) > 1
    for k, molecule in enumerate(analysis.molecules.values()):
        if not molecule.sample.frames:
            continue
        for section in SECTIONS:
            found = section.figures(molecule)
            if several:
                found = [dataclasses.replace(f, key=f"{molecule.name}-{f.key}") for f in found]
            if found:
                yield k, section, found


def page(analysis: Analysis) -> str:
    """The HTML of the report."""
    here = Path(__file__).parent
    style, script = ((here / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    name = str(analysis.manifest.get("name", analysis.run.folder.name))
    several = len(analysis.molecules) > 1
    by_molecule: dict[int, list[tuple[Section, list[Figure]]]] = {}
    for k, section, found in figures(analysis):
        by_molecule.setdefault(k, []).append((section, found))
    shown = {s.key: s.title for parts in by_molecule.values() for s, _ in parts}
    views = [view(m) for m in analysis.molecules.values()]
    body = [
        f'<header><div class="in"><h1>{_e(name)}</h1><p class="path">{_e(analysis.run.folder.absolute())}</p>',
        _all_molecules(analysis) if several else "",
        *(_verdict(m, k, several) for k, m in enumerate(analysis.molecules.values())),
        *(f'<p class="sub">{_e(note)}</p>' for note in analysis.notes),
        "</div></header>",
        _navigation(shown, any(views), list(analysis.molecules) if several else []),
        "<main>",
    ]
    for k, molecule in enumerate(analysis.molecules.values()):
        body.append(f'<div data-molecule="{k}">')
        if several:
            body.append(f'<h2 class="molecule" id="molecule{k}">{_e(molecule.name)}</h2>')
        if views[k] is not None:
            body.append(_viewer(k))
        for section, found in by_molecule.get(k, []):
            body.append(_section(section, found, f"{section.key}{k or ''}"))
        body.append(_numbers(molecule, k))
        body.append("</div>")
    body.append(_events(analysis))
    body.append(_provenance(analysis))
    body.append("</main>")
    body.append(
        f'<footer><div class="in">Made by mdflash {_e(facts(analysis)["mdflash"])}. This page is complete '
        "in itself and asks nothing of the network.</div></footer>"
        '<div id="tip" hidden style="position:fixed;left:50%;bottom:24px;transform:translateX(-50%);background:#1f2733;'
        'color:#fff;padding:8px 14px;border-radius:6px;font-size:14px"></div>'
    )
    data = json.dumps([v or {} for v in views])
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_e(name)}: analysis</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{style}</style></head><body>{"".join(body)}'
        f'<script type="application/json" id="views">{data}</script><script>{script}</script></body></html>'
    )


def _e(text: object) -> str:
    return html.escape(str(text), quote=True)


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
        nu = measured(pairs.values["nu"], pairs.errors.get("nu", np.nan)) if pairs is not None and known else "-"
        kelvin = m.sample.temperatures[m.focus] if m.sample.frames else np.nan
        rows.append([m.name, str(len(m.sample.tracks)), f"{kelvin:.4g} K" if np.isfinite(kelvin) else "-", *means, nu])
    head = ["molecule", "replicas", "temperature", "radius of gyration / Å", "end-to-end distance / Å", "nu"]
    return _table(head, rows)


def _verdict(m: MoleculeAnalysis, k: int, several: bool) -> str:
    title = (
        f'<h3 style="margin-top:18px"><a style="color:inherit" href="#molecule{k}">{_e(m.name)}</a></h3>'
        if several
        else ""
    )
    parts = [f"<p>{_e(s)}</p>" for s in m.sentences[:-1]]
    parts += [f'<p class="last">{_e(s)}</p>' for s in m.sentences[-1:]]
    lights = "".join(map(_light, m.lights))
    return f'{title}<div class="verdict">{"".join(parts)}</div><div class="lights">{lights}</div>'


def _light(light: Light) -> str:
    return (
        f'<div class="light {light.color}"><span class="v" title="{_WORDS[light.color]}">{_SIGNS[light.color]} '
        f"{_e(light.value)}</span><b>{_e(light.name)}</b><br>{_e(light.sentence)}"
        f"<small>Wanted: {_e(light.rule)}.</small></div>"
    )


def _navigation(shown: dict[str, str], moving: bool, molecules: Sequence[str]) -> str:
    links = [(f"molecule{k}", name) for k, name in enumerate(molecules)]
    if not links:  # sections of several molecules are reached from their headings
        links = ([("view", "Molecule")] if moving else []) + [*shown.items()]
    links += [("numbers", "Numbers"), ("events", "Events"), ("provenance", "Provenance")]
    return (
        '<nav><div class="in">' + "".join(f'<a href="#{_e(k)}">{_e(title)}</a>' for k, title in links) + "</div></nav>"
    )


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


def _section(section: Section, found: Sequence[Figure], anchor: str) -> str:
    inner = "".join(
        f'<figure id="figure-{_e(f.key)}"><figcaption><h3>{_e(f.title)}</h3><p class="want">{_e(f.want)} '
        f"{_csv(f)}</p></figcaption>{draw(f)}</figure>"
        for f in found
    )
    return (
        f'<h2 id="{anchor}">{_e(section.title)}</h2><p class="want">What you want to see: '
        f'{_e(section.want[:1].lower() + section.want[1:])}</p><div class="grid">{inner}</div>'
    )


def _csv(f: Figure) -> str:
    """A link to the numbers of a figure."""
    text = f.csv().encode()
    kind, name = "text/csv;charset=utf-8", f"{f.key}.csv"
    if len(text) > LARGE:
        text, kind, name = gzip.compress(text, 9, mtime=0), "application/gzip", f"{name}.gz"
    uri = f"data:{kind};base64,{base64.b64encode(text).decode()}"
    return f'<a class="csv" download="{_e(name)}" href="{uri}">CSV</a>'


def _numbers(m: MoleculeAnalysis, k: int) -> str:
    """The table of means by state."""
    known = list(m.sample.observables)
    kelvin = m.sample.temperatures
    states = sorted({s for x in m.measured.values() for s in x.states})
    head = ["state", "temperature", "frames"] + [o.label for o in known]
    rows = []
    pairs = m.sample.profiles.get("pairs", {})
    extra = [(key, title) for key, title in (("rh", "hydrodynamic radius / Å"), ("nu", "nu"), ("r0", "R0 / Å"))
             if any(key in p.values for p in pairs.values())]  # fmt: skip
    for s in states:
        any_one = next(x.states[s] for x in m.measured.values() if s in x.states)
        row = [str(s), f"{kelvin[s]:.4g} K" if np.isfinite(kelvin[s]) else "-", f"{any_one.frames:,}"]
        row += [measured(*m.measured[o.name].states[s].mean) if s in m.measured[o.name].states else "-" for o in known]
        for key, _ in extra:
            p = pairs.get(s)
            row.append("-" if p is None or key not in p.values else measured(p.values[key], p.errors.get(key, np.nan)))
        rows.append(row)
    quality = [
        [o.title, f"{m.measured[o.name].effective:,.0f}", f"{m.measured[o.name].inefficiency:.1f}",
         f"{m.measured[o.name].rhat:.3f}" if np.isfinite(m.measured[o.name].rhat) else "-"]
        for o in known if o.name in m.measured
    ]  # fmt: skip
    notes = "".join(f"<li>{_e(n[:1].upper() + n[1:])}</li>" for n in m.notes)
    return (
        f'<h2 id="numbers{k or ""}">Numbers</h2><p class="want">Means over frames after the start, with standard '
        "errors over replicas (or stretches of few replicas).</p>"
        + _table(head + [title for _, title in extra], rows)
        + (
            f'<p class="want">{_e(", ".join(title.split(" /")[0] for _, title in extra))}: of the states that maps are '
            f"drawn of ({', '.join(map(str, sorted(pairs)))}); every frame of a state is read for them.</p>"
            if extra and len(pairs) < len(states)
            else ""
        )
        + '<h3 style="margin-top:18px">How much they are worth</h3>'
        + _table(["observable", "independent samples", "frames for one", "R-hat"], quality)
        + (f'<h3 style="margin-top:18px">What is missing</h3><ul class="notes">{notes}</ul>' if notes else "")
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    top = "".join(f"<th>{_e(t)}</th>" for t in head)
    lines = "".join("<tr>" + "".join(f"<td>{_e(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table{kind}><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def _events(analysis: Analysis) -> str:
    events = analysis.events
    shown = events if len(events) <= MOST_EVENTS else [*events[: MOST_EVENTS // 2], *events[-MOST_EVENTS // 2 :]]
    rows = []
    for e in shown:
        rest = {k: v for k, v in e.items() if k not in ("time", "step", "event")}
        text = "; ".join(
            f"{k}: {', '.join(map(str, v)) if isinstance(v, list) else v}" for k, v in rest.items() if v != []
        )
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
        + _table(["time (UTC)", "step", "event", ""], rows, ' class="facts"') + more
    )  # fmt: skip


def _text_of(path: Path) -> str:
    """A file of the run, to be shown; what a link leads to is not the run's, and a page may be passed on."""
    if path.is_symlink():
        return f"{path.name} is a symbolic link; what it leads to is not shown"
    try:
        return read_input(path, MOST_TEXT).decode("utf-8", "replace")
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"


def _provenance(analysis: Analysis) -> str:
    rows = "".join(f"<tr><td>{_e(k)}</td><td>{_e(v)}</td></tr>" for k, v in facts(analysis).items())
    cited = "".join(f"<li>{_e(r)}</li>" for r in references(analysis))
    given, settings = (_text_of(analysis.run.folder / name) for name in ("input.yaml", "resolved.yaml"))
    told = changes_of(analysis)
    changes = f'<p class="want">Changed on the command line: {_e("; ".join(told))}.</p>' if told else ""
    return (
        '<h2 id="provenance">Provenance</h2><p class="want">What it takes to do this again, and to write it up.</p>'
        f'<div class="wide"><table class="facts"><tbody>{rows}</tbody></table></div>'
        f'<h3 style="margin-top:18px">A methods paragraph to paste</h3><p class="paste">{_e(methods(analysis))}</p>'
        f'<h3>What to cite</h3><ul class="notes">{cited}</ul>'
        f'<h3 style="margin-top:18px">The run file as it was given</h3>{changes}<pre>{_e(given)}</pre>'
        f"<details><summary>Every setting of the run, as resolved</summary><pre>{_e(settings)}</pre></details>"
    )

"""Several runs on one page: their numbers side by side, and their curves in one figure."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from mdflash.analysis.report.document import document, escape, section
from mdflash.analysis.report.figure import Figure, Line, Plot, Style, Table
from mdflash.analysis.report.results import SCALARS, properties
from mdflash.analysis.report.sections import SECTIONS
from mdflash.analysis.report.sections.base import Section, cap, label
from mdflash.analysis.result import Analysis, MoleculeAnalysis
from mdflash.analysis.sample import Progress
from mdflash.analysis.verdict import enough, measured, time_text
from mdflash.core.files import atomic_write, storage_errors
from mdflash.errors import InputError

PAGE, TABLE = "report.html", "properties.csv"
STYLES: Final[tuple[Style, ...]] = ("line", "dashed")
"""Of the curves of one run in a figure."""

PS, NS = "time / ps", "time / ns"

Named = tuple[str, MoleculeAnalysis]


def write_comparison(
    analyses: Sequence[Analysis], folder: Path, progress: Progress = lambda what, done, total: None
) -> Path:
    """Write report.html and properties.csv of several runs into `folder`; returns the path of the page.

    Raises:
        InputError: fewer than two runs.
        StorageError: the folder cannot be written.
    """
    if len(analyses) < 2:
        raise InputError("a comparison needs two runs or more")
    progress("writing the comparison", 0, 1)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / TABLE, _properties(analyses))
    atomic_write(folder / PAGE, comparison(analyses, folder))
    return folder / PAGE


def run_names(analyses: Sequence[Analysis]) -> list[str]:
    """Short names that tell the runs apart."""
    for names in (
        [str(a.manifest.get("name", a.run.folder.name)) for a in analyses],
        [a.run.folder.absolute().name for a in analyses],
    ):
        if len(set(names)) == len(names):
            return names
    return [f"{k + 1}: {a.run.folder.absolute().name}" for k, a in enumerate(analyses)]


def groups(analyses: Sequence[Analysis]) -> dict[str, list[Named]]:
    """What is compared with what: molecules of one name, or the only molecule of every run."""
    names = run_names(analyses)
    if all(len(a.molecules) == 1 for a in analyses):
        only = [next(iter(a.molecules.values())) for a in analyses]
        title = " and ".join(dict.fromkeys(m.name for m in only))
        return {title: [(n, m) for n, m in zip(names, only, strict=True) if m.sample.frames]}
    found: dict[str, list[Named]] = {}
    for name, a in zip(names, analyses, strict=True):
        for m in a.molecules.values():
            if m.sample.frames:
                found.setdefault(m.name, []).append((name, m))
    return found


def comparison(analyses: Sequence[Analysis], folder: Path) -> str:
    """The HTML of the page."""
    found = groups(analyses)
    several = len(found) > 1
    body, links = [], []
    for k, (title, runs) in enumerate(found.items()):
        anchor = f"molecule{k}"
        links.append((anchor, title))
        about = Section(anchor, title, "Runs that differ by more than their errors, where they should.", lambda _: [])
        parts = [*tables(runs), *overlays(runs)]
        if several:
            parts = [dataclasses.replace(f, key=f"{title}-{f.key}") for f in parts]
        body.append(section(about, parts, anchor))
    pages = "".join(
        f"<li>{escape(name)}: {escape(a.run.folder.absolute() / 'analysis' / 'report.html')}</li>"
        for name, a in zip(run_names(analyses), analyses, strict=True)
    )
    sentences = "".join(f"<p>{escape(s)}</p>" for runs in found.values() for s in verdict(runs))
    head = (
        f'<div class="verdict">{sentences}</div><p class="sub">The page of each run:</p><ul class="notes">{pages}</ul>'
    )
    names = run_names(analyses)
    title = f"{', '.join(names[:-1])} and {names[-1]}"
    return document(title, folder.absolute(), head, links, "".join(body))


def verdict(runs: Sequence[Named]) -> list[str]:
    """How each run differs from the first, in a sentence; means of no equilibrium are not compared."""
    if len(runs) < 2:
        return []
    under = [name for name, m in runs if m.biased]
    found = []
    if under:
        names = " and ".join(under)
        found.append(
            f"Means of {names} are not compared: biases, weights of walkers or a temperature that moves make them "
            "those of no equilibrium."
        )
    free = [(name, m) for name, m in runs if not m.biased]
    if len(free) < 2:
        return found
    (first, one), *others = free
    for name, m in others:
        parts = []
        for o in one.sample.observables:
            z = _apart(one, m, o.name)
            if np.isfinite(z):
                parts.append((z, o.title))
        large = [f"{title} ({z:.1f} σ)" for z, title in sorted(parts, reverse=True) if z >= 3.0]
        what = f"{name} differs from {first} in the {' and the '.join(large[:3])}" if large else (
            f"{name} and {first} agree in all observables within 3 standard errors"
        )  # fmt: skip
        found.append(f"{what}.")
    return found


def _at_focus(m: MoleculeAnalysis, name: str) -> tuple[float, float]:
    x = m.measured.get(name)
    if x is None or m.focus not in x.states:
        return np.nan, np.nan
    mean = x.states[m.focus].mean
    return mean.value, mean.error


def _apart(a: MoleculeAnalysis, b: MoleculeAnalysis, name: str) -> float:
    """Difference of means in standard errors."""
    (x, dx), (y, dy) = _at_focus(a, name), _at_focus(b, name)
    error = float(np.hypot(dx, dy))
    return abs(x - y) / error if error > 0 else float("nan")


def tables(runs: Sequence[Named]) -> list[Figure]:
    """Means side by side, and how much they are worth."""
    known = {o.name: o for _, m in runs for o in m.sample.observables}
    rows = [("replicas", *(f"{len(m.sample.tracks)}" for _, m in runs))]
    rows.append(("length of each", *(time_text(m.length) for _, m in runs)))
    rows.append(("state", *(label(m, m.focus) for _, m in runs)))
    for name, o in known.items():
        rows.append((o.label, *(measured(*_at_focus(m, name)) for _, m in runs)))
    for profile, key, _, title in SCALARS:
        at = [m.sample.profiles.get(profile, {}).get(m.focus) for _, m in runs]
        if any(p is not None and key in p.values for p in at):
            rows.append(
                (title, *("-" if p is None or key not in p.values
                          else measured(p.values[key], p.errors.get(key, np.nan), most=3) for p in at))
            )  # fmt: skip
    melting = [m.melting.melting if m.melting is not None else None for _, m in runs]
    if any(t is not None for t in melting):
        rows.append(("melting temperature / K", *("-" if t is None else measured(*t) for t in melting)))
    if any(m.experiment is not None for _, m in runs):
        rows.append(
            ("chi² against experiment", *("-" if m.experiment is None else f"{m.experiment.chi2:.3g}" for _, m in runs))
        )
    if any(m.kinetics is not None for _, m in runs):
        slow = [m.kinetics for _, m in runs]
        rows.append(
            ("slowest motion", *("-" if k is None else time_text(float(np.nanmax(k.timescales[-1]))) for k in slow))
        )
    rows.append(
        (
            "independent samples",
            *(f"{m.measured[m.key].effective:,.0f}" if m.key in m.measured else "-" for _, m in runs),
        )
    )
    rows.append(("sampled enough", *(enough(m.lights) for _, m in runs)))
    return [
        Table(
            "side-by-side", f"{len(runs)} runs side by side", "Errors smaller than the differences that matter.",
            ["", *(name for name, _ in runs)], rows,
        )
    ]  # fmt: skip


def overlays(runs: Sequence[Named]) -> Iterator[Figure]:
    """Every figure that has curves to share, with those of all runs that have it."""
    plots: dict[str, list[tuple[int, Plot]]] = {}
    for k, (_, m) in enumerate(runs):
        for about in SECTIONS:
            for f in about.figures(m):
                if isinstance(f, Plot) and f.shared:
                    plots.setdefault(f.key, []).append((k, f))
    for key, found in plots.items():
        if len(found) < 2:
            continue
        first = next((f for _, f in found if f.x_label == NS), found[0][1])
        alike = [(k, f) for k, f in found if f.x_label == first.x_label or {f.x_label, first.x_label} == {PS, NS}]
        lines = [
            _recolored(line, runs[k][0] + (f", {line.name}" if f.shared > 1 else ""), k, n, f.x_label != first.x_label)
            for k, f in alike
            for n, line in enumerate(f.lines[: f.shared])
        ]
        ranges = [f.y_range for _, f in alike if f.y_range is not None]
        yield Plot(
            key, f"{cap(first.subject)} in {len(alike)} runs", first.want, first.x_label, first.y_label, lines,
            y_range=(min(a for a, _ in ranges), max(b for _, b in ranges)) if ranges else None, whole=first.whole,
        )  # fmt: skip


def _recolored(line: Line, name: str, color: int, number: int, from_ps: bool) -> Line:
    """A curve in the color of its run; `from_ps`: on an axis in ns instead of ps."""
    style: Style = line.style if line.style == "points" else STYLES[number % len(STYLES)]
    x = 1e-3 * line.x if from_ps else line.x
    return dataclasses.replace(line, name=name, x=x, color=color, paint="", style=style)


def _properties(analyses: Sequence[Analysis]) -> str:
    """A row for each run, molecule and state."""
    rows = [{"run": name} | row for name, a in zip(run_names(analyses), analyses, strict=True) for row in properties(a)]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns or ["run"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()

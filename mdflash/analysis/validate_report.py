"""The validation as one HTML page with its pictures inside, and as JSON."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.analysis.validate import Finding, Validation
from mdflash.analysis.validate_compare import POPULATED, Comparison
from mdflash.core.files import atomic_write, atomic_write_json, storage_errors
from mdflash.core.optional import require
from mdflash.units import kT

TOP = POPULATED + 1.0
"""kcal/mol at which the colors of a surface end."""
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;font-size:13px}"
    "td,th{padding:2px 10px;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}img{max-width:100%}.bad{color:#b00020;font-weight:bold}"
)


def write_report(folder: Path, title: str, about: dict[str, Any], validations: Sequence[Validation]) -> Path:
    """Write report.html and report.json; returns the path of the page.

    Raises:
        MissingExtraError: matplotlib is not installed.
        StorageError: the folder cannot be written.
    """
    require("matplotlib", "analysis", "the report of a validation")
    body = [f"<h1>{html.escape(title)}</h1>", _table([("", "")], [(k, str(v)) for k, v in about.items()])]
    for validation in validations:
        body += _molecule(validation)
    page = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "report.html", page + "\n".join(body))
    atomic_write_json(folder / "report.json", {**about, "molecules": [v.numbers() for v in validations]})
    return folder / "report.html"


def _molecule(v: Validation) -> list[str]:
    plan = v.plan
    large = [f for f in v.findings if not f.coordinate.group]
    parts = [
        f"<h2>{html.escape(v.molecule)}</h2>",
        f"<p>Data: {v.data_frames:,} frames in {v.data_trajectories} trajectories at {plan.temperature:g} K. "
        f"Simulation: {v.model_frames:,} frames of {plan.replicas - v.frozen} replicas, "
        f"{plan.length / 1000:g} ns each after {plan.settling / 1000:g} ns of settling, "
        f"steps of {plan.timestep * 1e3:g} fs. TICA: fitted to the data, lag {v.tica_lag} frames.</p>",
    ]
    if v.coarse:
        parts.append(f"<p class=bad>{html.escape(v.coarse)}</p>")
    if v.frozen:
        parts.append(f"<p class=bad>{v.frozen} of {plan.replicas} replicas became unstable (NaN or infinite).</p>")
    parts.append(
        f"<p>JSD: Jensen-Shannon divergence, nats. RMSE: of the free energy over bins within {POPULATED:g} kcal/mol of "
        "the minimum, kcal/mol. ±: standard error by bootstrap over replicas and stretches of the data; too small "
        "where those are not independent. Halves: the second half of the data against the first, "
        "that is, the resolution of the data itself.</p>"
    )
    head = [("coordinate", "JSD"), ("RMSE", "bins (never visited)"), ("halves: JSD", "halves: RMSE")]
    parts.append(_table(head, [_row(f.coordinate.name, f) for f in large]))
    parts += [_image(_draw(f, kT(plan.temperature))) for f in large]
    for group in ("bonds", "angles", "dihedrals"):
        mine = [f for f in v.findings if f.coordinate.group == group]
        if mine:
            parts.append(f"<h3>{group}</h3>")
            parts.append(_table(head, [_row(f.coordinate.name, f) for f in mine]))
            parts.append(_image(_draw_many(mine)))
    return parts


def _row(name: str, f: Finding) -> tuple[str, ...]:
    m, h = f.model, f.halves
    return (
        name, f"{m.jsd:.4f} ± {m.jsd_error:.4f}", f"{m.rmse:.2f} ± {m.rmse_error:.2f}", f"{m.bins} ({m.empty})",
        f"{h.jsd:.4f}", f"{h.rmse:.2f}",
    )  # fmt: skip


def _table(head: Sequence[Sequence[str]], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{html.escape(t)}</th>" for pair in head for t in pair if t)
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{lines}</table>"


def _image(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return f'<p><img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"></p>'


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _free_energy(p: Any, energy: float) -> Any:
    with np.errstate(divide="ignore"):
        f = -energy * np.log(p)
    return f - f.min()


def _draw(f: Finding, energy: float) -> Any:
    c = f.model
    if len(c.axes) == 1:
        figure = _figure(5.5, 3.0)
        axis = figure.subplots()
        middles = 0.5 * (c.axes[0].edges[1:] + c.axes[0].edges[:-1])
        axis.plot(middles, _free_energy(c.reference, energy), color="#1b4965", label="data")
        axis.plot(middles, _free_energy(c.other, energy), color="#ca6702", label="simulation")
        axis.set(xlabel=c.axes[0].label, ylabel="free energy / kcal/mol", ylim=(-0.2, TOP + 1.0))
        axis.legend(frameon=False)
        return figure
    figure = _figure(10.0, 3.2)
    surfaces = (("data", c.reference), ("simulation", c.other))
    low, high = c.axes
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    for axis, (title, p) in zip(panels, surfaces, strict=False):
        image = axis.pcolormesh(low.edges, high.edges, np.minimum(_free_energy(p, energy), TOP).T, vmin=0, vmax=TOP)
        axis.set(title=title, xlabel=low.label)
    figure.colorbar(image, ax=panels[:2], label="kcal/mol")
    image = panels[2].pcolormesh(low.edges, high.edges, _difference(c, energy).T, cmap="RdBu_r", vmin=-1.5, vmax=1.5)
    panels[2].set(title="simulation - data", xlabel=low.label)
    figure.colorbar(image, ax=panels[2], label="kcal/mol")
    panels[0].set_ylabel(high.label)
    return figure


def _difference(c: Comparison, energy: float) -> Any:
    """Of the free energies, where the data is populated and the simulation was."""
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = -energy * np.log(c.other / c.reference)
    shown = (c.reference > c.reference.max() * np.exp(-POPULATED / energy)) & (c.other > 0)
    return np.where(shown, difference, np.nan)


def _draw_many(findings: Sequence[Finding]) -> Any:
    lines = -(-len(findings) // 5)
    figure = _figure(11.0, 1.7 * lines)
    panels = figure.subplots(lines, 5, squeeze=False)
    for axis in panels.flat[len(findings) :]:
        axis.set_visible(False)
    for axis, f in zip(panels.flat, findings, strict=False):
        edges = f.model.axes[0].edges
        middles, width = 0.5 * (edges[1:] + edges[:-1]), edges[1] - edges[0]
        axis.plot(middles, f.model.reference / width, color="#1b4965", lw=1)
        axis.plot(middles, f.model.other / width, color="#ca6702", lw=1)
        axis.set_title(f.coordinate.labels[0], fontsize=6)
        axis.tick_params(labelsize=5)
        axis.set_yticks([])
    return figure

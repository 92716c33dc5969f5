"""What was measured, what the simulation says, and weights that bring both together."""

from __future__ import annotations

import numpy as np

from mdflash.analysis.experiment.compare import Against, ExperimentResult
from mdflash.analysis.report.figure import Figure, Line, Plot
from mdflash.analysis.report.sections.base import cap, observables
from mdflash.analysis.result import MoleculeAnalysis
from mdflash.analysis.verdict import measured
from mdflash.core.types import FloatArray

BEFORE, AFTER = "as simulated", "reweighted"
BINS = 40


def experiment(m: MoleculeAnalysis) -> list[Figure]:
    """Every kind of data, how theta was chosen, and what the weights do to the size of the molecule."""
    e = m.experiment
    if e is None:
        return []
    found: list[Figure] = []
    for a in e.kinds:
        found += {"curve": _curve, "points": _points, "number": _number}[a.data.look](a, e)
    if len(e.found) > 1:
        found.append(_scan(e))
    known = {o.name: o for o in observables(m)}
    shown = {a.data.name for a in e.kinds if a.data.look == "number"}
    for name in dict.fromkeys([m.key, "rg"]):
        if name in e.values and name not in shown:
            o, (mean, after) = known[name], e.observables[name]
            found.append(
                _densities(
                    f"weights-{name}", f"Reweighted, the {o.title} is {_with(after, o.unit)} on average, and "
                    f"{_with(mean, o.unit)} as simulated", "A curve that the weights do not break into pieces.",
                    o.label, e.values[name], e, (),
                )
            )  # fmt: skip
    return found


def _with(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".rstrip()


def _chi2(a: Against) -> str:
    return f"chi² is {a.before.chi2:.3g} {BEFORE} and {a.after.chi2:.3g} {AFTER}"


def _log(y: FloatArray) -> FloatArray:
    return np.log10(np.where(y > 0, y, np.nan))


def _curve(a: Against, e: ExperimentResult) -> list[Figure]:
    d = a.data
    assert d.x is not None
    y, s = d.measured, d.errors
    name = d.title.split(" ")[0]
    # errors of the average are of its own scale, so they are drawn where it lies
    low, high = a.before.average - a.errors, a.before.average + a.errors
    square, own = d.x**2, y - a.after.offset
    return [
        Plot(
            f"{d.name}-curve", f"{name}: {_chi2(a)}", "Points on the lines.", d.x_label, f"log10 of the {d.title}",
            [
                Line("measured", d.x, _log(y), _log(y - s), _log(y + s), style="points", color=7),
                Line(BEFORE, d.x, _log(a.before.average), _log(low), _log(high), color=0),
                Line(AFTER, d.x, _log(a.after.average), color=1),
            ],
        ),
        Plot(
            f"{d.name}-residuals", f"{name}: the largest deviation is "
            f"{np.abs((a.before.average - y) / s).max():.1f} errors {BEFORE}, "
            f"{np.abs((a.after.average - y) / s).max():.1f} {AFTER}",
            "Noise within 2, without a trend.", d.x_label, "(simulated - measured) / error",
            [
                Line(BEFORE, d.x, (a.before.average - y) / s, color=0),
                Line(AFTER, d.x, (a.after.average - y) / s, color=1),
            ],
        ),
        Plot(
            f"{d.name}-kratky", f"{name}: a hump for a compact chain, a plateau or a rise for a coil",
            "The same shape in all three (Kratky plot, less the background that was fitted).", d.x_label, "q² I(q)",
            [
                Line("measured", d.x, square * own, square * (own - s), square * (own + s), style="points", color=7),
                Line(BEFORE, d.x, square * (a.before.average - a.before.offset), color=0),
                Line(AFTER, d.x, square * (a.after.average - a.after.offset), color=1),
            ],
        ),
    ]  # fmt: skip


def _points(a: Against, e: ExperimentResult) -> list[Figure]:
    d = a.data
    x = np.arange(1.0, len(d.measured) + 1.0)
    before = d.shown(a.before.average)
    return [
        Plot(
            f"{d.name}-points", f"{cap(d.title)}: {_chi2(a)}",
            f"Points that touch. In order: {', '.join(d.labels)}.", "pair of residues", d.label,
            [
                Line("measured", x - 0.08, d.measured, d.measured - d.errors, d.measured + d.errors, "points", 7),
                Line(BEFORE, x, before, before - a.errors, before + a.errors, "points", 0),
                Line(AFTER, x + 0.08, d.shown(a.after.average), style="points", color=1),
            ],
            x_range=(0.5, len(x) + 0.5), y_range=(0.0, 1.0), whole=True,
        )
    ]  # fmt: skip


def _number(a: Against, e: ExperimentResult) -> list[Figure]:
    d = a.data
    before, after = (float(d.shown(f.average)[0]) for f in (a.before, a.after))
    title = (
        f"{cap(d.title)}: measured {measured(float(d.measured[0]), float(d.errors[0]), d.unit)}, "
        f"{measured(before, float(a.errors[0]), d.unit)} {BEFORE}, {_with(after, d.unit)} {AFTER}"
    )
    marks = [(float(d.measured[0]), "measured")]
    want = "A measured average inside what was sampled: frames that were never seen cannot be given weight."
    return [_densities(f"{d.name}-weights", title, want, d.label, a.frames, e, marks)]


def _densities(
    key: str, title: str, want: str, label: str, values: FloatArray, e: ExperimentResult,
    marks: list[tuple[float, str]] | tuple[()],
) -> Plot:  # fmt: skip
    low, high = np.quantile(values, [0.001, 0.999]).tolist()
    at = [x for x, _ in marks]
    low, high = min([low, *at]), max([high, *at])
    margin = 0.03 * (high - low) + 1e-9
    edges = np.linspace(low - margin, high + margin, min(BINS, max(12, round(2.0 * float(np.cbrt(len(values)))))) + 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    lines = [
        Line(name, middle, np.histogram(values, edges, weights=w, density=True)[0], color=k)
        for k, (name, w) in enumerate(((BEFORE, None), (AFTER, e.used.weights)))
    ]
    top = 1.1 * max(float(line.y.max()) for line in lines)
    return Plot(key, title, want, label, "probability density", lines, y_range=(0.0, top), marks=marks)


def _scan(e: ExperimentResult) -> Plot:
    x = np.array([r.fraction for r in e.found])
    y = np.array([r.chi2 for r in e.found])
    used = e.used
    why = "given" if e.given else "the largest with chi² of at most 1" if used.chi2 <= 1.0 else "the elbow"
    return Plot(
        "theta", f"Theta is {used.theta:.3g} ({why}): chi² falls from {e.chi2:.3g} to {used.chi2:.3g}, "
        f"and {100 * used.fraction:.0f} % of the frames count",
        "A curve that falls before the fraction does, and more than a tenth of the frames.", "effective fraction",
        "chi²",
        [
            Line("theta from large (right) to small", x, y),
            Line("chosen", np.array([used.fraction]), np.array([used.chi2]), style="points", color=1),
        ],
        x_range=(max(0.0, float(x.min()) - 0.05), 1.0), y_range=(0.0, 1.06 * float(max(y.max(), e.chi2))),
    )  # fmt: skip

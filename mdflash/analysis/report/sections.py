"""The sections of the page, in order: each makes its figures from what is known of a molecule.

To add a section: write a function from `MoleculeAnalysis` to figures, and list it in `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mdflash.analysis.analyze import ENERGY, MoleculeAnalysis
from mdflash.analysis.free_energy import bin_edges, bins_for
from mdflash.analysis.hills import METHODS, Filled
from mdflash.analysis.measures import CONTACT
from mdflash.analysis.observables.base import Observable
from mdflash.analysis.report.colors import shade
from mdflash.analysis.report.figure import Figure, Line, Map, Plot
from mdflash.analysis.reweight import Curve
from mdflash.analysis.verdict import measured, time_text
from mdflash.core.geometry import distances
from mdflash.core.types import FloatArray
from mdflash.units import BOLTZMANN

COLUMNS = 300
"""Of a series over time, at most."""
VOLUME = (
    " It is -kT ln p(r), in which 2 kT ln r of the volume at a distance is not removed; add 2 kT ln r to compare with "
    "a potential of mean force by the density, -kT ln g(r)."
)
"""What a free energy along a distance holds."""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: its anchor.
        title: its heading.
        want: what one wants to see, in a line.
        figures: of a molecule; none: the section is left out.
    """

    key: str
    title: str
    want: str
    figures: Callable[[MoleculeAnalysis], list[Figure]]


def _observables(m: MoleculeAnalysis) -> list[Observable]:
    found = list(m.sample.observables)
    if m.energy is not None:
        found.append(Observable(ENERGY, "potential energy", "kcal/mol", lambda _: None))
    return found


def _label(m: MoleculeAnalysis, state: int) -> str:
    t = m.sample.temperatures
    kelvin = f"{t[state]:.4g} K" if np.isfinite(t[state]) else f"state {state}"
    return kelvin if (t == t[state]).sum() == 1 else f"{kelvin}, state {state}"


def _cells(n: int, first: float = -0.5) -> FloatArray:
    """[n + 1] edges of cells of length 1."""
    return np.asarray(first + np.arange(n + 1.0), np.float64)


def _cap(text: str) -> str:
    return text[:1].upper() + text[1:]


def time_series(m: MoleculeAnalysis) -> list[Figure]:
    """Mean and spread over replicas of every observable; the key one replica by replica."""
    tracks = [t for t in m.sample.tracks if len(t) > 1]
    if not tracks:
        return []
    end = max(float(t.times[-1]) for t in tracks)
    unit, size = ("ns", 1e3) if end >= 2e3 else ("ps", 1.0)
    bins = int(min(COLUMNS, max(len(t) for t in tracks)))
    edges = np.linspace(min(float(t.times[0]) for t in tracks), end, bins + 1)
    middle = 0.5 * (edges[1:] + edges[:-1]) / size
    start = [(m.left_out / size, "equilibrium")] if m.left_out > 0 else []
    found: list[Figure] = []
    for o in _observables(m):
        table = np.full((len(tracks), bins), np.nan)
        for row, t in zip(table, tracks, strict=True):
            at = np.clip(np.searchsorted(edges, t.times, "right") - 1, 0, bins - 1)
            n = np.bincount(at, minlength=bins)
            total = np.bincount(at, weights=np.nan_to_num(t.values[o.name]), minlength=bins)
            row[n > 0] = total[n > 0] / n[n > 0]
        known = np.isfinite(table).any(axis=0)
        mean, low, high = (np.full(bins, np.nan) for _ in range(3))
        mean[known] = np.nanmean(table[:, known], axis=0)
        low[known], high[known] = np.nanquantile(table[:, known], [0.1, 0.9], axis=0)
        name = "mean of replicas, and 80 % of them" if len(tracks) > 1 else f"replica {tracks[0].replica}"
        band = (low, high) if len(tracks) > 1 else (None, None)
        every = np.concatenate([t.values[o.name] for t in tracks])
        a, b = o.span or np.nanquantile(every, [0.001, 0.999]).tolist()
        lines = [Line(name, middle, mean, *band)]
        if o.name != ENERGY and len(tracks) > 1:
            lines.append(Line("the chosen replica", np.zeros(0), np.zeros(0), color=1))
        limits = (a - 0.03 * (b - a), b + 0.03 * (b - a)) if b > a else None
        found.append(
            Plot(
                f"series-{o.name}", f"{_cap(o.title)} over time", "No drift after the start; replicas that cross.",
                f"time / {unit}", o.label, lines, y_range=limits, marks=start,
                link="time", names=(o.name,),
            )
        )  # fmt: skip
        if o.name == m.key and len(tracks) > 1:
            found.append(
                Map(
                    f"replicas-{o.name}", f"{_cap(o.title)} of every replica",
                    "Every row changes its color many times; none keeps one.", f"time / {unit}", "replica",
                    edges / size, np.arange(len(tracks) + 1.0), table, o.label, o.span, link="replica", names=(o.name,),
                    rows=[str(t.replica) for t in tracks],
                )
            )  # fmt: skip
    return found


def distributions(m: MoleculeAnalysis) -> list[Figure]:
    """Free energies, and the first half against the second."""
    known = {o.name: o for o in _observables(m)}
    found: list[Figure] = []
    how = "reweighted from all temperatures" if m.melting is not None else "from the frames of this state"
    for s in m.surfaces:
        labels = [known[n].label for n in s.names]
        title = f"Free energy over {' and '.join(known[n].title for n in s.names)} at {s.kelvin:.4g} K, {how}"
        if len(s.names) == 1:
            x = 0.5 * (s.edges[0][1:] + s.edges[0][:-1])
            y = np.where(np.isfinite(s.errors), s.energy, np.nan) if np.isfinite(s.errors).any() else s.energy
            line = Line("", x, y, s.energy - s.errors, s.energy + s.errors)
            found.append(
                Plot(
                    f"free-{s.names[0]}", title, "Error bands much thinner than the barriers.", labels[0],
                    "free energy / kcal/mol", [line], link="value", names=s.names,
                )
            )  # fmt: skip
        else:
            top = float(np.nanquantile(s.energy, 0.98))
            found.append(
                Map(
                    f"free-{'-'.join(s.names)}", title, "Connected basins. A click shows the nearest frame.", labels[0],
                    labels[1], s.edges[0], s.edges[1], np.minimum(s.energy, top).T, "kcal/mol", (0.0, max(top, 0.1)),
                    link="value", names=s.names,
                )
            )  # fmt: skip
    found += _halves(m, known)
    found += _by_state(m, known)
    return found


def _halves(m: MoleculeAnalysis, known: dict[str, Observable]) -> list[Figure]:
    o = known.get(m.key)
    if o is None:
        return []
    halves: list[list[FloatArray]] = [[], []]
    for t in m.sample.tracks:
        x, s = t.values[m.key][t.steps >= m.first_step], t.states[t.steps >= m.first_step]
        h = np.arange(len(x)) >= len(x) / 2
        for k in (0, 1):
            halves[k].append(x[(h == k) & (s == m.focus)])
    values = [np.concatenate(h) for h in halves]
    if min(map(len, values)) < 50:
        return []
    edges = bin_edges(np.concatenate(values), bins_for(min(values, key=len), 40, o.span), o.span)
    lines = [
        Line(name, 0.5 * (edges[1:] + edges[:-1]), np.histogram(v, edges)[0] / len(v) / np.diff(edges), color=k)
        for k, (name, v) in enumerate(zip(("first half", "second half"), values, strict=True))
    ]
    return [
        Plot(
            f"halves-{m.key}", f"{_cap(o.title)} at {_label(m, m.focus)}: first half against second",
            "Two curves that fall on each other.", o.label, "probability density", lines, link="value", names=(m.key,),
            y_range=(0.0, 1.1 * max(float(line.y.max()) for line in lines)),
        )
    ]  # fmt: skip


def _by_state(m: MoleculeAnalysis, known: dict[str, Observable]) -> list[Figure]:
    """Energy distributions, whose overlap is what exchange and reweighting live from."""
    kelvin = m.sample.temperatures
    if ENERGY not in known or len(kelvin) < 2 or np.ptp(kelvin) == 0:
        return []
    shown = np.unique(np.linspace(0, len(kelvin) - 1, min(len(kelvin), 8)).round().astype(int))
    values = {}
    for s in shown.tolist():
        v = np.concatenate([t.values[ENERGY][(t.steps >= m.first_step) & (t.states == s)] for t in m.sample.tracks])
        if len(v) > 50:
            values[s] = v
    if not values:
        return []
    every = np.concatenate(list(values.values()))
    low, high = np.quantile(every, [0.001, 0.999]).tolist()
    edges = np.linspace(low, high, 41)
    lines = [
        Line(
            _label(m, s), 0.5 * (edges[1:] + edges[:-1]), np.histogram(v, edges)[0] / len(v) / np.diff(edges),
            paint=shade(k / max(len(values) - 1, 1)),
        )
        for k, (s, v) in enumerate(values.items())
    ]  # fmt: skip
    return [
        Plot(
            "energies", "Potential energies by temperature", "Each curve overlaps the next one.",
            "potential energy / kcal/mol", "probability density / mol/kcal", lines,
            y_range=(0.0, 1.1 * max(float(line.y.max()) for line in lines)),
        )
    ]  # fmt: skip


def structure(m: MoleculeAnalysis) -> list[Figure]:
    """Contact and distance maps, fluctuations, dihedrals."""
    found: list[Figure] = []
    molecule = m.sample.molecule
    for s, p in m.sample.profiles.get("pairs", {}).items():
        n = len(p.values["residues"])
        edges = _cells(n, 0.5)
        kept = p.values["contact_map"].copy()
        near = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) < 3
        title = f"Contacts at {_label(m, s)}"
        want = f"Pairs nearer than {CONTACT:g} Å, as a share of the frames."
        if molecule.reference is not None:
            native = molecule.reference[molecule.trace[p.values["residues"]]]
            i, j = np.triu_indices(n, 1)
            kept[i, j] = (distances(native, np.stack([i, j], axis=1)) < CONTACT).astype(float)
            title += ": frames above the diagonal, reference below"
        kept[near] = np.nan
        found.append(
            Map(
                f"contacts-{s}", title, want, "residue", "residue", edges, edges, kept, "share of frames", (0.0, 1.0),
                "blues", square=True, whole=True,
            )
        )  # fmt: skip
    pairs = m.sample.profiles.get("pairs", {})
    if m.focus in pairs:
        p = pairs[m.focus]
        n = len(p.values["residues"])
        edges = _cells(n, 0.5)
        far = p.values["distance_map"].copy()
        np.fill_diagonal(far, np.nan)
        found.append(
            Map(
                f"distances-{m.focus}", f"Mean distances at {_label(m, m.focus)}", "Near pairs hold it together.",
                "residue", "residue", edges, edges, far, "distance / Å", square=True, whole=True,
            )
        )  # fmt: skip
        if molecule.reference is not None:
            native = molecule.reference[molecule.trace[p.values["residues"]]]
            i, j = np.triu_indices(n, 1)
            delta = np.full((n, n), np.nan)
            delta[i, j] = p.values["distance_map"][i, j] - distances(native, np.stack([i, j], axis=1))
            delta[j, i] = delta[i, j]
            most = float(np.nanmax(np.abs(delta)))
            found.append(
                Map(
                    f"differences-{m.focus}", f"Mean distances less those of the reference, at {_label(m, m.focus)}",
                    "White where the structure is that of the reference.", "residue", "residue", edges, edges, delta,
                    "difference / Å", (-most, most), "balance", square=True, whole=True,
                )
            )  # fmt: skip
    lines = []
    for k, (s, p) in enumerate(m.sample.profiles.get("fluctuation", {}).items()):
        y, x = p.values["rmsf"], np.arange(1, len(p.values["rmsf"]) + 1.0)
        e = p.errors.get("rmsf")
        low, high = (None, None) if e is None else (y - e, y + e)
        lines.append(Line(_label(m, s), x, y, low, high, color=k))
    if lines:
        top = max(float(np.nanmax(line.y)) for line in lines)
        found.append(
            Plot(
                "rmsf", "Fluctuation of every residue about the mean structure", "Ends and loops move most.", "residue",
                "RMSF / Å", lines, y_range=(0.0, 1.15 * top), whole=True,
            )
        )  # fmt: skip
    found += _dihedrals(m)
    return found


def _dihedrals(m: MoleculeAnalysis) -> list[Figure]:
    found: list[Figure] = []
    for s, p in m.sample.profiles.get("dihedrals", {}).items():
        if s != m.focus:
            continue
        for k, label in enumerate(p.values["dihedral_labels"][:6]):
            density = p.values["dihedral_maps"][k]
            with np.errstate(divide="ignore"):
                f = -np.log(density / density.max())
            edges = np.linspace(-180.0, 180.0, density.shape[0] + 1)
            z = np.where(np.isfinite(f), f, np.nan).T
            found.append(
                Map(
                    f"dihedrals-{k}", f"phi and psi of {label} at {_label(m, s)}", "Basins of the Ramachandran map.",
                    "phi / degrees", "psi / degrees", edges, edges, z, "free energy / kT", square=True,
                )
            )  # fmt: skip
    return found


def chain(m: MoleculeAnalysis) -> list[Figure]:
    """How distances grow along the chain."""
    lines, words = [], []
    for k, (s, p) in enumerate(m.sample.profiles.get("pairs", {}).items()):
        if "nu" not in p.values:
            continue
        x, y, e = p.values["separation"], p.values["scaling"], p.errors.get("scaling")
        low, high = (None, None) if e is None else (y - e, y + e)
        lines.append(Line(_label(m, s), x, y, low, high, style="points", color=k))
        fit = p.values["r0"] * x ** p.values["nu"]
        lines.append(Line("", x[x > 5], fit[x > 5], style="line", color=k))
        words.append(f"{measured(p.values['nu'], p.errors.get('nu', np.nan))} at {_label(m, s)}")
    if not lines:
        return []
    return [
        Plot(
            "scaling", f"Scaling exponent nu: {', '.join(words)}",
            "About 0.33 for a globule, 0.5 for an ideal chain, 0.6 for a swollen one; a folded protein has none.",
            "separation |i - j| / residues", "root mean square distance / Å", lines, whole=True,
        )
    ]  # fmt: skip


def exchange(m: MoleculeAnalysis) -> list[Figure]:
    """Acceptance, walks, heat capacity, melting."""
    return [*_walks(m), *_curves(m)]


def _walks(m: MoleculeAnalysis) -> list[Figure]:
    w = m.walk
    if w is None:
        return []
    found: list[Figure] = []
    kelvin = m.sample.temperatures
    if m.acceptance:
        y = np.array([np.nan if a is None else a for a in m.acceptance], np.float64)
        found.append(
            Plot(
                "acceptance", f"Swaps are accepted {np.nanmin(y):.0%} to {np.nanmax(y):.0%} of the time",
                "All above 0.1, and about the same.", "pair of states", "acceptance",
                [Line("", _cells(len(y) - 1, 0.5), y, style="points")], y_range=(0.0, 1.05),
                x_range=(0.0, float(len(y))), whole=True,
            )
        )  # fmt: skip
    if len(w.steps) > 2 and len(m.sample.tracks):
        pick = np.unique(np.linspace(0, len(w.steps) - 1, min(COLUMNS, len(w.steps))).round().astype(int))
        t = next((t for t in m.sample.tracks if len(t) > 1), None)
        per = 1.0 if t is None else float((t.times[-1] - t.times[0]) / (t.steps[-1] - t.steps[0]))
        times = w.steps[pick] * per
        unit, size = ("ns", 1e3) if times[-1] >= 2e3 else ("ps", 1.0)
        gap = float(np.median(np.diff(times)))
        edges = np.concatenate([times, [times[-1] + gap]]) / size
        trips = int(w.round_trips.sum())
        several = np.ptp(kelvin) > 0
        z = kelvin[w.labels[pick]].T if several else w.labels[pick].T.astype(float)
        found.append(
            Map(
                "walk", f"Replicas visit all states: {trips:,} round trips" if trips else "There is no round trip yet",
                "Every row shows all colors, again and again.", f"time / {unit}", "replica", edges,
                np.arange(z.shape[0] + 1.0), z, "temperature / K" if several else "state", link="replica",
                rows=[str(t.replica) for t in m.sample.tracks],
            )
        )  # fmt: skip
        x = np.array([t.replica for t in m.sample.tracks], np.float64)
        found.append(
            Plot(
                "trips", f"Round trips of each replica: {w.round_trips.min()} to {w.round_trips.max()}",
                "No replica far below the others.", "replica", "round trips",
                [Line("", x, w.round_trips.astype(float), style="points")],
                y_range=(0.0, 1.1 * float(max(w.round_trips.max(), 1))),
                x_range=(float(x.min()) - 0.5, float(x.max()) + 0.5),
                whole=True,
            )
        )  # fmt: skip
        found.append(
            Map(
                "transitions", f"States mix in {time_text(w.mixing_attempts * m.exchange_ps)}: second eigenvalue "
                f"{w.eigenvalue:.4f}", "A broad diagonal without gaps.", "to state", "from state",
                _cells(w.states), _cells(w.states), w.transition, "probability",
                (0.0, 1.0), "blues", square=True, whole=True,
            )
        )  # fmt: skip
    return found


def _curves(m: MoleculeAnalysis) -> list[Figure]:
    k = m.melting
    if k is None:
        return []
    kelvin = m.sample.temperatures
    known = {o.name: o for o in m.sample.observables}
    t = k.temperatures

    def line(name: str, c: Curve, factor: float = 1.0) -> Line:
        y, e = factor * c.values, factor * c.errors
        return Line(name, t, y, y - e, y + e)

    found: list[Figure] = [
        Plot(
            "heat-capacity", f"The heat capacity is highest at {measured(*k.peak, 'K')}",
            "A peak inside the range of temperatures, and a thin band.", "temperature / K",
            "heat capacity of the potential energy / kB", [line("", k.heat_capacity, 1.0 / BOLTZMANN)],
        )
    ]  # fmt: skip
    if k.folded is not None:
        title = (
            f"It melts at {measured(*k.melting, 'K')}" if k.melting is not None else "It does not melt in this range"
        )
        points = _points(m, "q", lambda v: (v > 0.5).astype(float))
        marks = [(k.melting.value, f"{k.melting.value:.1f} K")] if k.melting is not None else []
        found.append(
            Plot(
                "melting", title, "The curve passes one half, and the points lie on it.", "temperature / K",
                "folded fraction (Q > 0.5)", [line("MBAR over all temperatures", k.folded), points], y_range=(0.0, 1.0),
                marks=marks,
            )
        )  # fmt: skip
    for name in dict.fromkeys([m.key, "rg"]):
        if name in k.quantities:
            states = m.measured[name].states
            x = np.array([kelvin[s] for s in states])
            y = np.array([v.mean.value for v in states.values()])
            e = np.array([v.mean.error for v in states.values()])
            points = Line("frames of each temperature", x, y, y - e, y + e, style="points", color=1)
            found.append(
                Plot(
                    f"mean-{name}", f"{_cap(known[name].title)} over temperature", "The points lie on the curve.",
                    "temperature / K", known[name].label,
                    [line("MBAR over all temperatures", k.quantities[name]), points],
                )
            )  # fmt: skip
    n, least = len(kelvin), float(np.diagonal(k.overlap, 1).min())
    found.append(
        Map(
            "overlap", f"Neighboring states overlap by {least:.2f} at least", "Neighbors share 0.03 or more.", "state",
            "state", _cells(n), _cells(n), k.overlap, "overlap", None, "blues",
            square=True, whole=True,
        )
    )  # fmt: skip
    return found


def _points(m: MoleculeAnalysis, name: str, function: Callable[[FloatArray], FloatArray]) -> Line:
    kelvin = m.sample.temperatures
    x, y = [], []
    for s, t in enumerate(kelvin):
        v = np.concatenate([a.values[name][(a.steps >= m.first_step) & (a.states == s)] for a in m.sample.tracks])
        if len(v):
            x.append(float(t))
            y.append(float(function(v).mean()))
    return Line("frames of each temperature", np.array(x), np.array(y), style="points", color=1)


def biases(m: MoleculeAnalysis) -> list[Figure]:
    """Histograms of windows, their overlap, and the free energy."""
    found: list[Figure] = []
    for w in m.windows:
        label = f"{w.variable} ({w.name})" + (f" / {w.unit}" if w.unit else "")
        s = w.profile
        x = 0.5 * (s.edges[0][1:] + s.edges[0][:-1])
        found.append(
            Plot(
                f"pmf-{w.name}", f"Free energy along {w.name} at {s.kelvin:.4g} K, without the bias",
                f"Error bands much thinner than the barriers.{VOLUME if w.variable == 'distance' else ''}", label,
                "free energy / kcal/mol", [Line("", x, s.energy, s.energy - s.errors, s.energy + s.errors)],
            )
        )  # fmt: skip
        lines = []
        edges = np.linspace(float(w.values.min()), float(w.values.max()), 91)
        for k, c in enumerate(w.centers):
            v = w.values[w.states == k]
            if len(v):
                y = np.histogram(v, edges)[0] / len(v) / np.diff(edges)
                lines.append(
                    Line(f"{c:.4g}" if len(w.centers) <= 12 else "", 0.5 * (edges[1:] + edges[:-1]), y, color=k)
                )
        found.append(
            Plot(
                f"windows-{w.name}", f"What the {len(w.centers)} windows of {w.name} saw",
                "Each curve overlaps the next; no gap.", label, "probability density", lines,
            )
        )  # fmt: skip
        n = len(w.centers)
        found.append(
            Map(
                f"window-overlap-{w.name}", f"Overlap of the windows: {w.weakest:.2f} between neighbors at least",
                "Neighbors share 0.03 or more.", "state", "state", _cells(n), _cells(n),
                w.overlap, "overlap", None, "blues", square=True, whole=True,
            )
        )  # fmt: skip
    return found


def metadynamics(m: MoleculeAnalysis) -> list[Figure]:
    """The free energy by the scaled bias and by reweighted frames, how it has settled, and the heights of hills."""
    found: list[Figure] = []
    for f in m.filled:
        title = f"Free energy along {' and '.join(f.variables)} at {f.kelvin:.4g} K, by {METHODS[f.method]}"
        found += _filled_line(f, title) if len(f.nodes) == 1 else _filled_plane(f, title)
        time, height = f.heights
        unit, size = ("ns", 1e3) if time[-1] >= 2e3 else ("ps", 1.0)
        edges = np.linspace(0.0, float(time[-1]), min(COLUMNS, len(time)) + 1)
        at = np.clip(np.searchsorted(edges, time) - 1, 0, len(edges) - 2)
        count = np.bincount(at, minlength=len(edges) - 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(at, weights=height, minlength=len(edges) - 1) / count
        drift = f.drift
        found += [
            Plot(
                f"meta-drift-{f.name}", f"How far the free energy of {f.name} was from its last shape",
                "A curve that has fallen below the error you accept, well before the end. It counts places up to 8 kT.",
                f"time / {unit}", "root mean square difference / kcal/mol",
                [Line("", f.times[:-1] / size, drift, style="points"), Line("", f.times[:-1] / size, drift)],
                y_range=(0.0, 1.1 * float(np.nanmax(drift)) if np.isfinite(drift).any() else 1.0),
            ),
        ]  # fmt: skip
        if f.method != "well-tempered":
            continue
        found += [
            Plot(
                f"meta-heights-{f.name}", f"Mean height of the hills of {f.name}",
                "It falls like 1 / time once all basins are filled.", f"time / {unit}",
                "height / kcal/mol",
                [Line("", 0.5 * (edges[1:] + edges[:-1]) / size, mean)], y_range=(0.0, 1.05 * float(height.max())),
            ),
        ]  # fmt: skip
    return found


def _estimate(f: Filled) -> str:
    return "scaled bias" if f.method == "well-tempered" else "kernels"


def _filled_line(f: Filled, title: str) -> list[Figure]:
    (x,) = f.nodes
    low, high = (f.scaled - f.scaled_error, f.scaled + f.scaled_error) if f.groups > 1 else (None, None)
    name = _estimate(f) + (f" of {f.groups} groups of walkers" if f.groups > 1 else "")
    lines = [Line(name, x, f.scaled, low, high)]
    if f.reweighted is not None:
        s = f.reweighted
        y = s.energy + float(np.nanmedian(np.interp(0.5 * (s.edges[0][1:] + s.edges[0][:-1]), x, f.scaled) - s.energy))
        lines.append(
            Line("frames, reweighted", 0.5 * (s.edges[0][1:] + s.edges[0][:-1]), y, y - s.errors, y + s.errors,
                 style="points", color=1)
        )  # fmt: skip
    stages = [
        Line(time_text(float(t)), x, stage, paint=shade(k / max(len(f.stages) - 1, 1)))
        for k, (t, stage) in enumerate(zip(f.times, f.stages, strict=True))
    ]
    volume = VOLUME if f.kinds[0] == "distance" else ""
    return [
        Plot(
            f"meta-{f.name}", title, f"Both estimates agree, in thin bands.{volume}", f.variables[0],
            "free energy / kcal/mol", lines,
        ),
        Plot(
            f"meta-stages-{f.name}", f"By the {_estimate(f)} of {f.name}, over time",
            "The last curves lie on each other.", f.variables[0], "free energy / kcal/mol", stages,
        ),
    ]  # fmt: skip


def _filled_plane(f: Filled, title: str) -> list[Figure]:
    first, second = f.variables
    top = float(np.quantile(f.scaled[f.visited], 0.99)) * 1.3
    edges = [np.append(n, 2 * n[-1] - n[-2]) - 0.5 * (n[1] - n[0]) for n in f.nodes]
    found: list[Figure] = [
        Map(
            f"meta-{f.name}", f"{title}: the {_estimate(f)}", "Connected basins.", first, second, edges[0], edges[1],
            np.minimum(f.scaled, top).T, "kcal/mol", (0.0, max(top, 0.1)),
        )
    ]  # fmt: skip
    if f.reweighted is not None:
        s = f.reweighted
        found.append(
            Map(
                f"meta-reweighted-{f.name}", f"{title}: frames, reweighted", "The same basins.",
                first, second, s.edges[0], s.edges[1], np.minimum(s.energy, top).T, "kcal/mol", (0.0, max(top, 0.1)),
            )
        )  # fmt: skip
    return found


def pulling(m: MoleculeAnalysis) -> list[Figure]:
    """The free energy by Jarzynski's average, and the mean work above it."""
    return [
        Plot(
            f"work-{p.name}", f"Free energy while the {p.what} of {p.name} moves, at {p.kelvin:.4g} K",
            "The mean work is 2 kT above the free energy or less: slow enough.", p.variable, "energy / kcal/mol",
            [
                Line(f"Jarzynski, {p.replicas} replicas", p.parameter, p.free, p.free - p.error, p.free + p.error),
                Line("mean work", p.parameter, p.mean, style="dashed", color=1),
            ],
        )
        for p in m.pulled
    ]  # fmt: skip


def slow(m: MoleculeAnalysis) -> list[Figure]:
    """The slowest motions and how slow they are."""
    k = m.kinetics
    if k is None:
        return []
    lines = []
    for c in range(k.timescales.shape[1]):
        y, e = k.timescales[:, c], k.errors[:, c]
        lines.append(Line(f"component {c + 1}", k.lags, y, y - e, y + e, style="points", color=c))
    lines.append(Line("lag", k.lags, k.lags, style="dashed", color=7))
    seen = np.flatnonzero(k.timescales[:, 0] >= k.lags)  # a motion that is over within the lag is not seen at that lag
    title = "Every motion is faster than the frames show"
    if len(seen):
        at = int(seen[-1])
        slowest = measured(float(k.timescales[at, 0]), float(k.errors[at, 0]), "ps")
        title = f"The slowest motion takes {slowest} at a lag of {time_text(float(k.lags[at]))}"
    top = float(np.nanquantile(k.map.energy, 0.98)) if np.isfinite(k.map.energy).any() else 1.0
    return [
        Plot(
            "timescales", title,
            "Points that no longer rise with the lag, and stay above the dashed line.", "lag / ps", "timescale / ps",
            lines,
            y_range=(0.0, 1.15 * float(np.nanmax([np.nanmax(line.y) for line in lines if np.isfinite(line.y).any()]))),
        ),
        Map(
            "free-tics",
            f"Free energy over the two slowest components at {k.map.kelvin:.4g} K (lag {time_text(k.lag)})",
            "Basins that are connected. A click shows the nearest frame.", "first component", "second component",
            k.map.edges[0], k.map.edges[1], np.minimum(k.map.energy, top).T, "kcal/mol", (0.0, max(top, 0.1)),
            link="value", names=("tic1", "tic2"),
        ),
    ]  # fmt: skip


SECTIONS: Sequence[Section] = (
    Section("series", "Over time", "Replicas that cross each other, and no drift after the start.", time_series),
    Section("distributions", "Distributions and free energies", "Halves of the run that agree.", distributions),
    Section("exchange", "Exchange and temperature", "Replicas that walk up and down, and a smooth curve.", exchange),
    Section("biases", "Umbrella windows", "Windows that overlap.", biases),
    Section("pulling", "Pulling", "Work that is hardly more than the free energy.", pulling),
    Section("metadynamics", "Metadynamics", "A free energy that no longer changes.", metadynamics),
    Section("structure", "Structure", "Contacts that belong to the fold, and those that do not.", structure),
    Section("slow", "Slow motions", "Timescales well below the length of the run.", slow),
    Section("chain", "Size of the chain", "Whether it behaves as a globule or as a coil.", chain),
)

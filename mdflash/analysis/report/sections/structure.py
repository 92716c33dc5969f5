"""Contacts, distances, fluctuations, dihedrals."""

from __future__ import annotations

import numpy as np

from mdflash.analysis.measures import CONTACT
from mdflash.analysis.report.figure import Figure, Line, Map, Plot
from mdflash.analysis.report.sections.base import cells, label
from mdflash.analysis.result import MoleculeAnalysis
from mdflash.analysis.verdict import measured
from mdflash.core.geometry import distances

SEEN = 0.02
"""Share of the frames, below which helices and strands are not drawn."""
STILL = 1e-3
"""Å, below which a fluctuation is that of rounding: of one frame, or of many alike."""


def structure(m: MoleculeAnalysis) -> list[Figure]:
    """Contact and distance maps, fluctuations, dihedrals."""
    found: list[Figure] = []
    molecule = m.sample.molecule
    within = f" inside a chain of {molecule.species[0].name}" if molecule.many else ""
    for s, p in m.sample.profiles.get("pairs", {}).items():
        n = len(p.values["residues"])
        edges = cells(n, 0.5)
        kept = p.values["contact_map"].copy()
        near = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) < 3
        often = np.triu(p.values["contact_map"], 3) > 0.5
        touching = int(often.sum())
        touch = "pair touches" if touching == 1 else "pairs touch"
        title = f"{touching} {touch}{within} in most of the frames at {label(m, s)}"
        want = f"Pairs nearer than {CONTACT:g} Å, as a share of the frames."
        if molecule.reference is not None:
            native = molecule.reference[molecule.trace[p.values["residues"]]]
            i, j = np.triu_indices(n, 1)
            kept[i, j] = (distances(native, np.stack([i, j], axis=1)) < CONTACT).astype(float)
            want += " The reference is below the diagonal."
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
        edges = cells(n, 0.5)
        far = p.values["distance_map"].copy()
        np.fill_diagonal(far, np.nan)
        found.append(
            Map(
                f"distances-{m.focus}",
                f"Residues{within} are {np.nanmean(far):.3g} Å apart on average at {label(m, m.focus)}",
                "Near pairs hold it together.",
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
                    f"differences-{m.focus}",
                    f"Mean distances differ from the reference by {np.sqrt(np.nanmean(delta**2)):.2g} Å (root mean "
                    f"square) at {label(m, m.focus)}",
                    "White where the structure is that of the reference.", "residue", "residue", edges, edges, delta,
                    "difference / Å", (-most, most), "balance", square=True, whole=True,
                )
            )  # fmt: skip
    for s, p in m.sample.profiles.get("between", {}).items():
        edges = cells(len(p.values["between"]), 0.5)
        whose, many = (
            molecule.species[0].name,
            measured(p.values["contacts_between"], p.errors.get("contacts_between", np.nan)),
        )
        found.append(
            Map(
                f"between-{s}", f"A chain of {whose} has {many} contacts with others at {label(m, s)}",
                f"Pairs of residues of two chains nearer than {CONTACT:g} Å: which parts stick.", "residue",
                "residue of another chain", edges, edges, p.values["between"], "contacts of a chain", None, "blues",
                square=True, whole=True,
            )
        )  # fmt: skip
    lines = []
    for k, (s, p) in enumerate(m.sample.profiles.get("fluctuation", {}).items()):
        y, x = p.values["rmsf"], np.arange(1, len(p.values["rmsf"]) + 1.0)
        e = p.errors.get("rmsf")
        low, high = (None, None) if e is None else (y - e, y + e)
        lines.append(Line(label(m, s), x, y, low, high, color=k))
    top = max((float(np.nanmax(line.y)) for line in lines), default=0.0)
    if top > STILL:
        found.append(
            Plot(
                "rmsf", f"{m.sample.molecule.label(int(np.argmax(lines[0].y)))} moves most: "
                f"{float(np.max(lines[0].y)):.2g} Å about the mean structure at {lines[0].name}",
                "Ends and loops move most.", "residue",
                "RMSF / Å", lines, y_range=(0.0, 1.15 * top), whole=True,
                shared=1, subject="fluctuation of every residue",
            )
        )  # fmt: skip
    found += [*_secondary(m), *_dihedrals(m)]
    return found


def _secondary(m: MoleculeAnalysis) -> list[Figure]:
    """Helices and strands along the chain."""
    p = m.sample.profiles.get("secondary", {}).get(m.focus)
    if p is None or max(p.values["helix"].max(), p.values["strand"].max()) < SEEN:
        return []
    x = np.arange(1, len(p.values["helix"]) + 1.0)
    lines = []
    for k, (name, key) in enumerate((("helix", "helix"), ("strand", "strand"))):
        y, e = p.values[key], p.errors.get(key)
        low, high = (None, None) if e is None else (np.maximum(y - e, 0.0), np.minimum(y + e, 1.0))
        lines.append(Line(name, x, y, low, high, color=k))
    shares = " and ".join(
        f"{measured(100 * p.values[f'{key}_fraction'], 100 * p.errors.get(f'{key}_fraction', np.nan), '%', 1)} {key}"
        for key in ("helix", "strand")
    )
    return [
        Plot(
            "secondary", f"Secondary structure at {label(m, m.focus)}: {shares}",
            f"Helices and strands where they belong ({p.values['method']}).", "residue", "share of frames", lines,
            y_range=(0.0, 1.02), whole=True, shared=2, subject="secondary structure",
        )
    ]  # fmt: skip


def _dihedrals(m: MoleculeAnalysis) -> list[Figure]:
    found: list[Figure] = []
    for s, p in m.sample.profiles.get("dihedrals", {}).items():
        if s != m.focus:
            continue
        for k, residue in enumerate(p.values["dihedral_labels"][:6]):
            density = p.values["dihedral_maps"][k]
            with np.errstate(divide="ignore"):
                f = -np.log(density / density.max())
            edges = np.linspace(-180.0, 180.0, density.shape[0] + 1)
            z = np.where(np.isfinite(f), f, np.nan).T
            found.append(
                Map(
                    f"dihedrals-{k}", f"phi and psi of {residue} at {label(m, s)}", "Basins of the Ramachandran map.",
                    "phi / degrees", "psi / degrees", edges, edges, z, "free energy / kT", square=True,
                )
            )  # fmt: skip
    return found

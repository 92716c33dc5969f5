"""How large the chain is."""

from __future__ import annotations

import numpy as np

from mdflash.analysis.report.figure import Figure, Line, Plot
from mdflash.analysis.report.sections.base import label
from mdflash.analysis.result import MoleculeAnalysis
from mdflash.analysis.verdict import measured


def chain(m: MoleculeAnalysis) -> list[Figure]:
    """How distances grow along the chain."""
    lines, words = [], []
    for k, (s, p) in enumerate(m.sample.profiles.get("pairs", {}).items()):
        if "nu" not in p.values:
            continue
        x, y, e = p.values["separation"], p.values["scaling"], p.errors.get("scaling")
        low, high = (None, None) if e is None else (y - e, y + e)
        lines.append(Line(label(m, s), x, y, low, high, style="points", color=k))
        fit = p.values["r0"] * x ** p.values["nu"]
        lines.append(Line("", x[x > 5], fit[x > 5], style="line", color=k))
        words.append(f"{measured(p.values['nu'], p.errors.get('nu', np.nan), most=3)} at {label(m, s)}")
    if not lines:
        return []
    return [
        Plot(
            "scaling", f"Distances grow along the chain with an exponent nu of {', '.join(words)}",
            "About 0.33 for a globule, 0.5 for an ideal chain, 0.6 for a swollen one; a folded protein has none.",
            "separation |i - j| / residues", "root mean square distance / Å", lines, whole=True,
            shared=1, subject="growth of distances along the chain",
        )
    ]  # fmt: skip

"""The roofline of the network's kernels on a CPU, drawn from a result of the standard set.

    python benchmarks/roofline.py [benchmarks/results/standard_DATE_THREADS.json] [--out docs/roofline.png]

Messages and dense layers are points of their own: multiply-adds and bytes as `mdflash bench` counts them, seconds as it
measured them. Williams, Waterman & Patterson, Commun. ACM 52, 65 (2009).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from mdflash.analysis.report.colors import LINES

HERE = Path(__file__).parent
GIGA = 1e9
PARTS = {"messages": ("message", "o"), "dense layers": ("dense", "s")}
"""Names of a step's parts in a result: those of their counts, and a marker."""
LEFT, RIGHT = 0.05, 10.0
"""Multiply-adds for each byte, from and to."""


def points(result: dict[str, Any]) -> list[tuple[str, str, float, float]]:
    """Case, part, multiply-adds for each byte, and G multiply-adds/s; of the largest batch of each case."""
    found = []
    for case, measured in result["cases"].items():
        largest = max(measured["replicas"].values(), key=lambda each: each["replicas"])
        work, seconds = largest["roofline"]["work"], largest["terms"]["seconds"]
        for part, (name, _) in PARTS.items():
            done, moved = work[f"{name}_multiply_adds"], work[f"{name}_bytes"]
            found.append((f"{case}, {largest['replicas']} replicas", part, done / moved, done / seconds[part] / GIGA))
    return found


def draw(result: dict[str, Any]) -> Figure:
    """What the machine can do, and where the kernels are."""
    machine, found = result["machine"], points(result)
    rate, memory = machine["multiply_adds"] / GIGA, machine["bandwidth"] / GIGA
    intensity = np.geomspace(LEFT, RIGHT, 200)
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.loglog(intensity, np.minimum(rate, memory * intensity), color="#5b6675", lw=2)
    axis.loglog(intensity, np.full_like(intensity, rate), color="#5b6675", lw=1, ls=":")
    axis.text(LEFT * 1.1, rate * 1.06, f"vector units: {rate:.0f} G multiply-adds/s")
    axis.text(0.15, memory * 0.105, f"memory: {memory:.0f} GB/s")
    cases = list(dict.fromkeys(case for case, *_ in found))
    for case, part, x, y in found:
        axis.loglog(x, y, PARTS[part][1], color=LINES[cases.index(case)], ms=8)
    handles = [*(axis.plot([], [], color=LINES[i], lw=5)[0] for i in range(len(cases))),
               *(axis.plot([], [], marker, color="#1f2733")[0] for _, marker in PARTS.values())]  # fmt: skip
    axis.legend(handles, [*cases, *PARTS], loc="lower right", frameon=False)
    axis.set(xlim=(LEFT, RIGHT), ylim=(memory * LEFT, rate * 2))
    axis.set(xlabel="multiply-adds for each byte read or written", ylabel="G multiply-adds/s")
    axis.set_title(f"{machine['cpu']}, {machine['threads']} threads, {result['date']}", loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    newest = max(HERE.glob("results/standard_*.json"))
    parser.add_argument("result", type=Path, nargs="?", default=newest)
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "roofline.png")
    given = parser.parse_args()
    result = json.loads(given.result.read_text())
    with rc_context({"font.family": "DejaVu Sans", "font.size": 10}):
        draw(result).savefig(given.out, dpi=130)
    for case, part, x, y in points(result):
        print(f"{case}, {part}: {x:.2f} multiply-adds/byte, {y:.0f} G multiply-adds/s")
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()

"""The roofline of the network's kernels on a GPU, drawn from results of `tools/gpu_check.py`.

    python benchmarks/gpu_roofline.py [benchmarks/results/gpu_DEVICE_DATE.json ...] [--out docs/gpu_roofline.png]

Microseconds are those of `--only kernels`, from PyTorch's profiler. Multiply-adds and bytes are counted by hand from
the kernels (`mdflash/potentials/schnet/triton`), or, where `--only counters` ran, by ncu. By hand, in a step with P
directed pairs, F channels, L blocks, N beads, and tables and features of s bytes (2 in mixed16, else 4):

    gather_messages     multiply-adds  4 P F L          a cubic (3), and its product with a neighbor's feature
                        bytes          5 s P F L        v, s, c and e of the table, and the feature
    scatter_gradients   multiply-adds  P F (10 L - 2)   curve and slope (4); filter and sum (2, not in the first
                                                        block); products with both beads, and their sum (4)
                        bytes          (5 s + 4) P F L  the same, and the neighbor's gradient
    dense               multiply-adds  2 N n_in n_out   of each layer, forward and backward
                        bytes, each    4 / BM + 4 / BN  both operands of a tile of BM x BN; backward 4 / BN more (z)

Bytes are those that threads ask for, wherever they come from: most from L1, so their rate may exceed that of the
memory. Single additions and products count as multiply-adds.
Williams, Waterman & Patterson, Commun. ACM 52, 65 (2009).
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from mdflash.analysis.report.colors import LINES
from mdflash.core.plural import plural

HERE = Path(__file__).parent
TERA = 1e12
PUBLISHED = {"features": 128, "filters": 128, "blocks": 4, "output": [128, 64]}
"""Sizes of the network of 1ENH, for results that do not state them."""
BM, BN = 32, 64
"""Tiles of the dense layers (`Tiles.rows`, `columns`)."""
MARKERS = {"gather_messages": "o", "scatter_gradients": "v", "dense": "s"}
NAMES = {"gather_messages": "messages", "scatter_gradients": "their gradient", "dense": "dense layers"}
SHOWN = 0.02
"""Kernels that ncu has counted are shown from this share of a step on."""


class Point(NamedTuple):
    """A kernel, all its launches in a step: multiply-adds, bytes, seconds, and who has counted."""

    case: str
    kernel: str
    multiply_adds: float
    bytes: float
    seconds: float
    counted: str = "by hand"

    @property
    def intensity(self) -> float:
        return self.multiply_adds / self.bytes

    @property
    def rate(self) -> float:
        return self.multiply_adds / self.seconds


def by_hand(row: Mapping[str, Any], pairs: float, beads: float) -> dict[str, tuple[float, float]]:
    """Multiply-adds and bytes of a step's kernels with tables; see the module."""
    hyper = {**PUBLISHED, **row.get("hyper", {})}
    filters, blocks, features = hyper["filters"], hyper["blocks"], hyper["features"]
    s = 2 if row["precision"] == "mixed16" else 4
    each = pairs * filters * blocks
    widths = [features, *hyper["output"]]
    layers = blocks * (2 * features * filters + features**2) - features * filters  # the first knows its input
    layers += sum(a * b for a, b in itertools.pairwise(widths))
    dense = 2.0 * beads * layers
    return {
        "gather_messages": (4.0 * each, 5.0 * s * each),
        "scatter_gradients": (10.0 * each - 2.0 * pairs * filters, (5.0 * s + 4.0) * each),
        "dense": (dense, 0.5 * dense * 4.0 * (2.0 / BM + 2.0 / BN + 1.0 / BN)),
    }


def points(result: Mapping[str, Any]) -> Iterator[Point]:
    """What a file of results tells; dense layers once, since both precisions have the same."""
    sizes = {
        (r["system"], r["replicas"]): r for r in result.get("bench", {}).get("rows", []) if "neighbors_first_last" in r
    }
    for row in result.get("kernels", {}).get("rows", []):
        if "us_by_kernel" not in row or row.get("filters", "table") != "table":
            continue
        at_bench = sizes.get((f"1enh-5b {row['system']}", row["replicas"]))
        if "directed_edges" in row:
            pairs, beads = row["directed_edges"], row["beads"]
        elif at_bench is not None:
            beads = at_bench["beads"] * at_bench["replicas"]
            pairs = at_bench["neighbors_first_last"][0] * beads
        else:
            continue
        case = f"{row['system']}, {plural(row['replicas'], 'replica')}, {row['precision']}"
        for kernel, (done, moved) in by_hand(row, pairs, beads).items():
            if kernel in row["us_by_kernel"] and (kernel != "dense" or row["precision"] != "mixed16"):
                yield Point(case, kernel, done, moved, 1e-6 * row["us_by_kernel"][kernel])
    for row in result.get("counters", {}).get("rows", []):
        case = f"{row.get('system')}, {row.get('replicas')} replicas, {row.get('precision')}, {row.get('filters')}"
        kernels = row.get("by_kernel") or {}
        whole = sum(of["gpu__time_duration.sum"] for of in kernels.values())
        for kernel, of in kernels.items():
            count = [
                of.get(f"smsp__sass_thread_inst_executed_op_{kind}_pred_on.sum", 0.0)
                for kind in ("ffma", "fadd", "fmul")
            ]
            moved = of.get("l1tex__t_bytes.sum") or of.get("lts__t_bytes.sum", 0.0)
            if sum(count) and moved and of["gpu__time_duration.sum"] > SHOWN * whole:
                yield Point(case, kernel, sum(count), moved, 1e-9 * of["gpu__time_duration.sum"], "by ncu")


def limits(machine: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Names of what the device can do, with bytes/s and multiply-adds/s (one of the two is 0)."""
    measured = next((r for r in machine["rows"] if "copy_GB_per_s" in r), {})
    found = [("memory, copied", 1e9 * measured["copy_GB_per_s"], 0.0)] if measured else []
    if measured:
        found.append(("fp32 product of matrices", 0.0, 0.5e12 * measured["fp32_matmul_TFLOP_per_s"]))
    if measured.get("l2_copy_GB_per_s"):
        found.append(("L2, copied", 1e9 * measured["l2_copy_GB_per_s"], 0.0))
    if machine.get("clock_MHz"):
        each = 1e6 * machine["clock_MHz"] * machine["multiprocessors"]
        found += [("L1, 128 bytes a cycle", 128.0 * each, 0.0), ("fp32, 128 lanes", 0.0, 128.0 * each)]
    return found


def draw(found: list[Point], machine: Mapping[str, Any], title: str) -> Figure:
    """What the device can do, and where the kernels are."""
    lines = limits(machine)
    figure = Figure(figsize=(7.4, 4.4), layout="constrained")
    axis = figure.subplots()
    left = 0.5 * min(p.intensity for p in found)
    right = 2.5 * max(p.intensity for p in found)
    top = max([rate for *_, rate in lines] + [p.rate for p in found]) / TERA
    x = np.geomspace(left, right, 100)
    for name, moved, rate in lines:
        y = moved * x / TERA if moved else np.full_like(x, rate / TERA)
        axis.loglog(x, y, color="#5b6675", lw=1.5, ls="-" if moved else "--")
        what = f"{moved / TERA:.1f} TB/s" if moved else f"{rate / TERA:.0f} T multiply-adds/s"
        at = (left * 1.05, moved * left * 1.05 / TERA * 1.12) if moved else (left * 1.05, rate / TERA * 1.05)
        axis.text(*at, f"{name}: {what}", fontsize=8, rotation=0 if not moved else 24, rotation_mode="anchor")
    cases = list(dict.fromkeys(p.case for p in found))
    kernels = list(dict.fromkeys(p.kernel for p in found))
    others = [k for k in kernels if k not in MARKERS]
    markers = MARKERS | dict(zip(others, "D^<>Ph*Xpd8H" * 3, strict=False))
    for p in found:
        face = LINES[cases.index(p.case) % len(LINES)]
        axis.loglog(p.intensity, p.rate / TERA, markers[p.kernel], color=face, ms=8,
                    alpha=0.75, markerfacecolor=face if p.counted == "by hand" else "none")  # fmt: skip
    handles = [*(axis.plot([], [], color=LINES[i % len(LINES)], lw=5)[0] for i in range(len(cases))),
               *(axis.plot([], [], markers[k], color="#1f2733")[0] for k in kernels)]  # fmt: skip
    axis.legend(handles, [*cases, *(NAMES.get(k, k) for k in kernels)], loc="lower right", frameon=False, fontsize=8)
    lowest = min(min(p.rate for p in found) / TERA, min((m * left / TERA for _, m, _ in lines if m), default=np.inf))
    axis.set(xlim=(left, right), ylim=(lowest * 0.3, top * 1.8))
    axis.set(xlabel="multiply-adds for each byte that threads ask for", ylabel="T multiply-adds/s")
    axis.set_title(title, loc="left", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measured = HERE / "results" / "gpu_NVIDIA_H100_80GB_HBM3_2026-11-26.json"
    parser.add_argument("results", type=Path, nargs="*", default=[measured], help="of one machine")
    parser.add_argument("--version", help="what was measured, where the results do not say it")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "gpu_roofline.png")
    given = parser.parse_args()
    parts = [json.loads(file.read_text()) for file in given.results]
    together = {name: part[name] for part in parts for name in part if isinstance(part[name], dict)}
    found, machine = list(points(together)), together["machine"]
    if not found:
        raise SystemExit(
            "no section `kernels` or `counters` in these results: tools/gpu_check.py --only kernels counters"
        )
    version = given.version or machine.get("mdflash") or "version not stated"
    with rc_context({"font.family": "DejaVu Sans", "font.size": 10}):
        draw(found, machine, f"{machine['device']}, {parts[0]['date']}, mdflash {version}").savefig(given.out, dpi=130)
    for p in found:
        print(f"{p.case}, {p.kernel}, {p.counted}: {1e6 * p.seconds:.0f} µs, {p.intensity:.2f} multiply-adds/byte, "
              f"{p.rate / TERA:.2f} T multiply-adds/s, {p.bytes / p.seconds / TERA:.1f} TB/s")  # fmt: skip
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()

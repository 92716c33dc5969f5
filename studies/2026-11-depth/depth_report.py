"""The depth study as tables, pictures and one compact JSON, from whatever runs have finished.

    python studies/2026-11-depth/depth_report.py RESULTS

RESULTS is the folder of `depth_study.py`. Writes depth_study.json beside this file, the pictures and the tables
between the marks of README.md. Intervals are 95 % t-intervals over seeds; one seed has none.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from depth_study import MAIN, RULES, finished
from scipy.stats import t as student

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
BEGIN, END = "<!-- depth study: begin -->", "<!-- depth study: end -->"
NAMES = {"ala2": "alanine dipeptide", "teacher": "Gō chignolin"}
Rows = Sequence[dict[str, Any]]
Value = Callable[[dict[str, Any]], float]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of the 95 % t-interval; NaN for one value."""
    n = len(values)
    half = student.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return float(np.mean(values)), float(half)


def cell(rows: Rows, value: Value, digits: int) -> str:
    """'0.532 ± 0.011 (3)'; one seed: '0.532'."""
    if not rows:
        return "-"
    broken = sum(not r["finite"] for r in rows)
    values = [value(r) for r in rows if r["finite"]]
    if not values:
        return "not finite"
    mean, half = interval(values)
    text = f"{mean:.{digits}f}" + (f" ± {half:.{digits}f} ({len(values)})" if len(values) > 1 else "")
    return text + (f", {broken} not finite" if broken else "")


def chosen(rows: Rows, **wanted: object) -> list[dict[str, Any]]:
    """Those whose fields are these."""
    return [r for r in rows if all(r[key] == value for key, value in wanted.items())]


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body])


def by_depth(rows: Rows, value: Value, digits: int) -> str:
    """Rules down, depths across."""
    depths = sorted({r["depth"] for r in rows})
    body = [
        [rule, *(cell(chosen(rows, rule=rule, depth=d, longer=1), value, digits) for d in depths)] for rule in RULES
    ]
    return table(["rule", *map(str, depths)], body)


def deepest(rows: Rows) -> str:
    """Features and energy of the deepest models: of the largest depth at which every main rule has run."""
    depth = max(d for d in {r["depth"] for r in rows} if all(chosen(rows, depth=d, rule=rule) for rule in MAIN))
    columns: list[tuple[str, Value, int]] = [
        ("parameters", lambda r: r["parameters"], 0),
        ("gradient at start", lambda r: r["gradient_at_start"], 2),
        ("rank, untrained", lambda r: r["untrained"]["rank"][-1], 1),
        ("Dirichlet, untrained", lambda r: r["untrained"]["dirichlet"][-1], 2),
        ("Dirichlet, trained", lambda r: r["trained"]["dirichlet"][-1], 2),
        ("norm, last / first", lambda r: r["trained"]["norm"][-1] / r["trained"]["norm"][0], 2),
        ("cos(first, last)", lambda r: r["trained"]["memory"], 2),
        ("dE/dx, first / last", lambda r: r["trained"]["gradient_ratio"], 2),
        ("largest Hessian eigenvalue", lambda r: r["curvature"]["network"], 1),
        ("longest step, fs", lambda r: r["curvature"]["timestep"], 2),
        ("NVE drift", lambda r: r["nve"]["drift"], 2),
    ]
    body = [
        [rule, *(cell(chosen(rows, rule=rule, depth=depth, longer=1), value, digits) for _, value, digits in columns)]
        for rule in RULES
    ]
    return f"At depth {depth}:\n\n" + table(["rule", *(name for name, *_ in columns)], body)


def equal_time(rows: Rows) -> str:
    """The pre-norm network of two blocks, trained longer."""
    longer = sorted({r["longer"] for r in rows})
    body = []
    for times in longer:
        mine = chosen(rows, rule="prenorm", depth=2, longer=times)
        seconds = cell(mine, lambda r: r["block_steps"], 0)
        body.append([str(times), seconds, cell(mine, lambda r: r["rmse"], 4)])
    return table(["trained × as long", "blocks × steps", "force RMSE"], body)


def draw(rows: Rows, file: Path, panels: Sequence[tuple[str, Value]]) -> None:
    """Values by depth: data down, values across."""
    data = [name for name in NAMES if chosen(rows, data=name)]
    figure, axes = plt.subplots(
        len(data), len(panels), figsize=(4.2 * len(panels), 3.2 * len(data)), squeeze=False, layout="constrained"
    )
    for line, name in zip(axes, data, strict=True):
        for axis, (label, value) in zip(line, panels, strict=True):
            for k, rule in enumerate(RULES):
                mine = [r for r in chosen(rows, data=name, rule=rule, longer=1) if r["finite"]]
                depths = sorted({r["depth"] for r in mine})
                found = [interval([value(r) for r in chosen(mine, depth=d)]) for d in depths]
                axis.errorbar(
                    np.array(depths) * (1.0 + 0.02 * (k - 4)), [m for m, _ in found],
                    yerr=np.nan_to_num([h for _, h in found]), marker="o", ms=3, lw=1, capsize=2, label=rule,
                )  # fmt: skip
            axis.set(xscale="log", xlabel="blocks", ylabel=label, title=NAMES[name])
            axis.set_xticks([2, 8, 32, 128], ["2", "8", "32", "128"])
    axes[0][0].legend(fontsize=6)
    figure.savefig(file, dpi=80)
    plt.close(figure)


def compact(row: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a run: numbers of five digits."""

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: short(v) for key, v in value.items()}
        if isinstance(value, list):
            return [short(v) for v in value]
        return float(f"{value:.5g}") if isinstance(value, float) else value

    kept: dict[str, Any] = short({k: v for k, v in row.items() if k not in ("cpu_seconds", "mdflash", "batch")})
    return kept


def main() -> None:
    """Write everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("results", type=Path)
    options = parser.parse_args()
    rows = list(finished(options.results / "runs.jsonl").values())
    for row in rows:
        row["block_steps"] = row["depth"] * row["steps"]
    parts = []
    for name in NAMES:
        mine = chosen(rows, data=name)
        if not mine:
            continue
        scale = mine[0]["rms_target"]
        parts += [
            f"### {NAMES[name]}: {len(mine)} runs",
            f"Force RMSE on held-out frames, kcal/mol/Å (rms of what is to be learned: {scale:.4f}), by blocks:",
            by_depth(mine, lambda r: r["rmse"], 4), deepest(mine),
            "Effective rank of the last features, trained (at most 32; 48 for prenorm-wide):",
            by_depth(mine, lambda r: r["trained"]["rank"][-1], 1),
            "Mean angle between the last features of two beads, trained, degrees:",
            by_depth(mine, lambda r: r["trained"]["angle"][-1], 0),
            "Equal time (as many blocks times steps): the pre-norm network of 2 blocks trained longer.",
            equal_time(mine),
        ]  # fmt: skip
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    tail = rest.split(END)[1]
    PAGE.write_text(head + BEGIN + "\n" + "\n\n".join(parts) + "\n" + END + tail, encoding="utf-8")
    draw(rows, PAGE.parent / "depth_error.png", [("force RMSE / rms", lambda r: r["rmse"] / r["rms_target"])])
    panels: list[tuple[str, Value]] = [
        ("effective rank", lambda r: r["trained"]["rank"][-1]),
        ("Dirichlet energy", lambda r: r["trained"]["dirichlet"][-1]),
    ]
    draw(rows, PAGE.parent / "depth_features.png", panels)
    stable = options.results / "stability.json"
    about = {
        "runs_finished": len(rows), "stability": json.loads(stable.read_text()) if stable.is_file() else [],
        "runs": [],
    }  # fmt: skip
    text = json.dumps(about)[:-2] + ",\n".join(json.dumps(compact(r)) for r in rows) + "]}\n"
    (HERE / "depth_study.json").write_text(text)


if __name__ == "__main__":
    main()

"""The section `counters` of `gpu_check.py`: what ncu counts in a step, kernel by kernel.

As a program, `python gpu_counters.py CASE ...` makes the step that ncu looks at; CASE is `folded-64-fp32-table`.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import time

import torch
from gpu_part import DEVICE, HERE, NOTES, OPTIONS, SYSTEMS, synchronize
from ncu import FEW, METRICS, sums

CASES = (
    ("folded", 64, "fp32", "table"), ("folded", 64, "mixed16", "table"), ("folded", 64, "mixed16", "split"),
    ("chignolin", 64, "fp32", "table"),
)  # fmt: skip


def counters() -> None:
    ncu = shutil.which("ncu")
    if DEVICE == "cpu" or ncu is None:
        NOTES.row(True, "no ncu here: nothing is counted, and the roofline is by hand", what="no ncu")
        return
    for case in CASES:
        name = "-".join(map(str, case))
        NOTES.attempt(name, functools.partial(counted, ncu, case, name))


def counted(ncu: str, case: tuple[str, int, str, str], name: str) -> None:
    for metrics in (METRICS, FEW):
        command = [
            ncu, "--clock-control", "none", "--profile-from-start", "off", "--csv", "--print-units", "base",
            "--metrics", ",".join(metrics), sys.executable, str(HERE / "gpu_counters.py"), name,
            "--part", f"{OPTIONS.part}.counted", "--reference", str(OPTIONS.reference), "--seconds", "0",
            "--deadline", str(OPTIONS.deadline), "--out", str(OPTIONS.out), "--keep", str(OPTIONS.keep),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, OPTIONS.deadline - time.time()))
        found = sums(done.stdout)
        if found:
            break
    system, replicas, precision, filters = case
    longest = sorted(found, key=lambda kernel: -found[kernel]["gpu__time_duration.sum"])[:6]
    shown = ", ".join(f"{k} {1e-3 * found[k]['gpu__time_duration.sum']:.0f} µs" for k in longest)
    NOTES.row(
        bool(found), f"{name}: {shown or 'ncu told nothing: ' + (done.stdout + done.stderr)[-500:]}", system=system,
        replicas=replicas, precision=precision, filters=filters, by_kernel=found,
        output="" if found else (done.stdout + done.stderr)[-3000:],
    )  # fmt: skip


def step() -> None:
    """One step, between the marks that ncu waits for."""
    system, replicas, precision, filters = OPTIONS.section.split("-")
    carrier, state = SYSTEMS.propagator(SYSTEMS.one(system).times(int(replicas)), precision, filters, graphs=False)
    carrier.advance(state, 2)
    synchronize()
    torch.cuda.profiler.start()
    carrier.advance(state, 1)
    synchronize()
    torch.cuda.profiler.stop()


if __name__ == "__main__":
    step()

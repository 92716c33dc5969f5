"""The section `counters` of `gpu_check.py`: what ncu counts in a step, kernel by kernel.

As a program, `python gpu_counters.py CASE ...` makes the step that ncu looks at; CASE is `folded-64-fp32-table`.
"""

from __future__ import annotations

import csv
import functools
import io
import shutil
import subprocess
import sys
import time
from collections import defaultdict

import torch
from gpu_part import DEVICE, HERE, NOTES, OPTIONS, SYSTEMS, synchronize

METRICS = (
    "gpu__time_duration.sum",
    "smsp__inst_executed.sum",
    "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum",
    "smsp__sass_thread_inst_executed_op_fadd_pred_on.sum",
    "smsp__sass_thread_inst_executed_op_fmul_pred_on.sum",
    "smsp__sass_thread_inst_executed_op_dfma_pred_on.sum",
    "smsp__sass_thread_inst_executed_op_dadd_pred_on.sum",
    "smsp__sass_thread_inst_executed_op_dmul_pred_on.sum",
    "sm__inst_executed_pipe_tensor.sum",
    "sm__inst_executed_pipe_xu.sum",
    "l1tex__t_bytes.sum",
    "l1tex__data_pipe_lsu_wavefronts.sum",
    "lts__t_bytes.sum",
    "dram__bytes.sum",
)
"""Of every launch: time, instructions of warps, products and sums of threads, tensor and special (MUFU) units, bytes
through L1 and the lines that it touches, through L2, and from memory."""
FEW = (*METRICS[:3], "lts__t_bytes.sum", "dram__bytes.sum")
"""Where a profiler does not know all of them."""
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


def sums(text: str) -> dict[str, dict[str, float]]:
    """Of each kernel's launches, every metric, from what `ncu --csv` prints; times are in ns."""
    lines = text.splitlines()
    begin = next((k for k, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    found: dict[str, dict[str, float]] = {}
    for row in csv.DictReader(io.StringIO("\n".join(lines[begin:]))):
        kernel, metric, value = row.get("Kernel Name"), row.get("Metric Name"), row.get("Metric Value")
        if kernel and metric and value:
            own = found.setdefault(kernel.partition("(")[0], defaultdict(float))
            own[metric] += float(value.replace(",", ""))
    return {kernel: dict(own) for kernel, own in found.items()}


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

"""What is asked of ncu (Nsight Compute), and how its answer is read."""

from __future__ import annotations

import csv
import io
from collections import defaultdict

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

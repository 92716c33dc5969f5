"""What a lent GPU is asked: within its minutes, as the page says, and read as it is written; no GPU needed."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.processes import ROOT


def load(file: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and named tuples look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def plan() -> ModuleType:
    return load(ROOT / "tools" / "gpu_check.py")


def test_every_command_ends_within_its_minutes(plan: ModuleType) -> None:
    asked = [name for names in plan.COMMANDS.values() for name in names]
    assert sorted([*asked, "machine"]) == sorted(plan.SECTIONS)
    for names in plan.COMMANDS.values():
        limits = [plan.SECTIONS[name].limit for name in ("machine", *names)]
        assert sum(limits) <= 60 * plan.MINUTES < 9 * 60
        assert all(
            plan.SECTIONS[name].took is None or plan.SECTIONS[name].took <= plan.SECTIONS[name].limit for name in names
        )


def test_the_page_shows_the_plan(plan: ModuleType) -> None:
    assert plan.table() in (ROOT / "docs" / "dev" / "measure_on_a_gpu.md").read_text(encoding="utf-8")


def test_the_sections_are_there(plan: ModuleType) -> None:
    text = (ROOT / "tools" / "gpu_sections.py").read_text(encoding="utf-8")
    listed = text.partition("SECTIONS: dict")[2]
    assert {name for name in re.findall(r"\w+", listed) if name in plan.SECTIONS} == set(plan.SECTIONS)


NCU = """\
==PROF== Connected to process 42
==PROF== Profiling "dense" - 0: 0%....50%....100% - 1 pass
"ID","Process ID","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","42","dense(float *, int)","gpu__time_duration.sum","ns","1,500"
"0","42","dense(float *, int)","l1tex__t_bytes.sum","byte","4,000"
"1","42","gather_messages","gpu__time_duration.sum","ns","700"
"2","42","dense(float *, int)","gpu__time_duration.sum","ns","500.5"
"""


def test_what_ncu_says_is_summed_by_kernel() -> None:
    ncu = load(ROOT / "tools" / "ncu.py")
    assert ncu.sums(NCU) == {
        "dense": {"gpu__time_duration.sum": 2000.5, "l1tex__t_bytes.sum": 4000.0},
        "gather_messages": {"gpu__time_duration.sum": 700.0},
    }
    assert ncu.sums("==ERROR== The user does not have permission") == {}


def test_the_roofline_of_a_gpu() -> None:
    """The first results; and rows that state their sizes and counters, as they are written now."""
    roofline = load(ROOT / "benchmarks" / "gpu_roofline.py")
    measured = json.loads((ROOT / "benchmarks/results/gpu_NVIDIA_H100_80GB_HBM3_2026-11-26.json").read_text())
    found = {(p.case, p.kernel): p for p in roofline.points(measured)}
    assert len(found) == 8  # dense layers once
    messages = found["folded, 64 replicas, fp32", "gather_messages"]
    assert messages.intensity == pytest.approx(0.2)
    assert messages.multiply_adds == pytest.approx(4 * 163.7 * 64 * 269 * 128 * 4)
    best = 0.5e12 * measured["machine"]["rows"][-1]["fp32_matmul_TFLOP_per_s"]
    assert all(p.rate < best for p in found.values())

    row = {"system": "folded", "replicas": 2, "precision": "mixed16", "filters": "table", "beads": 10,
           "directed_edges": 30, "hyper": {"features": 8, "filters": 16, "blocks": 2, "output": [8]},
           "us_by_kernel": {"gather_messages": 2.0}}  # fmt: skip
    counted = {"system": "folded", "replicas": 2, "precision": "fp32", "filters": "table", "by_kernel": {
        "dense": {"gpu__time_duration.sum": 1e3, "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum": 5e6,
                  "l1tex__t_bytes.sum": 1e6},
        "tiny": {"gpu__time_duration.sum": 1.0}}}  # fmt: skip
    one, two = roofline.points({"kernels": {"rows": [row]}, "counters": {"rows": [counted]}})
    assert (one.multiply_adds, one.bytes, one.seconds) == pytest.approx((4 * 30 * 16 * 2, 5 * 2 * 30 * 16 * 2, 2e-6))
    assert (two.kernel, two.counted, two.rate, two.intensity) == ("dense", "by ncu", pytest.approx(5e12), 5.0)
    machine = {**measured["machine"], "clock_MHz": 1980.0}
    assert [name for name, *_ in roofline.limits(machine)][-2:] == ["L1, 128 bytes a cycle", "fp32, 128 lanes"]
    assert roofline.draw([one, two], machine, "a title").axes

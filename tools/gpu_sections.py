"""The sections of `gpu_check.py`, each in a process of its own: `python gpu_sections.py NAME --part FILE ...`.

A section notes what it finds row by row in FILE, so that a crash of the GPU's driver, an illegal access or the end of
its time costs only what comes after.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gpu_classical import classical
from gpu_counters import counters
from gpu_part import DEVICE, NOTES, OPTIONS, ROOT, SKIN, SYSTEMS, Case, clock, synchronize
from gpu_runs import ranks, run
from gpu_stability import stability
from gpu_timings import backbones, bench, biases, kernels, large, split, training, tune
from gpu_whole import shapes, whole

# --- machine


def machine() -> None:
    """Versions first: they are known even where an import fails."""
    import mdflash

    versions = {"python": platform.python_version()}
    commit = ""
    if shutil.which("git"):
        git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
        commit = git.stdout.strip()  # a copy without its history has none
    NOTES.set(mdflash=f"{mdflash.__version__} {commit}".strip())
    names = ("torch", "triton", "numpy", "scipy", "numba", "llvmlite", "h5py", "safetensors", "pydantic", "typer",
             "rich", "pyyaml", "pytest", "pytest-xdist", "hypothesis")  # fmt: skip
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "missing"
    NOTES.set(versions=versions, cores=os.cpu_count(), real_models=SYSTEMS.real(), device=platform.processor() or "CPU")
    print(f"  {versions}", flush=True)
    for module in (
        "triton",
        "mdflash.runs.execute",
        "mdflash.engine.gpu.choose",
        "mdflash.cli.app",
        "tests.gpu.batches",
    ):
        NOTES.attempt(f"import {module}", functools.partial(_import, module))
    if DEVICE == "cpu":
        return
    from mdflash.core.gpu import why_no_gpu

    reason = why_no_gpu()
    if reason is not None:
        NOTES.set(no_gpu=reason)
        return
    about = torch.cuda.get_device_properties(0)
    driver = subprocess.run(["nvidia-smi"], capture_output=True, text=True).stdout if shutil.which("nvidia-smi") else ""
    NOTES.set(
        device=about.name, memory_GB=about.total_memory / 1e9, multiprocessors=about.multi_processor_count,
        capability=f"sm_{about.major}{about.minor}", cuda=torch.version.cuda, nvidia_smi=driver,
        gpus=torch.cuda.device_count(), clock_MHz=clock() / 1e6, l2_MB=getattr(about, "L2_cache_size", 0) / 1e6,
    )  # fmt: skip
    NOTES.attempt("ceilings", ceilings)


def _import(module: str) -> None:
    importlib.import_module(module)
    NOTES.row(True, f"import {module}", what=f"import {module}")


def ceilings() -> None:
    """What this device copies (read plus written), from its memory and inside its L2, and multiplies in fp32."""
    import triton

    source = torch.randn(256 * 2**20, device=DEVICE)
    target = torch.empty_like(source)
    a = torch.randn(4096, 4096, device=DEVICE)
    torch.backends.cuda.matmul.allow_tf32 = False
    copy = triton.testing.do_bench(lambda: target.copy_(source), return_mode="median")
    product = triton.testing.do_bench(lambda: a @ a, return_mode="median")
    few, into = source[: 4 * 2**20], target[: 4 * 2**20]
    for _ in range(100):
        into.copy_(few)
    synchronize()
    began = time.perf_counter()
    for _ in range(1000):
        into.copy_(few)
    synchronize()
    cached = 2000 * few.nbytes / (time.perf_counter() - began) / 1e9
    bandwidth, rate = 2 * source.nbytes / copy / 1e6, 2 * 4096**3 / product / 1e9
    NOTES.row(True, f"copies {bandwidth:.0f} GB/s, {cached:.0f} in L2, multiplies {rate:.1f} TFLOP/s in fp32",
              l2_copy_GB_per_s=cached, copy_GB_per_s=bandwidth, fp32_matmul_TFLOP_per_s=rate)  # fmt: skip


# --- graphs


def graphs() -> None:
    """Graph against eager, other groupings of the same steps, another batch; and steps that never wait for the host."""
    kinds = (
        ("fp32", "table"),
        ("mixed16", "split"),
        ("mixed16", "table"),
        ("fp64", "table"),
        ("fp32", "split"),
        ("mixed16", "gathered"),
    )
    for precision, filters in kinds[:1] if OPTIONS.interpret else kinds:
        NOTES.attempt(f"graphs {precision} {filters}", functools.partial(same_bits, precision, filters))
    NOTES.attempt("graphs biases", functools.partial(same_bits, "fp32", "table", biases="all", every=3))
    for filters in ("table",) if OPTIONS.interpret else ("table", "split", "gathered"):
        NOTES.attempt(f"no host {filters}", functools.partial(no_step_waits, filters))


def same_bits(precision: str, filters: str, biases: str = "", every: int = 1) -> None:
    steps = 3 if OPTIONS.interpret else 40
    one, many = SYSTEMS.one("folded"), SYSTEMS.one("folded").times(3)
    if biases:
        one, many = one.biased(biases), many.biased(biases)
    ends = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="no CUDA graphs")
        for name, with_graphs, blocks in (
            ("graph", True, (steps,)), ("eager", False, (steps,)), ("split", True, (1, steps - 1)),
        ):  # fmt: skip
            carrier, state = SYSTEMS.propagator(many, precision, filters, graphs=with_graphs, every=every)
            for block in blocks:
                carrier.advance(state, block)
            ends[name] = state
        alone, own = SYSTEMS.propagator(one, precision, filters, every=every)
        own.velocities.copy_(SYSTEMS.propagator(many, precision, filters)[1].velocities[: len(own.velocities)])
        alone.advance(own, steps)
    x = {name: state.positions for name, state in ends.items()}
    for what, good in {
        "a graph gives the bits of launches one by one": torch.equal(x["graph"], x["eager"]),
        "how steps are grouped changes no bit": torch.equal(x["graph"], x["split"]),
        "the batch changes no bit": torch.equal(x["graph"][: len(own.positions)], own.positions),
        "positions are finite": bool(torch.isfinite(x["graph"]).all()),
    }.items():
        NOTES.row(
            good,
            f"{precision} {filters}{', biases and impulses' if biases else ''}: {what}{'' if good else ': NOT SO'}",
            precision=precision,
            filters=filters,
            what=what,
        )


def no_step_waits(filters: str) -> None:
    """40 steps with PyTorch's detector of synchronizations on, as a graph and one by one."""
    for with_graphs in (True, False):
        case = SYSTEMS.one("folded").times(2).biased("all")
        carrier, state = SYSTEMS.propagator(case, "fp32", filters, graphs=with_graphs)
        carrier.advance(state, 2 if OPTIONS.interpret else 40)  # compiled and captured
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            carrier._run(state.step, 2 if OPTIONS.interpret else 40)
        finally:
            if DEVICE == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        how = "in a graph" if with_graphs else "launched one by one"
        NOTES.row(
            True, f"no step waits for the host, {filters}, {how}", what=f"no host synchronization, {filters}, {how}"
        )


# --- errors

BARS = {
    ("fp64", "table"): 1e-5, ("fp64", "exact"): 1e-9, ("fp32", "table"): 1e-5, ("fp32", "exact"): 1e-5,
    ("mixed16", "table"): 2e-3, ("mixed16", "exact"): 2e-3, ("fp32", "split"): 1e-5, ("mixed16", "split"): 1e-3,
    ("fp32", "gathered"): 1e-5, ("mixed16", "gathered"): 1e-3,
}  # fmt: skip


def errors() -> None:
    """Relative force and energy errors of the network, by precision and kind of filter, on jittered start frames."""
    names = (("1enh-5b folded", "folded", 2), ("1enh-5b extended", "extended", 2), ("chignolin-ca", "chignolin", 8))
    for name, case, replicas in names:
        NOTES.attempt(name, lambda n=name, c=case, r=replicas: network_errors(n, SYSTEMS.one(c).times(r)))  # type: ignore[misc]
    NOTES.attempt("priors", functools.partial(prior_errors, SYSTEMS.one("folded").times(2)))


def network_errors(name: str, case: Case) -> None:
    from mdflash.neighbors.reference import all_pairs
    from mdflash.potentials.schnet.potential import SchNetPotential

    schnet = next(t for t in case.terms if isinstance(t, SchNetPotential))
    rng = np.random.default_rng(3)
    positions = torch.from_numpy(case.x + 0.2 * rng.normal(size=case.x.shape) + 30.0)
    expected = schnet.energy_and_forces(positions, case.layout, all_pairs(positions, case.layout, schnet.cutoff))
    for (precision, filters), bar in BARS.items():
        NOTES.attempt(
            f"{name} {precision} {filters}",
            lambda precision=precision, bar=bar, filters=filters: error_row(  # type: ignore[misc]
                f"{name}, {precision}, {filters}", case, [schnet], precision, filters, positions, expected, bar
            ),
        )


def prior_errors(case: Case) -> None:
    from mdflash.potentials.base import SumPotential
    from mdflash.potentials.schnet.potential import SchNetPotential

    priors = [t for t in case.terms if not isinstance(t, SchNetPotential)]
    positions = torch.from_numpy(case.x + 0.05 * np.random.default_rng(4).normal(size=case.x.shape))
    expected = SumPotential(priors).energy_and_forces(positions, case.layout, None)
    error_row("1enh-5b folded, priors", case, priors, "fp64", "exact", positions, expected, 1e-11)


def error_row(
    name: str, case: Case, terms: Sequence[Any], precision: str, filters: str, positions: Any, expected: Any, bar: float
) -> None:
    from mdflash.engine.gpu.forces import DeviceForces, DevicePotential

    tables = SYSTEMS.filters_of(case.network, precision, filters)
    forces = DeviceForces(case.layout, terms, tables, precision, SKIN, None, DEVICE)  # type: ignore[arg-type]
    found = DevicePotential(forces).energy_and_forces(positions, case.layout, None)
    error = float((found.forces - expected.forces).norm() / expected.forces.norm())
    shift = float((found.energy - expected.energy).mean())
    good = error <= bar or (OPTIONS.interpret and np.isfinite(error))  # coarse tables
    NOTES.row(good, f"{name}: force error {error:.2e} (bar {bar:.0e}), mean energy off by {shift:+.2e} kcal/mol",
              what=name, precision=precision, filters=filters, force_error=error, bar=bar,
              mean_energy_error=shift, mean_energy=float(expected.energy.mean()))  # fmt: skip


# --- checks


NEW = ("biases", "classical", "clusters", "far", "priors", "whole")
"""What no GPU has run yet; a section that is cut should have had these."""


def checks() -> None:
    """The check files of tests/gpu on this device, in parallel where pytest-xdist is there."""
    new = [f"check_{name}.py" for name in NEW]
    files = [str(p) for p in sorted((ROOT / "tests" / "gpu").glob("check_*.py"), key=lambda p: (p.name not in new, p))]
    environment = {**os.environ}
    if OPTIONS.interpret:  # the quick one stands for all: tests/gpu/test_interpreted.py runs them
        files, environment["TRITON_INTERPRET"] = [f for f in files if f.endswith("check_evaluator.py")], "1"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-vv", "--tb=short", "-rf", *files]
    if importlib.util.find_spec("xdist") is not None and not OPTIONS.interpret:
        command += ["-n", str(min(16, os.cpu_count() or 1)), "--dist", "worksteal"]
    tests = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    left = threading.Timer(max(1.0, OPTIONS.deadline - time.time()), tests.kill)
    left.start()
    counted = {"PASSED": 0, "FAILED": 0, "ERROR": 0, "SKIPPED": 0}
    text = ""
    assert tests.stdout is not None
    for line in tests.stdout:
        text = (text + line)[-30000:]
        word = next((word for word in counted if word in line.split() and "::" in line), None)
        if word is not None and "short test summary" not in text:
            counted[word] += 1
            NOTES.set(tests=counted)
            if word in ("FAILED", "ERROR"):
                NOTES.row(False, line.strip(), what=line.strip())
    left.cancel()
    code = tests.wait()
    print(text[-5000:])
    NOTES.row(code == 0, f"tests/gpu: pytest ended with {code}, {counted}", what="tests/gpu", code=code,
              output=text[-30000:])  # fmt: skip


SECTIONS: dict[str, Callable[[], None]] = {
    f.__name__: f
    for f in (
        *(machine, graphs, errors, checks, run, ranks, bench, biases, split, classical, whole, shapes),
        *(large, kernels, counters, backbones, training, tune, stability),
    )
}


if __name__ == "__main__":
    NOTES.attempt(OPTIONS.section, SECTIONS[OPTIONS.section])
    NOTES.end()

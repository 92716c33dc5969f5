"""The sections of `gpu_check.py`, each in a process of its own: `python gpu_sections.py NAME --part FILE ...`.

A section notes what it finds row by row in FILE, so that a crash of the GPU's driver, an illegal access or the end of
its time costs only what comes after.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("section")
    parser.add_argument("--part", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--deadline", type=float, required=True, help="as time.time() says")
    parser.add_argument("--interpret", action="store_true")
    return parser.parse_args()


OPTIONS = arguments()
if OPTIONS.interpret:
    import interpreter

    interpreter.enable()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from gpu_cases import SKIN, TIMESTEP, Case, Systems  # noqa: E402

SYSTEMS = Systems(OPTIONS.reference, OPTIONS.interpret)
DEVICE = SYSTEMS.device


class Notes:
    """What a section has found so far, always on the disk."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {"passed": False, "rows": []}
        self.good = True
        self._save()

    def set(self, **fields: Any) -> None:
        self.found |= fields
        self._save()

    def row(self, good: bool, text: str, **fields: Any) -> None:
        """One finding: in the file, and on the screen."""
        self.good &= bool(good)
        self.found["rows"].append({"good": bool(good), **fields})
        print(f"  {'  ' if good else 'XX'} {text}", flush=True)
        self._save()

    def attempt(self, what: str, work: Callable[[], None]) -> None:
        """Do it; an error becomes a row. What there is no time for becomes one as well."""
        if time.time() > OPTIONS.deadline and not OPTIONS.interpret:
            self.row(False, f"{what}: left out, no time left", what=what, error="no time left")
            return
        try:
            work()
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            self.row(False, f"{what}: {error}", what=what, error=f"{type(error).__name__}: {error}"[-2000:])

    def end(self) -> None:
        self.set(passed=self.good)

    def _save(self) -> None:
        new = OPTIONS.part.with_suffix(".new")
        new.write_text(json.dumps(self.found, default=str))
        new.replace(OPTIONS.part)


NOTES = Notes()


# --- machine


def machine() -> None:
    """Versions first: they are known even where an import fails."""
    versions = {"python": platform.python_version()}
    names = ("torch", "triton", "numpy", "scipy", "numba", "llvmlite", "h5py", "safetensors", "pydantic", "typer",
             "rich", "pyyaml", "pytest", "pytest-xdist", "hypothesis")  # fmt: skip
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "missing"
    NOTES.set(versions=versions, cores=os.cpu_count(), real_models=SYSTEMS.real(), device=platform.processor() or "CPU")
    print(f"  {versions}", flush=True)
    for module in ("triton", "mdflash.run", "mdflash.propagate.on_gpu", "mdflash.cli.app", "tests.gpu.batches"):
        NOTES.attempt(f"import {module}", functools.partial(_import, module))
    if DEVICE == "cpu":
        return
    from mdflash.gpu import why_no_gpu

    reason = why_no_gpu()
    if reason is not None:
        NOTES.set(no_gpu=reason)
        return
    about = torch.cuda.get_device_properties(0)
    driver = subprocess.run(["nvidia-smi"], capture_output=True, text=True).stdout if shutil.which("nvidia-smi") else ""
    NOTES.set(
        device=about.name, memory_GB=about.total_memory / 1e9, multiprocessors=about.multi_processor_count,
        capability=f"sm_{about.major}{about.minor}", cuda=torch.version.cuda, nvidia_smi=driver,
    )  # fmt: skip
    NOTES.attempt("ceilings", ceilings)


def _import(module: str) -> None:
    importlib.import_module(module)
    NOTES.row(True, f"import {module}", what=f"import {module}")


def ceilings() -> None:
    """What this device copies (read plus written) and multiplies in fp32."""
    import triton

    source = torch.randn(256 * 2**20, device=DEVICE)
    target = torch.empty_like(source)
    a = torch.randn(4096, 4096, device=DEVICE)
    torch.backends.cuda.matmul.allow_tf32 = False
    copy = triton.testing.do_bench(lambda: target.copy_(source), return_mode="median")
    product = triton.testing.do_bench(lambda: a @ a, return_mode="median")
    bandwidth, rate = 2 * source.nbytes / copy / 1e6, 2 * 4096**3 / product / 1e9
    NOTES.row(True, f"copies {bandwidth:.0f} GB/s, multiplies {rate:.1f} TFLOP/s in fp32",
              copy_GB_per_s=bandwidth, fp32_matmul_TFLOP_per_s=rate)  # fmt: skip


def synchronize() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


# --- graphs


def graphs() -> None:
    """Graph against eager, other groupings of the same steps, another batch; and steps that never wait for the host."""
    for precision in ("fp32",) if OPTIONS.interpret else ("fp32", "mixed16", "fp64"):
        NOTES.attempt(f"graphs {precision}", functools.partial(same_bits, precision))
    NOTES.attempt("no host", no_step_waits)


def same_bits(precision: str) -> None:
    steps = 3 if OPTIONS.interpret else 40
    many = SYSTEMS.one("folded").times(3)
    ends = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="no CUDA graphs")
        for name, with_graphs, blocks in (
            ("graph", True, (steps,)), ("eager", False, (steps,)), ("split", True, (1, steps - 1)),
        ):  # fmt: skip
            carrier, state = SYSTEMS.propagator(many, precision, graphs=with_graphs)
            for block in blocks:
                carrier.advance(state, block)
            ends[name] = state
        alone, own = SYSTEMS.propagator(SYSTEMS.one("folded"), precision)
        own.velocities.copy_(SYSTEMS.propagator(many, precision)[1].velocities[: len(own.velocities)])
        alone.advance(own, steps)
    x = {name: state.positions for name, state in ends.items()}
    for what, good in {
        "a graph gives the bits of launches one by one": torch.equal(x["graph"], x["eager"]),
        "how steps are grouped changes no bit": torch.equal(x["graph"], x["split"]),
        "the batch changes no bit": torch.equal(x["graph"][: len(own.positions)], own.positions),
        "positions are finite": bool(torch.isfinite(x["graph"]).all()),
    }.items():
        NOTES.row(good, f"{precision}: {what}{'' if good else ': NOT SO'}", precision=precision, what=what)


def no_step_waits() -> None:
    """40 steps with PyTorch's detector of synchronisations on, as a graph and one by one."""
    for with_graphs in (True, False):
        carrier, state = SYSTEMS.propagator(SYSTEMS.one("folded").times(2), "fp32", graphs=with_graphs)
        carrier.advance(state, 2 if OPTIONS.interpret else 40)  # compiled and captured
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            carrier._run(2 if OPTIONS.interpret else 40)
        finally:
            if DEVICE == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        how = "in a graph" if with_graphs else "launched one by one"
        NOTES.row(True, f"no step waits for the host, {how}", what=f"no host synchronisation, {how}")


# --- errors

BARS = {("fp64", False): 1e-5, ("fp64", True): 1e-9, ("fp32", False): 1e-5, ("fp32", True): 1e-5,
        ("mixed16", False): 2e-3, ("mixed16", True): 2e-3}  # fmt: skip


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
    for (precision, exact), bar in BARS.items():
        filters = "exact" if exact else "table"
        NOTES.attempt(
            f"{name} {precision} {filters}",
            lambda precision=precision, exact=exact, bar=bar, filters=filters: error_row(  # type: ignore[misc]
                f"{name}, {precision}, {filters}", case, [schnet], precision, exact, positions, expected, bar
            ),
        )


def prior_errors(case: Case) -> None:
    from mdflash.potentials.base import SumPotential
    from mdflash.potentials.schnet.potential import SchNetPotential

    priors = [t for t in case.terms if not isinstance(t, SchNetPotential)]
    positions = torch.from_numpy(case.x + 0.05 * np.random.default_rng(4).normal(size=case.x.shape))
    expected = SumPotential(priors).energy_and_forces(positions, case.layout, None)
    error_row("1enh-5b folded, priors", case, priors, "fp64", True, positions, expected, 1e-11)


def error_row(
    name: str, case: Case, terms: Sequence[Any], precision: str, exact: bool, positions: Any, expected: Any, bar: float
) -> None:
    from mdflash.propagate.device import DeviceForces, DevicePotential

    tables = None if exact else SYSTEMS.tables_of(case.network)
    forces = DeviceForces(case.layout, terms, tables, precision, SKIN, None, DEVICE)  # type: ignore[arg-type]
    found = DevicePotential(forces).energy_and_forces(positions, case.layout, None)
    error = float((found.forces - expected.forces).norm() / expected.forces.norm())
    shift = float((found.energy - expected.energy).mean())
    good = error <= bar or (OPTIONS.interpret and np.isfinite(error))  # coarse tables
    NOTES.row(good, f"{name}: force error {error:.2e} (bar {bar:.0e}), mean energy off by {shift:+.2e} kcal/mol",
              what=name, precision=precision, filters="exact" if exact else "table", force_error=error, bar=bar,
              mean_energy_error=shift, mean_energy=float(expected.energy.mean()))  # fmt: skip


# --- checks


def checks() -> None:
    """The check files of tests/gpu on this device, in parallel where pytest-xdist is there."""
    files = sorted(str(p) for p in (ROOT / "tests" / "gpu").glob("check_*.py"))
    environment = {**os.environ}
    if OPTIONS.interpret:  # the quick one stands for all: tests/gpu/test_interpreted.py runs them
        files, environment["TRITON_INTERPRET"] = [f for f in files if f.endswith("check_evaluator.py")], "1"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-vv", "--tb=short", "-rf", *files]
    if importlib.util.find_spec("xdist") is not None and not OPTIONS.interpret:
        command += ["-n", str(min(12, os.cpu_count() or 1))]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True,
            timeout=None if OPTIONS.interpret else max(1.0, OPTIONS.deadline - time.time()),
        )  # fmt: skip
        code: int | str = done.returncode
        text = done.stdout + done.stderr[-2000:]
    except subprocess.TimeoutExpired as error:
        code, text = "out of time", (error.stdout or b"").decode(errors="replace")
    print(text[-5000:])
    NOTES.row(code == 0, f"tests/gpu: pytest ended with {code}", what="tests/gpu", code=code, output=text[-30000:])


# --- run


def run() -> None:
    """`mdflash run` on the device: once through, and killed and resumed; both must leave the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        NOTES.attempt("run", functools.partial(kill_and_resume, Path(folder)))


def kill_and_resume(folder: Path) -> None:
    file = folder / "case" / "system.yaml"
    if SYSTEMS.real():
        SYSTEMS.described("chignolin").write(folder / "case")
    else:
        SYSTEMS.tiny_case().write(folder / "case")
    steps, every = (8, "8 fs") if OPTIONS.interpret else (60_000, "20 ps")
    own = ["interpreter.py"] if OPTIONS.interpret else ["-m", "mdflash"]
    common = [
        sys.executable, *own, "run", str(file), "--steps", str(steps), "--set", "hardware.device=cuda",
        "--set", f"replicas.count={2 if OPTIONS.interpret else 16}", "--set", f"output.log.interval={every}",
        "--set", f"output.trajectory.interval={every}", "--set", f"output.checkpoint.interval={every}",
    ]  # fmt: skip

    def command(name: str) -> list[str]:
        return [*common, "--set", f"output.folder={folder / name}"]

    began = time.monotonic()
    done = subprocess.run(command("whole"), cwd=HERE, capture_output=True, text=True)
    seconds = time.monotonic() - began
    NOTES.row(done.returncode == 0, f"mdflash run ended with {done.returncode} after {seconds:.1f} s",
              what="whole run", output=(done.stdout + done.stderr)[-6000:])  # fmt: skip
    if done.returncode != 0:
        print((done.stdout + done.stderr)[-3000:])
        return
    manifest = json.loads((folder / "whole" / "manifest.json").read_text())
    NOTES.row(manifest["device"] == "cuda", f"on {manifest['device_name']}, {manifest['timing']}",
              what="manifest", manifest=manifest)  # fmt: skip
    first = subprocess.Popen(command("killed"), cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while first.poll() is None and len(list((folder / "killed" / "checkpoint").glob("*.npz"))) < 2:
        time.sleep(0.002)
    first.send_signal(signal.SIGKILL)
    killed = first.wait() != 0
    NOTES.row(killed, "killed" if killed else "it had finished before it could be killed", what="kill")
    done = subprocess.run(command("killed"), cwd=HERE, capture_output=True, text=True)
    again = done.returncode == 0 and "going on" in done.stdout
    text = (done.stdout + done.stderr)[-6000:]
    NOTES.row(again, f"the same command again ended with {done.returncode}", what="resume", output=text)
    ends = [sorted((folder / name / "checkpoint").glob("*.npz"))[-1] for name in ("whole", "killed")]
    a, b = (np.load(end) for end in ends)
    names = [name for name in a.files if a[name].dtype.kind in "fiu"]
    same = ends[0].name == ends[1].name and all(np.array_equal(a[name], b[name]) for name in names)
    NOTES.row(same, f"the last checkpoints hold {'the same' if same else 'DIFFERENT'} bits", what="same bits")
    logs = [(folder / name / "log.csv").read_bytes() for name in ("whole", "killed")]
    NOTES.row(logs[0] == logs[1], "log.csv is the same, byte by byte", what="same log", log=logs[0].decode()[:2000])


# --- bench


def measured(step: Callable[[int], object], seconds: float) -> tuple[float, float]:
    """Steps a second, median and least of five stretches after a warm-up; `step(n)` does n steps."""
    if OPTIONS.interpret:
        began = time.perf_counter()
        step(1)
        rate = 1.0 / (time.perf_counter() - began)
        return rate, rate
    step(48)
    synchronize()
    began = time.perf_counter()
    step(16)
    synchronize()
    n = max(16, int(16 * seconds / 5 / (time.perf_counter() - began)) // 16 * 16)
    rates = []
    for _ in range(5):
        began = time.perf_counter()
        step(n)
        synchronize()
        rates.append(n / (time.perf_counter() - began))
    return float(np.median(rates)), min(rates)


def benchmark(name: str, case: Case, precision: str, exact: bool = False, tiles: Any = None) -> None:
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    carrier, state = SYSTEMS.propagator(case, precision, exact, tiles=tiles)
    rate, least = measured(lambda n: carrier.advance(state, n), OPTIONS.seconds)
    whole = time.perf_counter() - began
    replicas, beads = case.layout.n_replicas, case.layout.n_beads
    near = carrier.forces.neighbors_per_bead()
    finite = bool(torch.isfinite(state.energy).all())
    memory = torch.cuda.max_memory_allocated() / 1e6 if DEVICE == "cuda" else 0.0
    ns_per_day = rate * replicas * TIMESTEP * 86.4
    filters = "exact" if exact else "table"
    NOTES.row(
        finite,
        f"{name:17} {precision:8} {filters:6} {replicas:4} replicas, {near:5.0f} neighbours: {rate:9.1f} steps/s, "
        f"{ns_per_day:9.0f} ns/day in all, {memory:7.0f} MB{'' if finite else '  NOT FINITE'}",
        system=name, precision=precision, filters=filters, replicas=replicas, beads=beads // replicas,
        neighbors_per_bead=round(near, 1), directed_edges=round(near * beads), steps_per_s=rate,
        least_steps_per_s=least,
        step_replicas_per_s=rate * replicas, ns_per_day=ns_per_day, us_per_bead=1e6 / rate / beads,
        peak_memory_MB=memory, finite=finite, graphs=carrier._graphs is not None, replayed=carrier.replayed,
        capacity=carrier.forces.capacity, seconds=whole, tiles=str(tiles) if tiles else "default",
    )  # fmt: skip


def standard_set() -> Iterator[tuple[str, str, int, str, bool]]:
    """Name, case, replicas, precision, exact; what matters most comes first."""
    if OPTIONS.interpret:
        yield "1enh-5b folded", "folded", 2, "fp32", False
        yield "chignolin-ca", "chignolin", 2, "mixed16", True
        return
    for replicas in (64, 1, 8, 128):
        for state in ("folded", "extended"):
            yield f"1enh-5b {state}", state, replicas, "fp32", False
    for replicas in (64, 1, 512):
        yield "chignolin-ca", "chignolin", replicas, "fp32", False
    for replicas in (64, 1):
        for state in ("folded", "extended"):
            yield f"1enh-5b {state}", state, replicas, "mixed16", False
    yield "1enh-5b folded", "folded", 64, "fp32", True


def bench() -> None:
    """The standard systems, then plain torch with autograd on the same device."""
    for name, case, replicas, precision, exact in standard_set():
        NOTES.attempt(
            f"{name} {replicas} {precision}",
            lambda n=name, c=case, r=replicas, p=precision, e=exact: benchmark(n, SYSTEMS.one(c).times(r), p, e),  # type: ignore[misc]
        )
    for replicas in (1,) if OPTIONS.interpret else (1, 8):
        NOTES.attempt("plain torch", functools.partial(plain_torch, SYSTEMS.one("folded").times(replicas)))


def plain_torch(case: Case) -> None:
    """The plain network with autograd, all replicas in one batch (as mlcg does); the list of pairs is given."""
    from mdflash.neighbors.reference import all_pairs
    from mdflash.potentials.schnet.network import SchNet
    from mdflash.potentials.schnet.potential import SchNetPotential

    schnet = next(t for t in case.terms if isinstance(t, SchNetPotential))
    model = SchNet(case.network.hyper)
    model.load_state_dict(case.network.state_dict())
    model = model.float().to(DEVICE).requires_grad_(False)
    positions = torch.from_numpy(case.x).float()
    types = schnet.types[0].repeat(case.layout.n_replicas).to(DEVICE)
    pairs = all_pairs(positions, case.layout, schnet.cutoff)
    first, second, positions = pairs.first.to(DEVICE), pairs.second.to(DEVICE), positions.to(DEVICE)

    def evaluate(n: int) -> None:
        for _ in range(n):
            y = positions.clone().requires_grad_()
            energy = model(y[second] - y[first], types, first, second).sum()
            torch.autograd.grad(energy, y)

    rate, _ = measured(evaluate, OPTIONS.seconds)
    NOTES.row(True, f"plain torch, fp32, {case.layout.n_replicas} replicas: {rate:.1f} evaluations/s",
              system="plain torch", replicas=case.layout.n_replicas, evaluations_per_s=rate)  # fmt: skip


# --- large


def large() -> None:
    """Cost per bead, and what it takes to build the lists by either way."""
    for n in ("216",) if OPTIONS.interpret else ("1000", "10000", "100000"):
        NOTES.attempt(f"lists {n}", functools.partial(lists, n))
        if not OPTIONS.interpret:
            NOTES.attempt(f"large {n}", functools.partial(large_steps, n))


def large_steps(n: str) -> None:
    benchmark(f"large {n}", SYSTEMS.one(n), "fp32")


def lists(n: str) -> None:
    """Milliseconds of building all rows of the Verlet list by all pairs and by boxes, and whether they are the same."""
    from mdflash.propagate import device
    from mdflash.propagate.device import DeviceForces

    case, found, times = SYSTEMS.one(n), [], {}
    terms = [t for t in case.terms if not OPTIONS.interpret or not hasattr(t, "networks")]
    tables = None if OPTIONS.interpret else SYSTEMS.tables_of(case.network)
    usual = device.BOXES_FROM
    for way, least in (("boxes", 1), ("all pairs", 10**9)):
        device.BOXES_FROM = least
        forces = DeviceForces(case.layout, terms, tables, "fp32", SKIN, case.box, DEVICE)
        forces.x.copy_(torch.from_numpy(case.x))
        forces.evaluate()
        found.append((forces._neighbor.clone(), forces._count.clone()))

        def again(forces: Any = forces) -> None:
            forces._rebuild.fill_(1)
            forces._build_lists()

        again()
        synchronize()
        began = time.perf_counter()
        rounds = 1 if OPTIONS.interpret else 5
        for _ in range(rounds):
            again()
        synchronize()
        times[way] = 1e3 * (time.perf_counter() - began) / rounds
        del forces
    device.BOXES_FROM = usual
    same = all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    NOTES.row(same, f"{n} beads: lists by boxes {times['boxes']:.3g} ms, by all pairs {times['all pairs']:.3g} ms, "
              f"{'the same' if same else 'DIFFERENT'}; boxes are used from {usual} beads on",
              system=f"lists {n}", boxes_ms=times["boxes"], all_pairs_ms=times["all pairs"], same=same)  # fmt: skip


# --- kernels, tune


def kernels() -> None:
    """Microseconds of each kernel in one step, from PyTorch's profiler, launched one by one."""
    for name, replicas, precision in (("folded", 64, "fp32"), ("folded", 1, "fp32"), ("folded", 64, "mixed16")):
        if DEVICE == "cuda":
            NOTES.attempt(f"{name} {precision}", functools.partial(by_kernel, name, replicas, precision))


def by_kernel(name: str, replicas: int, precision: str) -> None:
    from torch.profiler import ProfilerActivity, profile

    carrier, state = SYSTEMS.propagator(SYSTEMS.one(name).times(replicas), precision, graphs=False)
    carrier.advance(state, 5)
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        carrier.advance(state, 10)
        synchronize()
    times = {e.key: e.self_device_time_total / 10 for e in found.key_averages() if e.self_device_time_total > 0}
    times = dict(sorted(times.items(), key=lambda item: -item[1])[:20])
    shown = ", ".join(f"{k} {v:.0f}" for k, v in list(times.items())[:8])
    NOTES.row(True, f"{name} {precision}, {replicas} replicas, µs a step: {shown}",
              system=name, replicas=replicas, precision=precision, us_by_kernel=times)  # fmt: skip


def tune() -> None:
    """Other shapes of tiles."""
    many = 1 if OPTIONS.interpret else 64
    for precision in ("fp32", "mixed16"):
        for shape in tiles():
            NOTES.attempt(
                str(shape),
                lambda p=precision, t=shape: benchmark("1enh-5b folded", SYSTEMS.one("folded").times(many), p, tiles=t),  # type: ignore[misc]
            )


def tiles() -> list[Any]:
    from mdflash.potentials.schnet.triton.network import Tiles

    base = Tiles()
    if OPTIONS.interpret:
        return [replace(base, edges=16)]
    message = [replace(base, channels=c, edges=e, warps=w) for c in (8, 16, 32, 64, 128)
               for e, w in ((16, 1), (32, 1), (32, 2), (64, 2)) if c * e <= 4096]  # fmt: skip
    layers = [replace(base, precision=p, rows=r, columns=c, dense_warps=w) for p in ("ieee", "tf32x3")
              for r, c, w in ((32, 64, 4), (64, 64, 4), (32, 128, 4), (64, 128, 8))]  # fmt: skip
    return message + layers


SECTIONS: dict[str, Callable[[], None]] = {
    f.__name__: f for f in (machine, graphs, errors, checks, run, bench, large, kernels, tune)
}


if __name__ == "__main__":
    NOTES.attempt(OPTIONS.section, SECTIONS[OPTIONS.section])
    NOTES.end()

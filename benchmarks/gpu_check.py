"""Everything a GPU has to show, in one command: are the kernels right, and how fast are they.

    python benchmarks/gpu_check.py [--reference ../shared/reference] [--only checks graphs errors bench] [--tune]

1. checks   every kernel on the device against the float64 reference (`tests/gpu/check_*.py`)
2. graphs   a captured graph gives the same bits as launches one by one, and no step waits for the host
3. errors   forces and energies in fp32 and mixed16, tables and exact filters, against float64
4. bench    steps/s, ns/day, neighbours, edges, peak memory and time by kernel, of the standard systems

--reference: the folder with the real models; without it, systems of the same sizes are made.
--interpret: a tiny run on the CPU through Triton's interpreter, to try this script without a GPU; no number counts.
Results go to benchmarks/results/gpu_DEVICE_DATE.json. Exit code 0: all right; 1: something failed; 2: no GPU.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

TIMESTEP = 0.004
SKIN = 2.0
FOLDED, EXTENDED = 0.029, 0.006
"""Beads/Å^3 of the systems that are made: about 160 and 50 neighbours within 15 Å."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("checks", "graphs", "errors", "bench")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--reference", type=Path, default=ROOT / ".." / "shared" / "reference")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured for each benchmark")
    parser.add_argument("--tune", action="store_true", help="also time other shapes of tiles")
    parser.add_argument("--interpret", action="store_true")
    return parser.parse_args()


OPTIONS = arguments()
if OPTIONS.interpret:
    import interpreter

    interpreter.enable()

import numpy as np  # noqa: E402
import torch  # noqa: E402

if not OPTIONS.interpret and not torch.cuda.is_available():
    print("gpu_check: PyTorch sees no CUDA GPU here; nothing was checked. `--interpret` tries this script without one.")
    raise SystemExit(2)

import triton  # noqa: E402
from gpu_systems import PUBLISHED, synthetic  # noqa: E402

from mdflash.integrators.langevin import LangevinMiddle  # noqa: E402
from mdflash.neighbors.reference import all_pairs  # noqa: E402
from mdflash.potentials.base import Potential  # noqa: E402
from mdflash.potentials.build import build_potential  # noqa: E402
from mdflash.potentials.schnet.network import Hyperparameters, SchNet  # noqa: E402
from mdflash.potentials.schnet.potential import SchNetPotential  # noqa: E402
from mdflash.potentials.schnet.tables import FilterTables, filter_tables, tabulate  # noqa: E402
from mdflash.potentials.schnet.triton.network import Precision, Tiles  # noqa: E402
from mdflash.propagate.cuda import CudaPropagator  # noqa: E402
from mdflash.propagate.device import DeviceForces, DevicePotential  # noqa: E402
from mdflash.state import Layout, State  # noqa: E402

DEVICE = "cpu" if OPTIONS.interpret else "cuda"
TINY = replace(PUBLISHED, features=16, filters=16, blocks=2, basis_size=16, filter_hidden=(16,), output=(16,))
PUBLISHED_SIZE = TINY if OPTIONS.interpret else PUBLISHED
CHIGNOLIN_SIZE = (
    TINY
    if OPTIONS.interpret
    else Hyperparameters(cutoff=15.0, types=25, features=256, filters=128, blocks=3, basis_size=33)
)
Case = tuple[Layout, list[Potential], "SchNet", np.ndarray]
Tables = dict[int, FilterTables]


@functools.cache
def tables_of(network: SchNet) -> Tables:
    """As a run makes them: fine enough for forces to 5e-6 of their rms."""
    tables = tabulate(network, 64) if OPTIONS.interpret else filter_tables(network, 5e-6)
    return {id(network): tables}


def batch(one: Case, replicas: int) -> Case:
    """Replicas of a case of one; potentials know nothing of their number."""
    layout, terms, network, x = one
    return Layout(layout.systems, (replicas,)), terms, network, np.tile(x, (replicas, 1))


@functools.cache
def imported(*files: str) -> Case:
    """Real models with the first of their start frames, one replica."""
    from mdflash.importers.mlcg import import_mlcg

    *models, structures = files
    folder = OPTIONS.reference / "mlcg"
    forcefield = import_mlcg([folder / f for f in models], folder / structures if structures else None, "model")
    system, frames = forcefield.systems[0]
    assert frames is not None
    layout = Layout((system,), (1,))
    terms = list(build_potential([forcefield], layout).terms)
    network = next(t for t in terms if isinstance(t, SchNetPotential)).networks[0]
    assert network is not None
    return layout, terms, network, frames[0].astype(float)


@functools.cache
def made(beads: int, hyper: Hyperparameters, density: float) -> Case:
    return synthetic(beads, hyper, 1, density)


def real() -> bool:
    """Whether the reference models are at hand."""
    return not OPTIONS.interpret and (OPTIONS.reference / "mlcg").is_dir()


def homeodomain(replicas: int, extended: bool = False) -> Case:
    """1ENH in five beads: the real one where the reference is at hand (folded), else as large and as dense."""
    if extended or not real():
        return batch(made(7 if OPTIONS.interpret else 269, PUBLISHED_SIZE, EXTENDED if extended else FOLDED), replicas)
    files = ("1enh_5b_random_schnet_exp_schnet.pt", "prior.pt", "1enh_5b_configurations.pt")
    case = imported(*files)
    return batch((*case[:2], small_last_layer(case[2]), case[3]), replicas)


@functools.cache
def small_last_layer(network: SchNet) -> SchNet:
    """Its random weights would tear the protein apart: the last layer is scaled down, in place, once."""
    network.output[-1].weight.data *= 0.02  # type: ignore[operator, union-attr]
    return network


def chignolin(replicas: int) -> Case:
    """Ten beads under mlcg's chignolin model, or a network of its size."""
    if real():
        return batch(imported("schnet_cln_ca_specialized_model_and_config.pt", ""), replicas)
    return batch(made(5 if OPTIONS.interpret else 10, CHIGNOLIN_SIZE, FOLDED), replicas)


def propagator(
    case: Case, precision: Precision, exact: bool = False, graphs: bool = True, tiles: Tiles | None = None
) -> tuple[CudaPropagator, State]:
    layout, terms, network, x = case
    carrier = CudaPropagator(
        layout, terms, LangevinMiddle(TIMESTEP, 1.0), 2026, SKIN, False, None,
        tables=None if exact else tables_of(network), precision=precision, device=DEVICE, graphs=graphs,
        tiles=Tiles() if tiles is None else tiles,
    )  # fmt: skip
    state = State.at(layout, x, 300.0)
    rng = np.random.default_rng(1)
    spread = np.sqrt(0.0019872 * 300.0 * 418.4 / layout.masses.numpy())[:, None]
    state.velocities.copy_(torch.from_numpy(spread * rng.normal(size=(layout.n_beads, 3))))
    carrier.evaluate(state)
    return carrier, state


def synchronize() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


# --- 1. checks


def run_checks() -> dict[str, Any]:
    """The check files of tests/gpu on this device, in parallel where pytest-xdist is there."""
    files = sorted(str(p) for p in (ROOT / "tests" / "gpu").glob("check_*.py"))
    if OPTIONS.interpret:
        return {"passed": True, "note": "left out: tests/gpu/test_interpreted.py runs them"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short", *files]
    try:
        import xdist  # noqa: F401

        command += ["-n", str(min(8, os.cpu_count() or 1))]
    except ImportError:
        pass
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout[-6000:])
    return {"passed": done.returncode == 0, "output": done.stdout[-8000:] + done.stderr[-1000:]}


# --- 2. graphs


def run_graphs() -> dict[str, Any]:
    """Graph against eager, other groupings of the same steps, another batch; and steps that never wait for the host."""
    steps = 3 if OPTIONS.interpret else 40
    rows: dict[str, Any] = {}
    for precision in ("fp32",) if OPTIONS.interpret else ("fp32", "mixed16"):
        states = {}
        ways = (("graph", True, (steps,)), ("eager", False, (steps,)), ("split", True, (1, steps - 1)))
        for name, graphs, blocks in ways:
            carrier, state = propagator(homeodomain(3), precision, graphs=graphs)  # type: ignore[arg-type]
            for block in blocks:
                carrier.advance(state, block)
            states[name] = state
        alone, own = propagator(homeodomain(1), precision)  # type: ignore[arg-type]
        own.velocities.copy_(propagator(homeodomain(3), precision)[1].velocities[: own.velocities.shape[0]])  # type: ignore[arg-type]
        alone.advance(own, steps)
        first = slice(0, own.positions.shape[0])
        rows[precision] = {
            "graph is eager": bool(torch.equal(states["graph"].positions, states["eager"].positions)),
            "blocks change nothing": bool(torch.equal(states["graph"].positions, states["split"].positions)),
            "batch changes nothing": bool(torch.equal(states["graph"].positions[first], own.positions)),
            "finite": bool(torch.isfinite(states["graph"].positions).all()),
        }
    rows["no step waits for the host"] = waits_for_host()
    flags = [v for row in rows.values() for v in (row.values() if isinstance(row, dict) else (row,))]
    return {"passed": all(flags), **rows}


def waits_for_host() -> bool:
    """True if 40 steps run with PyTorch's synchronisation detector on, as a graph and one by one."""
    if DEVICE == "cpu":
        return True
    for graphs in (True, False):
        carrier, state = propagator(homeodomain(2), "fp32", graphs=graphs)
        carrier.advance(state, 40)  # compiled and captured
        torch.cuda.set_sync_debug_mode("error")
        try:
            carrier._run(40)
        except RuntimeError as error:
            print(f"a step waits for the host: {error}")
            return False
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return True


# --- 3. errors

BARS = {("fp64", False): 1e-5, ("fp64", True): 1e-9, ("fp32", False): 1e-5, ("fp32", True): 1e-5,
        ("mixed16", False): 2e-3, ("mixed16", True): 2e-3}  # fmt: skip


def run_errors() -> dict[str, Any]:
    """Relative force and energy errors of the network, by precision and kind of filter, on jittered start frames."""
    rows, passed = [], True
    for name, case in (("1enh-5b folded", homeodomain(2)), ("1enh-5b extended", homeodomain(2, extended=True)),
                       ("chignolin-ca", chignolin(8))):  # fmt: skip
        layout, terms, network, x = case
        schnet = next(t for t in terms if isinstance(t, SchNetPotential))
        rng = np.random.default_rng(3)
        positions = torch.from_numpy(x + 0.2 * rng.normal(size=x.shape) + 30.0)
        expected = schnet.energy_and_forces(positions, layout, all_pairs(positions, layout, schnet.cutoff))
        for (precision, exact), bar in BARS.items():
            forces = DeviceForces(
                layout,
                [schnet],
                None if exact else tables_of(network),
                precision,
                SKIN,
                None,
                DEVICE,  # type: ignore[arg-type]
            )
            found = DevicePotential(forces).energy_and_forces(positions, layout, None)
            error = float((found.forces - expected.forces).norm() / expected.forces.norm())
            bias = float((found.energy - expected.energy).mean())
            fine = OPTIONS.interpret or (np.isfinite(error) and error <= bar)
            passed &= bool(fine)
            filters = "exact" if exact else "table"
            rows.append({"system": name, "precision": precision, "filters": filters, "force_error": error,
                         "mean_energy_error": bias, "energy": float(expected.energy.mean()), "bar": bar})  # fmt: skip
            print(
                f"{name:18} {precision:8} {filters:6} force error {error:.2e} (bar {bar:.0e}), mean energy error "
                f"{bias:+.2e} of {rows[-1]['energy']:.3g} kcal/mol{'' if fine else '   <- TOO LARGE'}",
                flush=True,
            )
    return {"passed": passed, "rows": rows}


# --- 4. benchmarks


def measured(step: Callable[[int], object], seconds: float) -> float:
    """Steps a second: median of five stretches after a warm-up; `step(n)` does n steps."""
    if OPTIONS.interpret:
        started = time.perf_counter()
        step(1)
        return 1.0 / (time.perf_counter() - started)
    step(48)
    synchronize()
    started = time.perf_counter()
    step(16)
    synchronize()
    n = max(16, int(16 * seconds / 5 / (time.perf_counter() - started)) // 16 * 16)
    rates = []
    for _ in range(5):
        started = time.perf_counter()
        step(n)
        synchronize()
        rates.append(n / (time.perf_counter() - started))
    return float(np.median(rates))


def benchmark(
    name: str, case: Case, precision: Precision, exact: bool = False, tiles: Tiles | None = None
) -> dict[str, Any]:
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    carrier, state = propagator(case, precision, exact, tiles=tiles)
    rate = measured(lambda n: carrier.advance(state, n), OPTIONS.seconds)
    replicas = case[0].n_replicas
    near = carrier.forces.neighbors_per_bead()
    row = {
        "system": name, "precision": precision, "filters": "exact" if exact else "table", "replicas": replicas,
        "beads": case[0].systems[0].n_beads, "neighbors_per_bead": round(near, 1),
        "directed_edges": round(near * case[0].n_beads), "steps_per_s": rate, "step_replicas_per_s": rate * replicas,
        "ns_per_day": rate * replicas * TIMESTEP * 86.4,
        "peak_memory_MB": torch.cuda.max_memory_allocated() / 1e6 if DEVICE == "cuda" else None,
        "finite": bool(torch.isfinite(state.energy).all()), "graphs": carrier._graphs is not None,
    }  # fmt: skip
    print(
        f"{name:18} {precision:8} {row['filters']:6} {replicas:4} replicas, {near:5.0f} neighbours: "
        f"{rate:9.1f} steps/s, {row['ns_per_day']:9.0f} ns/day aggregate{'' if row['finite'] else '   <- NOT FINITE'}",
        flush=True,
    )
    return row


def by_kernel(case: Case, precision: Precision) -> dict[str, float]:
    """Microseconds of each kernel in one step, from PyTorch's profiler, launched one by one."""
    if DEVICE == "cpu":
        return {}
    from torch.profiler import ProfilerActivity, profile

    carrier, state = propagator(case, precision, graphs=False)
    carrier.advance(state, 5)
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        carrier.advance(state, 10)
        synchronize()
    times = {e.key: e.self_device_time_total / 10 for e in found.key_averages() if e.self_device_time_total > 0}
    return dict(sorted(times.items(), key=lambda item: -item[1])[:20])


def plain_torch(case: Case) -> float:
    """Evaluations a second of the plain network with autograd, all replicas in one batch (as mlcg does)."""
    layout, terms, network, x = case
    schnet = next(t for t in terms if isinstance(t, SchNetPotential))
    model = SchNet(network.hyper)
    model.load_state_dict(network.state_dict())
    model = model.float().to(DEVICE).requires_grad_(False)
    positions = torch.from_numpy(x).float().to(DEVICE)
    types = schnet.types[0].repeat(layout.n_replicas).to(DEVICE)
    pairs = all_pairs(positions, layout, schnet.cutoff)

    def evaluate(n: int) -> None:
        for _ in range(n):
            y = positions.clone().requires_grad_()
            energy = model(y[pairs.second] - y[pairs.first], types, pairs.first, pairs.second).sum()
            torch.autograd.grad(energy, y)

    return measured(evaluate, OPTIONS.seconds)


def ceilings() -> dict[str, float]:
    """What this device copies (GB/s, read plus written) and multiplies (fp32, TFLOP/s)."""
    if DEVICE == "cpu":
        return {}
    source = torch.randn(256 * 2**20, device=DEVICE)
    target = torch.empty_like(source)
    a = torch.randn(4096, 4096, device=DEVICE)
    torch.backends.cuda.matmul.allow_tf32 = False
    copy = triton.testing.do_bench(lambda: target.copy_(source), return_mode="median")
    product = triton.testing.do_bench(lambda: a @ a, return_mode="median")
    return {"copy_GB_per_s": 2 * source.nbytes / copy / 1e6, "fp32_matmul_TFLOP_per_s": 2 * 4096**3 / product / 1e9}


def standard_set() -> Iterator[tuple[str, Callable[[], Case], Precision, bool]]:
    sizes: Sequence[int] = (1,) if OPTIONS.interpret else (1, 8, 64, 128)
    for precision in ("fp32", "mixed16"):
        for replicas in sizes:
            yield "1enh-5b folded", lambda r=replicas: homeodomain(r), precision, False  # type: ignore[misc]
            yield "1enh-5b extended", lambda r=replicas: homeodomain(r, True), precision, False  # type: ignore[misc]
    for replicas in (2,) if OPTIONS.interpret else (1, 64, 512):
        yield "chignolin-ca", lambda r=replicas: chignolin(r), "fp32", False  # type: ignore[misc]
    yield "1enh-5b folded", lambda: homeodomain(sizes[-1] // 2 or 1), "fp32", True


def attempt(what: str, of: Callable[[], Any]) -> Any:
    """The value, or the text of the error: one failure must not cost the rest of the measurements."""
    try:
        return of()
    except Exception as error:
        traceback.print_exc()
        print(f"{what}: {error}", flush=True)
        return {"system": what, "error": str(error)[-2000:]}


def run_bench() -> dict[str, Any]:
    many = 1 if OPTIONS.interpret else 64
    rows = [attempt(n, lambda n=n, c=c, p=p, e=e: benchmark(n, c(), p, e)) for n, c, p, e in standard_set()]
    result: dict[str, Any] = {
        "rows": rows,
        "ceilings": attempt("ceilings", ceilings),
        "us_by_kernel": {p: attempt(p, lambda p=p: by_kernel(homeodomain(many), p)) for p in ("fp32", "mixed16")},
        "plain_torch_evaluations_per_s": {
            str(r): attempt("plain torch", lambda r=r: plain_torch(homeodomain(r)))
            for r in ((1,) if many == 1 else (1, 8))
        },
    }
    if OPTIONS.tune:
        shapes = [(t, p) for p in ("fp32", "mixed16") for t in tiles()]
        result["tiles"] = [attempt(str(t), lambda t=t, p=p: tuned(t, p, many)) for t, p in shapes]
    return {"passed": all("error" not in row and row["finite"] for row in rows), **result}


def tiles() -> list[Tiles]:
    base = Tiles()
    if OPTIONS.interpret:
        return [replace(base, edges=16)]
    message = [replace(base, channels=c, edges=e, warps=w) for c in (8, 16, 32, 64, 128)
               for e, w in ((16, 1), (32, 1), (32, 2), (64, 2)) if c * e <= 4096]  # fmt: skip
    layers = [replace(base, precision=p, rows=r, columns=c, dense_warps=w) for p in ("ieee", "tf32x3")
              for r, c, w in ((32, 64, 4), (64, 64, 4), (32, 128, 4), (64, 128, 8))]  # fmt: skip
    return message + layers


def tuned(shape: Tiles, precision: Precision, replicas: int) -> dict[str, Any]:
    print(shape)
    return benchmark("1enh-5b folded", homeodomain(replicas), precision, tiles=shape) | {"tiles": str(shape)}


def main() -> int:
    device = platform.processor() if DEVICE == "cpu" else torch.cuda.get_device_name()
    print(f"{device}, torch {torch.__version__}, triton {triton.__version__}, reference models "
          f"{'used' if real() else 'not used: systems are made'}", flush=True)  # fmt: skip
    today = datetime.date.today().isoformat()
    results: dict[str, Any] = {
        "device": device, "date": today, "torch": torch.__version__, "triton": triton.__version__,
        "interpreted": OPTIONS.interpret,
    }  # fmt: skip
    OPTIONS.out.mkdir(parents=True, exist_ok=True)
    out = OPTIONS.out / f"gpu_{'interpreter' if OPTIONS.interpret else device.replace(' ', '_')}_{today}.json"
    parts = {"checks": run_checks, "graphs": run_graphs, "errors": run_errors, "bench": run_bench}
    for name in OPTIONS.only:
        print(f"--- {name}", flush=True)
        started = time.perf_counter()
        found = attempt(name, parts[name])
        results[name] = {"passed": False} | found | {"seconds": time.perf_counter() - started}
        out.write_text(json.dumps(results, indent=1) + "\n")  # after each part: a run that is cut off keeps them
    failed = [name for name in OPTIONS.only if not results[name]["passed"]]
    print(f"written to {out}; " + (f"FAILED: {', '.join(failed)}" if failed else "all passed"))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())

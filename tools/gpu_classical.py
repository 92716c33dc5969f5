"""The section of `gpu_check.py` on force fields without a network: forces, bits, speed, and how far from the limit."""

from __future__ import annotations

import functools
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gpu_part import DEVICE, NOTES, OPTIONS, SKIN, clock, synchronize
from gpu_timings import measured

TIMESTEP, FRICTION = 0.01, 0.01
"""ps and 1/ps, as CALVADOS is run."""
A1 = (
    "GSMASASSSQRGRSGSGNFGGGRGGGFGGNDNFGRGGNFSGRGGFGGSRGGGGYGGSGDGYNGFGNDGSNFGGGGSYNDFGNYNNQSSNFGPMKGGNFGGRSSGGSGGGGQYFAKPRNQGGY"
    "GGSSSSSSYGSGRRF"
)
"""The low-complexity domain of hnRNPA1, 137 residues."""
FORCEFIELDS = ("calvados2", "calvados3", "hps-urry", "hps-kr", "mpipi", "mpipi-recharged")
BAR = 1e-5
"""Of the force error of fp32, relative to the rms force: that of networks."""

OPERATIONS = {"": 30, "ashbaugh_hatch": 20, "ashbaugh_hatch_own_cutoff": 20, "yukawa": 10, "yukawa_shifted": 10,
              "wang_frenkel": 35, "excluded_volume": 20}  # fmt: skip
"""Instructions that a pair takes in float32: "" for its displacement, its force and the sums, and of each form."""
STATE_BYTES = 152
"""A bead's position, velocity and force, read and written, and its mass."""


@dataclass(frozen=True)
class Batch:
    """What is run: potentials of a layout, start positions [B, 3] Å, box edges in Å or None."""

    layout: Any
    terms: Any
    x: np.ndarray
    box: tuple[float, float, float] | None = None


# --- what is run


def sampled(layout: Any, potential: Any, x: np.ndarray, box: Any = None, gpu: Any = None, steps: int = 2000) -> Batch:
    """The batch after `steps` steps at 300 K from minimized beads: a frame as runs meet them."""
    from mdflash.core.state import State
    from mdflash.engine.engine import Engine
    from mdflash.engine.settings import Backend, Dynamics
    from mdflash.integrators.langevin import LangevinMiddle

    dynamics = Dynamics(LangevinMiddle(TIMESTEP, FRICTION), seed=1, skin=SKIN)
    engine = Engine(layout, potential, State.at(layout, x, 300.0, box), dynamics, Backend(gpu=gpu))
    engine.minimize(500)
    engine.draw_velocities()
    engine.run(steps)
    return Batch(layout, potential.terms, engine.state.positions.numpy().copy(), box)


def one_molecule(name: str) -> Batch:
    """The Gō model of chignolin as it is shipped, or 50 residues of A1 in a model for any sequence."""
    from mdflash.core.state import Layout
    from mdflash.forcefields.build import build_potential
    from mdflash.forcefields.forcefield import load_forcefield
    from mdflash.mapping.chain import chain_of

    ff = load_forcefield(name)
    system, frames = ff.system() if name.startswith("go") else chain_of(A1[:50], ff, "a1")
    assert frames is not None
    layout = Layout((system,), (1,))
    return sampled(layout, build_potential([ff], layout), frames[0])


def sequences(count: int, shortest: int, longest: int) -> list[str]:
    """Random ones with the composition of A1."""
    rng = np.random.default_rng(1)
    return ["".join(rng.choice(list(A1), n)) for n in np.linspace(shortest, longest, count).astype(int)]


def disordered(count: int) -> Batch:
    """As many proteins, each of another length from 30 to 300 residues and another sequence, in CALVADOS 2."""
    from mdflash.core.gpu import find_gpu
    from mdflash.core.state import Layout
    from mdflash.forcefields.build import build_potential
    from mdflash.forcefields.forcefield import load_forcefield
    from mdflash.mapping.chain import chain_of

    ff = load_forcefield("calvados2")
    sizes = (5, 9) if OPTIONS.interpret else (30, 300)
    made = [chain_of(text, ff, f"idp{k}") for k, text in enumerate(sequences(count, *sizes))]
    layout = Layout(tuple(system for system, _ in made), (1,) * count)
    potential = build_potential([ff] * count, layout)
    x = np.concatenate([x[0] for _, x in made])
    return sampled(layout, potential, x, gpu=find_gpu(), steps=0 if OPTIONS.interpret else 2000)


def slab(copies: int, residues: int, box: tuple[float, float, float]) -> Batch:
    """A slab of A1 in a box, in CALVADOS 2."""
    from mdflash.core.gpu import find_gpu
    from mdflash.core.state import Layout
    from mdflash.forcefields.build import build_potential
    from mdflash.forcefields.forcefield import load_forcefield
    from mdflash.mapping.chain import chain_of
    from mdflash.mapping.many import Copies, fill_box

    ff = load_forcefield("calvados2")
    system, _ = chain_of(A1[:residues], ff, "a1")
    filled = fill_box([Copies(ff, system, copies)], box, 1, slab=True)
    layout = Layout((filled.system,), (1,))
    potential = build_potential([filled.forcefield], layout)
    steps = 0 if OPTIONS.interpret else 2000
    return sampled(layout, potential, filled.frames[0], box, find_gpu(), steps)


# --- what is asked


def classical() -> None:
    """Errors of every shipped model; bits; the two batches in both precisions, and their kernels; drift, at last."""
    for name in ("go-chignolin", "calvados2") if OPTIONS.interpret else ("go-chignolin", *FORCEFIELDS):
        NOTES.attempt(f"errors {name}", functools.partial(error_of, name))
    few = functools.cache(functools.partial(disordered, 2 if OPTIONS.interpret else 16))
    for precision in ("fp32",) if OPTIONS.interpret else ("fp32", "fp64"):
        NOTES.attempt(f"bits {precision}", lambda p=precision: same_bits(few(), p))  # type: ignore[misc]
    NOTES.attempt("no host", lambda: no_step_waits(few()))
    many = functools.cache(functools.partial(disordered, 2 if OPTIONS.interpret else 1024))
    tiny = (2, 7, (90.0, 90.0, 300.0))
    dense = functools.cache(lambda: slab(*(tiny if OPTIONS.interpret else (100, 137, (150.0, 150.0, 1500.0)))))
    for name, made in (("1,024 disordered proteins", many), ("slab of 100 x 137", dense)):
        for precision in ("fp32", "fp64"):
            NOTES.attempt(f"{name} {precision}", lambda n=name, m=made, p=precision: speed(n, m(), p))  # type: ignore[misc]
    for name in ("go-chignolin",) if OPTIONS.interpret else ("go-chignolin", "calvados2"):
        NOTES.attempt(f"drift {name}", functools.partial(drift, name))


def error_of(name: str) -> None:
    """Forces and energy in fp32 and fp64 against plain torch, on a frame that was sampled on the CPU."""
    from mdflash.engine.gpu.forces import DeviceForces
    from mdflash.neighbors.reference import all_pairs
    from mdflash.potentials.base import SumPotential

    batch = one_molecule(name)
    x = torch.from_numpy(batch.x)
    potential = SumPotential(batch.terms)
    pairs = None if potential.cutoff is None else all_pairs(x, batch.layout, potential.cutoff, None)
    expected = potential.energy_and_forces(x, batch.layout, pairs)
    rms = float(expected.forces.square().mean().sqrt())
    for precision, bar in (("fp32", BAR), ("fp64", 1e-11)):
        forces = DeviceForces(batch.layout, batch.terms, {}, precision, SKIN, None, DEVICE)  # type: ignore[arg-type]
        forces.x.copy_(x)
        forces.evaluate()
        off = forces.f.cpu() - expected.forces
        error, worst = float(off.square().mean().sqrt()) / rms, float(off.abs().max()) / rms
        energy = float((forces.energy.cpu() - expected.energy)[0])
        NOTES.row(
            error <= bar,
            f"{name:16} {precision}: force error {error:.1e} of the rms force ({rms:.1f} kcal/mol/Å), largest "
            f"{worst:.1e}; energy {float(expected.energy[0]):.2f} kcal/mol, off by {energy:+.1e}",
            what=name, precision=precision, force_error=error, largest=worst, rms_force=rms, energy_error=energy,
            energy=float(expected.energy[0]), bar=bar,
        )  # fmt: skip


def drift(name: str) -> None:
    """What Verlet makes of the energy of 16 replicas in a nanosecond, in both precisions."""
    from mdflash.core.state import Layout
    from mdflash.integrators.verlet import Verlet
    from mdflash.units import ACCELERATION, BOLTZMANN

    alone = one_molecule(name)
    replicas, timestep = (1, 0.002) if OPTIONS.interpret else (16, 0.002)
    layout = Layout(alone.layout.systems, (replicas,))
    batch = Batch(layout, alone.terms, np.tile(alone.x, (replicas, 1)))
    blocks, steps = (2, 1) if OPTIONS.interpret else (50, 10_000)
    for precision in ("fp32",) if OPTIONS.interpret else ("fp32", "fp64"):
        carrier, state = propagator(batch, precision, scheme=Verlet(timestep))
        mass = layout.masses.numpy()[:, None]
        spread = np.sqrt(BOLTZMANN * 300.0 * ACCELERATION / mass)
        state.velocities.copy_(torch.from_numpy(spread * np.random.default_rng(5).normal(size=(layout.n_beads, 3))))
        energies = []
        for _ in range(blocks):
            carrier.advance(state, steps)
            kinetic = 0.5 * (mass * state.velocities.numpy() ** 2).sum() / ACCELERATION
            energies.append((float(state.energy.sum()) + kinetic) / (3 * layout.n_beads))
        time_ns = timestep * steps * np.arange(blocks) / 1000.0
        slope = float(np.polyfit(time_ns, energies, 1)[0])
        NOTES.row(
            np.isfinite(slope), f"{name} {precision}: energy drifts by {slope:+.1e} kcal/mol/ns for each degree of "
            f"freedom in {time_ns[-1]:.2f} ns, spread {np.std(energies):.1e}", system=name, precision=precision,
            drift=slope, spread=float(np.std(energies)), ns=float(time_ns[-1]),
        )  # fmt: skip


def propagator(batch: Batch, precision: str, graphs: bool = True, scheme: Any = None) -> Any:
    """(CudaPropagator, State), evaluated."""
    from mdflash.core.state import State
    from mdflash.engine.gpu.loop import CudaPropagator
    from mdflash.engine.settings import Dynamics
    from mdflash.integrators.langevin import LangevinMiddle

    dynamics = Dynamics(scheme or LangevinMiddle(TIMESTEP, FRICTION), 2026, SKIN)
    carrier = CudaPropagator(
        batch.layout, batch.terms, dynamics, batch.box, tables={}, precision=precision, device=DEVICE,  # type: ignore[arg-type]
        graphs=graphs,
    )  # fmt: skip
    state = State.at(batch.layout, batch.x, 300.0, batch.box)
    carrier.evaluate(state)
    return carrier, state


def same_bits(batch: Batch, precision: str) -> None:
    """Graph against eager, other groupings of the same steps, and the first molecule on its own."""
    from mdflash.core.state import Layout
    from mdflash.forcefields.build import build_potential
    from mdflash.forcefields.forcefield import load_forcefield

    steps = 3 if OPTIONS.interpret else 200
    first = Layout(batch.layout.systems[:1], (1,))
    alone = Batch(first, build_potential([load_forcefield("calvados2")], first).terms, batch.x[: first.n_beads])
    ends = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="no CUDA graphs")
        for name, what, graphs, blocks in (
            ("graph", batch, True, (steps,)), ("eager", batch, False, (steps,)), ("split", batch, True, (1, steps - 1)),
            ("alone", alone, True, (steps,)),
        ):  # fmt: skip
            carrier, state = propagator(what, precision, graphs)
            for block in blocks:
                carrier.advance(state, block)
            ends[name] = state.positions
    for what, good in {
        "a graph gives the bits of launches one by one": torch.equal(ends["graph"], ends["eager"]),
        "how steps are grouped changes no bit": torch.equal(ends["graph"], ends["split"]),
        "the batch changes no bit": torch.equal(ends["graph"][: first.n_beads], ends["alone"]),
        "positions are finite": bool(torch.isfinite(ends["graph"]).all()),
    }.items():
        NOTES.row(good, f"classical {precision}: {what}{'' if good else ': NOT SO'}", precision=precision, what=what)


def no_step_waits(batch: Batch) -> None:
    """Steps with PyTorch's detector of synchronizations on."""
    steps = 2 if OPTIONS.interpret else 40
    carrier, state = propagator(batch, "fp32")
    carrier.advance(state, steps)
    if DEVICE == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        carrier._run(state.step, steps)
    finally:
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    NOTES.row(True, "no step of a classical batch waits for the host", what="no host synchronization, classical")


def work(batch: Batch) -> dict[str, float]:
    """What a step has to do: directed pairs within the cutoffs, and instructions and bytes of a step."""
    from mdflash.engine.gpu.forces import DeviceForces

    forces = DeviceForces(batch.layout, batch.terms, {}, "fp64", 0.0, batch.box, DEVICE)
    forces.x.copy_(torch.from_numpy(batch.x))
    forces.evaluate()
    pairs = forces._pairs
    search = pairs.lists.groups.search[pairs.lists.groups.of_row.long()].cpu()
    inside = np.bincount(search, weights=_bits(pairs.lists.columns).numpy(), minlength=len(pairs.forms))
    each = [OPERATIONS[""] + sum(OPERATIONS[form] for form in forms) for forms in pairs.forms]
    columns = int(pairs.lists.columns.length.sum())
    return {
        "pairs": float(inside.sum()), "instructions": float((inside * np.array(each)).sum()),
        "bytes": float(STATE_BYTES * batch.layout.n_beads + 8 * columns),
    }  # fmt: skip


def _bits(columns: Any) -> torch.Tensor:
    """[rows] pairs that stand in the list."""
    there = torch.arange(columns.capacity, device=columns.length.device) < columns.length[:, None]
    acts = torch.where(there, columns.acts, 0)
    return sum((acts >> k) & 1 for k in range(32)).sum(dim=1).cpu()  # type: ignore[union-attr]


def speed(name: str, batch: Batch, precision: str) -> None:
    """Steps a second, and what the device could do."""
    carrier, state = propagator(batch, precision)
    rate, least = measured(lambda n: carrier.advance(state, n), OPTIONS.seconds)
    lists = carrier.forces._pairs.lists
    tiles = int(lists.columns.length.sum())
    need = work(batch)
    filled = need["pairs"] / max(32 * tiles, 1)
    limit, why = limit_of(need)
    beads, replicas = batch.layout.n_beads, batch.layout.n_replicas
    finite = bool(torch.isfinite(state.energy).all())
    shown = "" if limit is None else f", {100 * rate * limit:.1f} % of the limit ({why} take {1e6 * limit:.1f} µs)"
    NOTES.row(
        finite,
        f"{name} {precision}, {beads:,} beads: {rate:.1f} steps/s, {rate * replicas * TIMESTEP * 86.4:,.0f} ns/day in "
        f"all{shown}; {need['pairs'] / beads:.0f} pairs a bead fill {100 * filled:.0f} % of the lanes"
        f"{'' if finite else '  NOT FINITE'}",
        system=name, precision=precision, beads=beads, replicas=replicas, steps_per_s=rate, least_steps_per_s=least,
        ns_per_day=rate * replicas * TIMESTEP * 86.4, limit_s=limit, limited_by=why, tiles=tiles, lanes_filled=filled,
        capacity=lists.columns.capacity, replayed=carrier.replayed, us_by_kernel=by_kernel(batch, precision), **need,
    )  # fmt: skip


def limit_of(need: dict[str, float]) -> tuple[float | None, str]:
    """Seconds that the device needs at least for a step in fp32, and for what."""
    if DEVICE == "cpu" or not (hertz := clock()):
        return None, ""
    rate = torch.cuda.get_device_properties(0).multi_processor_count * 128 * hertz
    source = torch.zeros(64 * 2**20, device=DEVICE)
    target = torch.empty_like(source)
    target.copy_(source)
    synchronize()
    began = time.perf_counter()
    for _ in range(10):
        target.copy_(source)
    synchronize()
    bandwidth = 20 * source.nbytes / (time.perf_counter() - began)
    times = {"instructions": need["instructions"] / rate, "bytes": need["bytes"] / bandwidth}
    why = max(times, key=lambda kind: times[kind])
    return times[why], why


def by_kernel(batch: Batch, precision: str) -> dict[str, float]:
    """Microseconds of each kernel in one step, launched one by one."""
    if DEVICE == "cpu":
        return {}
    from torch.profiler import ProfilerActivity, profile

    carrier, state = propagator(batch, precision, graphs=False)
    carrier.advance(state, 5)
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        carrier.advance(state, 20)
        synchronize()
    times = {e.key: e.self_device_time_total / 20 for e in found.key_averages() if e.self_device_time_total > 0}
    return dict(sorted(times.items(), key=lambda item: -item[1])[:20])

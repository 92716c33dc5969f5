"""Sections of `gpu_check.py` that measure speed: the standard set, backbones, large systems, kernels, tiles."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gpu_part import DEVICE, NOTES, OPTIONS, SKIN, SYSTEMS, TIMESTEP, Case, synchronize

from mdflash.errors import ForceFieldError

STRETCH = 64
"""Steps from the start frame on, again and again: 1ENH's model unfolds, and after 700 steps has half the neighbors."""


def measured(step: Callable[[int], object], seconds: float, stretch: int = STRETCH) -> tuple[float, float]:
    """Steps a second, median and least of five measurements after a warm-up; `step(n)` does n steps."""
    if OPTIONS.interpret:
        began = time.perf_counter()
        step(1)
        rate = 1.0 / (time.perf_counter() - began)
        return rate, rate
    step(stretch)
    synchronize()
    began = time.perf_counter()
    step(stretch)
    synchronize()
    stretches = max(1, int(seconds / 5 / (time.perf_counter() - began)))
    rates = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(stretches):
            step(stretch)
        synchronize()
        rates.append(stretch * stretches / (time.perf_counter() - began))
    return float(np.median(rates)), min(rates)


def benchmark(
    name: str, case: Case, precision: str, filters: str = "table", tiles: Any = None, every: int = 1
) -> float:
    """A row of the results; steps a second."""
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    carrier, state = SYSTEMS.propagator(case, precision, filters, tiles=tiles, every=every)
    start = {name: getattr(state, name).clone() for name in ("positions", "velocities", "forces", "energy")}
    near_first = carrier.forces.neighbors_per_bead()

    def from_the_start(n: int) -> None:
        for name, value in start.items():
            getattr(state, name).copy_(value)
        state.step = 0
        carrier.advance(state, n)

    rate, least = measured(from_the_start, OPTIONS.seconds, 16 if filters == "exact" else STRETCH)
    whole = time.perf_counter() - began
    replicas, beads = case.layout.n_replicas, case.layout.n_beads
    near_last = carrier.forces.neighbors_per_bead()
    near = 0.5 * (near_first + near_last)
    finite = bool(torch.isfinite(state.energy).all())
    memory = torch.cuda.max_memory_allocated() / 1e6 if DEVICE == "cuda" else 0.0
    ns_per_day = rate * replicas * TIMESTEP * 86.4
    NOTES.row(
        finite,
        f"{name:17} {precision:8} {filters:8} {replicas:4} replicas, {near:5.0f} neighbors: {rate:9.1f} steps/s, "
        f"{ns_per_day:9.0f} ns/day in all, {memory:7.0f} MB{'' if finite else '  NOT FINITE'}",
        system=name, precision=precision, filters=filters, replicas=replicas, beads=beads // replicas,
        neighbors_per_bead=round(near, 1), neighbors_first_last=[round(near_first, 1), round(near_last, 1)],
        directed_edges=round(near * beads), steps_per_s=rate,
        least_steps_per_s=least,
        step_replicas_per_s=rate * replicas, ns_per_day=ns_per_day, us_per_bead=1e6 / rate / beads,
        peak_memory_MB=memory, finite=finite, graphs=carrier._graphs is not None, replayed=carrier.replayed,
        capacity=carrier.forces.capacity, network_every=every, seconds=whole, tiles=str(tiles) if tiles else "default",
    )  # fmt: skip
    return rate


def standard_set() -> Iterator[tuple[str, str, int, str, str]]:
    """Name, case, replicas, precision, filters; what matters most comes first."""
    if OPTIONS.interpret:
        yield "1enh-5b folded", "folded", 2, "fp32", "table"
        yield "chignolin-ca", "chignolin", 2, "mixed16", "exact"
        return
    for replicas, precisions in ((64, ("mixed16", "fp32")), (1, ("fp32", "mixed16")), (8, ("fp32",)), (128, ("fp32",))):
        for precision in precisions:
            for state in ("folded", "extended"):
                yield f"1enh-5b {state}", state, replicas, precision, "table"
    for replicas in (64, 1, 512):
        yield "chignolin-ca", "chignolin", replicas, "fp32", "table"
    yield "1enh-5b folded", "folded", 64, "fp32", "exact"


def bench() -> None:
    """The standard systems, then plain torch with autograd on the same device."""
    for name, case, replicas, precision, filters in standard_set():
        NOTES.attempt(
            f"{name} {replicas} {precision}",
            lambda n=name, c=case, r=replicas, p=precision, f=filters: benchmark(n, SYSTEMS.one(c).times(r), p, f),  # type: ignore[misc]
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


# --- biases


def biases() -> None:
    """Forces of every bias against plain torch, and steps/s with biases and with impulses against those without."""
    from gpu_systems import biases_for

    one = SYSTEMS.one("folded")
    for which in biases_for(one.layout, one.terms, one.x):
        NOTES.attempt(f"bias {which}", functools.partial(bias_error, which))
    for name in ("folded",) if OPTIONS.interpret else ("folded", "chignolin"):
        case = SYSTEMS.one(name).times(2 if OPTIONS.interpret else 64)
        kinds: tuple[tuple[str, Case, int], ...] = (
            ("no bias", case, 1), ("distance", case.biased("distance"), 1), ("rmsd", case.biased("rmsd"), 1),
            ("grid", case.biased("plane"), 1), ("all", case.biased("all"), 1), ("network_every 2", case, 2),
            ("network_every 4", case, 4),
        )  # fmt: skip
        for what, biased, every in kinds[::6] if OPTIONS.interpret else kinds:
            NOTES.attempt(
                f"{name}, {what}", functools.partial(benchmark, f"{name}, {what}", biased, "fp32", every=every)
            )  # type: ignore[arg-type]


def bias_error(which: str) -> None:
    from mdflash.engine.gpu.forces import DeviceForces, DevicePotential
    from mdflash.potentials.base import SumPotential

    case = SYSTEMS.one("folded").times(2)
    acting = case.biased(which).terms[len(case.terms) :]
    x = torch.from_numpy(case.x + 0.2 * np.random.default_rng(5).normal(size=case.x.shape))
    expected = SumPotential(acting).energy_and_forces(x, case.layout, None)
    forces = DeviceForces(case.layout, acting, None, "fp64", SKIN, None, DEVICE)
    found = DevicePotential(forces).energy_and_forces(x, case.layout, None)
    error = float((found.forces - expected.forces).norm() / expected.forces.norm())
    NOTES.row(error <= 1e-9, f"bias {which}: force error {error:.1e} (bar 1e-9)", what=which, force_error=error)


# --- split


def split() -> None:
    """Filters in two parts against tables, system by system: which is faster, and by how much."""
    cases = (("folded", 64), ("extended", 64), ("folded", 1), ("chignolin", 64))
    for case, replicas in cases[:1] if OPTIONS.interpret else cases:
        for precision in ("mixed16", "fp32"):
            NOTES.attempt(f"{case} {precision}", functools.partial(split_or_table, case, replicas, precision))


def split_or_table(name: str, replicas: int, precision: str) -> None:
    """Steps a second by tables and by cosines, as many as a run chooses, or 16 or 32; each is also a row of its own."""
    case = SYSTEMS.one(name).times(1 if OPTIONS.interpret else replicas)
    rates: dict[str, float] = {}
    every = (
        ("split-16", "split-32") if name in ("folded", "extended") and replicas > 1 and not OPTIONS.interpret else ()
    )
    for filters in ("table", "split", "gathered", *every):
        try:
            rates[filters] = benchmark(name, case, precision, filters)
        except ForceFieldError as error:  # not with so few cosines, or not smooth enough at all
            NOTES.row(True, f"{name} {precision} {filters}: {error}", system=name, filters=filters, refused=str(error))
    if "split" not in rates:
        return
    (chosen,) = SYSTEMS.filters_of(case.network, precision, "split").values()
    best = max(rates, key=lambda filters: rates[filters])
    ratio = rates["split"] / rates["table"]
    many = case.layout.n_replicas
    NOTES.row(
        True, f"{name} {precision}, {many} replicas: {best} is fastest; `filters: split` is {ratio:.2f} times as fast "
        f"as tables; {chosen.describe()}", system=name, precision=precision, replicas=many,
        steps_per_s_by_filters=rates, fastest=best, split_over_table=ratio,
        gathered_over_split=rates["gathered"] / rates["split"] if "gathered" in rates else None, rank=chosen.far.rank,
        start=chosen.far.start,
    )  # fmt: skip


# --- backbones

RULES: dict[str, dict[str, Any]] = {
    "plain": {"rule": "plain", "branch_scale": "one"}, "prenorm": {"rule": "prenorm"}, "mgt": {"rule": "mgt"},
    "delta": {"rule": "delta"}, "delta, 4 streams": {"rule": "delta", "streams": 4},
    "hyper, 4 streams": {"rule": "hyper", "streams": 4}, "geometric, 4 streams": {"rule": "geometric", "streams": 4},
}  # fmt: skip


def backbones() -> None:
    """Steps of the folded protein with networks of random weights, their blocks joined by every rule."""
    case = SYSTEMS.one("folded").times(1 if OPTIONS.interpret else 16)
    for name, options in RULES.items():
        NOTES.attempt(name, lambda n=name, o=options: benchmark(n, joined(case, o), "fp32"))  # type: ignore[misc]


def joined(case: Case, options: dict[str, Any]) -> Case:
    """The case with another network: random weights, the blocks joined by that rule."""
    from gpu_systems import random_network

    from mdflash.potentials.backbones.backbone import Backbone
    from mdflash.potentials.schnet.potential import SchNetPotential

    network = random_network(replace(case.network.hyper, backbone=Backbone(**options)))
    own = next(t for t in case.terms if isinstance(t, SchNetPotential))
    others = [t for t in case.terms if t is not own]
    term = SchNetPotential(own.name, [network], [t.numpy() for t in own.types], own.excluded)
    return replace(case, terms=[term, *others], network=network)


# --- training


def training() -> None:
    """Frames per second of force matching at the published size: homeodomain as CA or five beads a residue."""
    for beads, frames in ((6, 2),) if OPTIONS.interpret else ((54, 64), (54, 256), (269, 4), (269, 16)):
        NOTES.attempt(f"training {beads} {frames}", functools.partial(frames_per_second, beads, frames))


def frames_per_second(beads: int, frames: int) -> None:
    from training import measure

    from mdflash.training import triton as convolution

    size = (8, 1, 8.0, 1.0) if OPTIONS.interpret else (128, 4, 15.0, 6.1)
    found = measure(beads, frames, *size, DEVICE, convolution, 1 if OPTIONS.interpret else 5)
    rates = {name: found[name]["frames_per_second"] for name in ("compiled", "plain")}
    NOTES.row(True, f"training, {beads} beads, batches of {frames}: {rates['compiled']:.0f} frames/s, plain torch "
              f"{rates['plain']:.0f}", beads=beads, frames=frames, frames_per_second=rates,
              pairs=found["pairs_within_cutoff_per_frame"])  # fmt: skip


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
    from mdflash.engine.gpu import forces as device
    from mdflash.engine.gpu.forces import DeviceForces

    case, found, times = SYSTEMS.one(n), [], {}
    terms, tables = [t for t in case.terms if hasattr(t, "networks")], SYSTEMS.tables_of(case.network)
    box = None if OPTIONS.interpret else case.box  # so few beads have a box that is smaller than the cutoff
    usual = device.BOXES_FROM
    for way, least in (("boxes", 1), ("all pairs", 10**9)):
        device.BOXES_FROM = least
        forces = DeviceForces(case.layout, terms, tables, "fp32", SKIN, box, DEVICE)
        forces.x.copy_(torch.from_numpy(case.x))

        def again(forces: Any = forces) -> None:
            forces._rebuild.fill_(1)
            forces._build_lists()

        again()
        while forces.more_room():
            again()
        found.append((forces._neighbor.clone(), forces._count.clone()))
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
    for name, replicas, precision, filters in (
        ("folded", 64, "fp32", "table"), ("folded", 1, "fp32", "table"), ("folded", 64, "mixed16", "table"),
        ("folded", 64, "mixed16", "split"), ("folded", 64, "fp32", "split"), ("folded", 64, "mixed16", "gathered"),
    ):  # fmt: skip
        if DEVICE == "cuda":
            NOTES.attempt(
                f"{name} {precision} {filters}", functools.partial(by_kernel, name, replicas, precision, filters)
            )


def by_kernel(name: str, replicas: int, precision: str, filters: str) -> None:
    from torch.profiler import ProfilerActivity, profile

    case = SYSTEMS.one(name).times(replicas)
    carrier, state = SYSTEMS.propagator(case, precision, filters, graphs=False)
    carrier.advance(state, 5)
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        carrier.advance(state, 10)
        synchronize()
    times = {e.key: e.self_device_time_total / 10 for e in found.key_averages() if e.self_device_time_total > 0}
    times = dict(sorted(times.items(), key=lambda item: -item[1])[:20])
    shown = ", ".join(f"{k} {v:.0f}" for k, v in list(times.items())[:8])
    NOTES.row(True, f"{name} {precision} {filters}, {replicas} replicas, µs a step: {shown}",
              system=name, filters=filters, replicas=replicas, precision=precision, us_by_kernel=times,
              beads=len(case.x), directed_edges=round(carrier.forces.neighbors_per_bead() * len(case.x)),
              hyper=case.network.hyper.to_dict())  # fmt: skip


def tune() -> None:
    """Other shapes of tiles, and of the far field's launches."""
    many = 1 if OPTIONS.interpret else 64
    for precision in ("fp32", "mixed16"):
        for shape in tiles():
            NOTES.attempt(
                str(shape),
                lambda p=precision, t=shape: benchmark("1enh-5b folded", SYSTEMS.one("folded").times(many), p, tiles=t),  # type: ignore[misc]
            )

    for precision in ("mixed16", "fp32"):
        for filters in ("split-16", "split-32"):
            for shape in far_shapes():
                NOTES.attempt(
                    f"{filters} {shape}",
                    lambda p=precision, f=filters, t=shape: benchmark(  # type: ignore[misc]
                        "1enh-5b folded", SYSTEMS.one("folded").times(many), p, f, tiles=t
                    ),
                )


def far_shapes() -> list[Any]:
    from mdflash.potentials.schnet.triton.far_field import FarShape
    from mdflash.potentials.schnet.triton.network import Tiles

    if OPTIONS.interpret:
        return []
    return [Tiles(far=FarShape(warps, stages, back)) for warps in (4, 8) for stages in (2, 3, 4) for back in (1, 2, 3)]


def tiles() -> list[Any]:
    from mdflash.potentials.schnet.triton.network import Tiles

    base = Tiles()
    if OPTIONS.interpret:
        return [replace(base, edges=16)]
    message = [replace(base, lanes=n, channels=n * depth, edges=e, warps=w) for n in (8, 16, 32)
               for depth in (1, 2, 4) for e, w in ((128 // n, 1), (256 // n, 2))]  # fmt: skip
    layers = [replace(base, precision=p, rows=r, columns=c, dense_warps=w) for p in ("ieee", "tf32x3")
              for r, c, w in ((32, 64, 4), (64, 64, 4), (32, 128, 4), (64, 128, 8))]  # fmt: skip
    return message + layers

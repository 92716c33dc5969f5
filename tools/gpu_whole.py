"""The sections of `gpu_check.py` on small molecules whose replicas have a program each: forces, bits, speed, shapes."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from gpu_part import DEVICE, HERE, NOTES, OPTIONS, SYSTEMS, TIMESTEP, Case, synchronize
from gpu_timings import measured

BAR = {"fp32": 1e-5, "mixed16": 1e-3}
"""Of the forces against those of the other kernels, relative to their rms."""
STRETCH = 1024


@dataclass(frozen=True)
class Goal:
    """A system, how many replicas, and the ns/day of all of them together that this was written for (at 4 fs)."""

    system: str
    replicas: int
    ns_per_day: float


GOALS = (
    Goal("chignolin-ca", 64, 1e6), Goal("chignolin-ca", 512, 3e6), Goal("mlcg chignolin", 64, 4e5),
    Goal("teacher-1enh", 64, 2e5),
)  # fmt: skip


@functools.cache
def case(name: str) -> Case:
    """One replica: a shipped system at its start, or mlcg's model (where it is not at hand, one of its size)."""
    if OPTIONS.interpret or name == "mlcg chignolin":
        return SYSTEMS.one("chignolin")
    from mdflash.config.load import load_run
    from mdflash.core.state import Layout
    from mdflash.forcefields.build import build_potential
    from mdflash.forcefields.shipped import find_shipped
    from mdflash.potentials.schnet.potential import SchNetPotential
    from mdflash.runs.prepare import prepare

    file = find_shipped("systems", name)
    assert file is not None
    prepared = prepare(load_run(file, ["replicas.count=1", "hardware.device=cpu"]).with_seed())
    layout = Layout(prepared.layout.systems, (1,))
    terms = list(build_potential(list(prepared.forcefields), layout).terms)
    network = next(t for t in terms if isinstance(t, SchNetPotential)).networks[0]
    return Case(layout, terms, network, prepared.start.numpy())


def program(batch: Case, precision: str, shape: Any = None) -> Any:
    """(WholePropagator, State), where `SYSTEMS.propagator` has the other kernels."""
    from mdflash.engine.gpu.whole import WholePropagator
    from mdflash.engine.gpu.whole_fits import why_not_whole
    from mdflash.engine.settings import Dynamics
    from mdflash.integrators.langevin import LangevinMiddle

    dynamics, tables = (
        Dynamics(LangevinMiddle(TIMESTEP, 1.0), 2026),
        SYSTEMS.filters_of(batch.network, precision, "table"),
    )
    reason = why_not_whole(batch.layout, batch.terms, tables, dynamics, batch.box)
    assert reason is None, reason
    carrier = WholePropagator(
        batch.layout,
        batch.terms,
        dynamics,
        tables=tables,
        precision=precision,
        device=DEVICE,
        shape=shape,  # type: ignore[arg-type]
    )
    state = SYSTEMS.propagator(batch, precision)[1]
    carrier.evaluate(state)
    return carrier, state


def compile_first(jobs: Sequence[str]) -> None:
    """Programs that take long to compile, in processes side by side; Triton keeps them on the disk.

    Args:
        jobs: system, precision and number of the other shape (or nothing), with | between them.
    """
    if DEVICE == "cpu":
        return
    began = time.monotonic()

    def make(job: str) -> int:
        own = ["--part", f"{OPTIONS.part}.{jobs.index(job)}", "--reference", str(OPTIONS.reference), "--seconds", "0",
               "--deadline", str(OPTIONS.deadline), "--out", str(OPTIONS.out), "--keep", str(OPTIONS.keep)]  # fmt: skip
        command = [sys.executable, str(HERE / "gpu_whole.py"), job, *own]
        left = max(1.0, OPTIONS.deadline - time.time())
        try:
            return subprocess.run(command, stdout=subprocess.DEVNULL, timeout=left).returncode
        except subprocess.TimeoutExpired:
            return 1

    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 2)) as pool:
        failed = [job for job, code in zip(jobs, pool.map(make, jobs), strict=True) if code]
    seconds = time.monotonic() - began
    NOTES.row(not failed, f"compiled {len(jobs)} programs in {seconds:.0f} s{f', but for {failed}' if failed else ''}",
              what="compiled", seconds=seconds, failed=failed)  # fmt: skip


def whole() -> None:
    systems = dict.fromkeys(goal.system for goal in GOALS)
    NOTES.attempt("compile", lambda: compile_first([f"{name}|{p}|" for name in systems for p in BAR]))
    for goal in GOALS[:1] if OPTIONS.interpret else GOALS:
        NOTES.attempt(f"{goal.system}, forces", functools.partial(forces, goal.system))
    for name in ("chignolin-ca",) if OPTIONS.interpret else ("chignolin-ca", "teacher-1enh"):
        NOTES.attempt(f"{name}, bits", functools.partial(bits, name))
        NOTES.attempt(f"{name}, no host", functools.partial(no_host, name))
    for goal in GOALS[:1] if OPTIONS.interpret else GOALS:
        NOTES.attempt(f"{goal.system} {goal.replicas}", functools.partial(speed, goal))


def shapes() -> None:
    """The same four with other shapes of the program; each is compiled first, which takes longer than to measure it."""
    found = list(enumerate(() if OPTIONS.interpret else other_shapes()))
    systems = dict.fromkeys(goal.system for goal in GOALS)
    NOTES.attempt("compile", lambda: compile_first([f"{name}|fp32|{k}" for k, _ in found for name in systems]))
    for _, shape in found:
        for goal in GOALS:
            NOTES.attempt(f"{goal.system} {shape}", functools.partial(speed, goal, "fp32", shape))


@functools.cache
def forces(name: str) -> None:
    """Against the kernels that are launched one by one, and these forces' own rms."""
    for precision, bar in BAR.items():
        batch = case(name).times(4)
        mine = program(batch, precision)[1]
        other = SYSTEMS.propagator(batch, precision)[1]
        error = float((mine.forces - other.forces).norm() / other.forces.norm())
        NOTES.row(error <= bar, f"{name}, {precision}: forces differ by {error:.1e} of their rms (bar {bar:.0e})",
                  system=name, precision=precision, force_difference=error, bar=bar)  # fmt: skip


def bits(name: str) -> None:
    steps = 3 if OPTIONS.interpret else 3000  # more than one launch
    many = case(name).times(3)
    ends = []
    for batch, blocks in ((many, (steps,)), (many, (1, steps - 1)), (case(name), (steps,))):
        carrier, state = program(batch, "fp32")
        state.velocities.copy_(program(many, "fp32")[1].velocities[: len(state.velocities)])
        for block in blocks:
            carrier.advance(state, block)
        ends.append(state.positions)
    again, split, alone = ends
    for what, good in {
        "how steps are grouped changes no bit": torch.equal(again, split),
        "the batch changes no bit": torch.equal(again[: len(alone)], alone),
        "positions are finite": bool(torch.isfinite(again).all()),
    }.items():
        NOTES.row(good, f"{name}, {steps} steps: {what}{'' if good else ': NOT SO'}", system=name, what=what)


def no_host(name: str) -> None:
    carrier, state = program(case(name).times(2), "fp32")
    carrier.advance(state, 2)
    if DEVICE == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        carrier._run(2 if OPTIONS.interpret else 200)
    finally:
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    NOTES.row(True, f"{name}: no step waits for the host", system=name, what="no host synchronization")


def speed(goal: Goal, precision: str = "fp32", shape: Any = None) -> None:
    """Steps a second; with the default shape, of the other kernels too, and in mixed16."""
    batch = case(goal.system).times(2 if OPTIONS.interpret else goal.replicas)
    found = {"whole": rate(*program(batch, precision, shape))}
    if shape is None:
        found["launches"] = rate(*SYSTEMS.propagator(batch, precision))
        found["whole, mixed16"] = rate(*program(batch, "mixed16"))
    ns = {way: value * batch.layout.n_replicas * TIMESTEP * 86.4 for way, value in found.items()}
    reached = ns["whole"] >= goal.ns_per_day
    shown = ", ".join(f"{way} {found[way]:,.0f} steps/s = {ns[way]:,.0f} ns/day" for way in found)
    NOTES.row(
        True,
        f"{goal.system:15} {goal.replicas:4} replicas, {shape or 'default'}: {shown}; {goal.ns_per_day:,.0f} "
        f"{'reached' if reached else 'NOT reached'}",
        system=goal.system, replicas=goal.replicas, shape=str(shape) if shape else "default", steps_per_s=found,
        ns_per_day=ns, goal_ns_per_day=goal.ns_per_day, reached=reached,
    )  # fmt: skip


def rate(carrier: Any, state: Any) -> float:
    start = {name: getattr(state, name).clone() for name in ("positions", "velocities", "forces", "energy")}

    def from_the_start(n: int) -> None:
        for name, value in start.items():
            getattr(state, name).copy_(value)
        state.step = 0
        assert (carrier.advance(state, n) == -1).all()

    found = measured(from_the_start, OPTIONS.seconds, STRETCH)[0]
    synchronize()
    return found


def other_shapes() -> Iterator[Any]:
    """Other cuts of a program, one difference at a time; the best of each are to be tried together."""
    from mdflash.engine.gpu.whole import SHAPE

    yield from (replace(SHAPE, warps=warps) for warps in (4, 16))
    yield from (replace(SHAPE, edges=edges) for edges in (1, 4))
    yield replace(SHAPE, channels=32)
    yield from (replace(SHAPE, tile=tile) for tile in ((16, 64, 16), (16, 128, 32), (32, 64, 32)))
    yield replace(SHAPE, precision="tf32x3")
    yield replace(SHAPE, precision="tf32x3", warps=4)


if __name__ == "__main__":
    system, precision, number = OPTIONS.section.split("|")
    carrier, state = program(case(system).times(2), precision, list(other_shapes())[int(number)] if number else None)
    carrier.advance(state, 2)

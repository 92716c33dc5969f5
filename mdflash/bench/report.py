"""All measurements of one run, as data, as JSON and as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from mdflash import __version__
from mdflash.bench.machine import Machine, measure_machine
from mdflash.bench.memory import Memory, measure_memory
from mdflash.bench.output import output_seconds
from mdflash.bench.speed import Speed, batch_sizes, break_even, measure_speed
from mdflash.bench.terms import Terms, measure_terms
from mdflash.bench.work import Neighborhood, Work, neighborhood, schnet_work, shape_of
from mdflash.config.load import load_run
from mdflash.engine.blocks.compiled import CompiledPropagator
from mdflash.engine.engine import Engine
from mdflash.runs.prepare import prepare

MEMORY_STEPS = 20


@dataclass(frozen=True)
class Roofline:
    """The networks' work in one evaluation of the batch, and at which part of the machine's limits it is done.

    Attributes:
        neighbors_per_bead: within the network's cutoff, mean over the beads.
        edges: edges of the batch, both directions counted.
        work: work of one evaluation of all replicas; see `work`.
        bandwidth_fraction: bytes/s over the memory's; above 1 where the caches serve them.
        multiply_add_fraction: multiply-adds/s over the machine's.
    """

    neighbors_per_bead: float
    edges: int
    work: Work
    bandwidth_fraction: float
    multiply_add_fraction: float


@dataclass(frozen=True)
class Report:
    """The results of `mdflash bench`.

    Attributes:
        name: name of the run.
        date: date, ISO.
        version: version of mdflash.
        machine: and its limits.
        systems: in words.
        device: where they run, in words.
        kernels, precision: those of the run.
        speed: speed of the run as described, without output.
        terms: None where the step is not compiled, so that there is nothing to take apart.
        output_seconds: frames and log of one step on average, most of it done while the next steps run.
        roofline: None without a packed network.
        memory: None if not asked for.
        sizes: speed by number of replicas.
    """

    name: str
    date: str
    version: str
    machine: Machine
    systems: str
    device: str
    kernels: str
    precision: str
    speed: Speed
    terms: Terms | None
    output_seconds: float
    roofline: Roofline | None
    memory: Memory | None
    sizes: list[Speed]

    @property
    def explained(self) -> float | None:
        """The part of a step that the terms add up to."""
        return None if self.terms is None else self.terms.total * self.speed.steps_per_second

    def as_data(self) -> dict[str, Any]:
        """For JSON: all fields, and what follows from them."""
        data = dataclasses.asdict(self)
        data["speed"] = _with_products(self.speed)
        data["sizes"] = [_with_products(size) for size in self.sizes]
        data["break_even_replicas"] = break_even(self.sizes)
        data["terms_explain"] = self.explained
        if self.terms is not None and not np.isfinite(self.terms.steps_per_rebuild):
            data["terms"]["steps_per_rebuild"] = None
        if self.memory is not None:
            data["memory"]["above_imports"] = self.memory.above_imports
        return data


def _with_products(speed: Speed) -> dict[str, float]:
    return {
        **dataclasses.asdict(speed),
        "step_replicas_per_second": speed.step_replicas_per_second,
        "aggregate_ns_per_day": speed.aggregate_ns_per_day,
    }


def bench(
    file: Path,
    overrides: list[str],
    seconds: float,
    *,
    memory: bool = True,
    sizes: bool = True,
    machine: Machine | None = None,
    message: Callable[[str], None] = lambda text: None,
) -> Report:
    """Measure the run that `file` describes; nothing is written to its folder.

    Args:
        file: a system.yaml.
        overrides: "replicas.count=8", as on the command line.
        seconds: wall time per measurement (about a dozen).
        memory: measure peak memory, in a process of its own.
        sizes: measure other numbers of replicas too.
        machine: its limits, where they are known already.
        message: called with what is being measured.

    Raises:
        InputError: the run is not valid.
        UnstableError: a replica does not survive the first steps; minimize, or start elsewhere.
    """
    prepared = prepare(load_run(file, overrides).with_seed())
    config = prepared.config
    message("compiling, then speed")
    engine = prepared.engine()
    engine.exchange = None
    prepared.settle(engine, lambda: False, message)
    speed = measure_speed(engine, seconds)
    compiled = isinstance(engine.propagator, CompiledPropagator)
    message("the machine's limits")
    machine = machine or measure_machine()
    message("time by term")
    terms = measure_terms(engine, seconds / 2) if compiled else None
    roofline = measure_roofline(engine, speed, machine) if compiled else None
    output = output_seconds(prepared, engine)
    found = None
    if memory:
        message("peak memory")
        found = measure_memory(file, overrides, MEMORY_STEPS)
    if sizes:
        message("other numbers of replicas")
    return Report(
        name=config.name,
        date=date.today().isoformat(),
        version=__version__,
        machine=machine,
        systems=prepared.layout.describe(),
        device=engine.device,
        kernels=engine.propagator.kernels,
        precision=config.model.precision,
        speed=speed,
        terms=terms,
        output_seconds=output,
        roofline=roofline,
        memory=found,
        sizes=batch_sizes(prepared, seconds / 2) if sizes else [],
    )


def measure_roofline(engine: Engine, speed: Speed, machine: Machine) -> Roofline | None:
    """Count the networks' work at the engine's positions; None without a packed network."""
    propagator, layout = engine.propagator, engine.layout
    if not isinstance(propagator, CompiledPropagator) or propagator.packed.networks is None:
        return None
    networks, state = propagator.packed.networks, engine.state
    work, pairs, beads = Work(), 0, 0
    for s, system in enumerate(layout.systems):
        if not networks.weights.cutoff[s] > 0.0:
            continue
        cutoff, intervals = float(networks.weights.cutoff[s]), shape_of(networks, s).intervals
        first, last = layout.replica_offset[s], layout.replica_offset[s + 1]
        around: list[Neighborhood] = neighborhood(
            layout, state.positions, cutoff, intervals, state.box, range(first, last)
        )
        for near in around:
            work += schnet_work(networks, s, system.n_beads, near.pairs, near.intervals)
            pairs += near.pairs
        beads += system.n_beads * layout.counts[s]
    evaluations = speed.steps_per_second / engine.dynamics.network_every
    return Roofline(
        neighbors_per_bead=2 * pairs / beads,
        edges=2 * pairs,
        work=work,
        bandwidth_fraction=work.bytes * evaluations / machine.bandwidth,
        multiply_add_fraction=work.multiply_adds * evaluations / machine.multiply_adds,
    )


def rows(report: Report) -> list[tuple[str, str]]:
    """The report for the user: pairs of what, and how much."""
    r, speed, machine = report, report.speed, report.machine
    found = [
        ("machine", f"{machine.cpu}, {machine.cores} cores, {machine.threads} threads; "
         f"{machine.bandwidth / 1e9:.1f} GB/s, {machine.multiply_adds / 1e9:.0f} G multiply-adds/s (fp32), measured"),
        ("system", f"{r.systems}; {r.kernels} kernels, {r.precision}"),
        ("device", r.device),
        ("speed", f"{speed.steps_per_second:,.1f} steps/s x {speed.replicas} replicas = "
         f"{speed.step_replicas_per_second:,.0f} step·replicas/s"),
        ("", f"{speed.ns_per_day:,.1f} ns/day a replica, {speed.aggregate_ns_per_day:,.0f} ns/day in all"),
    ]  # fmt: skip
    if speed.slowest < 0.8 * speed.steps_per_second:
        found.append(("", f"unsteady: {speed.slowest:,.1f} steps/s in the slowest stretch; is the machine busy?"))
    if r.roofline is not None:
        found.append(("neighbors", f"{r.roofline.neighbors_per_bead:.0f} per bead, {r.roofline.edges:,} edges"))
    if r.terms is not None:
        step = 1.0 / speed.steps_per_second
        absent = {"messages", "dense layers"} if r.roofline is None else set()
        if not np.isfinite(r.terms.steps_per_rebuild):
            absent.add("neighbors")
        for name, seconds in r.terms.seconds.items():
            if name in absent:
                continue
            found.append((f"  {name}", f"{seconds * 1e3:.4g} ms, {100 * seconds / step:.1f} % of a step"))
        rebuilt = f"; lists last {r.terms.steps_per_rebuild:.0f} steps" if "neighbors" not in absent else ""
        found.append(("", f"together {100 * r.terms.total / step:.0f} % of a step of {step * 1e3:.4g} ms{rebuilt}"))
    found.append(("  output", f"{r.output_seconds * 1e3:.3g} ms a step, on average, beside the steps"))
    if r.roofline is not None:
        found.append(
            (
                "roofline",
                f"network: {100 * r.roofline.multiply_add_fraction:.0f} % of the multiply-adds, "
                f"{100 * r.roofline.bandwidth_fraction:.0f} % of the memory bandwidth (from caches: may pass 100 %)",
            )
        )
    if r.memory is not None:
        found.append(
            (
                "memory",
                f"{r.memory.above_imports / 1e6:.0f} MB at most, above {r.memory.imports / 1e6:.0f} MB "
                "of Python with its imports"
                + ("" if r.memory.gpu is None else f"; {r.memory.gpu / 1e6:.0f} MB on the GPU"),
            )
        )
    for size in r.sizes:
        found.append(
            (
                f"  {size.replicas} replicas",
                f"{size.step_replicas_per_second:,.0f} step·replicas/s, {size.aggregate_ns_per_day:,.0f} ns/day in all",
            )
        )
    if r.sizes:
        even = break_even(r.sizes)
        found.append(
            (
                "break-even",
                f"beyond {even} replicas, twice as many gain less than 10 %"
                if even
                else f"not reached with {r.sizes[-1].replicas} replicas",
            )
        )
    return found

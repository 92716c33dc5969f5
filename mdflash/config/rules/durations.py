"""Times of the run and of its output: whole numbers of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mdflash.config.rules.problem import Problem, whole_steps
from mdflash.config.schema import RunConfig
from mdflash.core.quantity import show_quantity
from mdflash.integrators import DEFAULT, INTEGRATORS

LONGEST_STEP: Final = 1.0
"""ps; in which a bead of 100 Da moves 1.6 Å at 300 K."""


def duration_rules(config: RunConfig) -> Iterator[Problem]:
    dynamics, output = config.dynamics, config.output
    if dynamics.length is not None and dynamics.steps is not None:
        yield Problem(
            ("dynamics", "steps"),
            "the run's length is given twice, as `length` and as `steps`; keep one of the two",
        )
    if dynamics.length is None and dynamics.steps is None:
        yield Problem(
            ("dynamics", "length"),
            "is missing; set the length of the run: `length: 100 ns`, or `steps: 25_000_000`, under `dynamics:`",
        )
    if INTEGRATORS[dynamics.integrator].has_velocities and dynamics.timestep > LONGEST_STEP:
        yield Problem(
            ("dynamics", "timestep"),
            f"{show_quantity(dynamics.timestep, 'time', ('ps', 'ns'))} is longer than a bead keeps its velocity: no "
            "bond and no contact survives such a step; write `timestep: 4 fs`",
        )
        return
    spans: list[tuple[tuple[str | int, ...], float]] = []
    if dynamics.length is not None:
        spans.append((("dynamics", "length"), dynamics.length))
    if output.trajectory.format != "none":
        spans.append((("output", "trajectory", "interval"), output.trajectory.interval))
    spans.append((("output", "log", "interval"), output.log.interval))
    if config.colvars_every is not None:
        spans.append((("output", "colvars", "interval"), output.colvars.interval))
    if config.exchange is not None:
        cycle = dynamics.timestep * dynamics.network_every  # labels are exchanged between whole cycles of impulses
        yield from whole_steps(("exchange", "interval"), config.exchange.interval, cycle)
    if output.checkpoint.interval.dimension == "time":
        spans.append((("output", "checkpoint", "interval"), output.checkpoint.interval.value))
    for path, time in spans:
        yield from whole_steps(path, time, config.dynamics.timestep)
    scheme = INTEGRATORS[dynamics.integrator]
    if dynamics.network_every > 1 and not scheme.has_velocities:
        yield Problem(
            ("dynamics", "network_every"),
            f"{scheme.name} dynamics has no velocities that could take impulses; write `network_every: 1`, "
            f"or choose `integrator: {DEFAULT}`",
        )

"""What is allowed but rarely meant."""

from __future__ import annotations

import math

from mdflash.config.rules.ensemble import ensemble_warnings
from mdflash.config.schema import RunConfig
from mdflash.config.untold import untold
from mdflash.core.quantity import Span, show_quantity
from mdflash.integrators import INTEGRATORS
from mdflash.units import kT


def warnings(config: RunConfig) -> tuple[str, ...]:
    """Warnings about what is allowed but rarely meant."""
    found: list[str] = []
    dynamics = config.dynamics
    step = show_quantity(dynamics.timestep, "time", ("fs", "ps"))
    if dynamics.timestep > 0.020:
        found.append(f"dynamics.timestep is {step}: above 20 fs, coarse-grained proteins usually become unstable")
    if max(config.temperatures) > 1000.0:
        key = "exchange.temperatures" if config.dynamics.temperature is None else "dynamics.temperature"
        found.append(f"{key} reaches {max(config.temperatures):g} K")
    if not INTEGRATORS[dynamics.integrator].has_velocities:
        found.append(
            f"dynamics.integrator is {dynamics.integrator}, which has no velocities: kinetic energy and temperature "
            "are empty in log.csv"
        )
    if not INTEGRATORS[dynamics.integrator].takes_noise and len(set(config.temperatures)) > 1:
        found.append(f"dynamics.integrator is {dynamics.integrator}: temperatures only set the first velocities")
    coldest = min(config.temperatures)
    for i, entry in enumerate(config.metadynamics):
        if entry.method == "well-tempered" and entry.height > kT(coldest):
            found.append(
                f"metadynamics.{i}.height is {entry.height:g} kcal/mol, {entry.height / kT(coldest):.1f} kT at "
                f"{coldest:g} K: hills above kT / 2 leave a rough free energy"
            )
    for system in config.system:
        why = untold(config, system.name)
        found += [f"{name} will tell no free energy: {reason}" for name, reason in why.items()]
    for key, every in (
        ("output.trajectory.interval", config.trajectory_every),
        ("output.log.interval", config.log_every),
    ):
        if every is not None and every % dynamics.network_every:
            found.append(
                f"{key} is {every} steps, no multiple of network_every: {dynamics.network_every}; states between two "
                "forces of the networks sample less exactly"
            )
        if every is not None and every > config.total_steps:
            found.append(f"{key} is longer than the run ({config.total_steps} steps): only the start is written")
    for k, entry in enumerate(config.metadynamics):
        if config.steps_in(entry.every) > config.total_steps:
            found.append(
                f"metadynamics.{k}.every is longer than the run ({config.total_steps} steps): no hill is added"
            )
        fine = [v.width * v.grid[2] / (v.grid[1] - v.grid[0]) for v in entry.variables]  # points for each width
        if len(fine) == 3 and math.prod(fine) > 4**3:
            fewer = ", ".join(
                str(math.ceil(2.5 * v.grid[2] / n - 1e-9)) for v, n in zip(entry.variables, fine, strict=True)
            )
            found.append(
                f"metadynamics.{k}: {' x '.join(f'{n:.2g}' for n in fine)} points for each width make a hill slow "
                f"to add, over three variables; with `points:` of {fewer} it is exact to 2e-4 of its height along each"
            )
    if config.weighted_ensemble is not None:
        found += ensemble_warnings(config, config.weighted_ensemble)
    for i, bias in enumerate(config.biases):
        if (
            bias.moving is not None
            and (end := config.steps_in(bias.moving.after + bias.moving.length)) > config.total_steps
        ):
            found.append(
                f"biases.{i}.moving ends at step {end:,}, and the run at step {config.total_steps:,}: {bias.name} does "
                "not get to where it moves"
            )
    stages = config.dynamics.annealing
    if (moves := sum(config.steps_in(stage.after + stage.length) for stage in stages)) > config.total_steps:
        found.append(
            f"dynamics.annealing ends at step {moves:,}, and the run at step {config.total_steps:,}: the temperature "
            "does not get to where it moves"
        )
    if config.exchange_every is not None and config.exchange_every > config.total_steps:
        found.append(f"exchange.interval is longer than the run ({config.total_steps} steps): nothing is exchanged")
    span: Span = config.output.checkpoint.interval
    if span.dimension == "wall" and span.value < 1.0:
        found.append("output.checkpoint.interval is below 1 s: writing checkpoints will take most of the time")
    return tuple(found)

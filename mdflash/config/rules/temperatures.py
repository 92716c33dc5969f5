"""`dynamics.temperature` and `dynamics.annealing`: one temperature for each replica, which may move."""

from __future__ import annotations

from collections.abc import Iterator

from mdflash.config.rules.problem import Problem, whole_steps
from mdflash.config.schema import RunConfig
from mdflash.integrators import DEFAULT, INTEGRATORS


def temperature_rules(config: RunConfig) -> Iterator[Problem]:
    key = ("dynamics", "temperature")
    given = config.dynamics.temperature
    ladder = None if config.exchange is None else config.exchange.temperatures
    if given is None and ladder is None:
        yield Problem(key, "is missing; add for example `temperature: 300 K`")
    elif given is not None and ladder is not None:
        yield Problem(
            key,
            "is set by the ladder of `exchange:`; remove this line (or add --set dynamics.temperature=none)",
        )
    elif given is not None and len(given) not in (1, config.n_replicas):
        yield Problem(
            key,
            f"lists {len(given)} temperatures for {config.n_replicas} replicas; give one for all, or one for each "
            f"(for {len(given)} replicas: `count: {len(given)}` under `replicas:`)",
        )


def annealing_rules(config: RunConfig) -> Iterator[Problem]:
    """Stages of whole steps, a bath that follows them, and nothing else that needs one temperature."""
    stages = config.dynamics.annealing
    if not stages:
        return
    here: tuple[str | int, ...] = ("dynamics", "annealing")
    scheme = INTEGRATORS[config.dynamics.integrator]
    if not scheme.takes_noise:
        text = f"{scheme.name} holds no temperature that could move; write `integrator: {DEFAULT}`, or remove it"
        yield Problem(here, text)
    if config.exchange is not None:
        yield Problem(here, "states of an exchange keep their temperatures; remove it, or `exchange:`")
    if config.metadynamics:
        yield Problem(here, "hills are made for one temperature, which must not move; remove it, or `metadynamics:`")
    if config.weighted_ensemble is not None:
        yield Problem(here, "walkers have one temperature, which must not move; remove it, or `weighted_ensemble:`")
    if min(config.temperatures, default=1.0) <= 0 or min(stage.to for stage in stages) <= 0:
        yield Problem(here, "temperatures must be above 0 K; write for example `to: 300 K`")
    step = config.dynamics.timestep
    for k, stage in enumerate(stages):
        yield from whole_steps((*here, k, "every"), stage.every, step * config.dynamics.network_every)
        for key, time in (("after", stage.after), ("length", stage.length)):
            if time > 0:
                yield from whole_steps((*here, k, key), time, stage.every)
    begins = 0.0
    for k, stage in enumerate(stages):
        begins += stage.after
        times = begins / stage.every
        if abs(times - round(times)) > 1e-6 * max(times, 1.0):
            text = f"begins at {begins:g} ps, which must be a multiple of its `every`, {stage.every:g} ps"
            yield Problem((*here, k, "every"), text)
        begins += stage.length

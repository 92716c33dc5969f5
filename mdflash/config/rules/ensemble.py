"""`weighted_ensemble:`: walkers that differ in nothing but their coordinates and weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mdflash.config.ensemble import WeightedEnsemble, bins_example
from mdflash.config.rules.problem import Problem, system_is_known, whole_steps
from mdflash.config.schema import RunConfig
from mdflash.integrators import DEFAULT, INTEGRATORS
from mdflash.potentials.variables import VARIABLES

PER_BIN: Final = 4
"""Walkers of a bin, below which merging leaves little to choose from."""


def ensemble_rules(config: RunConfig) -> Iterator[Problem]:
    entry = config.weighted_ensemble
    if entry is None:
        return
    here = ("weighted_ensemble",)
    cycle = config.dynamics.timestep * config.dynamics.network_every
    yield from whole_steps((*here, "every"), entry.every, cycle)
    if not entry.bins and entry.merge_distance is None:
        yield Problem(
            (*here, "bins"),
            f"is missing; add for example {bins_example(VARIABLES[entry.variable].dimension)}, or a `merge_distance` "
            "for REVO",
        )
    elif entry.bins and entry.merge_distance is not None:
        yield Problem((*here, "merge_distance"), "is of REVO, which has no bins; remove it, or `bins`")
    names = [system.name for system in config.system]
    if not system_is_known(entry, names):
        wrong = "is missing" if entry.system is None else f"there is no system '{entry.system}'"
        yield Problem((*here, "system"), f"{wrong}; name one of {', '.join(names)}: `system: {names[0]}`")
        return
    scheme = INTEGRATORS[config.dynamics.integrator]
    if not scheme.takes_noise:
        yield Problem(
            ("dynamics", "integrator"),
            f"{scheme.name} has no noise, so copies of a walker would never part; write `integrator: {DEFAULT}`, or "
            "remove `weighted_ensemble:`",
        )
    if config.exchange is not None:
        yield Problem(("exchange",), "replicas of a weighted ensemble keep their state; remove one of the two sections")
    name = entry.system or names[0]
    of = names.index(name)
    first = sum(config.counts[:of])
    if config.exchange is None and len(set(config.temperatures[first : first + config.counts[of]])) > 1:
        yield Problem(("dynamics", "temperature"), "walkers of one ensemble have one temperature; give one")
    if config.counts[of] < 2:
        yield Problem(("replicas", "count"), "replicas are the walkers, and one cannot be split; write `count: 48`")
    for k, hills in enumerate(config.metadynamics):
        if (hills.system or names[0]) == name:
            yield Problem(
                ("metadynamics", k), "grows while walkers move, so their weights would have no meaning; remove one"
            )
    for i, bias in enumerate(config.biases):
        if (bias.system or names[0]) == name and (bias.windows > 1 or bias.moving is not None):
            yield Problem(
                ("biases", i),
                f"'{bias.name}' differs between walkers or moves; give it one center and one force constant",
            )


def ensemble_warnings(config: RunConfig, entry: WeightedEnsemble) -> Iterator[str]:
    if config.steps_in(entry.every) > config.total_steps:
        yield f"weighted_ensemble.every is longer than the run ({config.total_steps} steps): nothing is resampled"
    names = [system.name for system in config.system]
    walkers = config.counts[names.index(entry.system or names[0])]
    if entry.bins and walkers < PER_BIN * (len(entry.bins) + 1):
        yield (
            f"weighted_ensemble.bins: {walkers} walkers for up to {len(entry.bins) + 1} bins leave fewer than "
            f"{PER_BIN} for each where all are occupied; write fewer, or `count: {PER_BIN * (len(entry.bins) + 1)}`"
        )

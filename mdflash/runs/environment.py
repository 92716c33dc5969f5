"""The environment of a run: what its YAML says, completed, and its force fields in it."""

from __future__ import annotations

from collections.abc import Sequence

from mdflash.config.schema import Environment as Section
from mdflash.config.schema import RunConfig
from mdflash.errors import InputError
from mdflash.forcefields.environment import TEMPERATURE, Environment
from mdflash.forcefields.model import ForceField


def surround(
    config: RunConfig, forcefields: Sequence[ForceField], notes: list[str]
) -> tuple[RunConfig, tuple[ForceField, ...]]:
    """The force fields in the environment of the run, and the run with that environment written out.

    A key that is not given is the force field's own; the temperature is that of the dynamics where all replicas have
    one. In a ladder the energy does not change from state to state, since replicas exchange under one energy.
    """
    depend = [ff for ff in forcefields if ff.environment is not None and ff.needs]
    given = config.environment
    for key in ("temperature", "ionic_strength", "pH"):
        idle = sorted({ff.name for ff in forcefields if key not in ff.needs})
        if getattr(given, key) is not None and idle:
            notes.append(f"environment.{key} does not change {', '.join(idle)}: its parameters are fixed")
    if not depend:
        return config, tuple(forcefields)
    temperatures = set(config.temperatures)
    one = temperatures.pop() if len(temperatures) == 1 and 0.0 not in temperatures else None
    found = [_complete(given, one, ff.environment) if ff in depend else None for ff in forcefields]
    for ff, e in zip(forcefields, found, strict=True):
        if e is not None and "temperature" in ff.needs and (wrong := TEMPERATURE.problem(e.temperature, "K")):
            raise InputError(
                f"the solvent of '{ff.name}' is known from {TEMPERATURE.least:g} to {TEMPERATURE.most:g} K; its "
                f"temperature {wrong}: write for example `environment: {{temperature: 300 K}}`",
                key="environment.temperature",
            )
    around = [e for e in found if e is not None]
    differ = one is None or bool(config.dynamics.annealing)
    if given.temperature is None and differ and any("temperature" in ff.needs for ff in depend):
        kelvin = ", ".join(f"{t:g} K" for t in sorted({e.temperature for e in around}))
        notes.append(
            f"{'replicas differ in temperature' if one is None else 'the temperature moves'}, but the energy does not: "
            f"permittivity and screening stay those of {kelvin} (set environment.temperature for another)"
        )
    same = all(e == around[0] for e in around)
    if same:
        config = config.model_copy(update={"environment": Section.model_construct(**vars(around[0]))})
    there: dict[tuple[int, Environment], ForceField] = {}  # one object for all systems that share a force field
    for ff, e in zip(forcefields, found, strict=True):
        if e is not None and (id(ff), e) not in there:
            there[id(ff), e] = ff.at(e)
    return config, tuple(ff if e is None else there[id(ff), e] for ff, e in zip(forcefields, found, strict=True))


def _complete(given: Section, temperature: float | None, own: Environment | None) -> Environment:
    assert own is not None
    return Environment(
        next(t for t in (given.temperature, temperature, own.temperature) if t is not None),
        own.ionic_strength if given.ionic_strength is None else given.ionic_strength,
        own.pH if given.pH is None else given.pH,
    )

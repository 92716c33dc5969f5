"""`biases:` and `metadynamics:`: windows that replicas share evenly, paths, and hills."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mdflash.config.biases import BiasEntry
from mdflash.config.metadynamics import Metadynamics
from mdflash.config.rules.problem import Problem, system_is_known, whole_steps
from mdflash.config.schema import RunConfig
from mdflash.core.files import size_text
from mdflash.core.quantity import show_quantity
from mdflash.potentials.bias.bias_form import ONE_SIDED
from mdflash.potentials.bias.grid_size import MOST_AXES, MOST_BYTES, MOST_NODES
from mdflash.potentials.variables import VARIABLES
from mdflash.units import BOLTZMANN


def bias_rules(config: RunConfig) -> Iterator[Problem]:
    systems = [entry.name for entry in config.system]
    for i, bias in enumerate(config.biases):
        here = ("biases", i)
        if bias.form in ONE_SIDED and VARIABLES[bias.variable].periodic:
            yield Problem(
                (*here, "form"),
                f"a {bias.form} bias on a {bias.variable} would jump at 180 degrees; write `form: harmonic`",
            )
        yield from _moving(bias, here, config)
        if not system_is_known(bias, systems):
            continue
        count = config.counts[systems.index(bias.system or systems[0])]
        for key, values in (("center", bias.center), ("force_constant", bias.force_constant)):
            if values and count % len(values):
                entry = config.system[systems.index(bias.system or systems[0])]
                word = "replicas.count" if entry.replicas is None else f"the replicas of '{entry.name}'"
                near = count + len(values) - count % len(values)
                yield Problem(
                    (*here, key),
                    f"{len(values)} values do not spread evenly over {count} replicas; make {word} a multiple of "
                    f"{len(values)}, such as {near}",
                )


def _moving(bias: BiasEntry, here: tuple[str | int, ...], config: RunConfig) -> Iterator[Problem]:
    """A bias that moves has an end and a time, and keeps its replicas."""
    ends = [key for key in ("center_to", "force_constant_to") if getattr(bias, key) is not None]
    if bias.moving is None:
        if ends:
            yield Problem(
                (*here, "moving"), f"is missing beside `{ends[0]}`; add for example `moving: {{length: 1 ns}}`"
            )
        return
    if not ends:
        yield Problem((*here, "moving"), "moves nothing; say where to, for example `center_to: 20 angstrom`")
    cycle = config.dynamics.timestep * config.dynamics.network_every
    yield from whole_steps((*here, "moving", "every"), bias.moving.every, cycle)
    for key in ("after", "length"):
        time = getattr(bias.moving, key)
        if time > 0:
            yield from whole_steps((*here, "moving", key), time, bias.moving.every)
    if config.exchange is not None:
        yield Problem((*here, "moving"), "work is that of replicas which keep their state; remove `exchange:`, or this")


def metadynamics_rules(config: RunConfig) -> Iterator[Problem]:
    systems = [entry.name for entry in config.system]
    first = 0
    begins = {}
    for name, count in zip(systems, config.counts, strict=True):
        begins[name] = (first, count)
        first += count
    for k, entry in enumerate(config.metadynamics):
        here = ("metadynamics", k)
        if not 1 <= len(entry.variables) <= MOST_AXES:
            text = f"lists {len(entry.variables)} variables; a grid takes one to three"
            yield Problem((*here, "variables"), text)
            continue
        cycle = config.dynamics.timestep * config.dynamics.network_every
        yield from whole_steps((*here, "every"), entry.every, cycle)
        opes = entry.method != "well-tempered"
        if opes and entry.barrier is None:
            text = f"is missing; `method: {entry.method}` needs it: add for example `barrier: 8 kcal/mol`"
            yield Problem((*here, "barrier"), text)
        elif not opes and entry.barrier is not None:
            text = "is of opes; remove it, or write `method: opes`"
            yield Problem((*here, "barrier"), text)
        if opes and entry.height != type(entry).model_fields["height"].default:
            yield Problem(
                (*here, "height"), "is of well-tempered metadynamics; remove it (of opes, `barrier` limits the bias)"
            )
        name = entry.system or systems[0]
        for i, variable in enumerate(entry.variables):
            if name in begins and (variable.system or systems[0]) != name:
                text = "is another one than that of the first variable; one bias acts on one system"
                yield Problem((*here, "variables", i, "system"), text)
        if name not in begins:
            continue
        first, count = begins[name]
        walkers = entry.walkers or count
        if count % walkers:
            near = next(n for n in range(walkers, 0, -1) if count % n == 0)
            yield Problem(
                (*here, "walkers"),
                f"{count} replicas of '{name}' do not fill groups of {walkers} walkers; write `walkers: {near}`",
            )
            continue
        yield from _memory(entry, here, count // walkers)
        kelvin = config.temperatures[first : first + count]
        groups = [set(kelvin[g : g + walkers]) for g in range(0, len(kelvin), walkers)]
        if any(min(group) <= 0 for group in groups):
            yield Problem(("dynamics", "temperature"), "must be above 0 K for metadynamics; write `temperature: 300 K`")
        if entry.barrier is not None and entry.barrier <= 2.0 * BOLTZMANN * max(kelvin):
            least = show_quantity(float(f"{2.0 * BOLTZMANN * max(kelvin):.3g}"), "energy", ("kcal/mol",))
            yield Problem((*here, "barrier"), f"must be above 2 kT, {least}, found {entry.barrier:g} kcal/mol")
        if config.exchange is None and any(len(group) > 1 for group in groups):
            yield Problem(
                (*here, "walkers"),
                "walkers of one bias have one temperature (or exchange theirs); write `walkers: 1`, or one temperature",
            )


def _memory(entry: Metadynamics, here: tuple[str | int, ...], groups: int) -> Iterator[Problem]:
    """A grid that fits; else how many points would."""
    points = [variable.grid[2] for variable in entry.variables]
    nodes, need = math.prod(points), entry.grid_bytes(groups)
    if nodes <= MOST_NODES and need <= MOST_BYTES:
        return
    least = [math.ceil((v.grid[1] - v.grid[0]) / (0.5 * v.width) - 1e-9) + 1 for v in entry.variables]
    room = min(MOST_NODES, int(MOST_BYTES / need * nodes))
    steps = [[n - (n - low) * k // 100 for n, low in zip(points, least, strict=True)] for k in range(101)]
    fewer = next((step for step in steps if math.prod(step) <= room), None)
    cure = (
        "write nearer ends of the grid, or wider hills"
        if fewer is None
        else f"write `points:` of {', '.join(map(str, fewer))} in their `grid`, or nearer ends"
    )
    grid = " x ".join(map(str, points))
    found = f"a grid of {grid} nodes" + (f" for each of {groups} groups of walkers" if groups > 1 else "")
    most = f"at most {MOST_NODES:,} nodes and {size_text(MOST_BYTES)} in all"
    yield Problem(
        (*here, "variables"), f"make {found}, {nodes:,} nodes and {size_text(need)}; it may have {most}: {cure}"
    )

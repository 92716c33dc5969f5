"""What several keys of system.yaml must agree on, and what is allowed but odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from mdflash.config.biases import BiasEntry, VariableEntry
from mdflash.config.ensemble import WeightedEnsemble
from mdflash.config.exchange import Exchange, scale_name
from mdflash.config.molecules import Source
from mdflash.config.schema import RunConfig
from mdflash.config.section import MAX_REPLICAS
from mdflash.core.quantity import Span, show_quantity
from mdflash.integrators import DEFAULT, INTEGRATORS
from mdflash.io.colvars import column, columns
from mdflash.potentials.bias.bias_form import ONE_SIDED
from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.base import UNITS
from mdflash.units import BOLTZMANN, kT

_TIME_UNITS = ("ps", "ns", "fs")
_LONGEST_STEP = 1.0
"""ps; in which a bead of 100 Da moves 1.6 Å at 300 K."""


class Problem(NamedTuple):
    """A key (its path) and what is wrong with it."""

    path: tuple[str | int, ...]
    message: str


def problems(config: RunConfig) -> Iterator[Problem]:
    """Everything that keys get wrong together; nothing for a sound run."""
    yield from _systems(config)
    yield from _filters(config)
    yield from _device(config)
    yield from _temperatures(config)
    yield from _annealing(config)
    yield from _exchange(config)
    yield from _variables(config)
    yield from _biases(config)
    yield from _metadynamics(config)
    yield from _ensemble(config)
    yield from _durations(config)


def _systems(config: RunConfig) -> Iterator[Problem]:
    if config.n_replicas > MAX_REPLICAS:
        yield Problem(
            ("replicas", "count"),
            f"{config.n_replicas} replicas in all; one run holds at most {MAX_REPLICAS}",
        )
    for entry in config.system:
        if entry.forcefield is None and config.model.forcefield is None:
            yield Problem(
                ("model", "forcefield"),
                f"is missing, and system '{entry.name}' names no force field of its own; "
                "add for example `forcefield: my-forcefield` under `model:`",
            )
            break
    for i, entry in enumerate(config.system):
        if entry.molecules:
            yield from _many(config, i)
            continue
        yield from _source(entry, ("system", i))
        for key in ("geometry", "thickness"):
            if getattr(entry, key) != type(entry).model_fields[key].default:
                yield Problem(("system", i, key), "places the copies of `molecules:`, and there are none; remove it")
    yield from _one_box(config)
    names = Counter(entry.name for entry in config.system)
    for i, entry in enumerate(config.system):
        if names[entry.name] > 1:
            yield Problem(
                ("system", i, "name"),
                f"'{entry.name}' is the name of {names[entry.name]} systems, and names their files; "
                f"give each its own, for example `name: {entry.name}-{i + 1}`",
            )
            break


def _source(entry: Source, path: tuple[str | int, ...]) -> Iterator[Problem]:
    """A molecule is from one place."""
    if entry.structure is None and entry.sequence is None:
        yield Problem(
            (*path, "structure"), "is missing; add for example `structure: protein.pdb`, or `sequence: MSRAALPSLENL`"
        )
    elif entry.structure is not None and entry.sequence is not None:
        yield Problem((*path, "sequence"), "stands beside a structure, which has its own; remove one of them")


def _many(config: RunConfig, i: int) -> Iterator[Problem]:
    """A box of many molecules."""
    entry = config.system[i]
    own = {key: getattr(entry, key) for key in Source.model_fields if key not in ("name", "forcefield", "mapping")}
    for key, value in own.items():
        if value != Source.model_fields[key].default:
            yield Problem(("system", i, key), "stands beside `molecules:`; write it for one of them, below its `-`")
    for j, molecule in enumerate(entry.molecules):
        yield from _source(molecule, ("system", i, "molecules", j))
    names = Counter(molecule.name for molecule in entry.molecules)
    for j, molecule in enumerate(entry.molecules):
        if names[molecule.name] > 1:
            yield Problem(
                ("system", i, "molecules", j, "name"),
                f"'{molecule.name}' is the name of {names[molecule.name]} molecules; give each its own, for example "
                f"`name: {molecule.name}-{j + 1}` (copies of one need no name: `count: 2`)",
            )
            break
    box = entry.box or config.box
    if box is None:
        yield Problem(
            ("system", i, "box"), "is missing; many molecules need a periodic box: `box: [15 nm, 15 nm, 150 nm]`"
        )
    elif entry.thickness is not None and entry.geometry != "slab":
        yield Problem(("system", i, "thickness"), "is that of a slab; write `geometry: slab` too, or remove it")
    elif entry.thickness is not None and entry.thickness > max(box):
        yield Problem(
            ("system", i, "thickness"),
            f"is {entry.thickness:g} angstrom, and the longest edge of the box is {max(box):g} angstrom; write less",
        )


def _one_box(config: RunConfig) -> Iterator[Problem]:
    """A run has one box, wherever it is written."""
    boxes = {box for box in (config.box, *(entry.box for entry in config.system)) if box is not None}
    for i, entry in enumerate(config.system):
        if entry.box is not None and len(boxes) > 1:
            yield Problem(
                ("system", i, "box"),
                "is not the box of the others, and a run has one for all; write it once, as `box:` of the run",
            )
            return


def _filters(config: RunConfig) -> Iterator[Problem]:
    model = config.model
    if model.kernels == "reference" and model.filters == "table":
        yield Problem(("model", "filters"), "the reference kernels have no tables; write `filters: auto`")
    if model.filters == "split":
        if model.kernels == "reference" or config.hardware.device == "cpu":
            yield Problem(("model", "filters"), "split is for the kernels of a GPU; write `filters: auto`")
        elif model.precision == "fp64":
            yield Problem(
                ("model", "filters"),
                "split multiplies numbers in 16 bits; write `filters: auto`, or `precision: fp32` or `mixed16`",
            )
    for key, value in (("kernels", "reference"), ("filters", "exact")):
        if model.precision == "mixed16" and getattr(model, key) == value:
            yield Problem(
                ("model", "precision"),
                f"mixed16 is a format of filter tables, and `{key}: {value}` has none; write `precision: fp32`",
            )
            break


def _device(config: RunConfig) -> Iterator[Problem]:
    if config.hardware.device == "cuda" and config.model.kernels == "reference":
        yield Problem(
            ("hardware", "device"), "the reference kernels run in plain torch on the CPU; write `device: cpu`"
        )


def _temperatures(config: RunConfig) -> Iterator[Problem]:
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


def _annealing(config: RunConfig) -> Iterator[Problem]:
    """Stages of whole steps, a bath that follows them, and nothing else that needs one temperature."""
    stages = config.dynamics.annealing
    if not stages:
        return
    here: tuple[str | int, ...] = ("dynamics", "annealing")
    scheme = INTEGRATORS[config.dynamics.integrator]
    if not scheme.takes_noise:
        text = f"{scheme.name} holds no temperature that could move; write `integrator: {DEFAULT}`, or remove it"
        yield Problem(here, text)
    if config.exchange is not None and config.exchange.temperatures is not None:
        yield Problem(here, "temperatures that move cannot be exchanged; remove it, or `exchange.temperatures`")
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
            times = time / stage.every
            if abs(times - round(times)) > 1e-6 * max(times, 1.0):
                yield Problem((*here, k, key), f"must be a multiple of `every`, {stage.every:g} ps; found {time:g} ps")
    begins = 0.0
    for k, stage in enumerate(stages):
        begins += stage.after
        times = begins / stage.every
        if abs(times - round(times)) > 1e-6 * max(times, 1.0):
            text = f"begins at {begins:g} ps, which must be a multiple of its `every`, {stage.every:g} ps"
            yield Problem((*here, k, "every"), text)
        begins += stage.length


def _exchange(config: RunConfig) -> Iterator[Problem]:
    if config.exchange is None:
        return
    ladder, given = config.exchange_states, config.exchange.temperatures
    yield from _traded(config, config.exchange)
    if not ladder:
        return
    scheme = INTEGRATORS[config.dynamics.integrator]
    if not scheme.takes_noise:
        yield Problem(
            ("dynamics", "integrator"),
            f"{scheme.name} holds no temperature, so replicas cannot exchange theirs; write `integrator: {DEFAULT}`, "
            "or remove `exchange:`",
        )
    if given is not None and (min(ladder) <= 0 or any(a >= b for a, b in pairwise(given))):
        fixed = ", ".join(show_quantity(t, "temperature", ("K",)) for t in sorted({t for t in ladder if t > 0}))
        yield Problem(
            ("exchange", "temperatures"),
            f"must be above 0 K, increasing and all different; write `temperatures: [{fixed}]`",
        )
    for i, (entry, count) in enumerate(zip(config.system, config.counts, strict=True)):
        if count % len(ladder):
            key = "count" if entry.replicas is None else "replicas"
            least = count - count % len(ladder)
            near = [n for n in (least, least + len(ladder)) if n]
            yield Problem(
                ("replicas", "count") if entry.replicas is None else ("system", i, "replicas"),
                f"{count} replicas of '{entry.name}' do not fill ladders of {len(ladder)} states; the nearest: "
                f"{' and '.join(map(str, near))}; write `{key}: {near[-1]}`",
            )
            break


def _traded(config: RunConfig, exchange: Exchange) -> Iterator[Problem]:
    """What the states of a ladder are made of."""
    here = ("exchange", "biases")
    known = {bias.name: bias for bias in config.biases}
    if exchange.temperatures is None and not exchange.traded:
        yield Problem(
            ("exchange", "temperatures"),
            "is missing; add for example `temperatures: {min: 300 K, max: 450 K, count: 16}`, or name biases whose "
            "windows are traded: `biases: [pull]`, or terms whose strength is: "
            "`scale: {contacts: {min: 0.7, max: 1, count: 8}}`",
        )
    for name in exchange.biases:
        if name not in known:
            there = f"there is {', '.join(known)}" if known else "there is none: see `biases:`"
            yield Problem(here, f"no bias is called '{name}'; {there}")
        elif known[name].windows == 1:
            yield Problem(here, f"'{name}' has one window, which leaves nothing to trade; give it several centers")
    traded = [known[name].windows for name in exchange.biases if name in known]
    if exchange.scale and not exchange.biases:
        here = ("exchange", "scale")
    traded += map(len, exchange.scale.values())
    counts = sorted({*traded} | ({len(exchange.temperatures)} if exchange.temperatures else set()))
    if traded and len(counts) > 1:
        yield Problem(
            here, f"states have one window of each bias, one scale of each term and one temperature, found {counts}"
        )
    if traded and len(config.system) > 1:
        yield Problem(here, f"exchange of biases and scales takes one system; this run has {len(config.system)}")
    if traded and exchange.temperatures is None and len(config.dynamics.temperature or ()) > 1:
        yield Problem(
            ("dynamics", "temperature"), "replicas that trade biases or scales need one temperature; give one"
        )
    for i, bias in enumerate(config.biases):
        if bias.windows > 1 and bias.name not in exchange.biases:
            yield Problem(
                ("biases", i, "center"),
                f"'{bias.name}' has {bias.windows} windows, which would stay with replicas while they exchange; "
                f"trade them too: `biases: [{', '.join([*exchange.biases, bias.name])}]` under `exchange:`",
            )


def _system_is_known(entry: VariableEntry, systems: Sequence[str]) -> bool:
    return entry.system in systems or (entry.system is None and len(systems) == 1)


def _variables(config: RunConfig) -> Iterator[Problem]:
    """What biases and monitored variables have in common: names of columns, and a system."""
    lists: list[tuple[tuple[str | int, ...], Sequence[VariableEntry]]] = [(("biases",), config.biases)]
    lists += [(("metadynamics", k, "variables"), entry.variables) for k, entry in enumerate(config.metadynamics)]
    lists.append((("monitor",), config.monitor))
    names = Counter(entry.name for _, entries in lists for entry in entries)
    names.update(entry.name for entry in config.metadynamics)
    names.update(scale_name(term) for term in (config.exchange.scale if config.exchange is not None else ()))
    systems = [entry.name for entry in config.system]
    what = "biases and monitored variables" if config.monitor else "biases"
    for section, entries in lists:
        for i, entry in enumerate(entries):
            if names[entry.name] > 1:
                message = f"'{entry.name}' is the name of {names[entry.name]} {what}; give each its own"
                yield Problem((*section, i, "name"), f"{message}, for example `name: {entry.name}-{i + 1}`")
            if not _system_is_known(entry, systems):
                wrong = "is missing" if entry.system is None else f"there is no system '{entry.system}'"
                example = f"one of {', '.join(systems)}: write for example `system: {systems[0]}`"
                yield Problem((*section, i, "system"), f"{wrong}; name {example}")
    if max(names.values(), default=1) == 1:
        yield from _columns(config, lists)


def _columns(
    config: RunConfig, lists: Sequence[tuple[tuple[str | int, ...], Sequence[VariableEntry]]]
) -> Iterator[Problem]:
    """Columns of colvars.csv that two entries would share, though their names differ."""

    def named(entries: Sequence[VariableEntry]) -> list[tuple[str, str]]:
        return [(entry.name, UNITS[VARIABLES[entry.variable].dimension]) for entry in entries]

    grids = [(entry.name, named(entry.variables)) for entry in config.metadynamics]
    moving = [bias.name for bias in config.biases if bias.moving is not None]
    count = Counter(columns(named(config.biases), named(config.monitor), grids, moving))
    for section, entries in lists:
        for i, (name, unit) in enumerate(named(entries)):
            for own in (column(name, unit), *([f"{name}_kcal_mol"] if section == ("biases",) else [])):
                if count[own] > 1:
                    text = f"'{name}' has the column {own} of colvars.csv, which another entry has too; write another"
                    yield Problem((*section, i, "name"), f"{text}, for example `name: {name}-{i + 1}`")
                    return


def _biases(config: RunConfig) -> Iterator[Problem]:
    systems = [entry.name for entry in config.system]
    for i, bias in enumerate(config.biases):
        here = ("biases", i)
        if bias.form in ONE_SIDED and VARIABLES[bias.variable].periodic:
            yield Problem(
                (*here, "form"),
                f"a {bias.form} bias on a {bias.variable} would jump at 180 degrees; write `form: harmonic`",
            )
        yield from _moving(bias, here, config)
        if not _system_is_known(bias, systems):
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


def _metadynamics(config: RunConfig) -> Iterator[Problem]:
    systems = [entry.name for entry in config.system]
    first = 0
    begins = {}
    for name, count in zip(systems, config.counts, strict=True):
        begins[name] = (first, count)
        first += count
    for k, entry in enumerate(config.metadynamics):
        here = ("metadynamics", k)
        if len(entry.variables) not in (1, 2):
            yield Problem((*here, "variables"), f"lists {len(entry.variables)} variables; a grid takes one or two")
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


def _ensemble(config: RunConfig) -> Iterator[Problem]:
    entry = config.weighted_ensemble
    if entry is None:
        return
    here = ("weighted_ensemble",)
    cycle = config.dynamics.timestep * config.dynamics.network_every
    yield from whole_steps((*here, "every"), entry.every, cycle)
    if not entry.bins and entry.merge_distance is None:
        yield Problem(
            (*here, "bins"),
            "is missing; add for example `bins: {min: 0.2, max: 0.9, count: 15}`, or a `merge_distance` for REVO",
        )
    elif entry.bins and entry.merge_distance is not None:
        yield Problem((*here, "merge_distance"), "is of REVO, which has no bins; remove it, or `bins`")
    names = [system.name for system in config.system]
    if not _system_is_known(entry, names):
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


def _durations(config: RunConfig) -> Iterator[Problem]:
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
    if INTEGRATORS[dynamics.integrator].has_velocities and dynamics.timestep > _LONGEST_STEP:
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


def whole_steps(path: tuple[str | int, ...], time: float, timestep: float) -> Iterator[Problem]:
    """A problem of the key at `path` where `time` (ps) is not a whole number of steps of `timestep` (ps)."""
    shown = show_quantity(time, "time", _TIME_UNITS)
    step = show_quantity(timestep, "time", ("fs", "ps"))
    ratio = time / timestep
    if ratio > 2**53:
        yield Problem(path, f"{shown} is {ratio:.3g} steps of {step}; at most 2^53 (9.0e15) can be counted")
        return
    whole = round(ratio)
    # `ratio` has the rounding of two decimal numbers, a few parts in 1e16
    if whole >= 1 and abs(ratio - whole) <= 1e-9 + 1e-14 * ratio:
        return
    near = [n for n in (int(ratio), int(ratio) + 1) if n >= 1]
    texts = [show_quantity(float(f"{n * timestep:.15g}"), "time", _TIME_UNITS) for n in near]
    best = texts[-1] if ratio - int(ratio) >= 0.5 else texts[0]
    yield Problem(
        path,
        f"{shown} is {ratio:.6g} steps of {step}, which is not a whole number; "
        f"the nearest: {' and '.join(texts)}; write `{path[-1]}: {best}`",
    )


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
    if config.weighted_ensemble is not None:
        found += _ensemble_warnings(config, config.weighted_ensemble)
    for i, bias in enumerate(config.biases):
        if (
            bias.moving is not None
            and (end := config.steps_in(bias.moving.after + bias.moving.length)) > config.total_steps
        ):
            found.append(
                f"biases.{i}.moving ends at step {end:,}, and the run at step {config.total_steps:,}: {bias.name} does "
                "not get to where it moves"
            )
    if (moves := sum(config.steps_in(stage.after + stage.length) for stage in dynamics.annealing)) > config.total_steps:
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


PER_BIN = 4
"""Walkers of a bin, below which merging leaves little to choose from."""


def _ensemble_warnings(config: RunConfig, entry: WeightedEnsemble) -> Iterator[str]:
    if config.steps_in(entry.every) > config.total_steps:
        yield f"weighted_ensemble.every is longer than the run ({config.total_steps} steps): nothing is resampled"
    names = [system.name for system in config.system]
    walkers = config.counts[names.index(entry.system or names[0])]
    if entry.bins and walkers < PER_BIN * (len(entry.bins) + 1):
        yield (
            f"weighted_ensemble.bins: {walkers} walkers for up to {len(entry.bins) + 1} bins leave fewer than "
            f"{PER_BIN} for each where all are occupied; write fewer, or `count: {PER_BIN * (len(entry.bins) + 1)}`"
        )

"""From the `biases:` and `monitor:` sections of a run to biases on its batch: selections, references, windows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mdflash.config.biases import BiasEntry, Group, VariableEntry
from mdflash.config.exchange import scale_name
from mdflash.config.metadynamics import Metadynamics as MetadynamicsEntry
from mdflash.config.schema import RunConfig
from mdflash.core.scale import other_unit
from mdflash.core.state import Layout
from mdflash.core.system import System, load_system
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.forcefields.model import ForceField
from mdflash.io.frames import load_frames
from mdflash.io.topology import mdtraj_topology
from mdflash.mapping.choices import Reading
from mdflash.mapping.structure import map_structure
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.bias import CENTER, FORCE_CONSTANT, Bias
from mdflash.potentials.bias.growing import GrowingBias
from mdflash.potentials.bias.metadynamics import Metadynamics
from mdflash.potentials.bias.opes import Opes
from mdflash.potentials.bias.surface import Axis
from mdflash.potentials.bias.term_energy import TermEnergy
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.base import Selected, Variable
from mdflash.potentials.variables.images import in_box
from mdflash.units import kT


def build_biases(
    config: RunConfig, layout: Layout, starts: Sequence[FloatArray], forcefields: Sequence[ForceField]
) -> tuple[Bias, ...]:
    """The biases of a run, in the order of its file.

    Args:
        config: the run.
        layout: its batch.
        starts: for each system its first start frame [N, 3] Å.
        forcefields: one for each system.

    Raises:
        InputError: beads the molecule does not have, a selection that means nothing, a reference of another molecule.
    """
    found = []
    variables = _variables("biases", config.biases, config, layout, starts, forcefields)
    for i, (entry, (s, variable)) in enumerate(zip(config.biases, variables, strict=True)):
        _refuse_centers_beyond_images(entry, variable, f"biases.{i}.center")
        n = layout.counts[s]
        constants, centers = _spread(entry.force_constant, n), _spread(entry.center, n)
        found.append(Bias(entry.name, variable, layout, constants, centers, entry.width, entry.form, s))
        if entry.moving is not None:
            end = found[-1].parameters.copy()
            for column, value in ((CENTER, entry.center_to), (FORCE_CONSTANT, entry.force_constant_to)):
                end[:, column] = end[:, column] if value is None else value
            start = round(entry.moving.after / config.dynamics.timestep)
            stop = start + config.steps_in(entry.moving.length)
            found[-1].move(end, start, stop, config.steps_in(entry.moving.every))
    return tuple(found)


def _refuse_centers_beyond_images(entry: BiasEntry, variable: Variable, key: str) -> None:
    """Between images no distance along an edge exceeds half of it, so a bias that pulls beyond would flip its force."""
    if variable.box is None or entry.form == "linear":
        return
    centers = [*entry.center, *(() if entry.center_to is None else (entry.center_to,))]
    furthest, half = max(centers) + entry.width, min(variable.box) / 2
    if furthest >= half:
        raise InputError(
            f"{furthest:g} Å is not below half the shortest edge of the box, {half:g} Å, where the nearest image of "
            f"the other molecule changes; make the box larger than {2 * furthest:g} Å, or the centers smaller",
            key=key,
        )


def build_metadynamics(
    config: RunConfig, layout: Layout, starts: Sequence[FloatArray], forcefields: Sequence[ForceField]
) -> tuple[GrowingBias, ...]:
    """The metadynamics of a run, without hills. Arguments, errors: as `build_biases`."""
    return tuple(
        _one_metadynamics(k, entry, config, layout, starts, forcefields) for k, entry in enumerate(config.metadynamics)
    )


def _one_metadynamics(
    k: int,
    entry: MetadynamicsEntry,
    config: RunConfig,
    layout: Layout,
    starts: Sequence[FloatArray],
    forcefields: Sequence[ForceField],
) -> GrowingBias:
    section = f"metadynamics.{k}.variables"
    axes = []
    found = list(_variables(section, entry.variables, config, layout, starts, forcefields))
    s = found[0][0]
    for i, (given, (_, variable)) in enumerate(zip(entry.variables, found, strict=True)):
        low, high, points = given.grid
        if variable.box is not None and high >= min(variable.box) / 2:
            raise InputError(
                f"the grid ends at {high:g} Å, which is not below half the shortest edge of the box, "
                f"{min(variable.box) / 2:g} Å, where the nearest image changes; make the box larger, or the grid "
                "smaller",
                key=f"{section}.{i}.grid",
            )
        axes.append(Axis(given.name, variable, low, high, points))
    first, stop = layout.replica_offset[s : s + 2].tolist()
    kelvin = np.array(config.temperatures[first:stop]).reshape(-1, entry.walkers or stop - first)
    widths, every = [given.width for given in entry.variables], config.steps_in(entry.every)
    thermal = [kT(t) for t in kelvin.min(axis=1).tolist()]
    if entry.barrier is None:
        return Metadynamics(
            entry.name, axes, layout, widths, entry.height, entry.gamma, every, thermal, entry.walkers, s
        )
    explore = entry.method == "opes-explore"
    return Opes(
        entry.name, axes, layout, widths, entry.barrier, every, thermal, entry.bias_factor, explore, entry.walkers, s
    )


def build_monitored(
    config: RunConfig, layout: Layout, starts: Sequence[FloatArray], forcefields: Sequence[ForceField]
) -> tuple[Bias, ...]:
    """The variables that a run only records, each as a bias without force. Arguments, errors: as `build_biases`."""
    variables = _variables("monitor", config.monitor, config, layout, starts, forcefields)
    return tuple(
        Bias(entry.name, variable, layout, 0.0, system=s)
        for entry, (s, variable) in zip(config.monitor, variables, strict=True)
    )


def build_walkers(
    config: RunConfig, layout: Layout, starts: Sequence[FloatArray], forcefields: Sequence[ForceField]
) -> Bias | None:
    """The variable of a weighted ensemble, as a bias without force. Arguments, errors: as `build_biases`."""
    entry = config.weighted_ensemble
    if entry is None:
        return None
    s, variable = _variable("weighted_ensemble", entry, config, layout, starts, forcefields)
    return Bias(entry.name, variable, layout, 0.0, system=s)


def _variables(
    section: str,
    entries: Sequence[VariableEntry],
    config: RunConfig,
    layout: Layout,
    starts: Sequence[FloatArray],
    forcefields: Sequence[ForceField],
) -> Iterator[tuple[int, Variable]]:
    """Of each entry of a section, the number of its system, and its variable."""
    for i, entry in enumerate(entries):
        yield _variable(f"{section}.{i}", entry, config, layout, starts, forcefields)


def _variable(
    key: str,
    entry: VariableEntry,
    config: RunConfig,
    layout: Layout,
    starts: Sequence[FloatArray],
    forcefields: Sequence[ForceField],
) -> tuple[int, Variable]:
    """The number of an entry's system, and its variable; `key` is where the entry is."""
    s = 0 if entry.system is None else [system.name for system in layout.systems].index(entry.system)
    molecule = config.system[s]
    mapping = forcefields[s].mapping if molecule.mapping == "from-forcefield" else molecule.mapping
    read = partial(read_structure, layout.systems[s], forcefields[s], mapping, molecule.reading)
    variable = select_variable(key, entry, layout.systems[s], starts[s], read)
    if config.box is not None:
        try:
            variable = in_box(variable, layout.systems[s], config.box)
        except InputError as error:
            raise InputError(error.message, key=error.key or f"{key}.beads") from None
    return s, variable


def select_variable(
    key: str, entry: VariableEntry, system: System, start: FloatArray, read: Callable[[Path], FloatArray]
) -> Variable:
    """The variable of one entry.

    Args:
        key: where the entry is, for messages.
        entry: what it says.
        system: the molecule.
        start: [N, 3] Å, the structure that `reference: start` means.
        read: reads another one from a file.

    Raises:
        InputError: beads that the molecule does not have, a selection that means nothing, a reference of another
            molecule.
    """
    try:
        reference = entry.reference
        structure = read(reference) if isinstance(reference, Path) else start if reference == "start" else None
    except InputError as error:
        raise InputError(error.message, file=error.file, key=f"{key}.reference") from None
    try:
        groups = [beads_of(group, system) for group in entry.beads]
        return VARIABLES[entry.variable].select(system, Selected(groups, structure, entry.options))
    except InputError as error:
        raise InputError(error.message, key=error.key or f"{key}.beads") from None


def build_scales(config: RunConfig, layout: Layout, terms: Sequence[Potential]) -> tuple[Bias, ...]:
    """The scales that replicas exchange, each as a linear bias on the energy of its term.

    Args:
        config: the run.
        layout: its batch, of one system.
        terms: the terms of its force field.

    Raises:
        InputError: no such term, or one that is no list of interactions of beads.
    """
    found = []
    listed = {term.name: term for term in terms if isinstance(term, PriorTerm) and len(term.tables[0][0])}
    for name, scales in config.exchange.scale.items() if config.exchange is not None else ():
        if name not in listed:
            what = "is a network or a term of all pairs" if name in {term.name for term in terms} else "is no term here"
            raise InputError(
                f"'{name}' {what}; what can be scaled: {', '.join(sorted(listed)) or 'nothing'}",
                key=f"exchange.scale.{name}",
            )
        variable = TermEnergy(layout.systems[0], listed[name])
        constants = _spread([scale - 1.0 for scale in scales], layout.counts[0])
        found.append(Bias(scale_name(name), variable, layout, constants, form="linear"))
    return tuple(found)


def _spread(values: Sequence[float], replicas: int) -> list[float]:
    """One value for each replica; they take a list in turn, as they take start frames."""
    return [values[r % len(values)] for r in range(replicas)]


def beads_of(group: Group, system: System) -> list[int]:
    """The beads of one entry of `beads:`.

    Raises:
        InputError: a selection that means nothing, or selects nothing.
    """
    if isinstance(group, int):
        return [group]
    if isinstance(group, tuple):
        return list(group)
    topology = mdtraj_topology(system)
    letters = [chain.chain_id for chain in topology.chains]
    numbered = _by_number(group, letters)
    try:
        found = topology.select(numbered)
    except Exception as error:  # MDTraj raises whatever its parser meets
        example = f"chain {group}" if group in letters else "resSeq 3 to 7 and name CA"
        raise InputError(
            f"'{group}' is not a selection that MDTraj understands ({str(error).splitlines()[0]}); "
            f"write for example '{example}', or bead numbers from 0"
        ) from None
    if not len(found):
        raise InputError(f"'{group}' selects no bead of system '{system.name}', which has {_range(system)}")
    return [int(bead) for bead in found]


def _by_number(selection: str, letters: Sequence[str]) -> str:
    """A selection with chains by their numbers, as MDTraj knows them, in place of `chain A`."""

    def numbers(match: re.Match[str]) -> str:
        found = [f"chainid {k}" for k, letter in enumerate(letters) if letter == match[1]]
        if not found:
            raise InputError(f"'{selection}': there is no chain {match[1]}; the chains are {', '.join(letters)}")
        return f"({' or '.join(found)})"

    return re.sub(r"\bchain\s+(\w+)", numbers, selection)


def _range(system: System) -> str:
    last = system.n_beads - 1
    return f"{system.n_beads} beads, {system.bead_label(0)} to {system.bead_label(last)}"


def read_structure(system: System, forcefield: ForceField, mapping: str, reading: Reading, file: Path) -> FloatArray:
    """[N, 3] Å a structure of the molecule from a file, of atoms that are mapped as told.

    Raises:
        InputError: not a file of the molecule.
    """
    if file.suffix == ".npy":
        given = load_frames(file, system)[:1]
        if (what := other_unit(system, given)) is not None:
            raise InputError(what, file=file)
        return np.asarray(given[0])
    if file.suffix == ".safetensors":
        other, frames = load_system(file)
    else:
        other, frames, _ = map_structure(file, mapping, forcefield, system.name, reading)
    if frames is not None and (what := other_unit(other, frames[:1])) is not None:
        raise InputError(what, file=file)
    if other.types != system.types or frames is None:
        raise InputError(
            f"has {_range(other)}, system '{system.name}' has {_range(system)}; a reference is the same molecule",
            file=file,
        )
    return np.asarray(frames[0])

"""mlcg / CGSchNet checkpoints -> a force field.

A model file may hold a SchNet, a dictionary of priors, a sum of both, or a "specialized" model with its
configurations; several files are summed, as a network and its priors often come apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mdflash.core.regular import read_input
from mdflash.core.scale import other_unit
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.build import bind_term, network_types
from mdflash.forcefields.model import BeadType, ForceField, Network, Term
from mdflash.forcefields.networks import load_schnet
from mdflash.importers.mlcg_objects import Model, read_models, translating
from mdflash.importers.mlcg_priors import allowed_keys, counterpart, is_static, static_term, typed_term
from mdflash.importers.mlcg_schnet import NETWORKS, schnet_network
from mdflash.importers.mlcg_structures import (
    EXCLUDED,
    Configuration,
    group_systems,
    parse_configurations,
    read_structures,
)
from mdflash.importers.mlcg_types import BACKBONE, RESIDUES, type_name
from mdflash.units import BOLTZMANN


def import_mlcg(models: Sequence[Path], structures: Path | None = None, name: str = "imported") -> ForceField:
    """The sum of the models as a force field, with the molecules of `structures` as its systems.

    Args:
        models: checkpoint files; their terms are added.
        structures: a list of AtomicData, with the neighbor lists of the priors. A specialized model brings
            its own and needs none.
        name: of the force field, and of its systems.

    Raises:
        InputError, UnsafePickleError: a file that cannot be read, or asks for code.
        ForceFieldError: a network or prior that mdflash does not have, a term given twice, a molecule
            without parameters.
    """
    with translating(models[0] if len(models) == 1 else Path(", ".join(map(str, models)))):
        return _sum(models, structures, name)


def _sum(models: Sequence[Path], structures: Path | None, name: str) -> ForceField:
    checkpoints = [(file, read_models(file)) for file in models]
    found = [model for _, checkpoint in checkpoints for model in checkpoint.models]
    _refuse_twice(found)
    own = [(file, c.configurations) for file, c in checkpoints if c.configurations]
    static = [parse_configurations(records, file) for file, records in own]
    confs = read_structures(structures) if structures is not None else tuple(static[0]) if static else ()

    nets = [schnet_network(m) for m in found if m.module.name in NETWORKS]
    if any(EXCLUDED in conf.lists for conf in confs):
        nets = [replace(n, hyperparameters={**n.hyperparameters, "exclude_interactions": [EXCLUDED]}) for n in nets]
    priors = [m for m in found if m.module.name not in NETWORKS]
    numbers = _type_numbers(priors, nets, confs)
    place = {number: k for k, number in enumerate(numbers)}
    terms = tuple(_static(m, own, static) if is_static(m) else typed_term(m, place) for m in priors)
    bonded = _bonded(terms, confs)
    used = [t.name for t in terms if t.keyed_by == "types"] + ([EXCLUDED] if nets else [])
    ff = ForceField(
        name=name,
        bead_types=tuple(BeadType(type_name(k), k, _mass(k, confs)) for k in numbers),
        mapping=_mapping(numbers),
        terms=terms,
        networks=tuple(nets),
        systems=tuple(group_systems(name, confs, used, bonded)) if confs else (),
        provenance=_provenance([*models, *([structures] if structures else [])], confs),
    )
    for network in ff.networks:
        load_schnet(network)
    for system, frames in ff.systems:  # a missing parameter is better reported now than at the first step
        for term in ff.terms:
            bind_term(ff, term, system)
        for network in ff.networks:
            network_types(ff, network, system)
        if frames is not None and (what := other_unit(system, frames)) is not None:
            raise InputError(f"structures of {system.name}: {what}", file=structures or models[0])
    return ff


def _refuse_twice(models: Sequence[Model]) -> None:
    seen: dict[str, Model] = {}
    for model in models:
        if model.name in seen:
            first = seen[model.name]
            raise ForceFieldError(
                f"the term '{model.name}' is in both {first.file} and {model.file}, so their sum would "
                "count it twice. Leave one of the files out"
            )
        seen[model.name] = model


def _static(
    model: Model,
    own: Sequence[tuple[Path, object]],
    static: Sequence[tuple[Configuration, ...]],
) -> Term:
    """A specialized prior with the configurations of its own file."""
    for (file, _), confs in zip(own, static, strict=True):
        if file == model.file:
            counterpart(model)
            lists = [conf.lists.get(model.name) for conf in confs]
            known = [index for index in lists if index is not None]
            if len(known) != len(lists):
                raise ForceFieldError(f"its structures have no neighbor list '{model.name}'", file=file)
            return static_term(model, known)
    raise ForceFieldError(
        f"the prior '{model.name}' is specialized for structures that the file does not hold; import the file "
        "that mlcg wrote with its configurations (..._specialized_model_and_config.pt)",
        file=model.file,
    )


def _type_numbers(priors: Sequence[Model], nets: Sequence[Network], confs: Sequence[Configuration]) -> list[int]:
    """mlcg's numbers of the bead types that terms or structures use; all named ones for a bare network."""
    used: set[int] = {int(t) for conf in confs for t in conf.types}
    for model in priors:
        if not is_static(model):
            used |= set(np.unique(allowed_keys(model)).tolist())
    if nets:
        named = range(1, len(RESIDUES) + (len(BACKBONE) if not used else 0) + 1)
        used |= {k for k in named if k < min(len(n.weights["embedding"]) for n in nets)}
    return sorted(used)


def _mapping(numbers: Sequence[int]) -> str:
    """How structures become these beads, inferred from the type numbers."""
    if not all(1 <= k <= len(RESIDUES) or k in BACKBONE for k in numbers):
        return "none"
    return "five-bead" if any(k in BACKBONE for k in numbers) else "ca"


def _bonded(terms: Sequence[Term], confs: Sequence[Configuration]) -> list[str]:
    """Names of the interaction lists that are bonds."""
    found = [t.name for t in terms if t.form == "harmonic_bond"]
    pairs = {name for conf in confs for name, rows in conf.lists.items() if rows.shape[1] == 2}
    return found or sorted(name for name in pairs if name.endswith("bonds"))


def _mass(number: int, confs: Sequence[Configuration]) -> float | None:
    """The mass of a bead type in Da, where all its beads have the same."""
    masses = {float(m) for conf in confs for m in conf.masses[conf.types == number]}
    return masses.pop() if len(masses) == 1 else None


def _provenance(files: Sequence[Path], confs: Sequence[Configuration]) -> dict[str, object]:
    betas = {conf.beta for conf in confs if conf.beta}
    data: dict[str, object] = {
        "imported_from": "mlcg",
        "files": [{"name": file.name, "sha256": hashlib.sha256(read_input(file)).hexdigest()} for file in files],
    }
    if betas:
        data["temperature"] = f"{1.0 / (BOLTZMANN * min(betas)):.6g} K"
    return data

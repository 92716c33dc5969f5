"""Force fields and a layout -> potentials: which beads each term acts on, with which parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import ForceFieldError
from mdflash.forcefields.distances import distances_of
from mdflash.forcefields.kinds import Kinds, bead_kinds, every_type, mixed
from mdflash.forcefields.model import ForceField, Network, Term
from mdflash.forcefields.networks import load_schnet
from mdflash.potentials.base import Potential, SumPotential
from mdflash.potentials.forms import FORMS
from mdflash.potentials.priors.neighbor_term import NeighborTable, NeighborTerm
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.schnet.network import Hyperparameters, SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tables import Distances


def bind_term(ff: ForceField, term: Term, system: System) -> tuple[IntArray, dict[str, FloatArray]]:
    """The interactions of a listed term ("types" or "beads") in one molecule.

    For a term keyed by types, the beads are `System.interactions[term.name]`; a molecule without that list
    has no such interaction (no glycine, no GLY_phi). A row of the table holds for its beads in either
    direction, since every coordinate reads the same from both ends; where both directions stand in the
    table, the direction of the list decides.

    Returns:
        index [M, order] and parameters, name -> [M] or [M, degree].

    Raises:
        ForceFieldError: no parameters for the types of some beads, or beads the molecule does not have.
    """
    order = FORMS[term.form].order
    if term.keyed_by == "beads":
        if ff.systems and all(own.types != system.types for own, _ in ff.systems):
            raise ForceFieldError(
                f"term '{term.name}' of force field '{ff.name}' is keyed by beads of the molecule it was made for "
                f"({', '.join(own.name for own, _ in ff.systems)}); system '{system.name}' is another one",
                file=ff.folder,
            )
        if len(term.keys) and term.keys.max() >= system.n_beads:
            raise ForceFieldError(
                f"term '{term.name}' of force field '{ff.name}' acts on bead {term.keys.max()}, but system "
                f"'{system.name}' ends with bead {system.n_beads - 1}; this force field was made for another molecule",
                file=ff.folder,
            )
        return term.keys, dict(term.parameters)
    index = system.interactions.get(term.name, np.zeros((0, order), np.int64))
    if index.shape[1] != order:
        raise ForceFieldError(
            f"system '{system.name}' lists {index.shape[1]} beads per interaction of '{term.name}', "
            f"but its form '{term.form}' takes {order}"
        )
    same = {p: np.full(len(index), float(mix.options["value"])) for p, mix in term.rules.items()}
    if not term.columns:
        return index, same
    row = _table_rows(ff, term, system, index)
    return index, {p: values[row] for p, values in term.parameters.items()} | same


def _table_rows(ff: ForceField, term: Term, system: System, index: IntArray) -> IntArray:
    """[M] the row of the term's table for each interaction."""
    shape = (len(ff.bead_types),) * FORMS[term.form].order
    if not len(index):
        return np.zeros(0, np.int64)
    table = np.ravel_multi_index(tuple(term.keys.T), shape)
    order = np.argsort(table, kind="stable")
    table = table[order]
    twice = np.flatnonzero(np.diff(table) == 0)
    if len(twice):
        names = _names(ff, term.keys[order[twice[0]]])
        raise ForceFieldError(f"term '{term.name}' of force field '{ff.name}' has two rows for {names}", file=ff.folder)
    types = ff.type_indices(system)[index]  # [M, order]
    row = np.full(len(index), -1, np.int64)
    for direction in (types[:, ::-1], types):  # the last one wins
        wanted = np.ravel_multi_index(tuple(direction.T), shape)
        at = np.minimum(np.searchsorted(table, wanted), len(table) - 1) if len(table) else 0 * wanted
        found = table[at] == wanted if len(table) else np.zeros(len(wanted), bool)
        row[found] = order[at[found]]
    missing = np.flatnonzero(row < 0)
    if len(missing):
        beads = index[missing[0]]
        raise ForceFieldError(
            f"term '{term.name}' of force field '{ff.name}' has no parameters for the bead types "
            f"{_names(ff, types[missing[0]])}, which system '{system.name}' needs for "
            f"{', '.join(system.bead_label(int(b)) for b in beads)}",
            file=ff.folder,
        )
    return row


def _names(ff: ForceField, types: IntArray) -> str:
    return "-".join(ff.bead_types[int(t)].name for t in types)


def excluded_pairs(ff: ForceField, term: Term, system: System) -> IntArray:
    """[E, 2] pairs i < j on which a "neighbors" term does not act, sorted.

    They are at most `exclude_bonds` bonds apart, or stand together in a row of one of `exclude_terms`.

    Raises:
        ForceFieldError: `exclude_terms` names a term that the force field does not have.
    """
    terms = {t.name: t for t in ff.terms}
    rows = []
    for name in term.exclude_terms:
        if name not in terms:
            raise ForceFieldError(
                f"term '{term.name}' of force field '{ff.name}' excludes the pairs of '{name}', "
                f"which is not one of its terms ({', '.join(terms)})",
                file=ff.folder,
            )
        rows.append(bind_term(ff, terms[name], system)[0])
    return _pairs_without(system, term.exclude_bonds, rows)


def _pairs_without(system: System, bonds: int, rows: Sequence[IntArray]) -> IntArray:
    """[E, 2] pairs i < j at most `bonds` bonds apart, or in one row of any of `rows`."""
    found = [np.zeros((0, 2), np.int64)]
    if bonds:
        bonded: dict[int, set[int]] = {bead: set() for bead in range(system.n_beads)}
        for i, j in system.bonds.tolist():
            bonded[i].add(j)
            bonded[j].add(i)
        for bead in bonded:
            near = {bead}
            for _ in range(bonds):
                near |= {b for a in near for b in bonded[a]}
            found.append(np.array([(bead, other) for other in near if other > bead], np.int64).reshape(-1, 2))
    for index in rows:
        found += [index[:, pair] for pair in combinations(range(index.shape[1]), 2)]
    pairs = np.sort(np.concatenate(found), axis=1)
    return np.unique(pairs, axis=0)


def neighbor_table(ff: ForceField, term: Term, system: System) -> NeighborTable:
    """A "neighbors" term in one molecule: kinds of beads, parameter matrices [K, K], exclusions.

    Raises:
        ForceFieldError: no parameters for a pair of types that the molecule has, or a pair that ends beyond the cutoff.
    """
    kinds = bead_kinds(ff, system)
    n = len(ff.bead_types)
    i, j = term.keys.T
    matrices: dict[str, FloatArray] = {}
    used = np.unique(kinds.type[kinds.of_bead])
    for p in FORMS[term.form].parameters:
        if p in term.rules:
            matrices[p] = mixed(ff, term.rules[p], kinds)
            continue
        values = term.parameters[p]
        matrix = np.full((n, n), np.nan)
        matrix[j, i] = values
        matrix[i, j] = values
        bad = np.argwhere(np.isnan(matrix[np.ix_(used, used)]))
        if len(bad):
            raise ForceFieldError(
                f"term '{term.name}' of force field '{ff.name}' has no '{p}' for the bead types "
                f"{_names(ff, used[bad[0]])}, which system '{system.name}' has",
                file=ff.folder,
            )
        matrices[p] = matrix[np.ix_(kinds.type, kinds.type)]
    own = np.unique(kinds.of_bead)
    wrong = FORMS[term.form].problem({p: matrix[np.ix_(own, own)] for p, matrix in matrices.items()})
    if wrong is not None:
        name = _names(ff, kinds.type[own[[wrong[0]]]])
        raise ForceFieldError(
            f"term '{term.name}' of force field '{ff.name}', bead type {name}: {wrong[1]}", file=ff.folder
        )
    _check_ends(ff, term, system, kinds, matrices)
    return NeighborTable(kinds.of_bead, matrices, excluded_pairs(ff, term, system))


def explicit(ff: ForceField, term: Term) -> Term:
    """The term with its rules worked out: a row for every pair of bead types, inside a chain.

    Terms without rules, and those of listed beads, are handed back as they are.
    """
    if term.keyed_by != "neighbors" or not term.rules:
        return term
    kinds = every_type(ff)
    keys = term.keys if term.columns else np.stack(np.triu_indices(len(kinds.type)), axis=1)
    given = {p: mixed(ff, mix, kinds)[tuple(keys.T)] for p, mix in term.rules.items()}
    parameters = {p: given[p] if p in given else term.parameters[p] for p in FORMS[term.form].parameters}
    return replace(term, keys=keys, parameters=parameters, rules={})


def _check_ends(ff: ForceField, term: Term, system: System, kinds: Kinds, matrices: dict[str, FloatArray]) -> None:
    """A pair that ends beyond the term's cutoff would be cut off."""
    ends = FORMS[term.form].ends
    assert term.cutoff is not None
    if ends is None:
        return
    used = np.unique(kinds.of_bead)
    end = ends(matrices)[np.ix_(used, used)]
    bad = np.argwhere(end > term.cutoff * (1.0 + 1e-9))  # but for rounding
    if len(bad):
        raise ForceFieldError(
            f"term '{term.name}' of force field '{ff.name}' has a cutoff of {term.cutoff:g} Å, but its "
            f"'{term.form}' of {_names(ff, kinds.type[used[bad[0]]])}, which system '{system.name}' has, ends at "
            f"{end[tuple(bad[0])]:g} Å; set the cutoff to {end.max():g} angstrom or more",
            file=ff.folder,
        )


def network_types(ff: ForceField, network: Network, system: System) -> IntArray:
    """[N] row of each bead in the network's embedding.

    Raises:
        ForceFieldError: a bead type without a row.
    """
    rows = np.array([t.index for t in ff.bead_types], np.int64)[ff.type_indices(system)]
    size = Hyperparameters.from_dict(network.hyperparameters).types
    bad = np.flatnonzero((rows < 0) | (rows >= size))
    if len(bad):
        raise ForceFieldError(
            f"network '{network.name}' of force field '{ff.name}' knows the bead types 0 to {size - 1}, but "
            f"{system.bead_label(int(bad[0]))} has type '{system.types[bad[0]]}' with index {rows[bad[0]]}",
            file=ff.folder,
        )
    return rows


def network_exclusions(network: Network, system: System) -> IntArray:
    """[E, 2] pairs i < j that exchange no messages, sorted."""
    hyper = Hyperparameters.from_dict(network.hyperparameters)
    rows = [system.interactions[n] for n in hyper.exclude_interactions if n in system.interactions]
    return _pairs_without(system, hyper.exclude_bonds, rows)


def build_potential(forcefields: Sequence[ForceField], layout: Layout) -> SumPotential:
    """The reference potentials of a batch.

    Args:
        forcefields: one for each system of the layout; the same object may stand for several. Terms (and
            networks) of one name and form become one potential over all systems. They are summed in the
            order of their names, so that a replica's sum does not depend on what else is in the batch.

    Raises:
        ForceFieldError: a bead type, parameter or weight is missing.
    """
    assert len(forcefields) == len(layout.systems)
    for ff, system in zip(forcefields, layout.systems, strict=True):
        _check_listed(ff, system)
    terms: list[Potential] = []
    listed: dict[tuple[str, str, float | None], list[Term | None]] = {}
    nets: dict[str, list[Network | None]] = {}
    for s, ff in enumerate(forcefields):
        for term in ff.terms:
            slots = listed.setdefault((term.name, term.form, term.cutoff), [None] * len(forcefields))
            slots[s] = term
        for network in ff.networks:
            nets.setdefault(network.name, [None] * len(forcefields))[s] = network
    modules: dict[int, SchNet] = {}
    for name, networks in sorted(nets.items()):
        terms.append(_schnet(name, networks, forcefields, layout, modules))
    shared = [name for name, _, _ in listed]
    for name, form, cutoff in sorted(listed, key=lambda key: (key[0], key[1], key[2] or 0.0)):
        owned = listed[name, form, cutoff]
        owners = sorted({ff.name for ff, term in zip(forcefields, owned, strict=True) if term is not None})
        label = name if shared.count(name) == 1 else f"{name} ({form} of {', '.join(owners)})"
        terms.append(_prior(label, form, cutoff, owned, forcefields, layout))
    return SumPotential(terms)


def _check_listed(ff: ForceField, system: System) -> None:
    """A molecule without a single interaction of the force field would fall apart without a word."""
    typed = [t.name for t in ff.terms if t.keyed_by == "types"]
    if typed and system.n_beads > 1 and not any(name in system.interactions for name in typed):
        raise ForceFieldError(
            f"system '{system.name}' lists no interactions for any of the {len(typed)} terms that force field "
            f"'{ff.name}' keys by bead types ({', '.join(typed[:3])}, ...); use a system that was imported with "
            "this force field (mdflash import ... --structures)",
            file=ff.folder,
        )


def _prior(
    label: str,
    form_name: str,
    cutoff: float | None,
    owned: Sequence[Term | None],
    forcefields: Sequence[ForceField],
    layout: Layout,
) -> Potential:
    form = FORMS[form_name]
    slots = list(zip(forcefields, owned, layout.systems, strict=True))
    if cutoff is not None:
        nothing = {p: np.zeros((1, 1)) for p in form.parameters}
        return NeighborTerm(
            label,
            form,
            cutoff,
            [
                neighbor_table(ff, term, system) if term is not None
                else NeighborTable(np.zeros(system.n_beads, np.int64), nothing, _every_pair(system))
                for ff, term, system in slots
            ],
        )  # fmt: skip
    empty = (
        np.zeros((0, form.order), np.int64),
        {p: np.zeros((0, 1) if p in form.series else 0) for p in form.parameters},
    )
    return PriorTerm(
        label,
        form,
        [bind_term(ff, term, system) if term is not None else empty for ff, term, system in slots],
    )


def _every_pair(system: System) -> IntArray:
    return np.stack(np.triu_indices(system.n_beads, k=1), axis=1).astype(np.int64)


def _schnet(
    name: str,
    networks: Sequence[Network | None],
    forcefields: Sequence[ForceField],
    layout: Layout,
    modules: dict[int, SchNet],
) -> SchNetPotential:
    types, excluded = [], []
    distances: list[Distances | None] = []
    loaded: list[SchNet | None] = []
    for ff, network, system in zip(forcefields, networks, layout.systems, strict=True):
        if network is None:
            loaded.append(None)
            types.append(np.zeros(system.n_beads, np.int64))
            excluded.append(np.zeros((0, 2), np.int64))
            distances.append(None)
            continue
        if id(network) not in modules:
            modules[id(network)] = load_schnet(network)
        loaded.append(modules[id(network)])
        types.append(network_types(ff, network, system))
        excluded.append(network_exclusions(network, system))
        distances.append(distances_of(ff))
    return SchNetPotential(name, loaded, types, excluded, distances)

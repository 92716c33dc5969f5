"""One force field for a box of many molecules, each of which may have its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mdflash.core.copies import repeat_rows
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import ForceFieldError
from mdflash.forcefields.build import bind_term
from mdflash.forcefields.model import ForceField, Term


@dataclass(frozen=True, eq=False)
class Part:
    """A kind of molecule in a box.

    Attributes:
        forcefield: its own, or that of all.
        system: its beads.
        count: how often it is there.
    """

    forcefield: ForceField
    system: System
    count: int


def merge(parts: Sequence[Part], name: str) -> ForceField:
    """The force field of all copies of all parts, which lie one behind the other as `core.copies.join` puts them.

    Terms keyed by the beads of one molecule are repeated for its copies; every other term must be the same in all.

    Raises:
        ForceFieldError: force fields whose molecules cannot share a box; says which, and what differs.
    """
    first = parts[0].forcefield
    for part in parts:
        _check_pairs(part)
        _check_alike(first, part.forcefield)
    alone = len(parts) == 1 and parts[0].count == 1  # keeps its native structure
    if alone or (all(p.forcefield is first for p in parts) and all(term.keyed_by != "beads" for term in first.terms)):
        return first
    names = dict.fromkeys(term.name for part in parts for term in part.forcefield.terms)
    return replace(
        first,
        name=f"{first.name}-{name}" if len({p.forcefield.name for p in parts}) == 1 else f"forcefield-{name}",
        terms=tuple(_merge_term(parts, term) for term in names),
        systems=(),
        provenance={**first.provenance, "molecules": ", ".join(f"{p.count} {p.system.name}" for p in parts)},
    )


def _merge_term(parts: Sequence[Part], name: str) -> Term:
    """The term of that name, for all parts."""
    own = [next((t for t in part.forcefield.terms if t.name == name), None) for part in parts]
    there = [term for term in own if term is not None]
    first = there[0]
    if first.keyed_by == "neighbors":
        exclude = dict.fromkeys(e for term in there for e in term.exclude_terms)
        return replace(first, exclude_terms=tuple(exclude))
    if len(there) == len(parts) and all(term.keyed_by == "types" and _same(first, term) for term in there):
        return first
    keys: list[IntArray] = []
    parameters: dict[str, list[FloatArray]] = {p: [] for p in (*first.parameters, *first.rules)}
    offset = 0
    for part, term in zip(parts, own, strict=True):
        if term is not None:
            if term.form != first.form:
                raise _different(parts, f"their terms '{name}' have the forms {first.form} and {term.form}")
            index, values = bind_term(part.forcefield, term, part.system)
            keys.append(repeat_rows(index, part.count, part.system.n_beads, offset))
            for p, v in values.items():
                parameters[p].append(np.tile(v, (part.count, *[1] * (v.ndim - 1))))
        offset += part.count * part.system.n_beads
    if any(v.shape[1:] != values[0].shape[1:] for values in parameters.values() for v in values):
        raise _different(parts, f"their terms '{name}' are series of different length")
    joined = {p: np.concatenate(values) for p, values in parameters.items()}
    return Term(first.name, first.form, "beads", np.concatenate(keys), joined)


def _check_pairs(part: Part) -> None:
    """Pairs that a molecule lists one by one are those of the molecule alone; between copies nothing would act."""
    listed = [t.name for t in part.forcefield.terms if t.keyed_by == "types" and t.name == "non_bonded"]
    if listed:
        raise ForceFieldError(
            f"force field '{part.forcefield.name}' lists the pairs of its term '{listed[0]}' for one molecule, so "
            "several molecules would not feel each other; give a force field whose pairs follow from distances "
            "(keyed_by: neighbors), such as calvados2"
        )


def _check_alike(a: ForceField, b: ForceField) -> None:
    """What acts between molecules must be one thing."""
    if a is b:
        return

    def fail(what: str) -> ForceFieldError:
        return ForceFieldError(
            f"force fields '{a.name}' and '{b.name}' cannot share a box: {what}; give molecules that interact one "
            "force field (domains of one molecule and the whole of another may stand side by side)"
        )

    if {t.name: t for t in a.bead_types} != {t.name: t for t in b.bead_types}:
        raise fail("their bead types differ")
    if (a.mapping, a.termini, a.environment) != (b.mapping, b.termini, b.environment):
        raise fail("they differ in mapping, ends of chains or environment")
    if [n.name for n in a.networks] != [n.name for n in b.networks] or (a.networks and a.digest != b.digest):
        raise fail("their networks differ")
    near = [{t.name: t for t in ff.terms if t.keyed_by == "neighbors"} for ff in (a, b)]
    if near[0].keys() != near[1].keys():
        raise fail(f"one has {', '.join(near[0])}, the other {', '.join(near[1])}")
    for name, term in near[0].items():
        if not _same(term, near[1][name]):
            raise fail(f"their terms '{name}' differ")


def _same(a: Term, b: Term) -> bool:
    """Whether two terms act alike, but for which terms they exclude."""
    plain = ("form", "keyed_by", "cutoff", "exclude_bonds")

    def rules(term: Term) -> dict[str, tuple[str, dict[str, object]]]:
        return {p: (mix.rule, dict(mix.options)) for p, mix in term.rules.items()}

    return (
        all(getattr(a, key) == getattr(b, key) for key in plain)
        and rules(a) == rules(b)
        and np.array_equal(a.keys, b.keys)
        and a.parameters.keys() == b.parameters.keys()
        and all(np.array_equal(v, b.parameters[p]) for p, v in a.parameters.items())
    )


def _different(parts: Sequence[Part], why: str) -> ForceFieldError:
    names = ", ".join(dict.fromkeys(p.forcefield.name for p in parts))
    return ForceFieldError(f"force fields {names} cannot share a box: {why}")

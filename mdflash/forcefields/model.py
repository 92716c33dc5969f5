"""What a force field is: bead types, prior terms as tables, networks; and its text, with a row of a table a line."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import yaml

from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import ForceFieldError
from mdflash.forcefields.environment import Environment
from mdflash.forcefields.mixing import Mix
from mdflash.potentials.forms import FORMS

SCHEMA = 1
UNITS = {"length": "angstrom", "energy": "kcal/mol", "angle": "radian", "mass": "Da"}


@dataclass(frozen=True)
class BeadType:
    """A kind of bead.

    Attributes:
        name: as systems call it.
        index: its row in a network's embedding.
        mass: Da; None if the force field has none.
        properties: numbers that the rules of terms mix, such as sigma in Å. `charge`, in e, is that of the
            deprotonated form where there is a `pKa`.
    """

    name: str
    index: int
    mass: float | None = None
    properties: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, eq=False)
class Term:
    """One prior: a functional form and a table of parameters.

    Attributes:
        name: unique in the force field ("bonds", "GLY_phi").
        form: a key of `FORMS`; defines the internal coordinate, the parameters and the equation.
        keyed_by: "types": rows are keyed by bead types, and the beads come from `System.interactions[name]`;
            "beads": rows name the beads of the one molecule this force field was made for;
            "neighbors": rows are keyed by a pair of bead types, and every pair within `cutoff` interacts,
            save those excluded.
        keys: [K, order] bead type indices (positions in `ForceField.bead_types`) or bead indices.
        parameters: name -> [K] or [K, degree], in the form's units; those that `rules` do not give.
        cutoff: Å, for "neighbors".
        exclude_bonds: for "neighbors": pairs at most this many bonds apart do not interact.
        exclude_terms: for "neighbors": pairs that stand in these (bead-keyed) terms do not interact.
        rules: name -> how a parameter that is in no column follows from properties of the bead types and from the
            environment; where they give all of a "neighbors" term's parameters, it acts on every pair of types.
    """

    name: str
    form: str
    keyed_by: Literal["types", "beads", "neighbors"]
    keys: IntArray
    parameters: Mapping[str, FloatArray]
    cutoff: float | None = None
    exclude_bonds: int = 0
    exclude_terms: tuple[str, ...] = ()
    rules: Mapping[str, Mix] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """
        Raises:
            ForceFieldError: a bead twice in a row, or a parameter that no physics has; names term and row.
        """
        if (found := term_problem(self.form, self.keyed_by, self.keys, self.parameters)) is not None:
            raise ForceFieldError(f"term '{self.name}', row {found[0]}: {found[1]}")

    @property
    def columns(self) -> tuple[str, ...]:
        """The parameters that stand in the table."""
        return tuple(p for p in FORMS[self.form].parameters if p not in self.rules)


def term_problem(
    form: str, keyed_by: str, keys: IntArray, parameters: Mapping[str, FloatArray]
) -> tuple[int, str] | None:
    """The first row of a term that makes no sense, and what is wrong there; arguments as of `Term`."""
    if keyed_by == "beads" and len(keys):
        ordered = np.sort(keys, axis=1)
        twice = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
        if len(twice):
            return int(twice[0]), f"has a bead twice: {keys[twice[0]].tolist()}"
    return FORMS[form].problem(parameters) if form in FORMS else None


def repeated_row(keyed_by: str, keys: IntArray) -> tuple[int, int] | None:
    """A row that stands for the same beads or types as an earlier one, and that one; it would count twice.

    Of types, the two directions of a listed row are two rows: that of the list decides.
    """
    both = keys if keyed_by == "types" else np.where(keys[:, :1] > keys[:, -1:], keys[:, ::-1], keys)
    _, first, which = np.unique(both, axis=0, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[which.reshape(-1)] != np.arange(len(keys)))
    return (int(again[0]), int(first[which.reshape(-1)[again[0]]])) if len(again) else None


@dataclass(frozen=True, eq=False)
class Network:
    """A neural potential: hyper-parameters in readable form, weights by name."""

    name: str
    kind: Literal["schnet"]
    hyperparameters: Mapping[str, Any]
    weights: Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class ForceField:
    """Bead types, terms and networks; energies are their sum, in kcal/mol with Å, ps, Da, K.

    Attributes:
        name: short name.
        bead_types: the types, in the order that `Term.keys` counts.
        mapping: how an all-atom structure becomes beads: "ca", "five-bead", or "none".
        terms: priors.
        networks: neural potentials.
        systems: molecules that came with it, each with start frames [F, N, 3] Å or None.
        provenance: where it came from, free keys; printed by `mdflash info`.
        environment: where its rules are evaluated; None for a force field that does not depend on it.
        termini: by end of a chain ("first", "last"), what its bead has more than its type: mass in Da and properties.
        dynamics: what `mdflash init` writes for it: keys of the `dynamics` section of a system.yaml.
        folder: where it was read; errors name it.
    """

    name: str
    bead_types: tuple[BeadType, ...]
    mapping: str = "none"
    terms: tuple[Term, ...] = ()
    networks: tuple[Network, ...] = ()
    systems: tuple[tuple[System, FloatArray | None], ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    environment: Environment | None = None
    termini: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    dynamics: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def at(self, environment: Environment) -> ForceField:
        """The force field in another environment."""
        return replace(self, environment=environment)

    @property
    def needs(self) -> frozenset[str]:
        """The fields of the environment that its energy depends on."""
        mixed = {p for t in self.terms for mix in t.rules.values() for p in mix.properties}
        titrates = "charge" in mixed and any("pKa" in t.properties for t in self.bead_types)
        return frozenset({"pH"} if titrates else ()).union(*(m.needs for t in self.terms for m in t.rules.values()))

    def type_indices(self, system: System) -> IntArray:
        """[N] position of each bead's type in `bead_types`.

        Raises:
            ForceFieldError: a type the force field does not know; the message names it and lists the known types.
        """
        known = {t.name: i for i, t in enumerate(self.bead_types)}
        for bead, name in enumerate(system.types):
            if name not in known:
                raise ForceFieldError(
                    f"force field '{self.name}' has no bead type '{name}', which system '{system.name}' "
                    f"uses for {system.bead_label(bead)}; its types are {', '.join(known)}",
                    file=self.folder,
                )
        return np.array([known[name] for name in system.types], np.int64)

    @property
    def digest(self) -> str:
        """SHA-256 over every number and name that changes an energy, hexadecimal."""
        h = hashlib.sha256(dump(describe(self, provenance=False)).encode())
        for network in self.networks:
            for name, array in sorted(network.weights.items()):
                h.update(f"{network.name}/{name}{array.shape}{array.dtype}".encode())
                h.update(np.ascontiguousarray(array).tobytes())
        return h.hexdigest()

    def system(self, name: str | None = None) -> tuple[System, FloatArray | None]:
        """The molecule `name` that came with the force field (or the only one), and its start frames.

        Raises:
            ForceFieldError: none, several without a name, or an unknown name.
        """
        names = [s.name for s, _ in self.systems]
        if name is None and len(names) == 1:
            return self.systems[0]
        if not names:
            raise ForceFieldError(
                f"force field '{self.name}' holds no molecule; import it again with --structures, or give the "
                "molecule itself (a System, as mdflash.load_system reads it)"
            )
        if name not in names:
            raise ForceFieldError(
                f"force field '{self.name}' holds {len(names)} systems ({', '.join(names) or 'none'}); "
                + ("name one of them" if name is None else f"there is no '{name}'")
            )
        return self.systems[names.index(name)]


def oddities(ff: ForceField) -> list[str]:
    """What a force field may be, but rarely is meant to be."""
    found = []
    if not ff.terms and not ff.networks:
        found.append("has neither terms nor networks: its beads move freely")
    for term in ff.terms:
        x0 = term.parameters.get("x0", np.ones(1))
        if term.form == "harmonic_bond" and (pulled := int((x0 == 0).sum())):
            found.append(f"{pulled} rows of '{term.name}' pull their beads into one place (x0 = 0)")
        for parameter in ("k", "epsilon"):
            values = term.parameters.get(parameter)
            if values is not None and len(values) and not values.any():
                found.append(f"every row of '{term.name}' has {parameter} = 0, so it never acts")
    return [f"force field '{ff.name}': {what}" for what in found]


class _Dumper(yaml.SafeDumper):
    """Tables as one line per row, everything else as an indented block."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


class _Row(list[Any]):
    """A list to be written on one line."""


class _FlowDict(dict[str, Any]):
    """A mapping to be written on one line."""


_Dumper.add_representer(_FlowDict, lambda d, m: d.represent_mapping("tag:yaml.org,2002:map", m, flow_style=True))
_Dumper.add_representer(_Row, lambda d, row: d.represent_sequence("tag:yaml.org,2002:seq", row, flow_style=True))


def dump(data: Any) -> str:
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True))


def describe(ff: ForceField, provenance: bool = True) -> dict[str, Any]:
    def row(term: Term, k: int) -> _Row:
        keys: list[Any] = term.keys[k].tolist()
        if term.keyed_by != "beads":
            keys = [ff.bead_types[i].name for i in keys]
        values = [term.parameters[p][k].tolist() for p in term.columns]
        return _Row([*keys, *(_Row(v) if isinstance(v, list) else v for v in values)])

    def table(term: Term) -> dict[str, Any]:
        form = FORMS[term.form]
        entry: dict[str, Any] = {
            "name": term.name,
            "form": term.form,
            "equation": form.equation,
            "keyed_by": term.keyed_by,
        }
        if term.keyed_by == "neighbors":
            entry |= {
                "cutoff": f"{term.cutoff!r} angstrom",
                "exclude_bonds": term.exclude_bonds,
                "exclude_terms": _Row(term.exclude_terms),
            }
        if term.rules:
            entry["rules"] = {p: _FlowDict(rule=mix.rule, **mix.options) for p, mix in term.rules.items()}
        key = "bead" if term.keyed_by == "beads" else "type"
        entry["columns"] = _Row([key] * form.order + list(term.columns))
        entry["rows"] = [row(term, k) for k in range(len(term.keys))]
        return entry

    around: dict[str, Any] = {}  # absent in a force field without, as in those of version 0.1: digests stay
    if ff.environment is not None:
        around["environment"] = _FlowDict(ff.environment.describe())
    if ff.termini:
        around["termini"] = {
            end: _FlowDict({k: f"{v!r} Da" if k == "mass" else v for k, v in more.items()})
            for end, more in ff.termini.items()
        }
    if ff.dynamics and provenance:
        around["dynamics"] = _FlowDict(ff.dynamics)
    data: dict[str, Any] = {
        "mdflash_forcefield": SCHEMA,
        "name": ff.name,
        "units": dict(UNITS),
        "mapping": ff.mapping,
        "bead_types": {
            t.name: _FlowDict(index=t.index, mass=None if t.mass is None else f"{t.mass!r} Da", **t.properties)
            for t in ff.bead_types
        },
        **around,
        "terms": [table(t) for t in ff.terms],
        "networks": [{"name": n.name, "kind": n.kind, **dict(n.hyperparameters)} for n in ff.networks],
    }
    if provenance:
        data["provenance"] = dict(ff.provenance)
    return data

"""A force field: bead types, prior terms as readable tables, networks; a folder without pickle.

    FOLDER/forcefield.yaml       everything the user may want to read
    FOLDER/weights.safetensors   network weights (where there is a network)
    FOLDER/systems/NAME.safetensors   molecules that came with it (optional)

`read` and `write` are exact inverses, to the last bit of every parameter.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, cast

import numpy as np
import numpy.typing as npt
import yaml

from mdflash import units
from mdflash.core.files import atomic_write, storage_errors
from mdflash.core.ranges import ANY, CUTOFF, MASS, POSITIVE, Range
from mdflash.core.regular import own_folder
from mdflash.core.system import System, load_system, save_system
from mdflash.core.tensors import read_tensors
from mdflash.core.types import FloatArray, IntArray
from mdflash.core.words import is_word, what_a_word_is
from mdflash.core.yamlfile import Document, load_yaml
from mdflash.errors import ForceFieldError
from mdflash.forcefields.environment import PH, PKA, SALT, SOLVENTS, TEMPERATURE, Environment
from mdflash.forcefields.mixing import RULES, Mix
from mdflash.forcefields.shipped import find_shipped, list_shipped
from mdflash.potentials.forms import FORMS
from mdflash.potentials.forms.form import Form

SCHEMA = 1
T = TypeVar("T")


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
        h = hashlib.sha256(_dump(_describe(self, provenance=False)).encode())
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


def _dump(data: Any) -> str:
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True))


def _describe(ff: ForceField, provenance: bool = True) -> dict[str, Any]:
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
        "units": dict(_UNITS),
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


def save_forcefield(folder: Path | str, ff: ForceField) -> None:
    """Write a force field folder (created if needed; files of the same names are replaced, each at once).

    Raises:
        ForceFieldError: a name is no plain word, or a term has two rows for the same beads or types.
        StorageError: it cannot be written.
    """
    from safetensors.numpy import save

    folder = Path(folder)
    for term in ff.terms:
        if (found := repeated_row(term.keyed_by, term.keys)) is not None:
            raise ForceFieldError(f"term '{term.name}' has the same {term.keyed_by} in rows {found[1]} and {found[0]}")
    for what, name in (
        ("force field", ff.name),
        *(("term", t.name) for t in ff.terms),
        *(("network", n.name) for n in ff.networks),
    ):
        if not is_word(name):
            raise ForceFieldError(f"the name of the {what} {what_a_word_is(name)}", file=folder)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if ff.systems:
            own_folder(folder / "systems")
    # (np.ascontiguousarray would make a lone number an array of one)
    weights = {f"{n.name}/{key}": np.asarray(array, order="C") for n in ff.networks for key, array in n.weights.items()}
    if weights:
        atomic_write(folder / "weights.safetensors", save(weights))
    for system, start in ff.systems:
        save_system(folder / "systems" / f"{system.name}.safetensors", system, start)
    atomic_write(folder / "forcefield.yaml", _dump(_describe(ff)))
    if not weights:
        with storage_errors(folder):
            (folder / "weights.safetensors").unlink(missing_ok=True)  # of networks that are no longer described


def load_forcefield(folder: Path | str) -> ForceField:
    """Read a force field folder.

    Args:
        folder: its path, or the name of a shipped one ("go-chignolin").

    Raises:
        ForceFieldError: a file, key, column, type or weight is missing or does not fit; the message names it.
    """
    path = Path(folder)
    if not os.path.isfile(path / "forcefield.yaml"):  # False for a name too long, which Path.is_file raises
        shipped = find_shipped("forcefields", str(folder))
        if shipped is None:
            raise ForceFieldError(
                f"is not a force field folder: it has no forcefield.yaml; {list_shipped('forcefields', str(folder))}",
                file=folder,
            )
        path = shipped
    file = path / "forcefield.yaml"
    document = load_yaml(file)
    data = document.data
    if not isinstance(data, dict) or data.get("mdflash_forcefield") != SCHEMA:
        raise ForceFieldError(f"expected 'mdflash_forcefield: {SCHEMA}' as the first line", file=file, line=1)
    reader = _Reader(document)
    reader.head()
    types = reader.bead_types()
    provenance, dynamics = reader.section("provenance"), reader.section("dynamics")
    terms = tuple(reader.term(i, types) for i in range(len(reader.get(("terms",), list))))
    termini = reader.termini()
    reader.unread(terms)
    names = [t.name for t in terms]
    for i, term in enumerate(terms):
        if term.name in names[:i]:
            reader.fail(f"two terms are called '{term.name}'", ("terms", i, "name"))
        for other in term.exclude_terms:
            if other not in names:
                reader.fail(f"excludes '{other}', but the terms are {', '.join(names)}", ("terms", i, "exclude_terms"))
    return ForceField(
        name=reader.word(("name",)),
        bead_types=types,
        mapping=reader.get(("mapping",), str),
        terms=terms,
        networks=reader.networks(path / "weights.safetensors"),
        systems=tuple(load_system(p) for p in sorted((path / "systems").glob("*.safetensors"))),
        provenance=provenance,
        environment=reader.environment(terms, types),
        termini=termini,
        dynamics=dynamics,
        folder=path,
    )


def suggested_dynamics(folder: Path) -> dict[str, Any]:
    """What the force field in `folder` wants `mdflash init` to write into `dynamics:`; the rest of it is not read."""
    data = load_yaml(folder / "forcefield.yaml").data
    found = data.get("dynamics") if isinstance(data, dict) else None
    return dict(found) if isinstance(found, dict) else {}


_UNITS = {"length": "angstrom", "energy": "kcal/mol", "angle": "radian", "mass": "Da"}
_KEYS = (
    "mdflash_forcefield", "name", "units", "mapping", "bead_types", "environment", "termini", "dynamics", "terms",
    "networks", "provenance",
)  # fmt: skip
_TERM_KEYS = ("name", "form", "equation", "keyed_by", "columns", "rows", "rules")
_NEIGHBOR_KEYS = ("cutoff", "exclude_bonds", "exclude_terms")
_AROUND = {"temperature": ("temperature", TEMPERATURE, "K"), "ionic_strength": ("concentration", SALT, "M")}
_WORDS: Mapping[type, str] = {
    dict: "a mapping",
    list: "a list",
    str: "a word",
    int: "a whole number",
}
_MOST_BONDS = 1000
"""Far more than any force field excludes."""
_MOST_TYPES = 1_000_000


def _is_number(value: object) -> bool:
    return (isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300) or value != value


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(_is_number, value))


def _shown(value: object) -> str:
    """A value of the file, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Reader:
    """Reads the parts of forcefield.yaml; every complaint names file, line and key."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def fail(self, message: str, path: tuple[str | int, ...]) -> NoReturn:
        raise ForceFieldError(
            message, file=self.document.file, line=self.document.line(path), key=".".join(map(str, path))
        )

    def get(self, path: tuple[str | int, ...], kind: type[T]) -> T:
        value = self.document.data
        for depth, key in enumerate(path):
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                self.fail(f"is missing ('{key}' is needed here)", path[: depth + 1])
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fail(f"expected {_WORDS.get(kind, kind.__name__)}, found {_shown(value)}", path)
        return value

    def section(self, key: str) -> dict[str, Any]:
        """A mapping of free keys, which may be absent."""
        return {} if self.document.data.get(key) is None else dict(self.get((key,), dict))

    def word(self, path: tuple[str | int, ...]) -> str:
        """A name, of which names of files may be made."""
        name = self.get(path, str)
        if not is_word(name):
            self.fail(what_a_word_is(name), path)
        return name

    def quantity(
        self, path: tuple[str | int, ...], dimension: str, within: Range | None = None, unit: str = ""
    ) -> float:
        try:
            value = units.parse(self.get(path, str), dimension)
        except ValueError as error:
            self.fail(str(error), path)
        if within is not None and (problem := within.problem(value, unit)) is not None:
            self.fail(problem, path)
        return value

    def whole(self, path: tuple[str | int, ...], most: int) -> int:
        value = self.get(path, int)
        if not 0 <= value <= most:
            self.fail(f"must be a whole number from 0 to {most}, found {_shown(value)}", path)
        return value

    def known(self, path: tuple[str | int, ...], names: Collection[str]) -> None:
        """Refuse a key that nothing reads: it would be taken for one that acts."""
        for key in self.get(path, dict):
            if key not in names:
                self.fail(f"is not known here; known: {', '.join(names)}", (*path, key))

    def head(self) -> None:
        """The keys of the file, and that its units are those in which it is read."""
        self.known((), _KEYS)
        if "units" in self.document.data:
            self.known(("units",), _UNITS)
            for key, found in self.get(("units",), dict).items():
                if found != _UNITS[key]:
                    self.fail(
                        f"must be {_UNITS[key]}, found {found!r}: numbers in tables have these units; convert them",
                        ("units", key),
                    )

    def bead_types(self) -> tuple[BeadType, ...]:
        found = []
        for name in self.get(("bead_types",), dict):
            path = ("bead_types", name)
            entry = self.get(path, dict)
            mass = None if entry.get("mass") is None else self.quantity((*path, "mass"), "mass", MASS, "Da")
            others = (k for k in entry if k not in ("index", "mass"))
            properties = {k: self.number((*path, k), PKA if k == "pKa" else ANY) for k in others}
            found.append(BeadType(name, self.whole((*path, "index"), _MOST_TYPES), mass, properties))
        return tuple(found)

    def number(self, path: tuple[str | int, ...], within: Range = ANY) -> float:
        value = self.get(path, object)
        if not _is_number(value):
            self.fail(f"expected a number, found {_shown(value)}", path)
        if (problem := within.problem(float(value))) is not None:  # type: ignore[arg-type]
            self.fail(problem, path)
        return float(value)  # type: ignore[arg-type]

    def environment(self, terms: tuple[Term, ...], types: tuple[BeadType, ...]) -> Environment | None:
        """The environment, which a force field must have whose rules read it."""
        here = ("environment",)
        if "environment" not in self.document.data:
            for i, term in enumerate(terms):
                for parameter, mix in term.rules.items():
                    if mix.needs:
                        self.fail(
                            f"'{mix.rule}' depends on the {' and the '.join(sorted(mix.needs))}; add for example "
                            "`environment: {temperature: 293.15 K, ionic_strength: 0.15 M, pH: 7.5}` to the file",
                            ("terms", i, "rules", parameter),
                        )
            if any("pKa" in t.properties for t in types):
                self.fail("bead types have a pKa, so the file needs an `environment:` with a pH", ("bead_types",))
            return None
        self.known(here, (*_AROUND, "pH"))
        temperature, salt = (self.quantity((*here, key), *rule) for key, rule in _AROUND.items())
        return Environment(temperature, salt, self.number((*here, "pH"), PH))

    def unread(self, terms: tuple[Term, ...]) -> None:
        """Refuse numbers of bead types and of ends of chains that no rule reads."""
        read = {p for term in terms for mix in term.rules.values() for p in mix.properties}
        known = {"index", "mass", *read, *(("pKa",) if "charge" in read else ())}
        for section in ("bead_types", "termini"):
            for name, entry in self.section(section).items():
                for key in entry:
                    if key not in known:
                        self.fail(
                            f"is read by no rule of a term; known here: {', '.join(sorted(known))}",
                            (section, name, key),
                        )

    def termini(self) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for end, more in self.section("termini").items():
            here = ("termini", end)
            if end not in ("first", "last") or not isinstance(more, dict):
                self.fail("expected `first:` or `last:`, as in `first: {mass: 2 Da, charge: 1}`", here)
            found[end] = {
                key: self.quantity((*here, key), "mass") if key == "mass" else self.number((*here, key)) for key in more
            }
        return found

    def rules(self, here: tuple[str | int, ...], form: Form, types: tuple[BeadType, ...]) -> dict[str, Mix]:
        """The rules of the term at `here`, checked."""
        found = {}
        for parameter in self.get((*here, "rules"), dict) if self.get(here, dict).get("rules") is not None else ():
            path = (*here, "rules", parameter)
            if parameter not in form.scalars:
                self.fail(f"'{form.name}' has no parameter of this name: {', '.join(form.scalars)}", path)
            name = self.get((*path, "rule"), str)
            if name not in RULES:
                self.fail(f"unknown rule '{name}'; known: {', '.join(RULES)}", path)
            rule = RULES[name]
            if form.on != "pair" and not rule.listed:
                listed = ", ".join(r.name for r in RULES.values() if r.listed)
                self.fail(f"is for near pairs; parameters of listed beads are {listed}, or stand in columns", path)
            given = self.get(path, dict)
            for key in given:
                if key not in ("rule", *rule.takes):
                    self.fail(f"'{name}' takes {', '.join(rule.takes)}, found '{key}'", path)
            options: dict[str, Any] = {}
            for key, kind in rule.takes.items():
                if key not in given and key in rule.defaults:
                    options[key] = rule.defaults[key]
                elif kind == "property" or (kind == "permittivity" and isinstance(given.get(key), str)):
                    options[key] = self.get((*path, key), str)
                else:
                    within = POSITIVE if kind in ("positive", "permittivity") else ANY
                    options[key] = self.number((*path, key), within)
                if kind == "permittivity" and isinstance(options[key], str) and options[key] not in SOLVENTS:
                    self.fail(f"expected a number or one of {', '.join(SOLVENTS)}, found '{options[key]}'", path)
            found[parameter] = Mix(name, options)
            if parameter in form.whole and (name != "constant" or options["value"] not in form.whole[parameter]):
                self.fail(f"must be a constant, a whole number of {list(form.whole[parameter])}", path)
            for wanted in found[parameter].properties:
                for t in types:
                    if wanted not in t.properties:
                        self.fail(
                            f"mixes '{wanted}', which bead type '{t.name}' does not have; "
                            f"write for example `{t.name}: {{index: {t.index}, {wanted}: 1.0}}`",
                            path,
                        )
        return found

    def at(self, path: tuple[str | int, ...]) -> Any:
        return self.get(path, object)

    def term(self, i: int, types: tuple[BeadType, ...]) -> Term:
        here = ("terms", i)
        form_name = self.get((*here, "form"), str)
        if form_name not in FORMS:
            self.fail(f"unknown form '{form_name}'; known: {', '.join(FORMS)}", (*here, "form"))
        form = FORMS[form_name]
        keyed_by = self.get((*here, "keyed_by"), str)
        keyings = ("neighbors",) if form.on == "pair" else ("types", "beads")
        if keyed_by not in keyings:
            self.fail(f"a '{form_name}' term is keyed by {' or '.join(keyings)}", (*here, "keyed_by"))
        self.known(here, _TERM_KEYS + (_NEIGHBOR_KEYS if keyed_by == "neighbors" else ()))
        rules = self.rules(here, form, types)
        listed = [p for p in form.parameters if p not in rules]
        expected = ["bead" if keyed_by == "beads" else "type"] * form.order + listed
        bare = not listed and not {"columns", "rows"} & set(self.at(here))  # rules say all: no table
        if not bare and self.get((*here, "columns"), list) != expected:
            without = f" without {', '.join(rules)}, which rules give," if rules else ""
            self.fail(f"the columns of '{form_name}'{without} are [{', '.join(expected)}]", (*here, "columns"))
        index = {t.name: k for k, t in enumerate(types)}
        rows: list[Any] = [] if bare else self.get((*here, "rows"), list)
        keys = np.zeros((len(rows), form.order), np.int64)
        columns: dict[str, list[Any]] = {p: [] for p in listed}
        for k, row in enumerate(rows):
            path = (*here, "rows", k)
            if not isinstance(row, list) or len(row) != len(expected):
                self.fail(f"expected {len(expected)} columns, found {_shown(row)}", path)
            for j, key in enumerate(row[: form.order]):
                if keyed_by == "beads":
                    if not isinstance(key, int) or isinstance(key, bool) or not 0 <= key < 2**31:
                        self.fail(f"expected a bead number >= 0 (and below 2^31), found {_shown(key)}", path)
                    keys[k, j] = key
                elif not isinstance(key, str) or key not in index:
                    self.fail(f"unknown bead type {_shown(key)}; types are {', '.join(index)}", path)
                else:
                    keys[k, j] = index[key]
            for parameter, value in zip(listed, row[form.order :], strict=True):
                many = parameter in form.series
                if not (_are_numbers(value) if many else _is_number(value)):
                    wanted = "a list of numbers" if many else "a number"
                    self.fail(f"'{parameter}' must be {wanted}, found {_shown(value)}", path)
                if many and columns[parameter] and len(value) != len(columns[parameter][0]):
                    self.fail(f"'{parameter}' must have as many numbers as in row 0, found {len(value)}", path)
                columns[parameter].append(value)
        parameters = {
            p: np.array(column, np.float64).reshape((len(rows), -1) if p in form.series and rows else (len(rows),))
            for p, column in columns.items()
        }
        parameters |= {p: np.zeros((0, 1)) for p in form.series if not rows and p in parameters}
        if (wrong := term_problem(form_name, keyed_by, keys, parameters)) is not None:
            self.fail(wrong[1], (*here, "rows", wrong[0]))
        if (again := repeated_row(keyed_by, keys)) is not None:
            self.fail(f"has the same {keyed_by} as row {again[1]}; it would count twice", (*here, "rows", again[0]))
        return Term(
            self.word((*here, "name")),
            form_name,
            cast(Literal["types", "beads", "neighbors"], keyed_by),
            keys,
            parameters,
            rules=rules,
            **(self._neighbor_options(here) if keyed_by == "neighbors" else {}),
        )

    def _neighbor_options(self, here: tuple[str | int, ...]) -> dict[str, Any]:
        excluded = self.get((*here, "exclude_terms"), list) if "exclude_terms" in self.at(here) else []
        return {
            "cutoff": self.quantity((*here, "cutoff"), "length", CUTOFF, "angstrom"),
            "exclude_bonds": self.whole((*here, "exclude_bonds"), _MOST_BONDS),
            "exclude_terms": tuple(self.get((*here, "exclude_terms", k), str) for k in range(len(excluded))),
        }

    def networks(self, file: Path) -> tuple[Network, ...]:
        entries = self.get(("networks",), list) if "networks" in self.document.data else []
        if not entries:
            return ()
        try:
            weights, _ = read_tensors(file)
        except (OSError, ValueError) as error:
            raise ForceFieldError(f"the network's weights cannot be read: {error}", file=file) from None
        from mdflash.forcefields.networks import load_schnet  # torch is only needed where there is a network

        found: list[Network] = []
        for i in range(len(entries)):
            entry = self.get(("networks", i), dict)
            name, kind = self.word(("networks", i, "name")), self.get(("networks", i, "kind"), str)
            if kind != "schnet":
                self.fail(f"unknown kind of network '{kind}'; known: schnet", ("networks", i, "kind"))
            hyper = {k: v for k, v in entry.items() if k not in ("name", "kind")}
            if name in [network.name for network in found]:
                self.fail(f"two networks are called '{name}'", ("networks", i, "name"))
            own = {k.removeprefix(f"{name}/"): weights.pop(k) for k in list(weights) if k.startswith(f"{name}/")}
            found.append(Network(name, "schnet", hyper, own))
            try:
                load_schnet(found[-1])
            except ForceFieldError as error:
                self.fail(error.message, ("networks", i, *([error.key] if error.key else [])))
        if weights:
            raise ForceFieldError(f"holds the weight '{next(iter(weights))}', which belongs to no network", file=file)
        return tuple(found)

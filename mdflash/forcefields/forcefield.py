"""A force field: bead types, prior terms as readable tables, networks; a folder without pickle.

    FOLDER/forcefield.yaml       everything the user may want to read
    FOLDER/weights.safetensors   network weights (where there is a network)
    FOLDER/systems/NAME.safetensors   molecules that came with it (optional)

`read` and `write` are exact inverses, to the last bit of every parameter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, cast

import numpy as np
import numpy.typing as npt
import yaml

from mdflash import units
from mdflash.core.files import atomic_write, storage_errors
from mdflash.core.regular import own_folder
from mdflash.core.system import System, load_system, save_system
from mdflash.core.tensors import read_tensors
from mdflash.core.types import FloatArray, IntArray
from mdflash.core.words import is_word, what_a_word_is
from mdflash.core.yamlfile import Document, load_yaml
from mdflash.errors import ForceFieldError
from mdflash.forcefields.environment import SOLVENTS, Environment
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

    @property
    def columns(self) -> tuple[str, ...]:
        """The parameters that stand in the table."""
        return tuple(p for p in FORMS[self.form].parameters if p not in self.rules)


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
                    f"uses for {system.bead_label(bead)}; its types are {', '.join(known)}"
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
        ForceFieldError: a name is no plain word.
        StorageError: it cannot be written.
    """
    from safetensors.numpy import save

    folder = Path(folder)
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
    if not (path / "forcefield.yaml").is_file():
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
    terms = tuple(reader.term(i, types) for i in range(len(reader.get(("terms",), list))))
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
        provenance=data.get("provenance") or {},
        environment=reader.environment(terms, types),
        termini=reader.termini(),
        dynamics=data.get("dynamics") or {},
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
_TERM_KEYS = (
    "name",
    "form",
    "equation",
    "keyed_by",
    "columns",
    "rows",
    "rules",
    "cutoff",
    "exclude_bonds",
    "exclude_terms",
)
_MOST_BONDS = 1000
"""Far more than any force field excludes."""


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
        if not isinstance(value, kind):
            self.fail(f"expected {kind.__name__}, found {value!r}", path)
        return value

    def word(self, path: tuple[str | int, ...]) -> str:
        """A name, of which names of files may be made."""
        name = self.get(path, str)
        if not is_word(name):
            self.fail(what_a_word_is(name), path)
        return name

    def quantity(self, path: tuple[str | int, ...], dimension: str) -> float:
        try:
            return units.parse(self.get(path, str), dimension)
        except ValueError as error:
            self.fail(str(error), path)

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
        for name, entry in self.get(("bead_types",), dict).items():
            path = ("bead_types", name)
            mass = None
            if isinstance(entry, dict) and entry.get("mass") is not None:
                mass = self.quantity((*path, "mass"), "mass")
                if mass <= 0:
                    self.fail(f"must be more than 0 Da, found {mass:g}", (*path, "mass"))
            properties = {k: self.number((*path, k)) for k in entry if k not in ("index", "mass")}
            found.append(BeadType(name, self.get((*path, "index"), int), mass, properties))
        return tuple(found)

    def number(self, path: tuple[str | int, ...]) -> float:
        value = self.get(path, object)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self.fail(f"expected a number, found {value!r}", path)
        return float(value)

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
        return Environment(
            self.quantity((*here, "temperature"), "temperature"),
            self.quantity((*here, "ionic_strength"), "concentration"),
            self.number((*here, "pH")),
        )

    def termini(self) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for end, more in (self.document.data.get("termini") or {}).items():
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
        for parameter in self.at(here).get("rules") or ():
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
                    options[key] = self.number((*path, key))
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
        self.known(here, _TERM_KEYS)
        keyed_by = self.get((*here, "keyed_by"), str)
        keyings = ("neighbors",) if form.on == "pair" else ("types", "beads")
        if keyed_by not in keyings:
            self.fail(f"a '{form_name}' term is keyed by {' or '.join(keyings)}", (*here, "keyed_by"))
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
                self.fail(f"expected {len(expected)} columns, found {row!r}", path)
            for j, key in enumerate(row[: form.order]):
                if keyed_by == "beads":
                    if not isinstance(key, int) or isinstance(key, bool) or not 0 <= key < 2**31:
                        self.fail(f"expected a bead number >= 0 (and below 2^31), found {key!r}", path)
                    keys[k, j] = key
                elif not isinstance(key, str) or key not in index:
                    self.fail(f"unknown bead type {key!r}; types are {', '.join(index)}", path)
                else:
                    keys[k, j] = index[key]
            if keyed_by == "beads" and len(set(keys[k].tolist())) < form.order:
                self.fail(f"has a bead twice: {keys[k].tolist()}", path)
            for parameter, value in zip(listed, row[form.order :], strict=True):
                columns[parameter].append(value)
        parameters = {}
        for parameter, column in columns.items():
            try:
                array = np.array(column, np.float64)
            except (TypeError, ValueError):
                self.fail(f"column '{parameter}' must hold numbers, as many in each row", (*here, "rows"))
            series = parameter in form.series
            if len(rows) and array.ndim != (2 if series else 1):
                self.fail(
                    f"column '{parameter}' must hold {'lists of numbers' if series else 'numbers'}",
                    (*here, "rows"),
                )
            bad = np.argwhere(~np.isfinite(array))
            if len(bad):
                self.fail(f"'{parameter}' is not a finite number", (*here, "rows", int(bad[0, 0])))
            if parameter in form.whole:
                allowed = form.whole[parameter]
                odd = np.flatnonzero(~np.isin(array, allowed))
                if len(odd):
                    self.fail(
                        f"'{parameter}' must be a whole number from {allowed[0]} to {allowed[-1]}, "
                        f"not {array[odd[0]]:g}",
                        (*here, "rows", int(odd[0])),
                    )
            parameters[parameter] = array.reshape(len(rows), -1) if series else array
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
        cutoff = self.quantity((*here, "cutoff"), "length")
        if cutoff <= 0:
            self.fail(f"must be more than 0 angstrom, found {cutoff:g}", (*here, "cutoff"))
        bonds = self.get((*here, "exclude_bonds"), int)
        if isinstance(bonds, bool) or not 0 <= bonds <= _MOST_BONDS:
            self.fail(f"must be from 0 to {_MOST_BONDS}, found {bonds!r}", (*here, "exclude_bonds"))
        return {
            "cutoff": cutoff,
            "exclude_bonds": bonds,
            "exclude_terms": tuple(map(str, self.get((*here, "exclude_terms"), list)))
            if "exclude_terms" in self.at(here)
            else (),
        }

    def networks(self, file: Path) -> tuple[Network, ...]:
        entries = self.get(("networks",), list) if "networks" in self.document.data else []
        if not entries:
            return ()
        try:
            weights, _ = read_tensors(file)
        except (OSError, ValueError) as error:
            raise ForceFieldError(f"the network's weights cannot be read: {error}", file=file) from None
        found = []
        for i, entry in enumerate(entries):
            name, kind = self.word(("networks", i, "name")), self.get(("networks", i, "kind"), str)
            if kind != "schnet":
                self.fail(f"unknown kind of network '{kind}'; known: schnet", ("networks", i, "kind"))
            hyper = {k: v for k, v in entry.items() if k not in ("name", "kind")}
            own = {k.removeprefix(f"{name}/"): v for k, v in weights.items() if k.startswith(f"{name}/")}
            found.append(Network(name, "schnet", hyper, own))
        return tuple(found)

"""The parts of a forcefield.yaml, each checked where it is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, cast

import numpy as np

from mdflash import units
from mdflash.core.ranges import ANY, CUTOFF, MASS, POSITIVE, Range
from mdflash.core.tensors import read_tensors
from mdflash.core.words import is_word, what_a_word_is
from mdflash.core.yamlfile import Document
from mdflash.errors import ForceFieldError
from mdflash.forcefields.environment import PH, PKA, SALT, SOLVENTS, TEMPERATURE, Environment
from mdflash.forcefields.mixing import RULES, Mix
from mdflash.forcefields.model import UNITS, BeadType, Network, Term, repeated_row, term_problem
from mdflash.potentials.forms import FORMS
from mdflash.potentials.forms.form import Form

T = TypeVar("T")
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


class Reader:
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
            value = units.parse(self.get(path, object), dimension)
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
            self.known(("units",), UNITS)
            for key, found in self.get(("units",), dict).items():
                if found != UNITS[key]:
                    self.fail(
                        f"must be {UNITS[key]}, found {found!r}: numbers in tables have these units; convert them",
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

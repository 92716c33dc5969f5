"""A force field as the text of its forcefield.yaml: tables with a row a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from mdflash.potentials.forms import FORMS

if TYPE_CHECKING:
    from mdflash.forcefields.model import ForceField, Term

SCHEMA = 1
UNITS = {"length": "angstrom", "energy": "kcal/mol", "angle": "radian", "mass": "Da"}


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

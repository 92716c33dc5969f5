"""The terms of a force field as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mdflash.core.optional import require
from mdflash.errors import InputError
from mdflash.forcefields.build import explicit
from mdflash.forcefields.model import ForceField
from mdflash.potentials.forms import FORMS

if TYPE_CHECKING:
    import pandas


def term_table(forcefield: ForceField, term: str) -> pandas.DataFrame:
    """One prior of a force field: a row for each set of beads or bead types, a column for each parameter.

        mdflash.term_table(mdflash.load_forcefield("go-chignolin"), "contacts")

    Columns type_1, type_2, ... (or bead_1, bead_2, ...) and the parameters of the form in its units; parameters that
    are series have a column for each coefficient; rules are worked out for every pair of bead types.
    `attrs` holds form and equation.

    Raises:
        InputError: no such term; the message lists them.
    """
    frames = require("pandas", "analysis", "term_table")
    found = {t.name: t for t in forcefield.terms}
    if term not in found:
        raise InputError(f"force field '{forcefield.name}' has no term '{term}'; its terms are {', '.join(found)}")
    t = explicit(forcefield, found[term])
    columns: dict[str, Any] = {}
    for k in range(t.keys.shape[1]):
        if t.keyed_by == "beads":
            columns[f"bead_{k + 1}"] = t.keys[:, k]
        else:
            columns[f"type_{k + 1}"] = [forcefield.bead_types[i].name for i in t.keys[:, k]]
    for name, values in t.parameters.items():
        if values.ndim == 1:
            columns[name] = values
        else:
            columns |= {f"{name}_{k}": values[:, k] for k in range(values.shape[1])}
    table: pandas.DataFrame = frames.DataFrame(columns)
    table.attrs = {"form": t.form, "equation": FORMS[t.form].equation}
    return table

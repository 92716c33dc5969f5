"""The table of all functional forms, docs/forms.md: python -m mdflash.potentials.forms.document > docs/forms.md"""

from __future__ import annotations

from mdflash.core.ranges import LARGEST
from mdflash.potentials.forms import FORMS
from mdflash.potentials.forms.form import Form

_COORDINATES = {
    "distance": "distance r of two beads, Å",
    "angle_cosine": "cosine of the angle theta of three beads",
    "angle": "angle theta of three beads, rad",
    "dihedral": "torsion phi of four beads, rad",
    "pair": "distance r of every near pair, Å",
}

_HEAD = """# Functional forms

What a prior of a force field can be (`form:` in forcefield.yaml). Energies are in kcal/mol. Forms of near pairs are
`keyed_by: neighbors` and have a cutoff; the others are keyed by types or by beads. This page is made from the list in
`mdflash/potentials/forms/__init__.py`. Numbers outside the ranges given here have no
meaning in physics and are refused.

| form | of | u, kcal/mol | parameters | source |
|------|----|-------------|------------|--------|
"""


def _range(form: Form, parameter: str) -> str:
    """The values that a parameter may have, where they are not any."""
    if parameter in form.whole:
        return f", whole, {form.whole[parameter][0]} to {form.whole[parameter][-1]}"
    rule = form.ranges.get(parameter)
    if rule is None:
        return ""
    if (rule.most < LARGEST and rule.least < 0) or rule.most < 10:
        return f", {rule.least:.3g} to {rule.most:.3g}"
    return ", more than 0" if rule.above else ", 0 or more"


def forms_table() -> str:
    """The page, in Markdown."""
    rows = []
    for form in FORMS.values():
        units = [
            f"{p} ({unit}{', one for each n' if p in form.series else ''}{_range(form, p)})"
            for p, unit in form.units.items()
        ]
        rows.append([f"`{form.name}`", _COORDINATES[form.on], f"`{form.equation}`", ", ".join(units), form.source])
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    print(forms_table(), end="")

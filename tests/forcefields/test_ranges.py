"""Parameters that no physics has are refused, of every form, in files with their row and in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from mdflash.core.ranges import ANY, MASS, Range
from mdflash.core.state import Layout
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.forcefields.mixing import Mix
from mdflash.forcefields.model import BeadType, ForceField, Term, oddities
from mdflash.potentials.forms import FORMS
from tests.helpers import beads, toy
from tests.potentials.random_forms import random_parameters

CASES = [(name, p) for name, form in sorted(FORMS.items()) for p in form.parameters if p not in form.whole]


def beyond(rule: Range, rng: np.random.Generator) -> list[float]:
    """Numbers outside, near and far."""
    found = [np.nan, np.inf, -np.inf, rule.most * 1.5 + 1.0, rule.least - 10.0 ** rng.uniform(-3, 5)]
    return [*found, *([rule.least] if rule.above else [])]


@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_numbers_outside_are_refused_by_term_and_row(name: str, parameter: str, tmp_path: Path) -> None:
    form, rng = FORMS[name], np.random.default_rng()
    order, rows = form.order, 3
    if form.on == "pair":
        keyed, keys, more = "neighbors", np.array([[0, 0], [0, 1], [1, 1]]), {"cutoff": 9.0, "exclude_bonds": 1}
    else:
        keyed, keys, more = "beads", np.arange(order)[None] + np.arange(rows)[:, None], {}
    sound = random_parameters(form, rows, rng, degree=2)
    ff = toy(Term("term", name, keyed, keys, sound, **more), types="AB")  # type: ignore[arg-type]
    save_forcefield(tmp_path, ff)
    data = yaml.safe_load((tmp_path / "forcefield.yaml").read_text())
    column, row = order + list(ff.terms[0].columns).index(parameter), int(rng.integers(rows))
    for bad in beyond(form.ranges.get(parameter, ANY), rng):
        values = {p: v.copy() for p, v in sound.items()}
        values[parameter].reshape(rows, -1)[row, -1] = bad
        with pytest.raises(ForceFieldError, match=f"'term', row {row}: '{parameter}' must be"):
            Term("term", name, keyed, keys, values, **more)  # type: ignore[arg-type]
        here = data["terms"][0]["rows"][row]
        before = here[column]
        here[column] = [*before[:-1], float(bad)] if isinstance(before, list) else float(bad)
        (tmp_path / "forcefield.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        with pytest.raises(ForceFieldError) as error:
            load_forcefield(tmp_path)
        assert error.value.key == f"terms.0.rows.{row}" and error.value.line
        here[column] = before


def test_rules_that_make_numbers_outside_name_the_bead_type(tmp_path: Path) -> None:
    mixes = {"epsilon": Mix("constant", {"value": 0.2}), "lambda": Mix("constant", {"value": 0.5}),
             "sigma": Mix("mean", {"of": "sigma", "times": 1.0, "plus": -4.0})}  # fmt: skip
    term = Term("term", "ashbaugh_hatch", "neighbors", np.zeros((0, 2), np.int64), {}, 9.0, 1, (), mixes)
    types = (BeadType("A", 0, 100.0, {"sigma": 5.0}), BeadType("B", 1, 100.0, {"sigma": 3.5}))
    layout = Layout((beads("m", 4, types="AB"),), (1,))
    with pytest.raises(ForceFieldError, match=r"bead type B: 'sigma' must be more than 0 Å"):
        build_potential([ForceField("ff", types, terms=(term,))], layout)


def test_masses_of_beads(tmp_path: Path) -> None:
    for bad in (np.nextafter(MASS.least, 0), 1e-300, 1e300, -1.0, 0.0, np.nan):
        with pytest.raises(InputError, match=r"the mass of ALA 2 CA \(bead 1\) must be"):
            beads("m", 3, masses=[100.0, bad, 100.0])
    beads("m", 2, masses=[MASS.least, MASS.most])


def test_what_is_rarely_meant_is_a_note() -> None:
    assert "move freely" in oddities(toy())[0]
    zero = Term("bonds", "harmonic_bond", "beads", np.array([[0, 1]]), {"k": np.zeros(1), "x0": np.zeros(1)})
    assert [("one place" in note, "never acts" in note) for note in oddities(toy(zero))] == [
        (True, False),
        (False, True),
    ]


def test_numbers_that_nothing_reads_and_rows_that_count_twice_are_refused(tmp_path: Path) -> None:
    shared = yaml.safe_load(
        "{mdflash_forcefield: 1, name: x, mapping: ca, bead_types: {A: {index: 0, mass: 100 Da}}, terms: [{name: b, "
        "form: harmonic_bond, keyed_by: beads, columns: [bead, bead, k, x0], rows: [[0, 1, 9.0, 4], [1, 2, 9.0, 4]]}]}"
    )

    def refused(key: str) -> None:
        (tmp_path / "forcefield.yaml").write_text(yaml.safe_dump(shared, sort_keys=False))
        with pytest.raises(ForceFieldError) as error:
            load_forcefield(tmp_path)
        assert error.value.key == key, error.value

    rows = shared["terms"][0]["rows"]
    rows.append([2, 1, 5.0, 3.8])
    refused("terms.0.rows.2")
    rows.pop()
    for nonsense in (True, "10.0", [10.0], None):
        rows[1][2] = nonsense
        refused("terms.0.rows.1")
    rows[1][2] = 10.0
    for key in ("cutoff", "exclude_bonds", "exclude_terms"):
        shared["terms"][0][key] = "8 angstrom"
        refused(f"terms.0.{key}")
        del shared["terms"][0][key]
    shared["bead_types"]["A"]["scale"] = 2.0
    refused("bead_types.A.scale")

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdflash import units


@pytest.mark.parametrize(
    ("text", "dimension", "expected"),
    [
        ("4 fs", "time", 0.004),
        ("4fs", "time", 0.004),
        ("1_000 ns", "time", 1e6),
        ("2.5e-3 ps", "time", 0.0025),
        (".5 us", "time", 5e5),
        ("1 µs", "time", 1e6),
        ("1 /ps", "rate", 1.0),
        ("1/ps", "rate", 1.0),
        ("2 ps^-1", "rate", 2.0),
        ("2 ps**-1", "rate", 2.0),
        ("1 /ns", "rate", 1e-3),
        ("1.5 nm", "length", 15.0),
        ("2 Å", "length", 2.0),
        ("300 K", "temperature", 300.0),
        ("4.184 kJ/mol", "energy", 1.0),
        ("10 kJ/mol/nm", "force", 10 / 4.184 / 10),
        ("200 kcal/mol/nm^2", "stiffness", 2.0),
        ("4.184 kJ/mol/Å^2", "stiffness", 1.0),
        ("12 Da", "mass", 12.0),
        ("5 min", "wall", 300.0),
        ("2 h", "wall", 7200.0),
    ],
)
def test_parse(text: str, dimension: str, expected: float) -> None:
    assert math.isclose(units.parse(text, dimension), expected, rel_tol=1e-15)


@pytest.mark.parametrize(
    ("value", "dimension", "says"),
    [
        (4, "time", "no unit"),
        ("4", "time", "no unit"),
        ("4 foo", "time", "unknown unit 'foo'"),
        ("4 K", "time", "unknown unit 'K'"),
        ("four fs", "time", "expected a time"),
        (True, "time", "expected a time"),
        (None, "length", "expected a length"),
        ("1e400 fs", "time", "finite"),
        ("23:30:00", "wall", "unknown unit"),
    ],
)
def test_refused_with_a_reason(value: object, dimension: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        units.parse(value, dimension)


def test_examples_are_readable() -> None:
    for dimension, example in units.EXAMPLES.items():
        assert units.parse(example, dimension) > 0


@given(
    value=st.floats(1e-6, 1e9),
    dimension=st.sampled_from(sorted(units.DIMENSIONS)),
)
def test_show_is_read_back(value: float, dimension: str) -> None:
    for unit in units.DIMENSIONS[dimension]:
        assert math.isclose(units.parse(units.show(value, dimension, unit), dimension), value, rel_tol=1e-11)


def test_constants_against_first_principles() -> None:
    joule_per_kcal, avogadro, k_b = 4184.0, 6.02214076e23, 1.380649e-23
    assert math.isclose(units.kT(300.0), k_b * 300.0 * avogadro / joule_per_kcal, rel_tol=1e-15)
    # kcal/mol/Å/Da in SI is J/m/kg = m/s²; Å/ps² is 1e-10/1e-24 m/s²
    si = joule_per_kcal / avogadro / 1e-10 / (1e-3 / avogadro)
    assert math.isclose(units.ACCELERATION, si * 1e-14, rel_tol=1e-12)


def test_quantities_of_other_libraries_have_the_bits_of_text() -> None:
    u = pytest.importorskip("openmm.unit")
    r = pytest.importorskip("pint").UnitRegistry()
    for value, dimension, text in (
        (9 * u.femtosecond, "time", "9 fs"),
        (r.Quantity(9, "fs"), "time", "9 fs"),
        (0 * u.femtosecond, "time", "0 fs"),
        (1 / u.picosecond, "rate", "1 /ps"),
        (r.Quantity(2, "1/ns"), "rate", "2 /ns"),
        (r.Quantity(27, "degC"), "temperature", "300.15 K"),
        (0.3 * u.nanometer, "length", "0.3 nm"),
        (10 * u.kilojoule_per_mole / u.nanometer, "force", "10 kJ/mol/nm"),
        (r.Quantity(1.7, "kcal/mol"), "energy", "1.7 kcal/mol"),
        (r.Quantity(12, "dalton"), "mass", "12 Da"),
        (2 * u.hour, "wall", "2 h"),
        (0.004, "time", "0.004 ps"),
    ):
        assert units.from_number(value, dimension) == units.parse(text, dimension), text
    assert math.isclose(units.from_number(r.Quantity(1, "week"), "wall") or 0, 7 * 86400)  # a unit that text has not


def test_every_dimension_knows_its_unit_in_other_libraries() -> None:
    u = pytest.importorskip("openmm.unit")
    for dimension in set(units.DIMENSIONS) - {"rate", "inverse length"}:
        unit = u.dimensionless
        for name, power in units._PARTS[dimension].items():
            unit = unit * getattr(u, name) ** power
        assert units.from_number(3.5 * unit, dimension) == 3.5, dimension


def test_what_is_no_number_is_left_to_others() -> None:
    u = pytest.importorskip("openmm.unit")
    for value in ("4 fs", None, True, [1, 2], [1, 2] * u.picosecond, object()):
        assert units.from_number(value, "time") is None
    for value, says in ((4 * u.kelvin, "expected a time such as '4 fs', found 4 K"), (math.nan, "finite")):
        with pytest.raises(ValueError, match=says):
            units.from_number(value, "time")

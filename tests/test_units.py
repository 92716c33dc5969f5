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

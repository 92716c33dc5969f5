"""Public functions that are called with what is not quite right: a sentence, not NumPy's, and no wrong number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mdflash import analysis
from mdflash.analysis.molecule import Molecule
from mdflash.core.arrays import as_numbers
from mdflash.core.copies import join
from mdflash.errors import InputError
from tests.helpers import beads

X = np.random.default_rng().normal(scale=5.0, size=(7, 12, 3))
NEAR = X[0] + 1.0 * np.arange(36).reshape(12, 3) % 5
OF_FRAMES: dict[str, Callable[[Any], Any]] = {
    "radius_of_gyration": analysis.radius_of_gyration,
    "gyration_moments": analysis.gyration_moments,
    "end_to_end": analysis.end_to_end,
    "rmsd": lambda x: analysis.rmsd(x, NEAR),
    "superpose": lambda x: analysis.superpose(x, NEAR),
    "p_sea": analysis.p_sea,
    "fraction_of_contacts": lambda x: analysis.fraction_of_contacts(x, np.array([[0, 5]]), np.array([6.0])),
}


@pytest.mark.parametrize("name", OF_FRAMES)
def test_positions_of_another_shape_or_kind(name: str) -> None:
    of = OF_FRAMES[name]
    expected = np.asarray(of(X))
    for same in (X.tolist(), torch.tensor(X, requires_grad=True), np.asfortranarray(X)):
        np.testing.assert_allclose(of(same), expected, atol=1e-12)
    assert len(of(X[:0])) == 0
    for wrong in (X[0], X[None], X.transpose(2, 1, 0), X[..., :2], X * 1j, X.astype(str), "x", None, 3.0):
        with pytest.raises(InputError, match=r"positions must be numbers \[F, N, 3\] in Å, found"):
            of(wrong)


def test_references_of_another_shape() -> None:
    for wrong in (X, X[:1], X[0, :5], X[0] * 1j, None):
        with pytest.raises(InputError, match=r"reference must be numbers \[12, 3\] in Å, found"):
            analysis.rmsd(X, wrong)
    broken = X.copy()
    broken[3, 2, 1] = np.nan
    with pytest.raises(InputError, match="frame 3 has coordinates that are not finite"):
        analysis.rmsd(broken, X[0])
    with pytest.raises(InputError, match="reference has coordinates"):
        analysis.rmsd(X, broken[3])


def test_numbers_that_would_lose_something() -> None:
    for wrong, why in (
        (X * (1 + 1e-9j), "complex"),
        (X.astype(str), "text"),
        (np.ma.masked_greater(X, 0.0), "masked"),
    ):
        with pytest.raises(ValueError, match=why):
            as_numbers(wrong)
    assert (as_numbers(np.ma.masked_greater(X, 1e9)) == X).all()


def test_chains_that_left_each_other_through_the_box() -> None:
    one = beads("chain", 5)
    two = Molecule(join([(one, 2)], "pair"), box=(40.0, 50.0, 60.0))
    x = np.concatenate([np.zeros((1, 5, 3)), np.full((1, 5, 3), 15.0)], axis=1)
    assert not two.crossed(x) and not two.crossed(x[:0])
    axis = np.random.default_rng().integers(3)
    x[0, 5:, axis] = 0.55 * (40.0, 50.0, 60.0)[axis]
    assert two.crossed(x) and not Molecule(two.system).crossed(x)

"""Molecules that a box split are made whole, others are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from mdflash.core.geometry import distances, whole
from mdflash.core.types import Box
from tests.helpers import walk

BOX: Box = (31.0, 40.0, 52.0)


@pytest.mark.parametrize("shuffled", [False, True])
def test_wrapped_chains_become_whole(shuffled: bool) -> None:
    rng = np.random.default_rng()
    x = np.stack([walk(30, rng) for _ in range(3)])
    bonds = np.array([[i, i + 1] for i in range(29) if i != 12])  # two chains
    if shuffled:
        order = rng.permutation(30)
        x, bonds = x[:, np.argsort(order)], np.sort(order[bonds], axis=1)
    wrapped = x + rng.uniform(-100, 100, 3)
    wrapped -= np.floor(wrapped / BOX) * BOX
    found = whole(wrapped, bonds, BOX)
    np.testing.assert_allclose(distances(found, bonds), distances(x, bonds), atol=1e-9)
    images = (found - wrapped) / BOX
    np.testing.assert_allclose(images, np.round(images), atol=1e-9)
    assert whole(found, bonds, BOX) is found


def test_without_bonds_all_stay() -> None:
    x = np.random.default_rng().uniform(0, 30, (2, 5, 3))
    assert whole(x, np.zeros((0, 2), np.int64), BOX) is x

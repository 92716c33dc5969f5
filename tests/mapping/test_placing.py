"""Molecules in a box: no overlap, where they shall be, at random, and the same again from the same seed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.spatial import cKDTree

from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.mapping.chain import BOND, SECOND
from mdflash.mapping.placing import Kind, place, slab_thickness

BOX = (90.0, 80.0, 400.0)


def rigid(n: int) -> FloatArray:
    """[1, n, 3] Å: a helix."""
    i = np.arange(n)
    return np.stack([2.3 * np.cos(1.745 * i), 2.3 * np.sin(1.745 * i), 1.5 * i], axis=1)[None]


def nearest(x: FloatArray, molecule: FloatArray, box: tuple[float, float, float]) -> float:
    """Å between beads of two molecules, by the minimum image."""
    edges = np.array(box)
    tree = cKDTree(np.mod(x, edges) % edges, boxsize=edges)
    pairs = tree.query_pairs(8.0, output_type="ndarray")
    i, j = pairs[molecule[pairs[:, 0]] != molecule[pairs[:, 1]]].T
    d = x[i] - x[j]
    d -= edges * np.round(d / edges)
    return float(np.linalg.norm(d, axis=1).min(initial=8.0))


@pytest.mark.parametrize("slab", [False, True])
def test_nothing_overlaps(slab: bool) -> None:
    seed = np.random.SeedSequence().entropy % 2**32
    kinds = [Kind(24, 20, 24 * 110.0), Kind(30, 12, 30 * 110.0, rigid(30)), Kind(7, 5, 700.0)]
    placed = place(kinds, BOX, seed, slab=slab)
    x = placed.positions
    molecule = np.repeat(np.arange(37), [24] * 20 + [30] * 12 + [7] * 5)
    assert len(x) == len(molecule) and np.isfinite(x).all()
    assert nearest(x, molecule, BOX) >= placed.apart, seed
    for k in range(20):  # chains are whole walks, also through the walls of the box
        chain = x[24 * k : 24 * (k + 1)]
        assert np.allclose(np.linalg.norm(np.diff(chain, axis=0), axis=1), BOND)
        second = np.linalg.norm(chain[2:] - chain[:-2], axis=1)
        assert (second > SECOND[0]).all() and (second < SECOND[1]).all()
    for k in range(12):  # structures keep their shape
        moved, shape = x[480 + 30 * k : 510 + 30 * k], rigid(30)[0]
        assert np.allclose(
            np.linalg.norm(moved[:, None] - moved, axis=2), np.linalg.norm(shape[:, None] - shape, axis=2)
        )
        assert np.linalg.det(np.linalg.lstsq(shape - shape.mean(0), moved - moved.mean(0), rcond=None)[0]) > 0
    if slab:
        assert placed.thickness >= slab_thickness(kinds, BOX)
        far = np.abs(x[:480, 2] - 200.0).max()
        assert far <= placed.thickness / 2
    else:
        assert x[:, 2].max() - x[:, 2].min() > 200.0  # 37 places within half of the box: once in 10^9


def test_the_seed_and_the_frame_decide() -> None:
    kinds = [Kind(10, 8, 1100.0), Kind(12, 4, 1320.0, rigid(12))]
    a, b, c, d = (place(kinds, BOX, s, f).positions for s, f in ((1, 0), (1, 0), (1, 1), (2, 0)))
    assert (a == b).all()
    assert not np.isclose(a, c).any() and not np.isclose(a, d).any()


def test_orientations_and_places_have_no_preference() -> None:
    rod = np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 5.0]]])
    x = place([Kind(2, 3000, 200.0, rod)], (300.0, 300.0, 300.0), 5).positions.reshape(-1, 2, 3)
    u = (x[:, 1] - x[:, 0]) / 5.0
    assert np.abs(u.mean(axis=0)).max() < 4.5 / np.sqrt(3 * 3000)
    assert np.abs((u**2).mean(axis=0) - 1 / 3).max() < 4.5 * np.sqrt(4 / 45 / 3000)
    assert np.abs(x.mean(axis=(0, 1)) - 150.0).max() < 4.5 * 300 / np.sqrt(12 * 3000)


def test_many_are_placed_fast() -> None:
    place([Kind(10, 2, 1100.0)], BOX, 1)  # compiles, or loads
    begun = time.process_time()
    placed = place([Kind(137, 300, 137 * 97.0)], (150.0, 150.0, 3000.0), 1, slab=True)
    assert len(placed.positions) == 41_100
    assert time.process_time() - begun < 5.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"400 molecules .* do not fit into the box"):
        place([Kind(100, 400, 11000.0)], (100.0, 100.0, 100.0), 1)
    with pytest.raises(InputError, match=r"make that edge [0-9]+ nm long"):
        place([Kind(100, 400, 11000.0)], (100.0, 100.0, 300.0), 1, slab=True)

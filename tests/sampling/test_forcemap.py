"""Force maps keep the mean force: checked on a linear chain whose coarse-grained force is known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.mapping.beads import BeadMap
from mdflash.sampling.forcemap import basic_map, constrained_groups, optimised_map


def beads_on(atoms: list[int], n_atoms: int) -> BeadMap:
    n = len(atoms)
    weights = np.zeros((n, n_atoms))
    weights[np.arange(n), atoms] = 1.0
    system = System(
        name="x",
        types=("C",) * n,
        bead_names=("C",) * n,
        residue_index=np.zeros(n, np.int64),
        residue_names=("ALA",),
        residue_ids=(1,),
        chain_ids=("A",),
        masses=np.ones(n),
        bonds=np.zeros((0, 2)),
    )
    return BeadMap(system, weights, ())


def springs(rng: np.random.Generator, n: int) -> FloatArray:
    """A random positive definite Hessian with one row per atom."""
    a = rng.normal(size=(n, 2 * n))
    return a @ a.T / n


def harmonic(rng: np.random.Generator, frames: int, n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Equilibrium positions and forces [F, n, 3] of springs at kT = 1, and their Hessian."""
    hessian = springs(rng, n)
    x = np.linalg.cholesky(np.linalg.inv(hessian)) @ rng.normal(size=(frames, n, 3))
    return x, -hessian @ x, hessian


def test_groups_are_what_constraints_connect() -> None:
    groups = constrained_groups(6, np.array([[0, 1], [4, 3], [1, 5]]))
    members = {frozenset(np.flatnonzero(groups == g).tolist()) for g in groups.tolist()}
    assert members == {frozenset({0, 1, 5}), frozenset({2}), frozenset({3, 4})}


def test_basic_map_sums_each_beads_group() -> None:
    weights = basic_map(beads_on([1, 3], 5), np.array([0, 0, 1, 2, 2]))
    np.testing.assert_array_equal(weights, [[1, 1, 0, 0, 0], [0, 0, 0, 1, 1]])


@pytest.mark.parametrize("kind", ["basic", "optimised"])
def test_both_maps_give_the_mean_force(kind: str) -> None:
    """For springs the mean force on beads is linear, -A x with 1/A a block of the inverse Hessian."""
    rng = np.random.default_rng(11)
    frames, atoms = 200_000, [0, 2, 5]
    x, f, hessian = harmonic(rng, frames, 7)
    exact = np.linalg.inv(np.linalg.inv(hessian)[np.ix_(atoms, atoms)])
    groups = np.arange(7)
    beads = beads_on(atoms, 7)
    weights = basic_map(beads, groups) if kind == "basic" else optimised_map(beads, groups, f[:2000])
    mapped = np.einsum("na,fax->fnx", weights, f)
    y = x[:, atoms]
    slope = np.linalg.lstsq(y.transpose(0, 2, 1).reshape(-1, 3), mapped.transpose(0, 2, 1).reshape(-1, 3), rcond=None)[
        0
    ]
    np.testing.assert_allclose(-slope, exact, atol=0.02 * np.abs(exact).max())


def test_optimised_map_has_less_noise_on_frames_it_has_not_seen() -> None:
    rng = np.random.default_rng(12)
    _, f, _ = harmonic(rng, 4000, 8)
    beads, groups = beads_on([1, 4], 8), np.arange(8)
    basic, optimised = basic_map(beads, groups), optimised_map(beads, groups, f[:1000])
    np.testing.assert_array_equal(optimised[:, [1, 4]], np.eye(2))

    def square(weights: FloatArray) -> float:
        return float((np.einsum("na,fax->fnx", weights, f[1000:]) ** 2).mean())

    assert square(optimised) < square(basic)


def test_atoms_of_a_constrained_group_weigh_the_same() -> None:
    rng = np.random.default_rng(13)
    groups = np.array([0, 0, 1, 1, 2, 3, 3, 3])
    weights = optimised_map(beads_on([0, 4], 8), groups, rng.normal(size=(300, 8, 3)))
    for group in range(4):
        own = weights[:, groups == group]
        np.testing.assert_array_equal(own, np.repeat(own[:, :1], own.shape[1], axis=1))


def test_what_cannot_be_mapped() -> None:
    with pytest.raises(InputError, match="are connected by constrained bonds"):
        basic_map(beads_on([0, 1], 3), np.array([0, 0, 1]))
    beads = beads_on([0, 1], 3)
    both = replace(beads, weights=np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    with pytest.raises(InputError, match=r"bead 0\) represents 2 atoms"):
        basic_map(both, np.arange(3))

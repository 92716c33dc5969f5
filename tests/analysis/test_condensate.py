"""Density profiles and concentrations, on positions whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from mdflash.analysis.condensate import (
    MG_PER_ML,
    MILLIMOLAR,
    bin_mass,
    centers,
    dense_phase,
    dilute_phase,
    fit_interface,
    mean_profile,
    profiles,
    transfer_free_energy,
)
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.between import BETWEEN
from mdflash.core.copies import join
from mdflash.core.system import System
from mdflash.core.types import FloatArray

BOX = (100.0, 80.0, 1000.0)


def box_of(chains: int, n: int = 5, other: int = 0) -> Molecule:
    def chain(letter: str) -> System:
        bonds = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
        return System(
            name=letter, types=(letter,) * n, bead_names=("CA",) * n, residue_index=np.arange(n),
            residue_names=("ALA",) * n, residue_ids=tuple(range(1, n + 1)), chain_ids=("A",) * n,
            masses=np.full(n, 100.0), bonds=bonds,
        )  # fmt: skip

    parts = [(chain("G"), chains)] + ([(chain("K"), other)] if other else [])
    return Molecule(join(parts, "box"), box=BOX, names=("g", "k")[: len(parts)])


def walk(rng: np.random.Generator, frames: int, centers_: FloatArray, n: int = 5) -> FloatArray:
    """[F, N, 3] Å: ideal chains about their centers [F, C, 3]."""
    steps = rng.normal(size=(*centers_.shape[:2], n, 3)) * 3.8 / np.sqrt(3)
    x = np.cumsum(steps, axis=2)
    return (centers_[:, :, None] + x - x.mean(axis=2, keepdims=True)).reshape(frames, -1, 3)


def test_ideal_chains_are_flat() -> None:
    rng = np.random.default_rng()
    m = box_of(40)
    edges = np.array(BOX)
    x = walk(rng, 400, rng.uniform(0, 1, (400, 40, 3)) * edges + edges * rng.integers(-3, 4, (400, 40, 3)))
    found = profiles(m, bin_mass(m, x), center=False)
    expected = MG_PER_ML * 40 * 500.0 / np.prod(BOX)
    assert np.isclose(found.density.mean(), expected)
    coarse = found.density.reshape(400, 20, -1).mean(axis=2)  # bins of 50 Å, independent of each other but for chains
    mean, error = mean_profile(coarse, [400])
    off = (mean - expected) / error.mean()  # 20 bins of one sum: chi square of 19 degrees
    assert np.abs(off).max() < 6.5 and 0.25 < np.sqrt((off**2).mean()) < 2.1
    assert fit_interface(found.z, profiles(m, bin_mass(m, x)).density.mean(axis=0)) is None


def slab(rng: np.random.Generator, frames: int, chains: int, share: float, half: float) -> FloatArray:
    """[F, C, 3] Å: a share of the chains anywhere, the others within `half` of a middle that wanders."""
    edges = np.array(BOX)
    at = rng.uniform(0, 1, (frames, chains, 3)) * edges
    inside = rng.uniform(size=(frames, chains)) >= share
    z = rng.uniform(-half, half, (frames, chains))
    at[:, :, 2] = np.where(inside, z, at[:, :, 2])
    middle = 2000.0 * rng.uniform(size=(frames, 1, 1)) * np.array([0.0, 0.0, 1.0])
    return at + middle


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_concentrations_of_a_slab_that_wanders(share: float) -> None:
    rng = np.random.default_rng()
    frames, chains, half = 500, 100, 100.0
    m = box_of(chains)
    found = profiles(m, bin_mass(m, walk(rng, frames, slab(rng, frames, chains, share, half))))
    mean, _ = mean_profile(found.density, [frames])
    interface = fit_interface(found.z, mean)
    assert interface is not None
    assert np.allclose(interface.middle, half, atol=6.0)
    dilute, dense = (where(found.z, interface) for where in (dilute_phase, dense_phase))
    everywhere = MILLIMOLAR * chains * share / np.prod(BOX)
    inside = everywhere + MILLIMOLAR * chains * (1 - share) / (BOX[0] * BOX[1] * 2 * half)
    c = found.concentrations(dilute)[:, 0]
    error = c.std() / np.sqrt(frames)
    assert abs(c.mean() - everywhere) < 6.5 * error
    assert abs(found.concentrations(dense).mean() - inside) < 0.03 * inside
    assert np.isclose(
        transfer_free_energy(everywhere, inside, 300.0), 0.0019872 * 300 * np.log(everywhere / inside), rtol=1e-3
    )


def test_two_kinds_have_their_own_concentrations() -> None:
    rng = np.random.default_rng()
    m = box_of(60, other=40)
    places = np.concatenate([slab(rng, 300, 60, 0.1, 100.0), rng.uniform(0, 1, (300, 40, 3)) * np.array(BOX)], axis=1)
    found = profiles(m, bin_mass(m, walk(rng, 300, places)))
    assert found.names == ("g", "k")
    everywhere = found.concentrations(np.ones(len(found.z), bool)).mean(axis=0)
    assert np.allclose(everywhere, MILLIMOLAR * np.array([60, 40]) / np.prod(BOX))


def test_centering_does_not_depend_on_where_the_slab_is() -> None:
    rng = np.random.default_rng()
    z = np.arange(500)
    profile = 5.0 / (1 + np.exp((np.abs(z - 250) - 60) / 4)) + rng.uniform(0, 0.2, 500)
    shifts = rng.integers(0, 500, 20)
    found = centers(np.stack([np.roll(profile, k) for k in shifts]), 1000.0)
    off = (found - shifts - found[0] + shifts[0]) % 500
    assert np.isin(off, [0, 1, 499]).all()
    assert abs((found[0] - shifts[0]) % 500 - 250) <= 2


def test_a_slab_that_fills_the_box_has_no_dilute_phase() -> None:
    z = np.arange(-250, 250) * 2.0
    density = 100 + 200 * (1 - np.tanh((np.abs(z) - 400.0) / 30.0)) / 2
    at = fit_interface(z, density)
    assert at is not None and not dilute_phase(z, at).any() and dense_phase(z, at).any()


def test_contacts_between_chains_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng()
    m = box_of(30, n=6)
    x = walk(rng, 3, rng.normal(0.0, 15.0, (3, 30, 3)) + np.array([0.0, 70.0, 990.0]), n=6)
    parts = BETWEEN.parts(m)
    assert parts is not None
    found = BETWEEN.result(m, {key: total / 3 for key, total in parts(x).items()})
    d = x[:, :, None] - x[:, None]
    d -= np.array(BOX) * np.round(d / np.array(BOX))
    near = (np.linalg.norm(d, axis=-1) < 8.0).reshape(3, 30, 6, 30, 6)
    near[:, np.arange(30), :, np.arange(30)] = False
    assert near.any()
    assert np.allclose(found["between"], near.sum(axis=(1, 3)).mean(axis=0) / 30)

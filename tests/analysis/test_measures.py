"""Measures of shape against MDTraj on the same frames, and against what is known exactly."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mdtraj
import numpy as np
import pytest

from mdflash.analysis.measures import (
    asphericity,
    end_to_end,
    fraction_of_contacts,
    gyration_moments,
    hydrodynamic_radius,
    native_contacts,
    radius_of_gyration,
    rmsd,
    rmsf,
    scaling_exponent,
    superpose,
)
from mdflash.analysis.observables.pairs import PAIRS
from mdflash.core.geometry import distances, torsions
from mdflash.errors import InputError
from tests.helpers import walk

EXACT = 1e-4  # Å; 1e-5 nm
SINGLE = float(np.finfo(np.float32).eps)  # what MDTraj's numbers are rounded to


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """[F, N, 3] Å, a chain that moves, tumbles and drifts."""
    rng = np.random.default_rng()
    chain = walk(24, rng)
    out = []
    for _ in range(40):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turn *= np.sign(np.linalg.det(turn))
        out.append((chain + rng.normal(0, 1.0, chain.shape)) @ turn + rng.normal(0, 20.0, 3))
    return np.array(out, np.float32).astype(np.float64)  # what MDTraj can hold


@pytest.fixture(scope="module")
def trajectory(frames: np.ndarray) -> mdtraj.Trajectory:
    top = mdtraj.Topology()
    chain = top.add_chain()
    for _ in range(frames.shape[1]):
        top.add_atom("CA", mdtraj.element.carbon, top.add_residue("ALA", chain))
    return mdtraj.Trajectory(frames / 10.0, top)


def test_against_mdtraj(frames: np.ndarray, trajectory: mdtraj.Trajectory) -> None:
    masses = np.random.default_rng().uniform(50.0, 190.0, frames.shape[1])
    off = np.einsum("fnx,n->fx", frames, masses / masses.sum()) - frames.mean(axis=1)
    theirs = 10 * mdtraj.compute_rg(trajectory, masses)  # about the mean of the beads, not about the center of mass
    assert np.abs(radius_of_gyration(frames, masses) - np.sqrt(theirs**2 - (off**2).sum(axis=1))).max() < EXACT
    assert np.abs(radius_of_gyration(frames) - 10 * mdtraj.compute_rg(trajectory)).max() < EXACT
    reference = trajectory[7]
    # squares are differences of sums over beads, which MDTraj rounds one by one
    spread = ((frames - frames.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2))
    off_square = rmsd(frames, frames[7]) ** 2 - (10.0 * mdtraj.rmsd(trajectory, trajectory, 7)) ** 2
    assert (np.abs(off_square) <= 2.0 * SINGLE * (spread + spread[7])).all()
    pairs = np.array([[0, 5], [3, 20], [1, 23]])
    assert (
        np.abs(distances(frames, pairs) - 10 * mdtraj.compute_distances(trajectory, pairs, periodic=False)).max()
        < EXACT
    )
    index = np.array([[0, 1, 2, 3], [8, 9, 10, 11]])
    delta = torsions(frames, index) - mdtraj.compute_dihedrals(trajectory, index, periodic=False)
    bends = np.stack([np.sin(mdtraj.compute_angles(trajectory, index[:, k : k + 3], periodic=False)) for k in (0, 1)])
    # places are rounded, which turns a torsion the more the shorter its bonds are and the straighter its bends
    bonds = distances(frames, np.array([[a, a + 1] for a in (0, 1, 2, 8, 9, 10)])).reshape(-1, 2, 3).min(axis=2)
    rounding = 16.0 * SINGLE * np.abs(frames).max() / (bonds * bends.min(axis=0))
    assert (np.abs((delta + np.pi) % (2 * np.pi) - np.pi) <= rounding).all()
    moments = gyration_moments(frames)
    assert np.abs(moments - 100 * mdtraj.principal_moments(trajectory)).max() < 1e-2
    assert np.abs(asphericity(moments) - mdtraj.relative_shape_antisotropy(trajectory)).max() < 1e-5
    assert (
        np.abs(end_to_end(frames)[:, None] - 10 * mdtraj.compute_distances(trajectory, [[0, 23]], periodic=False)).max()
        < EXACT
    )
    expected = 10 * mdtraj.rmsf(trajectory.superpose(reference), None)
    assert np.abs(rmsf(frames, frames[7]) - expected).max() < 50 * EXACT


def test_native_contacts_against_mdtraj(frames: np.ndarray, trajectory: mdtraj.Trajectory) -> None:
    native = walk(24, np.random.default_rng(3), step=3.8) * 0.5
    pairs, r0 = native_contacts(native, np.arange(24))
    assert len(pairs) > 5 and (pairs[:, 1] - pairs[:, 0] > 3).all() and (r0 < 8.0).all()
    r = 10 * mdtraj.compute_distances(trajectory, pairs, periodic=False)
    found = fraction_of_contacts(frames, pairs, r0)
    assert ((r < 1.2 * r0 - EXACT).mean(axis=1) <= found + 1e-12).all()
    assert (found <= (r < 1.2 * r0 + EXACT).mean(axis=1) + 1e-12).all()
    assert (fraction_of_contacts(native[None], pairs, r0) == 1.0).all()


def test_superposition_never_reflects(frames: np.ndarray) -> None:
    mirrored = frames * [-1.0, 1.0, 1.0]
    x = superpose(mirrored, frames[0])
    assert np.abs(np.sqrt(((x - frames[0]) ** 2).sum(axis=2).mean(axis=1)) - rmsd(mirrored, frames[0])).max() < 1e-8
    assert rmsd(mirrored[:1], frames[0])[0] > 1.0
    assert rmsd(frames[:1], frames[0])[0] < 1e-7 * np.abs(frames[0]).max()  # a root of what is left of squares


def test_scaling_of_chains_that_are_known() -> None:
    rod = np.arange(1, 40, dtype=float)
    assert scaling_exponent(rod, 3.8 * rod) == pytest.approx((1.0, 3.8), rel=1e-6)
    assert scaling_exponent(rod, 5.5 * rod**0.588) == pytest.approx((0.588, 5.5), rel=1e-6)
    with pytest.raises(InputError, match="shorter"):
        scaling_exponent(rod[:6], rod[:6])
    assert hydrodynamic_radius(0.1, 10) == pytest.approx(10.0 / 0.9)
    line = np.zeros((1, 50, 3))
    line[0, :, 0] = np.arange(50)
    assert asphericity(gyration_moments(line))[0] == pytest.approx(1.0)


@pytest.mark.parametrize("chains", [1, 3])
def test_sums_over_pairs_are_those_of_all_distances(chains: int) -> None:
    """More frames than are taken at once, and the chains of a box, each as a frame of its own."""
    rng = np.random.default_rng()
    n, frames = 40, 1500
    beads = np.arange(chains * n).reshape(chains, n)
    species = [SimpleNamespace(beads=beads)]
    molecule: Any = SimpleNamespace(many=chains > 1, trace=np.arange(chains * n), species=species)
    x = 6.0 * rng.normal(size=(frames, chains * n, 3))
    r = distances(x.reshape(-1, n, 3), np.stack(np.triu_indices(n, 1), axis=1))
    found = PAIRS.parts(molecule)
    assert found is not None
    expected = {"distance": r, "square": r**2, "inverse": 1.0 / r, "contact": r < 8.0}
    for name, value in found(x).items():
        np.testing.assert_allclose(value, expected[name].sum(axis=0) / chains, rtol=1e-10)

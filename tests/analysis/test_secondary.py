"""Secondary structure of structures whose it is known, and as MDTraj has it."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np

import mdflash
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.secondary import SECONDARY, has_backbone
from mdflash.analysis.secondary import COIL, HELIX, STRAND, p_sea
from mdflash.mapping.structure import map_structure
from tests.helpers import helix, walk

CHIGNOLIN = Path(mdflash.__file__).parents[1] / "systems" / "chignolin.pdb"


def chain(angles: np.ndarray, dihedrals: np.ndarray) -> np.ndarray:
    """[N, 3] CA atoms 3.8 Å apart, from the angles at 1 .. N-2 and the dihedrals about 1 .. N-3, degrees."""
    x = [np.zeros(3), np.array([3.8, 0.0, 0.0])]
    a = np.radians(180.0 - angles)
    x.append(x[1] + 3.8 * np.array([np.cos(a[0]), np.sin(a[0]), 0.0]))
    for k, t in enumerate(np.radians(dihedrals)):
        u = (x[-1] - x[-2]) / 3.8
        n = np.cross(x[-2] - x[-3], u)
        n /= np.linalg.norm(n)
        b = a[k + 1]
        x.append(x[-1] + 3.8 * (np.cos(b) * u + np.sin(b) * (np.cos(t) * np.cross(n, u) + np.sin(t) * n)))
    return np.array(x)


def test_helices_and_strands() -> None:
    n = 16
    spiral, straight = helix(n), chain(np.full(n - 2, 124.0), np.full(n - 3, -170.0))
    coil = chain(np.full(n - 2, 105.0), np.full(n - 3, 0.0) + 100.0)
    found = p_sea(np.stack([spiral, straight, coil, spiral * [1, 1, -1]]))
    assert (found[0, 1:-2] == HELIX).all() and (found[1, 1:-3] == STRAND).all() and (found[2] == COIL).all()
    short = p_sea(spiral[None, :4])
    assert short.shape == (1, 4) and (short == COIL).all()


def test_an_alpha_helix_of_an_engineered_protein() -> None:
    """The three helices of the engrailed homeodomain, and hardly any in a random walk."""
    system, frames = mdflash.load_forcefield("teacher-1enh").system()
    assert frames is not None
    found = p_sea(frames[:1].astype(float)[:, Molecule(system).trace])[0]
    starts = np.flatnonzero(np.diff(np.concatenate([[0], found == HELIX])) == 1)
    assert len(starts) == 3 and 0.6 < (found == HELIX).mean() < 0.9 and not (found == STRAND).any()
    rng = np.random.default_rng()
    coils = p_sea(np.stack([walk(60, rng) for _ in range(20)]))
    assert (coils != COIL).mean() < 0.05


def test_dssp_where_there_is_a_backbone() -> None:
    system, frames = map_structure(CHIGNOLIN, "heavy")[:2]
    m = Molecule(system)
    assert has_backbone(m) and not has_backbone(Molecule(map_structure(CHIGNOLIN, "ca")[0]))
    parts = SECONDARY.parts(m)
    assert parts is not None and frames is not None
    sums = parts(np.asarray(frames[:1], float))
    letters = mdtraj.compute_dssp(mdtraj.load(str(CHIGNOLIN))[0])[0]
    np.testing.assert_array_equal(sums["strand"], letters == "E")
    np.testing.assert_array_equal(sums["helix"], letters == "H")
    assert SECONDARY.result(m, sums)["method"] == "DSSP"

"""Copies of molecules as one System: everything is there, and means what it meant."""

from __future__ import annotations

import numpy as np

from mdflash.core.chain_ids import chain_name
from mdflash.core.copies import join
from mdflash.core.system import System


def chain(names: str, ids: str, bonds: list[tuple[int, int]]) -> System:
    n = len(names)
    return System(
        name="x", types=tuple(names), bead_names=("CA",) * n, residue_index=np.arange(n), residue_names=tuple(names),
        residue_ids=tuple(range(5, 5 + n)), chain_ids=tuple(ids), masses=np.arange(1.0, n + 1),
        bonds=np.array(bonds).reshape(-1, 2), interactions={"pairs": np.array([[0, n - 1]])},
    )  # fmt: skip


def test_every_copy_is_whole() -> None:
    one, dimer = chain("GSG", "AAA", [(0, 1), (1, 2)]), chain("KKEE", "AABB", [(0, 1), (2, 3)])
    box = join([(one, 2), (dimer, 2)], "box")
    assert box.types == tuple("GSGGSGKKEEKKEE")
    assert box.chain_ids == tuple("AAABBBCCDDEEFF")
    assert box.residue_ids == (5, 6, 7, 5, 6, 7, 5, 6, 7, 8, 5, 6, 7, 8)
    assert box.bonds.tolist() == [[0, 1], [1, 2], [3, 4], [4, 5], [6, 7], [8, 9], [10, 11], [12, 13]]
    assert box.interactions["pairs"].tolist() == [[0, 2], [3, 5], [6, 9], [10, 13]]
    assert box.masses.tolist() == [1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 4]
    assert box.chain_index.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_there_are_chain_names_for_any_number() -> None:
    names = [chain_name(k) for k in range(62 * 63)]
    assert len(set(names)) == len(names)
    assert (names[0], names[61], names[62], names[-1]) == ("A", "9", "AA", "99")
    many = join([(chain("GS", "AA", [(0, 1)]), 100)], "box")
    assert int(many.chain_index[-1]) == 99

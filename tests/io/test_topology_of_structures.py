"""topology.pdb keeps numbers, insertion codes and chains; topology.cif has what does not fit."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from mdflash.core.system import System, load_system, save_system
from mdflash.io.topology import beyond_pdb, mdtraj_topology, write_topology

from .conftest import build_system, frame


def chained(sizes: list[int], ids: list[str], **fields: object) -> System:
    """CA chains of these sizes under these ids, numbered from 1 each."""
    n, system = sum(sizes), build_system(sum(sizes))
    first = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    index = np.repeat(np.arange(len(sizes)), sizes)
    bonds = [[i, i + 1] for i in range(n - 1) if index[i] == index[i + 1]]
    return replace(
        system, residue_ids=tuple((np.arange(n) - first + 1).tolist()), chain_ids=tuple(ids[c] for c in index),
        bonds=np.array(bonds), **fields,
    )  # fmt: skip


def universe(file: Path):  # type: ignore[no-untyped-def]
    import MDAnalysis

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MDAnalysis.Universe(str(file))


@pytest.mark.parametrize("seed", range(4))
def test_numbers_and_codes(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = np.cumsum(rng.integers(0, 2, 30)) + rng.integers(-900, 9000)
    codes = ["" if k == 0 or ids[k] != ids[k - 1] else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[k % 26] for k in range(30)]
    system = replace(build_system(30), residue_ids=tuple(ids.tolist()), insertion_codes=tuple(codes))
    write_topology(tmp_path / "t.pdb", system, frame(0, 1, 30)[0])
    assert beyond_pdb(system) is None and not (tmp_path / "t.cif").exists()
    assert [r.resSeq for r in mdtraj.load_topology(str(tmp_path / "t.pdb")).residues] == ids.tolist()
    u = universe(tmp_path / "t.pdb")
    assert u.residues.resids.tolist() == ids.tolist() and u.residues.icodes.tolist() == codes
    save_system(tmp_path / "s.safetensors", system)
    again, _ = load_system(tmp_path / "s.safetensors")
    assert again == system and again.insertion_codes == tuple(codes)
    assert again != replace(system, insertion_codes=())


def test_two_chains_of_one_letter_stay_two(tmp_path: Path) -> None:
    system = chained([7, 5, 4], ["A", "A", "B"])
    assert system.chain_index.tolist() == [0] * 7 + [1] * 5 + [2] * 4
    write_topology(tmp_path / "t.pdb", system, frame(0, 1, 16)[0])
    for top in (mdtraj.load_topology(str(tmp_path / "t.pdb")), mdtraj_topology(system)):
        assert [c.n_atoms for c in top.chains] == [7, 5, 4] and [c.chain_id for c in top.chains] == ["A", "A", "B"]
    u = universe(tmp_path / "t.pdb")
    assert len(u.residues) == 16 and len(u.bonds) == 13


def test_more_chains_than_letters(tmp_path: Path) -> None:
    ids = [f"{a}{b}" for a in "AB" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghi"] + ["A", "Q"]
    system = chained([3] * len(ids), ids)
    write_topology(tmp_path / "t.pdb", system, frame(0, 1, system.n_beads)[0])
    pdb, cif = (mdtraj.load_topology(str(tmp_path / name)) for name in ("t.pdb", "t.cif"))
    assert [c.chain_id for c in cif.chains] == ids and [c.n_atoms for c in pdb.chains] == [3] * len(ids)
    letters = [c.chain_id for c in pdb.chains]
    assert letters[-2:] == ["A", "Q"] and letters[:-2].count("A") == letters[:-2].count("Q") == 0
    assert set(universe(tmp_path / "t.cif").atoms.chainIDs) == set(ids)


@pytest.mark.parametrize("first", [9_990, 123_456, 5_000_000, -2_000])
def test_numbers_that_four_columns_do_not_hold(tmp_path: Path, first: int) -> None:
    system = replace(build_system(20), residue_ids=tuple(range(first, first + 20)))
    x = frame(0, 1, 20)[0]
    write_topology(tmp_path / "t.pdb", system, x)
    assert {len(line) for line in (tmp_path / "t.pdb").read_text().splitlines() if line.startswith("ATOM")} == {80}
    found = mdtraj.load(str(tmp_path / "t.cif"))
    assert [r.resSeq for r in found.topology.residues] == list(range(first, first + 20))
    assert np.abs(found.xyz[0] * 10 - x).max() < 6e-4
    assert universe(tmp_path / "t.cif").residues.resids.tolist() == list(range(first, first + 20))
    assert mdtraj.load(str(tmp_path / "t.pdb")).n_atoms == 20
    if first == 9_990:
        assert [r.resSeq for r in mdtraj.load_topology(str(tmp_path / "t.pdb")).residues] == list(range(9_990, 10_010))

"""Structures as they come: each kind of file is drawn anew, in PDB and in mmCIF, and read as what it is."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mdflash.errors import InputError
from mdflash.io.topology import mdtraj_topology
from mdflash.mapping.choices import Reading
from mdflash.mapping.read import read_structure
from mdflash.mapping.structure import bead_map, map_structure
from mdflash.mapping.trajectory import map_trajectory

from .drawn import Line, cif, draw, moved, pdb, pdb_line, renumbered, residues

SEEDS = range(4)
WRITERS = {"pdb": pdb, "cif": cif}


@pytest.fixture(params=SEEDS)
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    return np.random.default_rng([7, request.param])


@pytest.fixture(params=list(WRITERS))
def save(request: pytest.FixtureRequest, tmp_path: Path):  # type: ignore[no-untyped-def]
    def _save(lines: list[Line]) -> Path:
        file = tmp_path / f"drawn.{request.param}"
        file.write_text(WRITERS[request.param](lines))
        return file

    return _save


@pytest.fixture
def keep(tmp_path: Path):  # type: ignore[no-untyped-def]
    def _keep(text: str | bytes, name: str = "drawn.pdb") -> Path:
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return _keep


def expect(file: Path, lines: list[Line], lengths: list[int], **choices: object) -> tuple[str, ...]:
    """The file is these residues in chains of these lengths, each bead at its CA; returns the notes."""
    system, positions, notes = map_structure(file, reading=Reading(**choices))  # type: ignore[arg-type]
    codes = system.insertion_codes or ("",) * system.n_residues
    found = zip(system.chain_ids, system.residue_ids, codes, system.residue_names, strict=True)
    assert list(found) == residues(lines)
    wanted = np.repeat(np.arange(len(lengths)), lengths)
    assert system.chain_index.tolist() == wanted.tolist()
    first = np.flatnonzero(wanted[1:] == wanted[:-1])
    assert system.bonds.tolist() == np.stack([first, first + 1], axis=1).tolist()
    ca = {(a.chain, a.number, a.code, a.residue): a.xyz for a in lines if a.name == "CA"}
    if len(ca) == system.n_beads:
        np.testing.assert_allclose(positions[0], [ca[key] for key in residues(lines)], atol=1e-3)
    length = np.linalg.norm(np.subtract(*positions[0][system.bonds.T]), axis=1)
    assert (length < 4.5).all()
    return notes


def test_insertion_codes(rng, save) -> None:
    lines = draw(rng, 14, first=1)
    at, inserted = int(rng.integers(3, 8)), int(rng.integers(1, 4))
    codes = "ABCDE"[:inserted]

    def number(k: int) -> tuple[int, str]:
        return (k, "") if k <= at else (at, codes[k - at - 1]) if k <= at + inserted else (k - inserted, "")

    lines = renumbered(lines, number)
    expect(save(lines), lines, [14])


def test_insertion_codes_that_go_backwards(rng, save) -> None:
    """Antibodies and proteases number 60A, 60B, 60 and the like."""
    lines = renumbered(draw(rng, 9, first=1), lambda k: (60, {4: "B", 5: "A", 6: ""}[k]) if 4 <= k <= 6 else (k, ""))
    assert len(residues(lines)) == 9
    expect(save(lines), lines, [9])


@pytest.mark.parametrize("first", [-12, -3, 0, 9_994, 10_000, 123_456])
def test_numbers_of_any_size(rng, save, first: int) -> None:
    lines = draw(rng, 10, first=first)
    expect(save(lines), lines, [10])


def test_atoms_of_a_residue_stand_apart(rng, save) -> None:
    lines = draw(rng, 12)
    side = [a for a in lines if a.name not in ("N", "CA", "C")]
    hydrogens = [replace(a, name="H", xyz=tuple(np.add(a.xyz, 0.6))) for a in lines if a.name == "N"]
    apart = [a for a in lines if a not in side] + [side[k] for k in rng.permutation(len(side))] + hydrogens
    expect(save(apart), lines, [12])


def test_two_chains_without_id_whose_atoms_stand_apart(rng, save) -> None:
    one = draw(rng, 8, chain="", first=5)
    other = moved(one, rng.uniform(30, 60, 3))
    parts = [
        [a for a in chain if (a.name in ("N", "CA", "C")) == main] for main in (True, False) for chain in (one, other)
    ]
    system, positions, _ = map_structure(save([a for part in parts for a in part]), "five-bead")
    whole = map_structure(save([*one, *other]), "five-bead")
    assert system.n_beads == whole.system.n_beads
    for r in range(system.n_residues):
        own, same = system.residue_index == r, whole.system.residue_index == r
        assert np.ptp(positions[0][own], axis=0).max() < 6.0
        np.testing.assert_allclose(np.sort(positions[0][own], axis=0), np.sort(whole.positions[0][same], axis=0))


def test_alternate_locations(rng, save) -> None:
    lines: list[Line] = []
    drawn = draw(rng, 10)
    numbers = sorted({a.number for a in drawn})
    split = [int(n) for n in rng.choice(numbers, 3, replace=False)]
    expected = []
    for a in drawn:
        if a.number not in split:
            lines.append(a)
            expected.append(a)
            continue
        weights = rng.permutation([0.2, 0.3, 0.5]) if a.name == "CA" else (0.5, 0.3, 0.2)
        places = [
            replace(
                a, alternate=letter, occupancy=float(w), xyz=tuple(np.round(np.add(a.xyz, rng.normal(size=3) / 5), 3))
            )
            for letter, w in zip("ABC", weights, strict=True)
        ]
        lines += places
        expected.append(max(places, key=lambda p: p.occupancy))
    notes = expect(save(lines), expected, [10])
    (note,) = [n for n in notes if "alternate" in n]
    assert all(f" {n} of chain A" in note for n in split)


def test_residues_of_two_kinds(rng, save) -> None:
    lines = draw(rng, 8)
    at = sorted({a.number for a in lines})[int(rng.integers(1, 7))]
    fuller = bool(rng.integers(2))
    ser = [replace(a, residue="SER", alternate="A", occupancy=0.7 if fuller else 0.3) for a in lines if a.number == at]
    thr = [replace(a, residue="THR", alternate="B", occupancy=0.3 if fuller else 0.7) for a in ser]
    before, after = [a for a in lines if a.number < at], [a for a in lines if a.number > at]
    notes = expect(save([*before, *ser, *thr, *after]), [*before, *(ser if fuller else thr), *after], [8])
    assert any("SER or THR" in note or "THR or SER" in note for note in notes)


def test_alternate_locations_without_letters(rng, save) -> None:
    """Old files mark them by their occupancies alone."""
    drawn, lines, expected = draw(rng, 8, first=1), [], []
    for a in drawn:
        places = [a]
        if a.number == 4 and a.name in ("CA", "C", "O"):
            weights = (0.4, 0.6) if a.name == "CA" else (0.5, 0.5)
            places = [replace(a, occupancy=weights[0]), replace(moved([a], (0.3, 0.2, 0.4))[0], occupancy=weights[1])]
        lines += places
        expected.append(max(places, key=lambda p: p.occupancy))
    assert any("alternate" in note for note in expect(save(lines), expected, [8]))


def test_residues_of_two_kinds_that_share_a_backbone(rng, save) -> None:
    lines = [replace(a, residue="LEU") if a.number == 5 else a for a in draw(rng, 8, first=1)]
    (ca,) = (a for a in lines if a.number == 5 and a.name == "CA")
    side = [replace(ca, name=name, residue=kind, alternate=letter, occupancy=0.5, xyz=tuple(np.add(ca.xyz, (k, 1, 1))))
            for kind, letter, k in (("LEU", "A", 1), ("ILE", "B", 2)) for name in ("CG", "CD1")]  # fmt: skip
    at = lines.index(ca) + 1
    notes = expect(save([*lines[:at], *side, *lines[at:]]), lines, [8])
    assert any("LEU or ILE" in note for note in notes)


def ends(*chains: list[Line]) -> list[int]:
    return list(np.cumsum([len(c) for c in chains]) - 1)


def test_chains_told_apart_by_ter_segment_or_restarting_numbers(rng, keep) -> None:
    one = draw(rng, 7, first=1)
    other = moved(draw(rng, 6, first=8), rng.uniform(8, 15, 3) * [1, 1, 1])
    expect(keep(pdb([*one, *other], ends(one, other))), [*one, *other], [7, 6])
    by_segment = [*moved(one, (0, 0, 0), segment="PROA"), *moved(other, (0, 0, 0), segment="PROB")]
    expect(keep(pdb(by_segment)), by_segment, [7, 6])
    again = moved(one, rng.uniform(8, 15, 3))
    system = map_structure(keep(pdb([*one, *again]))).system
    assert system.chain_ids == ("A",) * 14 and system.chain_index.tolist() == [0] * 7 + [1] * 7


@pytest.mark.parametrize("same", [True, False])
def test_chains_told_apart_only_by_distance(rng, save, same: bool) -> None:
    one = draw(rng, 7, first=1, chain="")
    second = renumbered(one, lambda k: (k + 7, "")) if same else draw(rng, 9, first=8, chain="")
    system, _, notes = map_structure(save([*one, *moved(second, rng.uniform(35, 50, 3))]))
    assert system.chain_ids == ("A",) * 7 + ("B",) * (system.n_residues - 7)
    assert any(("the same molecule again" if same else "a new chain begins") in note for note in notes)


def test_a_terminal_oxygen_ends_a_chain(rng, save) -> None:
    one, other = draw(rng, 7, first=1, chain=""), draw(rng, 6, first=8, chain="")
    last = [a for a in one if a.number == 7]
    oxt = replace(last[-1], name="OXT", xyz=tuple(np.add(last[-1].xyz, (1.5, 1.5, 0.3))))
    system, _, notes = map_structure(save([*one, oxt, *moved(other, (9.0, 5.0, 12.0))]))
    assert system.chain_index.tolist() == [0] * 7 + [1] * 6 and notes == ()


def test_interleaved_chains(rng, save) -> None:
    one = draw(rng, 6, first=3, chain="A")
    other = moved(draw(rng, 6, first=3), (25, 25, 25), chain="B")
    woven = [a for n in range(3, 9) for chain in (one, other) for a in chain if a.number == n]
    expect(save(woven), [*one, *other], [6, 6])
    blank = [replace(a, chain="") for a in woven]
    system = map_structure(save(blank)).system
    assert system.chain_index.tolist() == [0] * 6 + [1] * 6 and system.chain_ids == ("A",) * 6 + ("B",) * 6


def test_a_ter_inside_a_chain_ends_nothing(rng, keep) -> None:
    lines = draw(rng, 12)
    numbers = sorted({a.number for a in lines})
    last = [max(k for k, a in enumerate(lines) if a.number == n) for n in numbers]
    for ter in ([last[int(rng.integers(2, 10))]], last):
        expect(keep(pdb(lines, ter)), lines, [12])


def test_a_modified_residue_at_the_end_of_the_file(rng, save) -> None:
    lines = draw(rng, 10, first=1)
    at = int(rng.integers(3, 8))
    mse = [replace(a, residue="MSE") for a in lines if a.number == at]
    file = save([*[a for a in lines if a.number != at], *mse])
    as_met = [replace(a, residue="MET") if a.number == at else a for a in lines]
    notes = expect(file, as_met, [10], modified="parent")
    assert any(f"MSE {at} of chain A as MET" in note for note in notes)


@pytest.mark.parametrize("missing", [1, 2, 4])
@pytest.mark.parametrize("kept_numbers", [True, False])
def test_missing_residues(rng, save, missing: int, kept_numbers: bool) -> None:
    lines = draw(rng, 14, first=1)
    at = int(rng.integers(4, 7))
    left = [a for a in lines if not at < a.number <= at + missing]
    if not kept_numbers:
        left = renumbered(left, lambda k: (k - missing if k > at else k, ""))
    other = at + 1 + (missing if kept_numbers else 0)
    file = save(left)
    with pytest.raises(InputError, match=rf" {at} and \w\w\w {other} of chain A .*--gaps break"):
        map_structure(file)
    expect(file, left, [at, 14 - missing - at], gaps="break")
    system, _, notes = map_structure(file, reading=Reading(gaps="bond"))
    assert len(system.bonds) == 13 - missing and any("chain break" in note for note in notes)


def test_a_gap_that_ca_atoms_show(rng, save) -> None:
    lines = [a for a in draw(rng, 10, first=1) if a.name == "CA" and a.number != 5]
    with pytest.raises(InputError, match=r" 4 and .* 6 of chain A"):
        map_structure(save(lines))


@pytest.mark.parametrize("atoms", ["all", "CA"])
@pytest.mark.parametrize("skewed", [False, True])
def test_a_protein_split_by_its_box_is_made_whole(rng, keep, atoms: str, skewed: bool) -> None:
    lines = [a for a in draw(rng, 20, first=1) if atoms == "all" or a.name == "CA"]
    box = np.diag([58.0, 62.0, 66.0]) if not skewed else np.array([[60.0, 0, 0], [20, 56, 0], [-20, 20, 52]])
    at = rng.uniform(0, 1, 3) @ box

    def wrapped(a: Line) -> Line:
        fraction = (np.add(a.xyz, at)) @ np.linalg.inv(box)
        return replace(a, xyz=tuple(np.round((fraction % 1.0) @ box, 3)))

    split = [wrapped(a) for a in lines]
    lengths = np.linalg.norm(box, axis=1)
    cosines = [box[i] @ box[j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1))]
    cell = "".join(f"{v:9.3f}" for v in lengths) + "".join(f"{v:7.2f}" for v in np.degrees(np.arccos(cosines)))
    whole = map_structure(keep(pdb(lines), "whole.pdb"))
    x = map_structure(keep(pdb(split, head=f"CRYST1{cell} P 1           1")))
    assert x.system.bonds.tolist() == whole.system.bonds.tolist()
    pairs = np.triu_indices(20, 1)
    distances = [np.linalg.norm(p[0][pairs[0]] - p[0][pairs[1]], axis=1) for p in (whole.positions, x.positions)]
    np.testing.assert_allclose(distances[0], distances[1], atol=0.02)


def test_a_protein_split_by_a_box_that_nobody_knows_is_refused(rng, save) -> None:
    lines = draw(rng, 12, first=1)
    cut, axis = int(rng.integers(4, 9)), int(rng.integers(3))
    jump = np.eye(3)[axis] * 70.0
    with pytest.raises(InputError, match=rf" {cut} and .* {cut + 1} of chain A .*periodic box.*CRYST1"):
        map_structure(save([a if a.number <= cut else moved([a], jump)[0] for a in lines]))


@pytest.mark.parametrize(("name", "parent"), [("MSE", "MET"), ("SEP", "SER"), ("TPO", "THR"), ("PTR", "TYR"),
                                              ("HYP", "PRO"), ("NLE", "LEU"), ("CSO", "CYS"), ("SME", "MET"),
                                              ("MLY", "LYS"), ("CGU", "GLU")])  # fmt: skip
def test_modified_residues(save, name: str, parent: str) -> None:
    rng = np.random.default_rng(sum(map(ord, name)))
    lines = draw(rng, 9, first=1)
    at = int(rng.integers(1, 10))
    file = save([replace(a, residue=name) if a.number == at else a for a in lines])
    with pytest.raises(InputError, match=rf"{name} {at} of chain A \(from {parent}\); --modified parent"):
        map_structure(file)
    expect(file, [replace(a, residue=parent) if a.number == at else a for a in lines], [9], modified="parent")


def test_the_file_says_what_a_residue_comes_from(rng, keep) -> None:
    lines = [replace(a, residue="QQ9") if a.number == 4 else a for a in draw(rng, 8, first=1)]
    with pytest.raises(InputError, match="unknown residues in a chain: QQ9 4 of chain A"):
        map_structure(keep(pdb(lines)), reading=Reading(modified="parent"))
    file = keep(pdb(lines, head="MODRES 1ABC QQ9 A    4  TRP  NAMED BY ITS AUTHORS"))
    as_trp = [replace(a, residue="TRP") if a.number == 4 else a for a in lines]
    expect(file, as_trp, [8], modified="parent")


@pytest.mark.parametrize(("atoms", "said"), [
    ([("C1", "GOL"), ("O1", "GOL")], "GOL 900 of chain"), ([("P", "PO4"), ("O1", "PO4")], "PO4 900 of chain"),
    ([("P", "DG"), ("C2'", "DG")], "1 residue of DNA"),
    ([("P", "U"), ("C2'", "U"), ("O2'", "U")], "1 residue of RNA"),
    ([("N1", "ATP"), ("C2", "ATP")], "ATP 900 of chain"),
])  # fmt: skip
def test_what_is_not_protein(rng, save, atoms: list[tuple[str, str]], said: str) -> None:
    lines = draw(rng, 8)
    rest = [Line(atom, name, 900, (20.0 + k, 30.0, 5.0), "Z") for k, (atom, name) in enumerate(atoms)]
    where = [[*lines, *rest], [*rest, *lines]][int(rng.integers(2))]
    with pytest.raises(InputError, match=rf"{said}.*--keep protein"):
        map_structure(save(where))
    assert any(said in note for note in expect(save(where), lines, [8], keep="protein"))


def test_chains_can_be_chosen(rng, save) -> None:
    one, other = draw(rng, 6, chain="L"), moved(draw(rng, 7), (30, 10, 20), chain="H")
    ligand = [Line("C1", "LIG", 1, (50.0, 0.0, 0.0), "Q")]
    file = save([*one, *other, *ligand])
    expect(file, other, [7], chains=("H",))
    expect(file, [*one, *other], [6, 7], chains=("L", "H"))
    with pytest.raises(InputError, match="has no chain X"):
        map_structure(file, reading=Reading(chains=("X",)))


def test_models(rng, keep) -> None:
    lines = draw(rng, 6, first=1)
    turned = [replace(a, xyz=tuple(np.round(np.negative(a.xyz), 3))) for a in lines]
    water = [Line("O", "HOH", 500, (40.0, 0.0, 0.0), "W")]

    def models(*parts: list[Line]) -> str:
        return "".join(f"MODEL     {k:4d}\n{pdb(p).removesuffix(chr(10) + 'END' + chr(10))}\nENDMDL\n"
                       for k, p in enumerate(parts, start=1))  # fmt: skip

    for second in (turned, [*turned, *water]):
        file = keep(models(lines, second))
        both = map_structure(file).positions
        np.testing.assert_allclose(both[1], -both[0], atol=2e-3)
        np.testing.assert_allclose(map_structure(file, reading=Reading(model=2)).positions, both[1:])
    file = keep(models(lines, turned[:-8]))
    with pytest.raises(InputError, match=r"model 2 is another molecule than model 1.*--model 1"):
        map_structure(file)
    expect(file, lines, [6], model=1)
    with pytest.raises(InputError, match="has no model 7; its models are 1 to 2"):
        map_structure(file, reading=Reading(model=7))


def test_models_of_an_assembly_are_no_frames(rng, keep) -> None:
    lines = draw(rng, 6)
    one = pdb(lines).removesuffix("END\n")
    file = keep("".join(f"MODEL {k}\n{one}ENDMDL\n" for k in (1, 2)), "drawn.pdb1")
    with pytest.raises(InputError, match="parts of one assembly"):
        map_structure(file)
    expect(file, lines, [6], model=1)


def test_frames_that_only_end_divides(rng, keep) -> None:
    lines = draw(rng, 6)
    positions = map_structure(keep(pdb(lines) + pdb(moved(lines, (1, 2, 3))))).positions
    np.testing.assert_allclose(positions[1] - positions[0], np.tile([1, 2, 3], (6, 1)), atol=2e-3)


def test_chain_ids_of_two_letters_in_pdb(rng, keep) -> None:
    lines = draw(rng, 6)
    text = "\n".join(
        f"{line[:20]}Q{line[21:]}" if line.startswith("ATOM") else line for line in pdb(lines).splitlines()
    )
    expect(keep(text), moved(lines, (0, 0, 0), chain="QA"), [6])


def gro(lines: list[Line], box: str) -> str:
    rows = [
        f"{a.number % 100_000:5d}{a.residue:<5}{a.name:>5}{k % 100_000:5d}" + "".join(f"{x / 10:8.3f}" for x in a.xyz)
        for k, a in enumerate(lines, start=1)
    ]
    return "\n".join(["drawn", f"{len(rows):5d}", *rows, box, ""])


def test_gro_with_two_chains_split_by_the_box(rng, keep) -> None:
    """GRO has no chain ids: numbers that start again tell chains apart."""
    one, other = (draw(rng, n, first=1, chain=c) for n, c in ((9, "A"), (7, "B")))
    lines = [*one, *moved(other, (14.0, 3.0, 5.0), chain="B")]
    wrapped = [replace(a, xyz=tuple(np.mod(a.xyz, 50.0))) for a in lines]
    system, positions, notes = map_structure(keep(gro(wrapped, "   5.00000   5.00000   5.00000"), "drawn.gro"))
    assert system.chain_ids == ("A",) * 9 + ("B",) * 7 and system.residue_ids == (*range(1, 10), *range(1, 8))
    ca = np.array([a.xyz for a in lines if a.name == "CA"])
    pairs = np.triu_indices(16, 1)
    found, wanted = (np.linalg.norm(x[pairs[0]] - x[pairs[1]], axis=1) for x in (positions[0], ca))
    np.testing.assert_allclose(found, wanted, atol=0.03)
    assert any("made whole" in note for note in notes)


def test_a_psf_is_told_what_to_do(keep) -> None:
    with pytest.raises(InputError, match="a topology has no positions"):
        map_structure(keep("PSF", "drawn.psf"))


def test_residues_written_twice_are_refused(rng, save) -> None:
    lines = draw(rng, 8, first=1)
    again = moved([a for a in lines if a.number == 5], rng.normal(size=3) * 0.01)
    for where in (
        [*lines, *again],
        [*[a for a in lines if a.number <= 5], *again, *[a for a in lines if a.number > 5]],
    ):
        with pytest.raises(InputError, match=r" 5 of chain A and .* 5 of chain A lie in one place"):
            map_structure(save(where))
    with pytest.raises(InputError, match="lie in one place"):
        map_structure(save([*lines, *moved(lines, (0, 0, 0), chain="B")]))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_short_chains(rng, save, length: int) -> None:
    one, short = draw(rng, 8), moved(draw(rng, length), (30, 20, 10), chain="S")
    expect(save([*one, *short]), [*one, *short], [8, length])


def test_columns_that_hold_anything(rng, keep) -> None:
    lines = draw(rng, 10)
    plain = pdb(lines).splitlines()
    serials = [
        ["*****"] * len(lines),
        [f"{k + 99_990:05x}" for k in range(len(lines))],
        [str(int(s)) for s in rng.integers(1, 50, len(lines))],
    ]
    for own in serials:
        text = "\n".join(pdb_line(a, s) for a, s in zip(lines, own, strict=True))
        expect(keep(text), lines, [10])
    letters = rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), len(plain))
    text = "\n".join(f"{line[:76]} {letter}" for line, letter in zip(plain, letters, strict=True))
    expect(keep(text), lines, [10])
    junk = ["CONECT99999100000", "CONECT", "CONECT    1    9  xyz", "CONECT*****    3", "CONECT    1   40"]
    remark = rng.integers(128, 256, 40).astype(np.uint8).tobytes()
    data = b"REMARK 1 " + remark + b"\r\n" + "\r\n".join([*plain[:-1], *junk, "END"]).encode()
    expect(keep(data), lines, [10])
    expect(keep(gzip.compress(data), "drawn.pdb.gz"), lines, [10])
    expect(keep(gzip.compress(cif(lines).encode()), "drawn.cif.gz"), lines, [10])
    expect(keep(data, "drawn.pdb1"), lines, [10])
    short = "\n".join(line[:54] for line in plain)
    expect(keep(short), lines, [10])


def test_a_system_without_codes_is_what_it_was(rng, keep) -> None:
    """Digests of systems, which runs of earlier versions hold, do not change."""
    system = map_structure(keep(pdb(draw(rng, 6)))).system
    assert system.insertion_codes == () and "insertion_codes" not in system._header()


def test_a_trajectory_split_by_its_boxes_is_made_whole(rng, keep, tmp_path: Path) -> None:
    import mdtraj

    lines = draw(rng, 12, first=1)
    file = keep(pdb(lines))
    x = np.array([a.xyz for a in lines]) / 10 + rng.uniform(0, 5, (6, 1, 3))
    all_atoms = mdtraj.Trajectory(np.mod(x, 5.0), mdtraj.load_topology(str(file)))
    all_atoms.unitcell_lengths, all_atoms.unitcell_angles = np.full((6, 3), 5.0), np.full((6, 3), 90.0)
    all_atoms.save_xtc(str(tmp_path / "all.xtc"))
    beads = bead_map(read_structure(file), "ca")
    assert map_trajectory(tmp_path / "all.xtc", beads, tmp_path / "ca.xtc") == 6
    found = mdtraj.load(str(tmp_path / "ca.xtc"), top=mdtraj_topology(beads.system)).xyz
    wanted = x[:, [k for k, a in enumerate(lines) if a.name == "CA"]]
    pairs = np.triu_indices(12, 1)
    distances = [np.linalg.norm(p[:, pairs[0]] - p[:, pairs[1]], axis=2) for p in (found, wanted)]
    np.testing.assert_allclose(*distances, atol=0.004)


def test_two_chains_woven_atom_by_atom(rng, save) -> None:
    one = draw(rng, 6, chain="", first=3)
    other = moved(one, rng.uniform(20, 40, 3))
    read = read_structure(save([a for pair in zip(one, other, strict=True) for a in pair]))
    assert len(read.residues) == 12
    for r in read.residues:
        assert np.ptp(read.positions[0][r.heavy], axis=0).max() < 6.0


def test_an_amino_acid_that_is_a_ligand(rng, keep) -> None:
    lines = draw(rng, 9, first=1)
    free = moved([replace(a, number=301) for a in lines if a.number == 4], (20, 30, 10))
    for text, name in ((pdb([*lines, *free]), "drawn.pdb"), (cif([*lines, *free]), "drawn.cif")):
        rows = text.splitlines()
        text = "\n".join(f"HETATM{row[6 if 'pdb' in name else 4 :]}" if " 301 " in row else row for row in rows)
        with pytest.raises(InputError, match=r"ligands \w\w\w 301 of chain A.*--keep protein"):
            map_structure(keep(text, name))
        assert any("left out ligands" in note for note in expect(keep(text, name), lines, [9], keep="protein"))


@pytest.mark.parametrize(("name", "atom", "kind"), [("YB", "YB", "ion"), ("AG", "AG", "ion"), ("3CO", "CO", "ion"),
                                                    ("XE", "XE", "ion"), ("HG", "HG", "ion"), ("QQW", "OW", "water"),
                                                    ("TPX", "OH2", "water")])  # fmt: skip
def test_ions_and_waters_by_their_atoms(save, name: str, atom: str, kind: str) -> None:
    lines = draw(np.random.default_rng(sum(map(ord, name))), 8)
    rest = [Line(atom, name, 900 + k, (30.0, 4.0 * k, 9.0), "A") for k in range(3)]
    assert any(f"skipped 3 {kind}s" in note for note in expect(save([*lines, *rest]), lines, [8]))


def test_atom_names_in_small_letters(rng, save) -> None:
    lines = draw(rng, 7)
    expect(save([replace(a, name=a.name.lower(), residue=a.residue.lower()) for a in lines]), lines, [7])


def test_serials_that_push_a_line_to_the_right(rng, keep) -> None:
    lines = draw(rng, 9)
    first = int(rng.integers(99_960, 99_999))
    rows = [pdb_line(a, str(first + k)) for k, a in enumerate(lines)]
    assert len(rows[-1]) == len(rows[0]) + 1
    expect(keep("\n".join(rows)), lines, [9])


def test_utf_16(rng, keep) -> None:
    lines = draw(rng, 6)
    expect(keep(("REMARK Å\n" + pdb(lines)).encode("utf-16")), lines, [6])
    expect(keep(cif(lines).encode("utf-16"), "drawn.cif"), lines, [6])


@pytest.mark.parametrize("charged", ["LYS+", "GLU-", "HIS+"])
def test_names_with_a_charge(rng, keep, charged: str) -> None:
    lines = [replace(a, residue="QQQ") if a.number == 4 else a for a in draw(rng, 7, first=1)]
    text = pdb(lines).replace("QQQ A", f"{charged}A")
    expect(keep(text), [replace(a, residue=charged[:3]) if a.number == 4 else a for a in lines], [7])


@pytest.mark.parametrize("factor", [0.1, 10.0])
@pytest.mark.parametrize("atoms", ["all", "CA"])
def test_another_unit_is_refused(rng, save, factor: float, atoms: str) -> None:
    lines = [a for a in draw(rng, 9) if atoms == "all" or a.name == "CA"]
    with pytest.raises(InputError, match="another unit"):
        map_structure(save([replace(a, xyz=tuple(np.round(np.multiply(a.xyz, factor), 3))) for a in lines]))


def test_a_wrong_suffix_is_named(rng, keep) -> None:
    lines = draw(rng, 4)
    with pytest.raises(InputError, match=r"is mmCIF, by its first line.*drawn\.cif"):
        map_structure(keep(cif(lines)))
    with pytest.raises(InputError, match=r"is PDB, by its first line.*drawn\.pdb"):
        map_structure(keep(pdb(lines), "drawn.cif"))


def test_mmcif_that_lacks_columns_or_has_two_structures(rng, keep) -> None:
    text = cif(draw(rng, 4))
    for key in ("Cartn_x", "Cartn_z"):
        with pytest.raises(InputError, match=f"no column {key}"):
            map_structure(keep(text.replace(f"_atom_site.{key}", "_atom_site.other"), "drawn.cif"))
    with pytest.raises(InputError, match=r"2 structures .*data_drawn, data_more"):
        map_structure(keep(text + text.replace("data_drawn", "data_more"), "drawn.cif"))


def test_two_files_in_one_are_no_frames(rng, keep) -> None:
    one, other = draw(rng, 5, chain="A"), moved(draw(rng, 6, chain="B"), (20, 9, 30))
    with pytest.raises(InputError, match="remove the line END"):
        map_structure(keep(pdb(one) + pdb(other)))


def test_the_same_molecule_far_away_under_higher_numbers(rng, save) -> None:
    one = draw(rng, 7, first=1, chain="")
    other = moved(renumbered(one, lambda k: (k + 100, "")), rng.uniform(40, 60, 3))
    system, _, notes = map_structure(save([*one, *other]))
    assert system.chain_index.tolist() == [0] * 7 + [1] * 7 and any("the same molecule" in note for note in notes)


def test_a_modified_residue_between_two_gaps(rng, keep) -> None:
    lines = [a for a in draw(rng, 9, first=1) if a.number not in (4, 6)]
    text = pdb([replace(a, residue="MSE") if a.number == 5 else a for a in lines], head="MODRES 1ABC MSE A    5  MET")
    as_met = [replace(a, residue="MET") if a.number == 5 else a for a in lines]
    expect(keep(text), as_met, [3, 1, 3], modified="parent", gaps="break", keep="protein")


@pytest.mark.parametrize("away", [(-1005.0, 0.0, 0.0), (-1005.0, 1500.0, 2000.0), (1003.0, -1100.0, -1200.0)])
def test_coordinates_wider_than_their_columns(rng, keep, away: tuple[float, float, float]) -> None:
    lines = moved(draw(rng, 9), away, segment="PROA")
    rows = [pdb_line(a, str(k)) for k, a in enumerate(lines)]
    assert max(map(len, rows)) > len(pdb_line(draw(rng, 1)[0]))
    system, x, _ = map_structure(keep("\n".join(rows)))
    np.testing.assert_allclose(x[0], [a.xyz for a in lines if a.name == "CA"], atol=2e-4)
    assert system.chain_index.tolist() == [0] * 9  # the segment is further to the right, too


@pytest.mark.parametrize("right", [1, 2, 3])
def test_coordinates_that_begin_late(rng, keep, right: int) -> None:
    lines = moved(draw(rng, 9), (0.0, -120.0, 1300.0))
    rows = [pdb_line(a, str(k)) for k, a in enumerate(lines)]
    expect(keep("\n".join(row[:30] + right * " " + row[30:] for row in rows)), lines, [9])


def test_coordinates_of_more_decimals_fill_their_columns(rng, keep) -> None:
    lines = moved(draw(rng, 9), (300.0, -55.0, 400.0))
    rows = [pdb_line(a, str(k)) for k, a in enumerate(lines)]
    wide = ["".join(f"{x:8.4f}" for x in a.xyz) for a in lines]
    assert all(len(text) == 24 for text in wide) and all(" " not in text.strip() for text in wide)
    expect(keep("\n".join(row[:30] + text + row[54:] for row, text in zip(rows, wide, strict=True))), lines, [9])


def test_coordinates_that_run_into_each_other_are_refused(keep) -> None:
    row = pdb_line(Line("CA", "ALA", 1, (1.0, 2.0, 3.0)), "1")
    with pytest.raises(InputError, match="line 1: columns 31 to 54"):
        map_structure(keep(row[:30] + " 1.0412 12345.61123.4567" + row[54:]))


def ring(n: int, first: int) -> list[Line]:
    """A flat ring of n residues, each 3.8 Å from the next."""
    radius = 1.9 / np.sin(np.pi / n)
    out = []
    for k in range(n):
        for name, along, inward in (("N", -1.2, 0.1), ("CA", 0.0, 0.0), ("C", 1.2, 0.1), ("O", 1.3, 1.2)):
            at, r = 2 * np.pi * k / n + along / radius, radius - inward
            xyz = (round(float(r * np.cos(at)), 3), round(float(r * np.sin(at)), 3), 0.0)
            out.append(Line(name, "GLY" if k % 2 else "ALA", first + k, xyz))
    return out


def test_a_ring_is_refused_or_opened(rng, save) -> None:
    n, first = int(rng.integers(7, 30)), int(rng.integers(1, 90))
    lines = ring(n, first)
    with pytest.raises(InputError, match=rf"{first + n - 1} and ALA {first} of chain A, .* cyclic .*--gaps break"):
        map_structure(save(lines))
    notes = expect(save(lines), lines, [n], gaps="break")
    assert any("a ring was opened between" in note for note in notes)
    trace = [a for a in lines if a.name == "CA"]
    assert any("bond between them is missing here" in note for note in expect(save(trace), trace, [n]))


def test_a_small_cell_makes_no_ring(rng, keep) -> None:
    lines = draw(rng, 10)
    first, last = (next(a for a in lines if a.number == n and a.name == name) for n, name in (
        (lines[0].number, "N"), (lines[-1].number, "C")))  # fmt: skip
    edges = np.maximum(np.abs(np.subtract(last.xyz, first.xyz)), 9.0)
    cell = "CRYST1" + "".join(f"{edge:9.3f}" for edge in edges) + "  90.00  90.00  90.00 P 1           1"
    expect(keep(pdb(lines, head=cell)), lines, [10])


def test_a_bond_between_chain_ids_is_said(rng, save) -> None:
    lines = draw(rng, 12)
    at = lines[0].number + 5
    parted = [replace(a, chain="A" if a.number < at else "B") for a in lines]
    notes = expect(save(parted), parted, [5, 7])
    assert any(f" {at} are bonded (1.3 Å), but their chain ids differ (A and B)" in note for note in notes)


def test_numbers_that_go_back_in_a_trace_are_said(rng, keep) -> None:
    trace = [a for a in draw(rng, 12, first=1) if a.name == "CA"]
    turned = [replace(a, number=a.number + 100 if a.number < 6 else a.number - 5) for a in trace]
    notes = expect(keep(pdb(turned)), turned, [5, 7])
    assert any("their numbers go back: a new chain begins there" in note for note in notes)


def test_models_beside_each_other_are_parts_of_an_assembly(rng, keep) -> None:
    lines = draw(rng, 12)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))

    def file(by: tuple[float, float, float], noise: float) -> Path:
        other = [replace(a, xyz=tuple(np.round(turn @ a.xyz + by + noise * rng.normal(size=3), 3))) for a in lines]
        models = "".join(
            f"MODEL {k:8d}\n{pdb(m).replace('END', 'ENDMDL')}" for k, m in enumerate((lines, other), start=1)
        )
        return keep(models)

    with pytest.raises(InputError, match="2 models are the parts of one assembly, not frames"):
        map_structure(file((90.0, 0.0, 0.0), 0.0))
    assert len(map_structure(file((90.0, 0.0, 0.0), 0.1))[1]) == 2  # frames of a trajectory
    expect(file((90.0, 0.0, 0.0), 0.0), lines, [12], model=1)

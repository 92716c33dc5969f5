"""Folded domains: which pairs are restrained, what they no longer feel, and how domains are found and named."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest
from typer.testing import CliRunner

from mdflash import load_forcefield
from mdflash.cli.app import app
from mdflash.cli.energy import single_points
from mdflash.config.load import load_run
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.forcefields.build import excluded_pairs
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.importers.domains import STIFFNESS, parse_domains, place_beads, restrain, restrained_pairs, show_domains
from mdflash.importers.pae import domains_from_pae, read_pae, read_plddt
from mdflash.mapping.chain import chain_of, coils
from mdflash.mapping.read import read_structure
from mdflash.runs.prepare import prepare

CHIGNOLIN = Path(__file__).parents[2] / "systems" / "chignolin.pdb"


def packed(n: int, seed: int) -> tuple[ForceField, System, FloatArray]:
    """A chain of drawn residues, curled up."""
    rng = np.random.default_rng(seed)
    ff = load_forcefield("calvados3")
    system, _ = chain_of("".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), n)), ff, "packed")
    return ff, system, min(coils(n, 20, seed), key=lambda x: float(np.square(x).sum()))


@pytest.mark.parametrize("seed", range(3))
def test_restrained_pairs_feel_their_restraint_and_nothing_else(seed: int) -> None:
    ff, system, x = packed(40, seed)
    domains = [np.arange(3, 18), np.concatenate([np.arange(20, 26), np.arange(30, 37)])]
    held = restrain(ff, system, x, domains)
    by_name = {t.name: t for t in held.terms}
    expected = sorted(
        (int(i), int(j))
        for beads in domains
        for i in beads
        for j in beads
        if j - i >= 2 and np.linalg.norm(x[i] - x[j]) < 9.0
    )
    assert len(expected) > 10
    np.testing.assert_array_equal(by_name["domains"].keys, expected)
    bonded = [(i, i + 1) for i in range(39)]
    for name in ("stickiness", "charges"):
        assert excluded_pairs(held, by_name[name], system).tolist() == [list(p) for p in sorted(expected + bonded)]
    moved = x + np.random.default_rng(seed).normal(0.0, 0.3, x.shape)
    found = single_points(held, system, np.stack([x, moved]), "fp64")
    i, j = np.array(expected).T
    change = np.linalg.norm(moved[i] - moved[j], axis=1) - np.linalg.norm(x[i] - x[j], axis=1)
    np.testing.assert_allclose(found["energy_domains"], [0.0, STIFFNESS * np.square(change).sum()], atol=1e-10)


def test_bonds_at_domains_have_the_length_of_the_structure() -> None:
    ff, system, x = packed(30, 7)
    x = x * 1.02
    held = restrain(ff, system, x, [np.arange(10, 20)])
    bonds = held.terms[0]
    inside = (bonds.keys[:, 0] >= 9) & (bonds.keys[:, 0] < 20)
    np.testing.assert_allclose(bonds.parameters["x0"], np.where(inside, 3.8 * 1.02, 3.8), rtol=1e-12)
    assert held.system()[0] == replace(system, interactions={})


def test_beads_of_domains_are_centers_of_mass() -> None:
    read = read_structure(CHIGNOLIN)
    ca = np.array([read.positions[0, r.ca] for r in read.residues])
    x = place_beads(read, ca, [np.array([1, 2])])
    np.testing.assert_array_equal(np.flatnonzero((x != ca).any(axis=1)), [1, 2])
    mass = {"C": 12.011, "N": 14.007, "O": 15.999}
    atoms = read.residues[1].atoms
    weights = [mass[name[0]] for name in atoms]
    np.testing.assert_allclose(x[1], np.average(read.positions[0, list(atoms.values())], axis=0, weights=weights))


@pytest.mark.parametrize(
    ("text", "beads"),
    [
        ("2-4", [[1, 2, 3]]),
        (" 2-4 ,6-8", [[1, 2, 3], [5, 6, 7]]),
        ("2-3+6-7, 9-10", [[1, 2, 5, 6], [8, 9]]),
    ],
)
def test_domains_as_text(text: str, beads: list[list[int]]) -> None:
    _, system, _ = packed(10, 1)
    found = parse_domains(text, system)
    assert [d.tolist() for d in found] == beads
    assert [d.tolist() for d in parse_domains(show_domains(found, system), system)] == beads


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no range of residues; expected for example"),
        ("2", "no range of residues"),
        ("4-2", "no range of residues of chain A, which has residues 1 to 10"),
        ("8-11", "has residues 1 to 10"),
        ("B:2-4", "of chain B, which is not there"),
        ("2-5, 5-8", "is in '2-5' and in '5-8'"),
    ],
)
def test_wrong_domains(text: str, says: str) -> None:
    _, system, _ = packed(10, 1)
    with pytest.raises(InputError) as error:
        parse_domains(text, system)
    assert says in error.value.message


def test_several_chains_are_named() -> None:
    _, one, _ = packed(10, 1)
    two = replace(one, chain_ids=("A",) * 5 + ("B",) * 5, residue_ids=(*range(1, 6), *range(1, 6)))
    with pytest.raises(InputError, match="has the chains A, B; name one"):
        parse_domains("2-4", two)
    found = parse_domains("A:2-4, B:1-5", two)
    assert [d.tolist() for d in found] == [[1, 2, 3], [5, 6, 7, 8, 9]]
    assert show_domains(found, two) == "A:2-4, B:1-5"


def test_a_chain_bond_is_not_a_restraint() -> None:
    _, system, x = packed(12, 3)
    pairs = restrained_pairs(system, x, [np.arange(12)])
    assert (np.diff(pairs, axis=1) >= 2).all()


def confidence(sizes: list[int], linker: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """PAE and pLDDT of domains with disordered linkers between, before and behind them."""
    n = sum(sizes) + linker * (len(sizes) + 1)
    pae = rng.uniform(15, 30, (n, n))
    plddt = rng.uniform(30, 55, n)
    at = linker
    for size in sizes:
        own = slice(at, at + size)
        pae[own, own] = rng.uniform(0.5, 5, (size, size))
        plddt[own] = rng.uniform(80, 97, size)
        at += size + linker
    return pae, plddt


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("with_plddt", [True, False])
def test_domains_are_found_by_their_errors(seed: int, with_plddt: bool) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(25, 90, int(rng.integers(1, 4))).tolist()
    pae, plddt = confidence(sizes, 15, rng)
    start, expected = 15, []
    for size in sizes:
        expected.append(list(range(start, start + size)))
        start += size + 15
    if with_plddt:
        plddt[expected[0][10:13]] = 60.0  # an unsure loop
    found = domains_from_pae(pae, plddt if with_plddt else None)
    assert [d.tolist() for d in found] == expected


def test_no_domain_in_a_disordered_chain() -> None:
    rng = np.random.default_rng(5)
    assert domains_from_pae(*confidence([], 80, rng)) == []


def test_pae_files(tmp_path: Path) -> None:
    pae = [[0.2, 5.0], [6.0, 0.3]]
    file = tmp_path / "pae.json"
    for data, plddt in (
        ([{"predicted_aligned_error": pae, "max_predicted_aligned_error": 31.75}], None),
        ({"predicted_aligned_error": pae}, None),
        ({"pae": pae, "plddt": [91.5, 40.0], "ptm": 0.5}, [91.5, 40.0]),
        ([{"residue1": [1, 1, 2, 2], "residue2": [1, 2, 1, 2], "distance": [0.2, 5.0, 6.0, 0.3]}], None),
        ({"pae": pae, "atom_plddts": [91.5, 40.0, 3.0], "token_chain_ids": ["A", "A"]}, None),
    ):
        file.write_text(json.dumps(data))
        errors, own = read_pae(file)
        np.testing.assert_array_equal(errors, pae)
        assert (None if own is None else own.tolist()) == plddt


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nothing", "is not JSON"),
        ("{}", "its keys are none"),
        ('{"residue1": [1, 1], "residue2": [1, 2], "distance": [0.1, 2]}', "every pair of residues once"),
        ('{"residue1": [1], "residue2": ["x"], "distance": [0.1]}', "no list of numbers"),
        ('{"pae": [[0.2, -3], [1, 0.2]]}', "the error -3 Å between residues 1 and 2; none is below 0"),
        ('{"plddt": [1]}', "no 'pae' (ColabFold); its keys are plddt"),
        ('{"pae": [[1, 2]]}', "must be a square table of numbers, found shape [1, 2]"),
        ('{"pae": [[1, 2], [3]]}', "is not a table of numbers"),
        ('{"pae": [[1, 2], [3, 4]], "plddt": [1]}', "'plddt' has 1 numbers for 2 residues"),
    ],
)
def test_wrong_pae_files(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "pae.json"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        read_pae(file)
    assert says in error.value.message


def test_plddt_is_read_from_b_factors(tmp_path: Path) -> None:
    lines = CHIGNOLIN.read_text().splitlines()
    file = tmp_path / "predicted.pdb"
    made = [f"{x[:60]}{50 + int(x[22:26]):6.2f}{x[66:]}" if x.startswith("ATOM") else x for x in lines]
    file.write_text("\n".join(made))
    structure = read_structure(file)
    plddt = read_plddt(file, structure)
    assert plddt is not None
    np.testing.assert_array_equal(plddt, [50 + r.number for r in structure.residues])


@pytest.mark.parametrize("scale", [1.0, 0.01])  # ESMFold's are 0 to 1
@pytest.mark.parametrize("suffix", ["pdb", "pdb.gz", "cif"])
def test_plddt_of_any_format(tmp_path: Path, suffix: str, scale: float) -> None:
    model = gemmi.read_structure(str(CHIGNOLIN))
    for residue in model[0][0]:
        for atom in residue:
            atom.b_iso = (50 + residue.seqid.num) * scale
    file = tmp_path / f"predicted.{suffix}"
    if suffix == "cif":
        model.make_mmcif_document().write_file(str(file))
    else:
        text = model.make_pdb_string().encode()
        file.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    structure = read_structure(file)
    plddt = read_plddt(file, structure)
    assert plddt is not None
    np.testing.assert_allclose(plddt, [50 + r.number for r in structure.residues], atol=1.0)


def test_choices_about_the_structure_are_repeated(tmp_path: Path) -> None:
    file = tmp_path / "ligand.pdb"
    ligand = "HETATM  900  C1  LIG A 900      60.000  60.000  60.000  1.00  0.00           C"
    file.write_text("\n".join([*(x for x in CHIGNOLIN.read_text().splitlines() if x.startswith("ATOM")), ligand]))
    result = CliRunner().invoke(app, ["domains", str(file), "--domains", "2-9", "--keep", "protein"])
    assert result.exception is None and "--keep protein" in " ".join(result.output.split())


def test_from_a_prediction_to_a_run(tmp_path: Path) -> None:
    read = read_structure(CHIGNOLIN)
    n = len(read.residues)
    pae = np.full((n, n), 20.0)
    pae_file = tmp_path / "pae.json"
    pae_file.write_text(json.dumps({"pae": pae.tolist(), "plddt": [90.0] * n}))

    def call(*words: object) -> str:
        result = CliRunner().invoke(app, ["domains", str(CHIGNOLIN), *map(str, words)])
        if result.exception is not None:
            raise result.exception
        return result.output

    assert "no folded domain was found" in call("--pae", pae_file)
    assert "2-9: 8 residues" in call("--domains", "2-9") and not (tmp_path / "run").exists()
    out = tmp_path / "cln"
    said = call("--domains", "2-9", "--out", out, "--set", "environment.pH=6.5")
    assert "mdflash run" in said
    run = prepare(load_run(out / "system.yaml").with_seed())
    assert run.layout.n_replicas == 20
    assert run.forcefields[0].provenance["domains"] == "2-9"
    around = run.forcefields[0].environment
    assert around is not None and around.pH == 6.5
    with pytest.raises(InputError, match="already exists"):
        call("--domains", "2-9", "--out", out)
    with pytest.raises(InputError, match="give the domains"):
        call()
    with pytest.raises(InputError, match="'go-chignolin' is not one"):
        call("--domains", "2-9", "--forcefield", "go-chignolin", "--out", tmp_path / "other")


def test_a_held_force_field_is_written_as_it_is_read(tmp_path: Path) -> None:
    ff, system, x = packed(30, 9)
    held = restrain(ff, system, x, [np.arange(5, 25)])
    save_forcefield(tmp_path / "held", held)
    assert load_forcefield(tmp_path / "held").digest == held.digest

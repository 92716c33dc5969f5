"""Models of SMOG 2 and OpenSMOG: their energies are those of the formulas in their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.cli.energy import single_points
from mdflash.config.load import load_run
from mdflash.core.geometry import bond_angles, distances, torsions
from mdflash.errors import InputError
from mdflash.importers.smog import CUTOFF, import_smog
from mdflash.runs.prepare import prepare
from tests.helpers import walk
from tests.smog_files import C12, WIDTH, write_smog

KJ = 4.184


def smog_energy(native: np.ndarray, x: np.ndarray, gaussian: bool, split: int) -> dict[str, np.ndarray]:
    """kJ/mol of every interaction, from Å, by the formulas that SMOG's files stand for."""
    n, native, x = len(x), native / 10.0, x / 10.0
    starts = [i for i in range(n) if i not in (0, split)]
    bonds = np.array([(i - 1, i) for i in starts])
    angles = np.array([(i - 2, i - 1, i) for i in starts if i - 1 in starts])
    dihedrals = np.array([(i - 3, i - 2, i - 1, i) for i in starts if i - 1 in starts and i - 2 in starts])
    contacts = np.array([(i, j) for i in range(n) for j in range(i + 4, n, 2)])
    r, r0 = distances(x, contacts), distances(native, contacts)
    turn = torsions(x, dihedrals) - torsions(native, dihedrals)
    near = {tuple(b) for b in contacts}
    near |= {(i, j) for i in range(n) for j in range(i + 1, min(i + 4, n)) if (i < split) == (j < split)}
    far = np.array([(i, j) for i in range(n) for j in range(i + 1, n) if (i, j) not in near])
    d, end = distances(x, far), CUTOFF / 10.0
    shifted = C12 / d**12 - C12 / end**12 + (d - end) * 12.0 * C12 / end**13
    well = np.exp(-((r - r0) ** 2) / (2.0 * WIDTH**2))
    return {
        "bonds": 1e4 * (distances(x, bonds) - distances(native, bonds)) ** 2,
        "angles": 20.0 * (bond_angles(x, angles) - bond_angles(native, angles)) ** 2,
        "dihedrals": (1.0 - np.cos(turn)) + 0.5 * (1.0 - np.cos(3.0 * turn)),
        "contacts": (1.0 + C12 / r**12) * (1.0 - well) - 1.0 if gaussian
                    else 5.0 * (r0 / r) ** 12 - 6.0 * (r0 / r) ** 10,
        "excluded_volume": shifted[d < end],
    }  # fmt: skip


@pytest.mark.parametrize("gaussian", [False, True], ids=["10-12", "gaussian"])
@pytest.mark.parametrize("split", [0, 9], ids=["one chain", "two chains"])
def test_energies_are_those_of_the_files(gaussian: bool, split: int, tmp_path: Path) -> None:
    rng = np.random.default_rng()
    native = walk(19, rng)
    ff, _ = import_smog(write_smog(tmp_path, native, gaussian=gaussian, split=split), "chain")
    system, start = ff.system()
    assert start is not None
    np.testing.assert_allclose(start[0], native, atol=0.0051)
    assert len(set(system.chain_ids)) == (2 if split else 1)
    frames = np.stack([native + rng.normal(scale=0.3, size=native.shape) for _ in range(3)])
    found = single_points(ff, system, frames)
    for f, x in enumerate(frames):
        expected = smog_energy(native, x, gaussian, split)
        size = 0.0  # attraction and repulsion may cancel, what files round does not
        for name, energies in expected.items():
            own = "gaussian_contacts" if gaussian and name == "contacts" else name
            mine = np.abs(energies).sum()
            assert abs(found[f"energy_{own}"][f] * KJ - energies.sum()) <= 2e-6 * mine + 1e-8, name
            size += mine
        assert abs(found["energy"][f] * KJ - sum(e.sum() for e in expected.values())) <= 2e-6 * size


def test_the_unit_of_energy_scales_everything_and_the_folder_runs(tmp_path: Path) -> None:
    files = write_smog(tmp_path, walk(12, np.random.default_rng()))
    energies = []
    for unit in ("1 kJ/mol", "1 kcal/mol"):
        out = tmp_path / unit[2:4]
        told = CliRunner().invoke(app, ["import", "smog", *map(str, files), "--out", str(out), "--epsilon", unit])
        assert told.exit_code == 0, told.output
        assert "temperature 1 is" in told.stderr
        config = load_run(out / "system.yaml", ["replicas.count=1"])
        prepared = prepare(config)
        energies.append(float(prepared.forcefields[0].terms[0].parameters["k"][0]))
        assert config.dynamics.timestep == pytest.approx(0.002)
    assert energies[1] == pytest.approx(KJ * energies[0])


WRONG = {
    "all atoms": ("model.top", "ALA CA 2", "ALA CB 2", "C-alpha models"),
    "a preprocessor": ("model.top", "[ bonds ]", '#include "more.itp"\n[ bonds ]', "line .*preprocessor"),
    "another section": ("model.top", "[ angles ]", "[ cmap ]", "section 'cmap'"),
    "another function": ("model.top", "1 2 1 ", "1 2 2 ", "line .*a bond of function 2"),
    "a turn of no multiple": ("model.top", "5.000000000e-01 3\n", "0.5 -3\n", "line .*multiplicity -3; 1 to 12"),
    "a turn of too many": ("model.top", "5.000000000e-01 3\n", "0.5 1000000000\n", "line .*multiplicity 1e"),
    "a word for a number": ("model.top", "2.000000000e+04", "stiff", "cannot be read as a line of"),
    "an atom beyond the last": ("model.top", "\n1 2 1 ", "\n1 99 1 ", r"cannot be read as a line of \[ bonds \]"),
    "an attraction of all": ("model.top", "A 0.0 ", "A 1e-3 ", "attraction"),
    "a bond twice": ("model.top", "[ bonds ]\n", "[ bonds ]\n2 1 1 0.38 2e4\n", "atoms 1, 2 twice among its bonds"),
    "a bond of one atom": ("model.top", "\n1 2 1 ", "\n1 1 1 ", r"cannot be read as a line of \[ bonds \]"),
    "a bond that pushes": ("model.top", "2.000000000e+04", "-2e4", "term 'bonds', row 0: 'k' must be"),
    "a mass of nothing": ("model.top", "NB_1 1.0000", "NB_1 0.0", "the mass of GLY 11 CA"),
    "a charge": ("model.top", "1.0000 0.000000", "1.0000 1.000000", "a charge"),
    "an exclusion that is no contact": ("model.top", "[ exclusions ]\n", "[ exclusions ]\n1 6\n", "no contact"),
    "another formula": ("model.xml", "A/r^12-B/r^10", "A/r^9", "of the form 'A/r"),
    "a contact without a number": ("model.xml", 'B="', 'C="', "interaction 1"),
    "a contact that repels": ("model.xml", 'B="', 'B="-', "positive numbers"),
    "a contact of no atom": ("model.xml", 'i="1"', 'i="0"', "from 1 to 12"),
    "other forces": ("model.xml", "<contacts>", "<nonbond/><contacts>", "'nonbond'"),
    "no XML": ("model.xml", "</contacts>", "", "no XML"),
    "another molecule": ("model.gro", "ALA ", "VAL ", "other residues"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_imported_is_refused_by_name(case: str, tmp_path: Path) -> None:
    files = write_smog(tmp_path, walk(12, np.random.default_rng(5)))
    name, old, new, said = WRONG[case]
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=said) as caught:
        import_smog(files, "chain")
    assert caught.value.file is not None


def test_a_model_without_some_terms_has_the_others(tmp_path: Path) -> None:
    files = write_smog(tmp_path, walk(12, np.random.default_rng()))
    text = files[0].read_text()
    begin, end = text.index("[ angles ]"), text.index("[ exclusions ]")
    files[0].write_text(text[:begin] + text[end:])
    ff, _ = import_smog(files, "chain")
    assert [term.name for term in ff.terms] == ["bonds", "contacts", "excluded_volume"]


def test_a_missing_file_is_asked_for(tmp_path: Path) -> None:
    top, xml, gro = write_smog(tmp_path, walk(12, np.random.default_rng()))
    for files, said in (([xml, gro], "topology is missing"), ([top, xml], "positions are missing"),
                        ([top, gro], "no contacts"), ([top, top], "second file")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            import_smog(files, "chain")

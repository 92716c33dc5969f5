"""Umbrella windows on the distance of two proteins in a periodic box."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest

import mdflash
from mdflash.config.load import load_run
from mdflash.errors import InputError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.importers.go_model import go_from_structure
from mdflash.runs.execute import execute

pytest.importorskip("pandas", reason="tables need pandas (pip install 'mdflash[analysis]')")

BOX = np.array([64.0, 70.0, 66.0])
YAML = """
mdflash: 1
system: {{structure: dimer.pdb, name: dimer}}
model: {{forcefield: go}}
box: [64 angstrom, 70 angstrom, 66 angstrom]
replicas: {{count: 3}}
dynamics: {{timestep: 10 fs, length: 10 ps, seed: 5, temperature: 300 K}}
biases: [{{name: apart, variable: distance, beads: {beads}, center: {center}, force_constant: {k}}}]
output: {{folder: {folder}, trajectory: {{interval: 1 ps}}, log: {{interval: 1 ps}}, colvars: {{interval: 1 ps}}}}
"""
CENTERS = "{min: 10 angstrom, max: 24 angstrom, count: 3}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two chignolins, the second 9 Å beside the first and then moved by an edge of the box; and their Gō model."""
    folder = tmp_path_factory.mktemp("dimer")
    one = mdtraj.load(str(Path(mdflash.__file__).parents[1] / "systems" / "chignolin.pdb"))
    other = one[:]
    other.xyz = other.xyz + np.array([0.0, 0.9, 0.0], np.float32)
    one.stack(other).save(str(folder / "native.pdb"))
    save_forcefield(folder / "go", go_from_structure(folder / "native.pdb")[0])
    other.xyz = other.xyz - np.array([6.4, 0.0, 0.0], np.float32)
    one.stack(other).save(str(folder / "dimer.pdb"))
    return folder


def run(folder: Path, out: Path, beads: str = "[chain A, chain B]", center: str = CENTERS, k: str = "2") -> Path:
    source = folder / f"{out.name}.yaml"
    text = YAML.format(beads=beads, center=center, k=f"{k} kcal/mol/angstrom^2", folder=out)
    source.write_text(text)
    execute(load_run(source), source)
    return out


def test_windows_of_two_proteins(folder: Path, tmp_path: Path) -> None:
    """The distance is that of nearest images, and each replica goes to its window."""
    run_ = mdflash.open_run(run(folder, tmp_path / "run"))
    rows = run_.colvars
    rows = rows[rows.step % 100 == 0]
    masses = mdflash.load_forcefield(folder / "go").system()[0].masses
    for r in range(3):
        x = run_.positions[r][:]
        one, other = (np.average(x[:, half], axis=1, weights=masses[half]) for half in (slice(10), slice(10, 20)))
        assert (np.abs(other - one)[:, 0] > 32.0).all(), "they lie across the wall"
        d = other - one
        d -= BOX * np.round(d / BOX)
        np.testing.assert_allclose(rows[rows.replica == r].apart_A, np.linalg.norm(d, axis=1), atol=1e-3)
    last = rows[rows.step == rows.step.max()].apart_A.to_numpy()
    assert np.abs(last - [10.0, 17.0, 24.0]).max() < 3.0, last
    assert run_.windows.apart_center.tolist() == [10.0, 17.0, 24.0]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"center": "[10 angstrom, 20 angstrom, 33 angstrom]"},
            r"biases.0.center.*: 33 Å is not below half the shortest edge of the box, 32 Å.* larger than 66 Å",
        ),
        ({"beads": "[chain A, [9, 12]]"}, "the beads of a group are of one molecule, but no bonds connect"),
    ],
)
def test_what_a_box_does_not_allow(folder: Path, tmp_path: Path, options: dict[str, str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        run(folder, tmp_path / "never", **options)
    assert not (tmp_path / "never").exists()

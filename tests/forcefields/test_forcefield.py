"""Force field folders: what is written is what is read, and what is wrong is named with file, line and key."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from mdflash.core.system import System
from mdflash.errors import ForceFieldError
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.forcefields.model import BeadType, ForceField, Network, Term
from mdflash.forcefields.networks import schnet_weights
from mdflash.potentials.schnet.network import Hyperparameters, SchNet

SMALL = Hyperparameters(
    8.0, 30, features=4, filters=4, blocks=1, basis_size=3, filter_hidden=(3,), output=(2,), activation="silu"
)


def toy(rng: np.random.Generator) -> ForceField:
    system = System(
        "trio", ("A", "B", "A"), ("CA",) * 3, np.arange(3), ("ALA", "GLY", "ALA"), (1, 2, 3), ("A",) * 3,
        rng.uniform(10, 100, 3), np.array([[0, 1], [1, 2]]), {"bonds": np.array([[0, 1], [1, 2]])},
    )  # fmt: skip
    return ForceField(
        name="toy",
        bead_types=(BeadType("A", 1, 12.01), BeadType("B", 22)),
        mapping="ca",
        terms=(
            Term("bonds", "harmonic_bond", "types", np.array([[0, 1], [1, 0]]),
                 {"k": rng.uniform(size=2), "x0": np.array([1e-7, 3e4])}),
            Term("torsion", "fourier_dihedral", "beads", np.array([[0, 1, 2, 3]]),
                 {"v0": rng.normal(size=1), "k1": rng.normal(size=(1, 3)), "k2": rng.normal(size=(1, 3))}),
            Term("space", "excluded_volume", "neighbors", np.array([[0, 0], [0, 1], [1, 1]]),
                 {"epsilon": rng.uniform(size=3), "sigma": rng.uniform(3, 5, 3)},
                 cutoff=rng.uniform(8, 12), exclude_bonds=3, exclude_terms=("torsion",)),
        ),
        networks=(Network("net", "schnet", SMALL.to_dict(), schnet_weights(SchNet(SMALL))),),
        systems=((system, rng.normal(size=(2, 3, 3))),),
        provenance={"source": "made up", "frames": 12},
    )  # fmt: skip


def test_written_and_read_to_the_last_bit(tmp_path: Path) -> None:
    ff = toy(np.random.default_rng(1))
    save_forcefield(tmp_path / "ff", ff)
    again = load_forcefield(tmp_path / "ff")
    assert again.digest == ff.digest
    assert (again.name, again.mapping, again.bead_types) == (ff.name, ff.mapping, ff.bead_types)
    assert dict(again.provenance) == dict(ff.provenance)
    for a, b in zip(again.terms, ff.terms, strict=True):
        assert (a.name, a.form, a.keyed_by, a.cutoff, a.exclude_bonds, a.exclude_terms) == (
            b.name, b.form, b.keyed_by, b.cutoff, b.exclude_bonds, b.exclude_terms,
        )  # fmt: skip
        np.testing.assert_array_equal(a.keys, b.keys)
        for name, values in b.parameters.items():
            np.testing.assert_array_equal(a.parameters[name], values)
    (system, start), (expected, frames) = again.system(), ff.system()
    assert system == expected
    assert hash(system) == hash(expected)
    np.testing.assert_array_equal(start, frames)
    np.testing.assert_array_equal(again.networks[0].weights["embedding"], ff.networks[0].weights["embedding"])


def test_every_number_counts_in_the_digest(tmp_path: Path) -> None:
    ff = toy(np.random.default_rng(2))
    save_forcefield(str(tmp_path), ff)
    file = tmp_path / "forcefield.yaml"
    text = file.read_text()
    old = repr(float(ff.terms[0].parameters["k"][0]))
    file.write_text(text.replace(old, repr(float(np.nextafter(float(old), 10)))))
    assert load_forcefield(tmp_path).digest != ff.digest
    file.write_text(text.replace("made up", "measured"))
    assert load_forcefield(tmp_path).digest == ff.digest


def test_files_can_be_shared(tmp_path: Path) -> None:
    save_forcefield(tmp_path / "ff", toy(np.random.default_rng(3)))
    plain = tmp_path / "plain"
    plain.touch()
    for file in (tmp_path / "ff").rglob("*.*"):
        assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode), file


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("mdflash_forcefield: 1", "mdflash_forcefield: 7", "expected 'mdflash_forcefield: 1'"),
        ("form: harmonic_bond", "form: harmonic_bnd", "unknown form 'harmonic_bnd'"),
        ("columns: [type, type, k, x0]", "columns: [type, type, x0, k]", r"the columns of 'harmonic_bond' are"),
        ("- [A, B, ", "- [A, C, ", "unknown bead type 'C'"),
        ("- [A, B, ", "- [A, B, 1.0, ", "expected 4 columns"),
        (", 1.0e-07]", ", .nan]", "'x0' must be a finite number"),
        (", 1.0e-07]", ", long]", "'x0' must be a number"),
        ("keyed_by: neighbors", "keyed_by: types", "keyed by neighbors"),
        ("exclude_terms: [torsion]", "exclude_terms: [torsions]", "excludes 'torsions'"),
        ("mass: 12.01 Da", "mass: 12.01", "mass"),
        ("kind: schnet", "kind: painn", "unknown kind of network 'painn'"),
        ("mapping: ca\n", "", "mapping"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    save_forcefield(tmp_path, toy(np.random.default_rng(4)))
    file = tmp_path / "forcefield.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ForceFieldError, match=says) as caught:
        load_forcefield(tmp_path)
    assert str(file) in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ForceFieldError, match="go-chignolin"):
        load_forcefield(tmp_path / "nothing")
    save_forcefield(tmp_path, toy(np.random.default_rng(5)))
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(ForceFieldError, match=r"weights\.safetensors"):
        load_forcefield(tmp_path)

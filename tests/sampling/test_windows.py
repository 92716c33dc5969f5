"""Umbrella windows of `mdflash sample`: where walkers stay, whose forces are written, what is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mdflash.analysis.against.coordinates import rmsd
from mdflash.core.geometry import torsions
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.mapping.allatom import create_context, frame
from mdflash.sampling.dataset import Molecule, load_dataset
from mdflash.sampling.recipe import SampleRecipe, load_recipe
from mdflash.sampling.restraint import read_restraint, values_of
from mdflash.sampling.sample import prepare, sample, walkers
from mdflash.sampling.trajectory import Trajectory
from mdflash.sampling.windows import BeadRmsd, Window

RECIPE = """\
mdflash: 1
molecule:
  name: ala2
  sequence: ACE-ALA-NME
  starts: [extended, "60,40"]
  windows: {torsion: phi, residue: 2, count: 4, force_constant: 20 kcal/mol/rad^2}
mapping: heavy
aggregation: basic
temperatures: [300 K]
length: 80 ps
interval: 0.04 ps
equilibration: 5 ps
seed: 3
folder: FOLDER
"""
STIFFNESS = 20.0


def write(tmp_path: Path, text: str = RECIPE) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(text.replace("FOLDER", str(tmp_path / "data")))
    return file


def _about_the_bond(x: FloatArray, b: int, c: int, beyond: list[int]) -> FloatArray:
    """dx / dangle [F, N, 3] of a rotation of the beads `beyond` about the bond from b to c."""
    axis = x[:, c] - x[:, b]
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    field = np.zeros_like(x)
    for bead in beyond:
        field[:, bead] = np.cross(axis, x[:, bead] - x[:, c])
    return field


def check_stored(recipe: SampleRecipe, molecule: Molecule, trajectory: Trajectory, energy: FloatArray) -> None:
    """What held a trajectory is stored with it, and is found where older ones do not store it."""
    found = trajectory.restraint
    assert found is not None and recipe.folder is not None
    values = values_of(found.variable(molecule.system), trajectory.read().positions)
    np.testing.assert_allclose(found.energy(values), energy, rtol=1e-4, atol=1e-5)
    with h5py.File(trajectory.file, "r+") as f:
        del f.attrs["window"]
    (older,) = load_dataset(recipe.folder).molecules
    again = older.trajectories[int(trajectory.file.stem)].restraint
    assert again is not None and again.words == found.words
    if found.reference is not None:
        np.testing.assert_array_equal(again.reference, found.reference)


def test_walkers_stay_and_the_forces_written_are_those_of_the_model(tmp_path: Path) -> None:
    """At rest on average, a window pulls as the model pushes: <torque of the model> = k <phi - center>.

    Were the window in the forces that are written, their mean torque would be 0 (the divergence of a rotation is 0).
    """
    folder = sample(load_recipe(write(tmp_path)), lambda text: None, lambda progress: None)
    (molecule,) = load_dataset(folder).molecules
    bead = {kind: k for k, kind in enumerate(molecule.system.types)}
    phi = np.array([[bead[k] for k in ("ACE-C", "ALA-N", "ALA-CA", "ALA-C")]])
    beyond = [bead[k] for k in ("ALA-C", "ALA-CB", "ALA-O", "NME-N", "NME-C")]
    pushes = []
    for trajectory, center in zip(molecule.trajectories, np.radians([-180.0, -90.0, 0.0, 90.0]), strict=True):
        assert trajectory.biased
        frames = trajectory.read()
        assert frames.potential is not None and np.ptp(frames.potential) > 5.0
        x = frames.positions.astype(np.float64)
        away = (torsions(x, phi)[:, 0] - center + np.pi) % (2 * np.pi) - np.pi
        assert abs(away.mean()) < 0.5 and away.std() < 0.5  # on a barrier the model pushes outwards
        check_stored(load_recipe(write(tmp_path)), molecule, trajectory, 0.5 * STIFFNESS * away**2)
        torque = (frames.forces * _about_the_bond(x, phi[0, 1], phi[0, 2], beyond)).sum(axis=(1, 2))
        blocks = (torque - STIFFNESS * away).reshape(20, -1).mean(axis=1)
        error = blocks.std(ddof=1) / np.sqrt(20)
        assert abs(blocks.mean()) < 7 * error  # Student's t of 20 blocks: once in 10^6
        pushes.append(abs(torque.mean()) / error)
    assert max(pushes) > 8  # so that a window in the forces would have shown


def test_more_walkers_keep_their_numbers_and_begin_elsewhere(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE.replace("count: 4", "count: 3")))
    few, many = (walkers(recipe.model_copy(update={"walkers": n}), tmp_path) for n in (1, 2))
    assert many[:3] == few and len({w.seed for w in many}) == 6
    assert [w.starts for w in many] == [(0,), (1,), (0,), (1,), (0,), (1,)]
    assert [w.window for w in many[3:]] == [w.window for w in few]
    assert "phi -60" in many[1].label


def test_windows_go_with_exchange(tmp_path: Path) -> None:
    text = RECIPE.replace("[300 K]", "[300 K, 400 K]").replace("80 ps", "0.4 ps").replace("count: 4", "count: 2")
    recipe = load_recipe(write(tmp_path, text + "exchange: 0.04 ps\n"))
    (molecule,) = load_dataset(sample(recipe, lambda text: None, lambda progress: None)).molecules
    assert [(t.n_frames, t.biased) for t in molecule.trajectories] == [(20, True), (20, True)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("residue: 2", "residue: 4", r"residue 4 of 3; give `residue:` from 1 to 3"),
        ("residue: 2", "residue: 1", "ACE 1 has no phi; choose a residue with a neighbor on both sides"),
        ("ACE-ALA-NME", "ACE-PRO-NME", "phi of PRO 2 is in a ring"),
        ("mapping: heavy", "mapping: ca", "C of ACE 1 is not a bead.*`mapping: heavy`"),
    ],
)
def test_windows_that_do_not_fit(tmp_path: Path, old: str, new: str, said: str) -> None:
    recipe = load_recipe(write(tmp_path, RECIPE.replace(old, new)))
    with pytest.raises(InputError, match=said):
        prepare(recipe)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("torsion: phi", "torsion: chi", "phi.*psi"),
        ("20 kcal/mol/rad^2", "20", "has no unit"),
        ("count: 4", "count: 1", "whole number from 2 to 360"),
        ("residue: 2, ", "", "residue"),
    ],
)
def test_mistakes_in_windows(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        load_recipe(write(tmp_path, RECIPE.replace(old, new)))
    assert error.value.line == 6


RMSD = RECIPE.replace(
    "windows: {torsion: phi, residue: 2, count: 4, force_constant: 20 kcal/mol/rad^2}",
    "rmsd_windows: {min: 0.4 angstrom, max: 1.2 angstrom, count: 3, force_constant: 50 kcal/mol/angstrom^2}",
)


def test_walkers_stay_at_their_rmsd(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, RMSD.replace("80 ps", "4 ps")))
    reference = prepare(recipe)[0].held
    assert isinstance(reference, BeadRmsd)
    (molecule,) = load_dataset(sample(recipe, lambda text: None, lambda progress: None)).molecules
    for trajectory, center in zip(molecule.trajectories, [0.4, 0.8, 1.2], strict=True):
        x = trajectory.read().positions
        away = rmsd(x.astype(np.float64), reference.reference) - center
        assert trajectory.biased and abs(away.mean()) < 0.3 and away.std() < 0.3
        check_stored(recipe, molecule, trajectory, 25.0 * away**2)
    assert "RMSD 1.2 Å" in walkers(recipe, tmp_path)[2].label


def test_an_rmsd_window_pulls_beads_and_is_not_in_the_forces_written(tmp_path: Path) -> None:
    """Its energy is k/2 (RMSD - center)^2, with the RMSD that validation uses."""
    (molecule,) = prepare(load_recipe(write(tmp_path, RMSD)))
    assert isinstance(molecule.held, BeadRmsd)
    x, window = molecule.relaxed()[1], Window(0.8, 50.0)
    free = create_context(molecule.system, 300.0, 0.004, 1.0, 1)
    molecule.held.hold(molecule.system, window)
    held = create_context(molecule.system, 300.0, 0.004, 1.0, 1)
    for context in (free, held):
        context.setPositions(x / 10.0)
    np.testing.assert_allclose(frame(held)[1], frame(free)[1], atol=1e-9)
    energy = [c.getState(energy=True).getPotentialEnergy()._value / 4.184 for c in (free, held)]
    found = rmsd(x[None, molecule.held.atoms], molecule.held.reference)[0]
    assert abs(found - window.center) > 0.05
    assert energy[1] - energy[0] == pytest.approx(25.0 * (found - window.center) ** 2, rel=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("min: 0.4 angstrom", "min: 2 angstrom", "must be more than min, 2 angstrom; for example"),
        ("max: 1.2 angstrom, ", "", "is missing; add for example `max: 8 angstrom`"),
        ("50 kcal/mol/angstrom^2", "50 kcal/mol/rad^2", "kcal/mol/angstrom"),
        ("  rmsd_windows", "  windows: {torsion: phi, residue: 2}\n  rmsd_windows", "does not go with `windows`"),
    ],
)
def test_mistakes_in_rmsd_windows(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_recipe(write(tmp_path, RMSD.replace(old, new)))


def test_a_reference_that_is_not_finite_is_refused_with_its_file() -> None:
    words = {
        "variable": "rmsd", "beads": "all", "center": "1 angstrom", "force_constant": "1 kcal/mol/angstrom^2",
    }  # fmt: skip
    file = Path("data") / "000.h5"
    assert read_restraint(words, np.zeros((4, 3)), file).reference is not None
    with pytest.raises(InputError, match="its reference has a number that is not finite") as error:
        read_restraint(words, np.full((4, 3), np.nan), file)
    assert error.value.file == file

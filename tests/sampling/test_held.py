"""Mean forces of held beads: against springs, and what is stored, resumed, named and refused."""

from __future__ import annotations

import shutil
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import openmm as mm
import pytest
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.core.tensors import read_tensors
from mdflash.core.types import FloatArray
from mdflash.errors import InputError, MdflashError
from mdflash.io.runfolder import FolderLock
from mdflash.mapping.allatom import create_context
from mdflash.sampling.configurations import disagreements, with_hydrogens
from mdflash.sampling.dataset import create_dataset, load_dataset
from mdflash.sampling.held import held_system
from mdflash.sampling.recipe import MoleculeEntry, load_recipe
from mdflash.sampling.sample import held_walkers, sample
from mdflash.sampling.setup import prepare_molecule
from mdflash.sampling.trajectory import TrajectoryWriter
from tests.processes import Process

ROOT = Path(__file__).parents[2]
RECIPE = """\
mdflash: 1
molecule: {name: ala2, sequence: ACE-ALA-NME, starts: [extended]}
mapping: heavy
temperatures: [300 K]
walkers: 2
interval: 0.04 ps
friction: 20 /ps
hold: {dataset: source, count: 3, settle: 0.4 ps, average: 4 ps}
processes: 1
folder: FOLDER
"""
TRIPEPTIDE = (
    ("ala2, sequence: ACE-ALA-NME", "tri, sequence: GLY-ALA-ALA"), ("heavy", "ca"), ("walkers: 2", "walkers: 1"),
    ("count: 3", "count: 1"), ("settle: 0.4", "settle: 2"), ("average: 4", "average: 60"),
)  # fmt: skip


def write(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = RECIPE.replace("FOLDER", str(tmp_path / "held"))
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    return file


def source(folder: Path, name: str, sequence: str, mapping: str, *starts: str, scale: float = 1.0) -> None:
    """A dataset with two trajectories, each of whose frames are the relaxed starts, scaled."""
    molecule = prepare_molecule(MoleculeEntry(name=name, sequence=sequence, starts=starts), mapping)
    beads = scale * molecule.beads.positions(molecule.relaxed())
    create_dataset(folder, {name: (molecule.beads.system, beads[:1])}, mapping, {})
    for k in range(2):
        with TrajectoryWriter(folder / name / f"{k:03d}.h5", beads.shape[1], seed=1, aggregation="basic") as writer:
            for frame, x in enumerate(beads):
                writer.append(x, np.zeros_like(x), 300.0, 1.0 + frame)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a source and mean forces at three of its frames, and what was said."""
    folder = tmp_path_factory.mktemp("held")
    source(folder / "source", "ala2", "ACE-ALA-NME", "heavy", "extended", "helix", "60,40")
    shown = CliRunner().invoke(app, ["sample", str(write(folder))], catch_exceptions=False)
    return folder, shown.output


def test_each_configuration_is_a_frame_of_the_source(made: tuple[Path, str]) -> None:
    folder, shown = made
    data, frames = load_dataset(folder / "held"), load_dataset(folder / "source").molecules[0].trajectories
    (molecule,) = data.molecules
    labels = data.provenance["held"]["frames"]["ala2"]
    assert len(labels) == 3 and "3 configurations of 6 frames" in shown and "100.0 %" in shown
    assert [t.n_frames for t in molecule.trajectories] == [2, 1]
    assert all(t.biased and t.chosen and t.restraint is None for t in molecule.trajectories)
    for number, label in enumerate(labels):
        trajectory, _, frame = label.split()
        got = molecule.trajectories[number % 2].read(number // 2, number // 2 + 1)
        np.testing.assert_array_equal(got.positions[0], frames[int(trajectory)].read().positions[int(frame)])
        assert got.force_error is not None and (got.force_error > 0).all() and (got.force_error < 10).all()
        assert np.abs(got.forces.sum(axis=1)).max() < 0.1  # every atom is in a bead, and no force is external
        assert got.temperature[0] == 300 and got.time[0] == pytest.approx(4.4 * (number // 2 + 1))
    assert molecule.start is not None and molecule.system == load_dataset(folder / "source").molecules[0].system


def test_stopped_and_gone_on_with_is_the_same_as_in_one_go(made: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = made
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "dataset.yaml").touch()  # the source is not needed any more
    recipe = load_recipe(write(tmp_path))
    assert recipe.hold is not None
    whole = load_dataset(folder / "held").molecules[0].trajectories[0].read()
    shutil.copytree(folder / "held", tmp_path / "held")
    (tmp_path / "held" / "ala2" / "000.h5").unlink()
    walker = held_walkers(recipe, recipe.hold, tmp_path / "held", {"ala2": 3})[0]
    assert walker.frames() == 0
    for _ in walker.configurations:
        walker.advance(2, 0.0, lambda frames: None)  # one, since no second is left for more
    assert walker.frames() == 2
    again = load_dataset(tmp_path / "held").molecules[0].trajectories[0].read()
    for a, b in zip(whole, again, strict=True):
        assert a is b is None or (a == b).all()
    (tmp_path / "held" / "ala2" / "001.h5").unlink()
    digest = load_dataset(folder / "held").digest()
    assert load_dataset(sample(recipe, print, print)).digest() == digest


def test_a_configuration_ends_with_the_program_that_asked_for_it(made: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = made
    shutil.copytree(folder / "source", tmp_path / "source")
    file = write(tmp_path, ("average: 4 ps", "average: 10 us"), ("walkers: 2", "walkers: 1"))
    process = Process("-m", "mdflash", "sample", file, cwd=ROOT)
    lock, end = tmp_path / "held" / "sampling" / "ala2" / "000.lock", time.monotonic() + 300
    while not lock.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while time.monotonic() < end:
        with suppress(MdflashError):
            FolderLock(lock).release()
            break
        time.sleep(0.1)
    assert time.monotonic() < end  # 10 µs are hours


def test_halves_that_disagree_are_named(made: tuple[Path, str], tmp_path: Path) -> None:
    folder, shown = made
    assert f"the two halves disagree in {len(disagreements(folder / 'held'))} of 3 configurations" in shown
    shutil.copytree(folder / "held", tmp_path / "held")
    for number, frames in ((0, 2), (1, 1)):
        with h5py.File(tmp_path / "held" / "ala2" / f"{number:03d}.h5", "r+") as f:
            f["halves"][:] = 1.0
            f["halves"][frames - 1, 4] = (1.0, 49.0)[frames == 2]
    label = load_dataset(folder / "held").provenance["held"]["frames"]["ala2"][2]
    (said,) = disagreements(tmp_path / "held")
    assert said.startswith(f"ala2 configuration 2 ({label}): the halves differ by 7.0 standard errors at ")


def springs(setup: Path, stiffness: float) -> FloatArray:
    """Blocks [20, N, 3] of the force that springs of `stiffness` kJ/mol/nm² need to keep beads about where they are
    held, kcal/mol/Å: nothing is held, no constraint is missing, and no force is evaluated."""
    arrays, _ = read_tensors(setup / "setup.safetensors")
    beads, atoms, start = arrays["beads"][0], arrays["atoms"], arrays["starts"][0].copy()
    system = mm.XmlSerializer.deserialize((setup / "system.xml").read_text())
    remover = next(k for k, f in enumerate(system.getForces()) if isinstance(f, mm.CMMotionRemover))
    system.removeForce(remover)
    force = mm.CustomExternalForce(f"0.5*{stiffness}*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
    for axis in "xyz":
        force.addPerParticleParameter(f"{axis}0")
    for atom, place in zip(atoms.tolist(), beads / 10.0, strict=True):
        force.addParticle(atom, place)
    system.addForce(force)
    context = create_context(system, 300.0, 0.004, 100.0, 1)
    start[atoms] = beads
    context.setPositions(start / 10.0)
    mm.LocalEnergyMinimizer.minimize(context)
    context.setVelocitiesToTemperature(300.0, 1)
    context.getIntegrator().step(1000)
    found = []
    for _ in range(8000):
        context.getIntegrator().step(3)
        found.append(context.getState(positions=True).getPositions(asNumpy=True)._value[atoms] - beads / 10.0)
    return np.asarray(stiffness / 41.84 * np.stack(found).reshape(20, -1, *beads.shape).mean(axis=1))


def test_the_mean_is_what_springs_need_to_hold_the_beads(tmp_path: Path) -> None:
    source(tmp_path / "source", "tri", "GLY-ALA-ALA", "ca", "helix", scale=0.96)
    recipe = load_recipe(write(tmp_path, *TRIPEPTIDE), ["aggregation=basic"])
    (molecule,) = load_dataset(sample(recipe, print, print)).molecules
    frames = molecule.trajectories[0].read()
    blocks = springs(tmp_path / "held" / "sampling" / "tri", 1e6)
    assert frames.force_error is not None
    error = np.sqrt(frames.force_error[0] ** 2 + blocks.var(axis=0, ddof=1) / 20)
    off = frames.forces[0] - blocks.mean(axis=0)
    assert (np.abs(off) < 4.5 * error + 0.15 * np.abs(frames.forces[0])).all()  # springs yield by about a tenth
    assert np.linalg.norm(off) < 0.5 * np.linalg.norm(frames.forces[0])
    assert 4.0 * error.max() < np.abs(frames.forces[0]).max()
    whole = np.abs(frames.forces[0].sum(axis=0))  # nothing pulls at the molecule
    assert (whole < 4.5 * np.sqrt((frames.force_error[0] ** 2).sum(axis=0))).all()


def test_held_atoms_stay_and_their_hydrogens_do_not_leave() -> None:
    molecule = prepare_molecule(MoleculeEntry(name="x", sequence="ACE-ALA-NME", starts=("helix",)), "heavy")
    atoms, start = molecule.beads.atoms, molecule.relaxed()[0]
    assert atoms is not None
    system = held_system(molecule.system, atoms)
    assert system.getNumConstraints() == 0 < molecule.system.getNumConstraints()
    context = create_context(system, 300.0, 0.005, 1.0, 1)
    context.setPositions(start / 10.0)
    context.setVelocitiesToTemperature(300.0, 1)
    context.getIntegrator().step(1000)
    found = 10.0 * context.getState(positions=True).getPositions(asNumpy=True)._value
    np.testing.assert_allclose(found[atoms], start[atoms], atol=1e-6)
    assert np.linalg.norm(found - start, axis=1).max() > 0.1
    for k in range(molecule.system.getNumConstraints()):
        a, b, length = molecule.system.getConstraintParameters(k)
        assert np.linalg.norm(found[a] - found[b]) == pytest.approx(10.0 * length._value, abs=0.3)


def test_hydrogens_go_along_with_heavy_atoms() -> None:
    molecule = prepare_molecule(MoleculeEntry(name="x", sequence="ACE-ALA-NME", starts=("helix",)), "heavy")
    molecule = replace(molecule, starts=molecule.relaxed())
    turned = molecule.starts[0] @ Rotation.random().as_matrix() + np.random.default_rng().normal(size=3)
    np.testing.assert_allclose(with_hydrogens(molecule, turned[molecule.beads.atoms]), turned, atol=1e-8)


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ("heavy", "five-bead", "mapping", "beads are held where each is one atom"),
        ("300 K", "300 K, 350 K", "temperatures", "at one temperature"),
        ("walkers: 2", "walkers: 4", "walkers", "4 trajectories cannot share the 3"),
        ("walkers: 2", "length: 1 ns", "length", "give `hold.average`"),
        ("walkers: 2", "equilibration: 1 ns", "equilibration", "give `hold.settle`"),
        ("walkers: 2", "exchange: 1 ps", "exchange", "does not go with `hold`"),
        ("[extended]", "[extended], windows: {torsion: phi, residue: 2}", "molecule.windows", "does not go with"),
        ("average: 4 ps", "average: 1 ps", "hold.average", "write `average: 1.28 ps` or more"),
        ("dataset: source", "dataset: nowhere", "hold.dataset", "is not a dataset"),
    ],
)
def test_recipes_with_mistakes(tmp_path: Path, old: str, new: str, key: str, said: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "dataset.yaml").touch()
    with pytest.raises(InputError, match=said) as error:
        load_recipe(write(tmp_path, (old, new)))
    assert error.value.key == key and error.value.line is not None


def test_a_recipe_without_a_length(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("mdflash: 1\nmolecule: {sequence: ACE-ALA-NME}\ntemperatures: [300 K]\n")
    with pytest.raises(InputError, match="is missing; write for example `length: 10 ns`"):
        load_recipe(tmp_path / "recipe.yaml")


def refused(tmp_path: Path, said: str, *changes: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=said):
        sample(load_recipe(write(tmp_path, *changes)), print, print)
    assert not (tmp_path / "held").exists()


def test_datasets_that_do_not_fit(tmp_path: Path) -> None:
    source(tmp_path / "source", "ala2", "ACE-ALA-NME", "heavy", "extended")
    refused(tmp_path, "has 2 frames in .*; write `count: 2` or less")
    refused(tmp_path, "has no molecule 'ala3'; it has ala2", ("ala2", "ala3"))
    refused(tmp_path, "is mapped by 'heavy'; write `mapping: heavy`", ("heavy", "ca"))
    refused(tmp_path, "another molecule", ("ALA-NME", "GLY-NME"), ("count: 3", "count: 2"))
    capped = tmp_path / "capped"
    source(capped / "source", "ala2", "ACE-ALA-ALA-ALA-NME", "ca", "extended")
    few = (("ACE-ALA", "ACE-ALA-ALA-ALA"), ("count: 3", "count: 2"), ("heavy", "ca"))
    refused(capped, "ACE 1 has no bead, so its atoms cannot be rebuilt", *few)


def test_another_recipe_is_refused(made: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = made
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for old, new in (("walkers: 2", "walkers: 1"), ("count: 3", "count: 2"), ("average: 4", "average: 5")):
        with pytest.raises(InputError, match=r"samples of another recipe: .*only processes may change"):
            sample(load_recipe(write(tmp_path, (old, new))), print, print)
    plain = write(tmp_path, ("hold: {dataset: source, count: 3, settle: 0.4 ps, average: 4 ps}", "length: 1 ns"))
    with pytest.raises(InputError, match="another recipe: hold was"):
        sample(load_recipe(plain), print, print)


def test_frames_of_a_run_do_not_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "dataset.yaml").touch()
    said = CliRunner().invoke(app, ["sample", str(write(tmp_path)), "--where", str(tmp_path)]).exception
    assert isinstance(said, InputError) and "held beads do not go with --where" in str(said)

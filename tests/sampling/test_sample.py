"""`mdflash sample` end to end on a dipeptide, in seconds; recipes with mistakes; stop and go on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.core.geometry import torsions
from mdflash.errors import InputError, MdflashError
from mdflash.sampling.dataset import load_dataset
from mdflash.sampling.recipe import load_recipe
from mdflash.sampling.sample import sample, walkers
from tests.processes import Process, python

ROOT = Path(__file__).parents[2]
RECIPE = """\
mdflash: 1
molecule:
  name: ala2
  sequence: ACE-ALA-NME
  starts: [extended, "60,40"]
mapping: heavy
temperatures: [300 K, 500 K]
walkers: 2
length: 12 ps
interval: 0.04 ps
equilibration: 1 ps
seed: 3
folder: FOLDER
"""


def write(tmp_path: Path, text: str = RECIPE, folder: str = "data") -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(text.replace("FOLDER", str(tmp_path / folder)))
    return file


def run(file: Path) -> Path:
    return sample(load_recipe(file), lambda text: None, lambda progress: None)


def test_a_dataset_of_the_dipeptide(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["sample", str(write(tmp_path))], catch_exceptions=False)
    assert "1,200 frames" in shown.output and "100.0 %" in shown.output
    data = load_dataset(tmp_path / "data")
    (molecule,) = data.molecules
    assert data.mapping == "heavy" and data.n_frames == 4 * 300
    assert data.provenance["model"].startswith("ff14SB + OBC2")
    assert data.provenance["recipe"]["temperatures"] == ["300 K", "500 K"]
    assert [t.read().temperature[0] for t in molecule.trajectories] == [300, 500, 300, 500]
    bead = {kind: k for k, kind in enumerate(molecule.system.types)}
    phi = np.array([[bead[k] for k in ("ACE-C", "ALA-N", "ALA-CA", "ALA-C")]])
    angles = [torsions(t.read().positions.astype(np.float64), phi) for t in molecule.trajectories]
    assert (angles[0] < 0).all() and (angles[2] > 0).all()  # 12 ps leave the left-handed basin where it started
    for trajectory in molecule.trajectories:
        frames = trajectory.read()
        np.testing.assert_allclose(frames.time, 0.04 * np.arange(1, 301))
        assert np.abs(frames.forces.sum(axis=1)).max() < 0.1  # every atom is in a bead, and no force is external


def test_mapped_forces_have_the_virial_of_their_temperature(tmp_path: Path) -> None:
    """Without constraints on them, heavy beads obey <Σ x f> = -3 (N - 1) kT (Clausius), their center taken out."""
    text = RECIPE.replace("12 ps", "120 ps").replace("walkers: 2", "walkers: 1")
    data = load_dataset(run(write(tmp_path, text)))
    for trajectory, temperature in zip(data.molecules[0].trajectories, (300.0, 500.0), strict=True):
        frames = trajectory.read()
        virial = (frames.positions.astype(np.float64) * frames.forces).sum(axis=(1, 2))
        blocks = virial.reshape(20, -1).mean(axis=1)
        error = blocks.std(ddof=1) / np.sqrt(len(blocks))
        assert abs(blocks.mean() + 3 * 9 * 0.0019872 * temperature) < 7 * error  # Student's t: once in 10^6
        assert 7 * error < 27 * 0.0019872 * temperature  # so that a force of the wrong sign or size would show


LADDER = RECIPE.replace("[300 K, 500 K]", "[300 K, 380 K, 480 K]").replace("walkers: 2", "walkers: 1")
LADDER += "exchange: 0.04 ps\n"


def test_replicas_of_a_ladder_exchange_temperatures(tmp_path: Path) -> None:
    """Each of the temperatures is one replica's at any time, and bonds are as stiff at each."""
    text = LADDER.replace("12 ps", "120 ps").replace("interval: 0.04 ps", "interval: 0.08 ps")
    (molecule,) = load_dataset(run(write(tmp_path, text))).molecules
    (trajectory,) = molecule.trajectories
    frames = trajectory.read()
    assert frames.replica is not None and trajectory.n_frames == 3 * 1500
    assert frames.replica.reshape(-1, 3).tolist() == [[0, 1, 2]] * 1500
    kelvin = frames.temperature.reshape(-1, 3)
    np.testing.assert_array_equal(np.sort(kelvin, axis=1), np.tile([300.0, 380.0, 480.0], (1500, 1)))
    assert all(len(np.unique(kelvin[:, k])) == 3 for k in range(3))  # everybody has been everywhere
    bonds = molecule.system.bonds
    r = np.linalg.norm(np.diff(frames.positions[:, bonds].astype(np.float64), axis=2)[:, :, 0], axis=-1)
    stiffness = [(r[frames.temperature == t].var(axis=0) / t).mean() for t in (300.0, 380.0, 480.0)]
    np.testing.assert_allclose(stiffness, stiffness[0], rtol=0.05)


@pytest.mark.parametrize(
    ("text", "frames"),
    [(RECIPE.replace("walkers: 2", "walkers: 1").replace("[300 K, 500 K]", "[300 K]"), 1000), (LADDER, 3000)],
    ids=["alone", "ladder"],
)
def test_stopped_and_gone_on_with_is_the_same_as_in_one_go(tmp_path: Path, text: str, frames: int) -> None:
    text = text.replace("12 ps", "40 ps")
    whole = load_dataset(run(write(tmp_path, text)))
    file = write(tmp_path, text, "killed")
    command = ["-m", "mdflash", "sample", str(file)]
    process = Process(*command, cwd=ROOT)
    checkpoint = tmp_path / "killed" / "sampling" / "ala2" / "000.checkpoint"
    end = time.monotonic() + 600
    while not checkpoint.exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    while (again := python(*command, cwd=ROOT)).returncode == 2:
        assert "is in use by process" in again.stderr  # the walker's process notices at its next frame
        assert time.monotonic() < end
        time.sleep(0.1)
    assert again.returncode == 0, again.stderr
    killed = load_dataset(tmp_path / "killed")
    assert killed.n_frames == whole.n_frames == frames
    assert killed.digest() == whole.digest()


def test_sigterm_stops_with_75(tmp_path: Path) -> None:
    file = write(tmp_path, RECIPE.replace("12 ps", "100 ns"))
    process = Process("-m", "mdflash", "sample", file, cwd=ROOT)
    while "frames;" not in process.said()[0] and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 75 and "Run the same command to resume" in errors
    assert load_dataset(tmp_path / "data").n_frames >= 256


def test_a_longer_run_with_more_walkers_goes_on(tmp_path: Path) -> None:
    text = RECIPE.replace("[300 K, 500 K]", "[300 K]").replace("walkers: 2", "walkers: 1")
    first = load_dataset(run(write(tmp_path, text))).molecules[0].trajectories[0].read()
    more = text.replace("walkers: 1", "walkers: 2").replace("12 ps", "16 ps")
    (molecule,) = load_dataset(run(write(tmp_path, more))).molecules
    assert [t.n_frames for t in molecule.trajectories] == [400, 400]
    np.testing.assert_array_equal(molecule.trajectories[0].read(0, 300).positions, first.positions)


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    text = RECIPE.replace("12 ps", "0.4 ps")
    folder = run(write(tmp_path, text))
    with pytest.raises(InputError, match=r"another recipe: temperatures was \[300 K, 500 K\], and is \[310 K\] now"):
        run(write(tmp_path, text.replace("[300 K, 500 K]", "[310 K]")))
    assert load_dataset(folder).n_frames == 40


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["sample", str(write(tmp_path)), "--dry-run"], catch_exceptions=False)
    assert "22 atoms, 10 beads (heavy); 4 replicas of 300 frames" in shown.output
    assert "nothing was written" in shown.output
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]


def test_options_of_where_alone_are_refused(tmp_path: Path) -> None:
    for option, value in (("--count", "5"), ("--apart", "2 angstrom"), ("--committee", "x")):
        said = CliRunner().invoke(app, ["sample", str(write(tmp_path)), option, value])
        assert isinstance(said.exception, InputError) and f"'{option}': is for frames of a run" in str(said.exception)


def test_optimised_forces_of_a_ca_mapping(tmp_path: Path) -> None:
    text = RECIPE.replace("ACE-ALA-NME", "ACE-GLY-ALA-NME").replace("heavy", "ca").replace("walkers: 2", "walkers: 1")
    noise = {}
    for aggregation in ("basic", "optimised"):
        data = load_dataset(run(write(tmp_path, f"{text}aggregation: {aggregation}\n", aggregation)))
        (molecule,) = data.molecules
        assert molecule.system.types == ("GLY", "ALA")
        assert molecule.trajectories[0].aggregation == aggregation
        noise[aggregation] = np.sqrt((molecule.trajectories[0].read().forces ** 2).mean())
    assert noise["optimised"] < 0.7 * noise["basic"]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("ACE-ALA-NME", "ACE-ALX-NME", 4, "unknown residue 'ALX' at position 2"),
        ("extended,", "expanded,", 5, "expected structure, extended, helix"),
        ("extended,", "structure,", 5, "'structure' needs a structure"),
        ("mapping: heavy", "mapping: cb.yaml", 6, "there is no file"),
        ("[300 K, 500 K]", "[300, 500 K]", 7, "300 has no unit"),
        ("walkers", "walker", 8, "did you mean 'walkers'"),
        ("interval: 0.04 ps", "interval: 0.05 ps", 10, "12.5 steps|whole number"),
        ("12 ps", "0.01 ps", 9, "shorter than `interval`"),
        ("mdflash: 1", "mdflash: 2", 1, "write `mdflash: 1`"),
        ("seed: 3", "exchange: 0.01 ps", 12, "2.5 steps"),
        ("seed: 3", "exchange: 0.024 ps", 12, "must divide the interval of 0.04 ps"),
    ],
)
def test_recipes_with_mistakes(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        load_recipe(write(tmp_path, RECIPE.replace(old, new)))
    assert error.value.line == line


def test_keys_can_be_set_on_the_command_line(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path), ["walkers=3", "molecule.starts=[helix]"]).walkers == 3
    said = CliRunner().invoke(app, ["sample", str(write(tmp_path)), "--set", "lengths=1 ns"])
    assert isinstance(said.exception, InputError) and "--set lengths=1 ns, key 'lengths'" in str(said.exception)


def test_a_mapping_whose_forces_cannot_be_mapped(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text('mdflash_mapping: 1\nbeads:\n  "*": {BB: [N, CA, C]}\n')
    recipe = load_recipe(write(tmp_path, RECIPE.replace("heavy", "two.yaml")))
    with pytest.raises(InputError, match=r"ALA 2 BB .* represents 3 atoms"):
        sample(recipe, print, print)
    assert not (tmp_path / "data" / "dataset.yaml").exists()


def test_walkers_keep_their_numbers(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path))
    more = recipe.model_copy(update={"walkers": 5})
    few, many = walkers(recipe, tmp_path), walkers(more, tmp_path)
    assert many[: len(few)] == few
    assert len({w.seed for w in many}) == len(many) == 10


def test_an_error_inside_a_walker_comes_out(tmp_path: Path) -> None:
    file = write(tmp_path, RECIPE.replace("12 ps", "0.4 ps"))
    run(file)
    checkpoint = tmp_path / "data" / "sampling" / "ala2" / "000.checkpoint"
    head, _, rest = checkpoint.read_bytes().partition(b"\n")
    checkpoint.write_bytes(head.replace(b'"openmm": "', b'"openmm": "0.') + b"\n" + rest)
    with pytest.raises(MdflashError, match=r"was written by OpenMM 0\."):
        run(write(tmp_path, RECIPE.replace("12 ps", "0.8 ps")))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("ala2/sample", "ala2"), ("ala2/phi", "ala2-phi"), ("ala2/psi", "ala2-psi"),
        ("chignolin/sample", "chignolin"), ("chignolin/windows", "chignolin-windows"),
    ],
)  # fmt: skip
def test_example_recipes_are_sound(file: str, name: str) -> None:
    recipe = load_recipe(ROOT / "examples" / f"{file}.yaml")
    assert recipe.name == name and recipe.molecule[0].name == name.split("-")[0]
    windows = recipe.molecule[0].umbrella
    if windows:
        assert recipe.walkers * recipe.frames >= 1000 and windows.count >= (36 if recipe.molecule[0].windows else 12)
    else:
        assert recipe.frames * recipe.walkers * len(recipe.temperatures) >= 100_000

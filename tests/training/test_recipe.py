"""Everything that can be wrong is found before hours are spent."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.core.system import save_system
from mdflash.errors import ForceFieldError, InputError, StorageError
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.potentials.backbones.backbone import Backbone
from mdflash.sampling.dataset import load_dataset
from mdflash.training.folder import training_folder
from mdflash.training.recipe import BackboneRule, load_recipe
from mdflash.training.run import prepare_training, read_priors
from tests.training.datasets import write_dataset, write_recipe


def _fails(recipe: Path, match: str) -> None:
    with pytest.raises(InputError, match=match):
        prepare_training(load_recipe(recipe))


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        ({"trainig": {"epochs": 3}}, r"recipe\.yaml, line \d+, key 'trainig': .*did you mean 'training'"),
        ({"training": {"epochs": 0}}, r"line \d+, key 'training\.epochs': expected a whole number from 1"),
        ({"training": {"learning_rate": -1.0}}, r"key 'training\.learning_rate'"),
        ({"network": {"cutoff": 12}}, r"key 'network\.cutoff': 12 has no unit; write `cutoff: 12 angstrom`"),
        ({"network": {"activation": "tanhh"}}, r"key 'network'.*unknown activation 'tanhh'"),
        ({"backbone": {"rule": "hyper", "streems": 4}}, r"key 'backbone\.streems': .*did you mean 'streams'"),
        ({"backbone": {"rule": "prenorm", "streams": 4}}, r"key 'backbone': .*4 streams for the rule 'prenorm'"),
        ({"backbone": {"rule": "delta", "beta": 2.5}}, r"key 'backbone\.beta'"),
        ({"data": {"dataset": "nowhere"}}, r"key 'data\.dataset': .*nowhere is not a dataset"),
        ({"data": {"mapping": "heavy"}}, r"mapped by 'ca', but the recipe asks for 'heavy'"),
        ({"data": {"temperature": "350 K"}}, r"no frames at 350 K; its temperatures are 300 K"),
        ({"priors": {"temperature": "350 K"}}, r"0 frames at 350 K.*priors\.temperature"),
        ({"priors": {"exclude_bonds": 8}}, r"prior 'repulsion'.*more than 8 bonds apart"),
    ],
)
def test_mistakes_in_a_recipe(
    dataset: Path, tmp_path: Path, sections: dict[str, dict[str, object]], match: str
) -> None:
    _fails(write_recipe(tmp_path / "recipe.yaml", dataset, **sections), match)


def test_too_little_data_names_the_prior(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdflash.training.priors._frames_at", lambda m, t: np.asarray(m.positions[:40], float))
    _fails(write_recipe(tmp_path / "recipe.yaml", dataset), r"prior 'bonds' of ALA 1 CA \(bead 0\), .*: 40 samples")


def test_too_few_frames(tmp_path: Path) -> None:
    write_dataset(tmp_path / "few", frames=20)
    _fails(write_recipe(tmp_path / "recipe.yaml", tmp_path / "few"), "has 60 frames at 300 K; fitting priors takes at")


def test_frames_without_forces_and_with_nan(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", frames=180)
    recipe = write_recipe(tmp_path / "recipe.yaml", tmp_path / "data")
    file = tmp_path / "data/helix/001.h5"
    with h5py.File(file, "r+") as f:
        f["forces"][17, 3, 1] = np.nan
    _fails(recipe, r"001\.h5: frame 17: forces must be finite numbers")
    with h5py.File(file, "r+") as f:
        del f["forces"]
    _fails(recipe, r"001\.h5: frames without forces")


def test_one_name_for_two_molecules(dataset: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "other", frames=60)
    file = tmp_path / "other/helix/system.safetensors"
    system = load_dataset(tmp_path / "other").molecules[0].system
    save_system(file, dataclasses.replace(system, masses=system.masses * 2))
    both = {"dataset": [str(dataset), str(tmp_path / "other")]}
    _fails(write_recipe(tmp_path / "recipe.yaml", dataset, data=both), "'helix' is another one in .*other than in")


def test_priors_of_a_folder(dataset: Path, tmp_path: Path) -> None:
    ff = read_priors(load_recipe(write_recipe(tmp_path / "recipe.yaml", dataset)))[1]
    save_forcefield(tmp_path / "mine", ff)
    recipe = write_recipe(tmp_path / "recipe.yaml", dataset, priors={"forcefield": str(tmp_path / "mine")})
    taken = prepare_training(load_recipe(recipe)).priors
    assert [t.name for t in taken.terms] == [t.name for t in ff.terms] and taken.digest == ff.digest

    save_forcefield(tmp_path / "mine", dataclasses.replace(ff, mapping="heavy"))
    with pytest.raises(ForceFieldError, match="is for the mapping 'heavy', but the data is mapped by 'ca'"):
        prepare_training(load_recipe(recipe))


def test_validation_is_whole_trajectories(dataset: Path, tmp_path: Path) -> None:
    molecule = prepare_training(load_recipe(write_recipe(tmp_path / "recipe.yaml", dataset))).data.molecules[0]
    assert np.unique(molecule.source[molecule.validation]).tolist() == [2]
    assert np.unique(molecule.source[~molecule.validation]).tolist() == [0, 1]


def test_of_windows_the_ends_are_held_out(tmp_path: Path) -> None:
    """No other trajectory is where a window's is, so none is held out whole."""
    write_dataset(tmp_path / "data", trajectories=4, frames=300, biased=(1, 3))
    molecule = prepare_training(load_recipe(write_recipe(tmp_path / "recipe.yaml", tmp_path / "data"))).data.molecules[
        0
    ]
    held = [molecule.validation[molecule.source == k] for k in range(4)]
    assert not held[0].any() and held[2].all()
    for own in (held[1], held[3]):
        assert own[210:].all() and not own[:210].any()


def test_priors_of_windows_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", trajectories=2, frames=300, biased=(0, 1))
    said = r"'helix' has frames of umbrella windows alone.*neither it nor the recipe.*without `windows:`"
    with pytest.raises(InputError, match=said):
        prepare_training(load_recipe(write_recipe(tmp_path / "recipe.yaml", tmp_path / "data")))


def test_only_frames_of_one_temperature(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", trajectories=4, frames=300, temperatures=(300.0, 350.0))
    recipe = write_recipe(tmp_path / "recipe.yaml", tmp_path / "data", data={"temperature": "350 K"})
    prepared = prepare_training(load_recipe(recipe))
    assert np.unique(prepared.data.molecules[0].temperature).tolist() == [350.0]
    assert prepared.priors.provenance["priors_temperature"] == "350 K"
    stiffness = prepared.priors.terms[0].parameters["k"]
    np.testing.assert_allclose(stiffness, 100.0, rtol=0.25)  # that of the Gō bonds, at whatever temperature


def test_dry_run_and_fit_from_the_command_line(dataset: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", dataset)
    shown = CliRunner().invoke(app, ["train", str(recipe), "--dry-run", "--threads", "1"])
    assert shown.exit_code == 0, shown.output
    assert "400 for training, 200 held out" in shown.output and "frames/s" in shown.output
    assert not (tmp_path / "out").exists() and "goes on" not in shown.output
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "log.csv").write_text("of somebody else\n")
    with pytest.raises(StorageError, match="no training was started here"):
        CliRunner().invoke(app, ["train", str(recipe), "--dry-run", "--threads", "1"], catch_exceptions=False)
    (tmp_path / "out" / "log.csv").unlink()

    done = CliRunner().invoke(app, ["fit", str(recipe), "--out", str(tmp_path / "priors")])
    assert done.exit_code == 0, done.output
    ff = load_forcefield(tmp_path / "priors")
    assert [t.name for t in ff.terms] == ["bonds", "angles", "dihedrals", "repulsion"]
    assert (tmp_path / "priors/pictures/dihedrals.png").stat().st_size > 5000


def test_every_key_has_a_sentence() -> None:
    from mdflash.training.recipe import Data, NetworkSize, Optimization, Priors

    for section in (Data, Priors, NetworkSize, BackboneRule, Optimization):
        assert all(field.description for field in section.model_fields.values())


def test_a_recipe_has_the_backbones_of_a_force_field() -> None:
    """The same keys with the same defaults, so that a section can be copied from one file to the other."""
    ours = {name: field.default for name, field in BackboneRule.model_fields.items()}
    assert ours == {f.name: f.default for f in dataclasses.fields(Backbone)}


def test_the_written_recipe_is_plain_yaml(dataset: Path, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path / "recipe.yaml", dataset))
    again = yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json")))
    again["data"]["dataset"] = [str(dataset)]
    again["folder"] = str(tmp_path / "out")
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(again))
    assert load_recipe(tmp_path / "again.yaml") == recipe


def test_what_a_killed_training_left_half_written_goes(tmp_path: Path) -> None:
    with training_folder(tmp_path):
        (tmp_path / "forcefield").mkdir()
    left = [place / ".mdflash-80789ca9f87d36ee.tmp" for place in (tmp_path, tmp_path / "forcefield")]
    others = [tmp_path / ".mdflash-mine.tmp", tmp_path / "notes.tmp"]
    for file in (*left, *others):
        file.touch()
    with training_folder(tmp_path):
        assert not any(file.exists() for file in left) and all(file.exists() for file in others)

"""More epochs for a training that is done; what training says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.errors import InputError
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.training.recipe import load_recipe
from mdflash.training.run import prepare_training, remarks, train
from tests.training.datasets import write_dataset, write_recipe


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "helix"
    write_dataset(folder)
    return folder


def recipe(folder: Path, dataset: Path, **training: object) -> Path:
    folder.mkdir(exist_ok=True)
    return write_recipe(folder / "recipe.yaml", dataset, training=training)


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_more_epochs_have_the_bits_of_a_longer_training(schedule: str, dataset: Path, tmp_path: Path) -> None:
    whole, _ = train(prepare_training(load_recipe(recipe(tmp_path / "a", dataset, epochs=3, schedule=schedule))))
    for epochs in (1, 2, 3):
        prepared = prepare_training(load_recipe(recipe(tmp_path / "b", dataset, epochs=epochs, schedule=schedule)))
        said = "had so many epochs from the start" in "".join(remarks(prepared))
        assert said == (epochs > 1)
        folder, _ = train(prepared)
    assert (folder / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert (tmp_path / "b/out/log.csv").read_bytes() == (tmp_path / "a/out/log.csv").read_bytes()
    with pytest.raises(InputError, match="another recipe"):  # fewer than are done
        train(prepare_training(load_recipe(recipe(tmp_path / "b", dataset, epochs=2, schedule=schedule))))


def test_a_schedule_that_depends_on_the_epochs_is_named(dataset: Path, tmp_path: Path) -> None:
    file = recipe(tmp_path, dataset, epochs=1)
    train(prepare_training(load_recipe(file)))
    longer = prepare_training(load_recipe(file, ["training.epochs=2"]))
    assert "`schedule: cosine` depends on their number" in "".join(remarks(longer))
    folder, trainer = train(longer)
    assert trainer.progress.epoch == 2
    assert load_forcefield(folder).provenance["epochs_raised"] is True
    with pytest.raises(InputError, match="another recipe"):
        train(prepare_training(load_recipe(file, ["training.epochs=1", "training.batch=8"])))


def test_what_the_user_sees(dataset: Path, tmp_path: Path) -> None:
    """Both losses by name, a line for each epoch outside a terminal, a warmup that never ends, what is held out."""
    file = recipe(tmp_path, dataset, warmup=1000)
    done = CliRunner().invoke(app, ["train", str(file), "--set", "training.epochs=3"], catch_exceptions=False)
    assert "epoch 1 of 3: training loss " in done.stdout
    assert "epoch 3 of 3: training loss " in done.stdout
    assert ", lowest validation loss so far " in done.stdout
    assert "training.warmup is 1000 steps and the whole training about " in done.stdout
    assert "trajectories are held out for validation, each as a whole: " in done.stdout


def test_a_wrong_override_is_named(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--set training\.epoch=3, key 'training\.epoch': .*did you mean 'epochs'"):
        load_recipe(recipe(tmp_path, dataset), ["training.epoch=3"])

"""Training: it learns, goes on to the same bits, and several ranks make the same steps."""

from __future__ import annotations

import csv
import dataclasses
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mdflash.core.state import Layout
from mdflash.errors import ForceFieldError, InputError, Interrupted, UnstableError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.training.folder import write_head
from mdflash.training.frames import prior_forces
from mdflash.training.recipe import load_recipe
from mdflash.training.run import PreparedTraining, make_trainer, prepare_training, train
from mdflash.training.trainer import Trainer
from tests.processes import Process, python
from tests.rank_helpers import finish, start_ranks
from tests.training.datasets import write_dataset, write_recipe

ROOT = Path(__file__).parents[2]


def _prepare(folder: Path, dataset: Path, **sections: dict[str, object]) -> PreparedTraining:
    folder.mkdir(exist_ok=True)
    return prepare_training(load_recipe(write_recipe(folder / "recipe.yaml", dataset, **sections)))


def _log(folder: Path) -> list[dict[str, float]]:
    with (folder / "out" / "log.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_it_learns_forces_and_writes_a_force_field_that_runs(dataset: Path, tmp_path: Path) -> None:
    prepared = _prepare(
        tmp_path,
        dataset,
        priors={"key": "beads", "angles": "none"},  # left to the network: springs between second neighbors
        network={"cutoff": "8 angstrom", "basis": "gaussian", "basis_size": 20, "features": 16, "blocks": 2},
        training={"epochs": 12, "batch": 16, "learning_rate": 1e-2},
    )
    folder, trainer = train(prepared)
    assert trainer.progress.best < 0.75 * prepared.loss_without_network()

    ff = load_forcefield(folder)
    assert ff.mapping == "ca" and ff.provenance["validation_loss"] == trainer.progress.best
    assert ff.provenance["data"]["sha256"] == prepared.data.digest
    assert ff.provenance["recipe"]["network"]["features"] == 16
    # the written force field, evaluated by the engine's own reference, has the loss that training said
    molecule = prepared.data.molecules[0]
    held = molecule.positions[molecule.validation]
    forces = prior_forces(ff, ff.system()[0], held)[0]
    loss = ((forces - molecule.forces[molecule.validation]) ** 2).mean()
    assert loss == pytest.approx(trainer.progress.best, rel=0.01)
    layout = Layout((ff.system()[0],), (1,))
    assert build_potential([ff], layout).terms[0].name == "schnet"


def test_plain_and_compiled_training_have_the_same_losses(dataset: Path, tmp_path: Path) -> None:
    losses = []
    for kernels in ("auto", "reference"):
        train(_prepare(tmp_path / kernels, dataset, training={"epochs": 3, "kernels": kernels}))
        losses.append([row["validation_loss"] for row in _log(tmp_path / kernels)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)
    assert losses[0] != losses[1]  # or one was not what it claims


@pytest.mark.parametrize(("key", "kernels"), [("beads", "auto"), ("types", "auto"), ("beads", "reference")])
def test_torsions_learn_what_a_network_of_distances_cannot(
    key: str, kernels: str, dataset: Path, tmp_path: Path
) -> None:
    """The dihedrals of the priors are made wrong in what has a hand: the sines."""
    before = _prepare(tmp_path / "priors", dataset, priors={"key": key}).priors
    dihedrals = next(t for t in before.terms if t.name == "dihedrals")
    wrong = dataclasses.replace(dihedrals, parameters={**dihedrals.parameters, "k1": 0.0 * dihedrals.parameters["k1"]})
    terms = tuple(wrong if t.name == "dihedrals" else t for t in before.terms)
    save_forcefield(tmp_path / "wrong", dataclasses.replace(before, terms=terms))
    losses = {}
    for name in ("fixed", "learned"):
        training = {"epochs": 6, "learning_rate": 2e-2, "kernels": kernels, "learn_torsions": name == "learned"}
        prepared = _prepare(tmp_path / name, dataset, priors={"forcefield": str(tmp_path / "wrong")}, training=training)
        folder, trainer = train(prepared)
        losses[name] = trainer.progress.best
    ff = load_forcefield(folder)
    learned = next(t for t in ff.terms if t.name == "dihedrals").parameters["k1"]
    assert (np.abs(learned) > 0.01).all()
    if key == "beads":  # one row for all dihedrals of a helix of one type brings little
        assert losses["learned"] < 0.9 * losses["fixed"]
    molecule = prepared.data.molecules[0]
    held = molecule.positions[molecule.validation]
    loss = ((prior_forces(ff, ff.system()[0], held)[0] - molecule.forces[molecule.validation]) ** 2).mean()
    assert loss == pytest.approx(trainer.progress.best, rel=0.01)  # what was learned is in the force field's table
    assert ff.provenance["recipe"]["training"]["learn_torsions"] is True


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_energies_are_learned_beside_forces(kernels: str, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", energies=True)
    off = {}
    for weight in (0.0, 0.3):
        prepared = _prepare(
            tmp_path / str(weight),
            tmp_path / "data",
            priors={"key": "beads", "angles": "none"},
            network={"cutoff": "8 angstrom", "basis": "gaussian", "basis_size": 20, "features": 16, "blocks": 2},
            training={"epochs": 4, "batch": 16, "learning_rate": 1e-2, "energy_weight": weight, "kernels": kernels},
        )
        ff = load_forcefield(train(prepared)[0])
        (molecule,) = prepared.data.molecules
        assert molecule.energies is not None
        held = molecule.validation
        error = prior_forces(ff, ff.system()[0], molecule.positions[held])[1] - molecule.energies[held]
        off[weight] = error.std()
    assert off[0.3] < 0.95 * off[0.0]  # 1.11 and 1.22 kcal/mol; priors alone 1.41


def test_energies_that_nobody_knows_are_missed_before_training_starts(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"key 'training\.energy_weight': not every trajectory of 'helix' has energies"
    ):
        _prepare(tmp_path, dataset, training={"energy_weight": 0.1})
    write_dataset(tmp_path / "data", energies=True)
    with pytest.raises(InputError, match=r"key 'training\.energy_weight': decoys .data\.decoys. have no energies"):
        _prepare(tmp_path, tmp_path / "data", training={"energy_weight": 0.1}, data={"decoys": {}})


def test_what_cannot_be_trained_is_said_before_it_starts(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdflash.core.gpu.why_no_gpu", lambda: "torch finds no GPU")
    with pytest.raises(InputError, match=r"key 'training\.device': no usable GPU: torch finds no GPU"):
        make_trainer(_prepare(tmp_path, dataset, training={"device": "cuda"}), _alone())
    straight = _prepare(tmp_path, dataset, priors={"dihedrals": "none"}, training={"learn_torsions": True})
    with pytest.raises(InputError, match=r"key 'training\.learn_torsions': the priors have neither dihedrals nor"):
        make_trainer(straight, _alone())


def test_a_training_goes_on_from_a_force_field(dataset: Path, tmp_path: Path) -> None:
    first, before = train(_prepare(tmp_path / "first", dataset, training={"epochs": 3, "ema": 0}))
    (tmp_path / "second").mkdir()
    recipe = {"mdflash": 1, "data": {"dataset": str(dataset), "validation": 0.3}, "start": "../first/out/forcefield"}
    training = {"epochs": 1, "ema": 0, "learning_rate": 1e-9, "warmup": 0}
    file = tmp_path / "second/recipe.yaml"
    file.write_text(yaml.safe_dump({**recipe, "training": training, "folder": str(tmp_path / "out")}))
    prepared = prepare_training(load_recipe(file))
    folder, after = train(prepared)
    assert after.progress.best == pytest.approx(
        before.progress.best, rel=1e-4
    )  # nothing moved: the same frames held out
    old, new = load_forcefield(first), load_forcefield(folder)
    assert new.networks[0].hyperparameters == old.networks[0].hyperparameters
    assert [t.name for t in new.terms] == [t.name for t in old.terms]
    assert new.provenance["start"] == old.digest

    file.write_text(yaml.safe_dump({**recipe, "network": {"features": 8}}))
    with pytest.raises(InputError, match=r"key 'network': .*has priors and a network, from which `start` continues"):
        load_recipe(file)
    save_forcefield(tmp_path / "priors", dataclasses.replace(old, networks=()))
    file.write_text(yaml.safe_dump({**recipe, "start": "../priors"}))
    with pytest.raises(ForceFieldError, match="has 0 networks; `start:` takes a force field with one"):
        prepare_training(load_recipe(file))


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(optimizer: str, dataset: Path, tmp_path: Path) -> None:
    sections = {"training": {"epochs": 3, "schedule": "plateau", "optimizer": optimizer}}
    whole, _ = train(_prepare(tmp_path / "whole", dataset, **sections))
    parts = _prepare(tmp_path / "parts", dataset, **sections)
    for steps in (5, 9):  # within the first epoch; in another one
        seen: list[int] = []
        with pytest.raises(Interrupted, match="same command"):
            train(parts, None, lambda t, seen=seen: seen.append(t.progress.step), lambda: len(seen) >= steps)  # noqa: B023
    folder, trainer = train(parts)
    assert trainer.resumed
    assert (folder / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert (tmp_path / "parts/out/log.csv").read_bytes() == (tmp_path / "whole/out/log.csv").read_bytes()


def test_a_state_of_another_training_is_refused(dataset: Path, tmp_path: Path) -> None:
    train(_prepare(tmp_path, dataset, training={"epochs": 1}))
    with pytest.raises(InputError, match="another recipe"):
        train(_prepare(tmp_path, dataset, training={"epochs": 1, "batch": 64}))


def test_molecules_of_different_sizes_share_batches(tmp_path: Path) -> None:
    for name, beads in (("short", 6), ("long", 9)):
        write_dataset(tmp_path / name, name, beads, frames=200)
    both = {"dataset": [str(tmp_path / "short"), str(tmp_path / "long")]}
    prepared = _prepare(
        tmp_path, tmp_path / "short", data=both, priors={"key": "types"}, training={"epochs": 8, "learning_rate": 1e-2}
    )
    trainer = make_trainer(prepared, _alone())
    molecules = {b.molecule for b in trainer.training.batches(np.arange(0, len(trainer.training), 7))}
    assert molecules == {0, 1}
    folder, trainer = train(prepared)
    assert trainer.progress.best < 0.95 * prepared.loss_without_network()
    ff = load_forcefield(folder)
    assert sorted(s.name for s, _ in ff.systems) == ["long", "short"]


def test_training_stops_when_validation_no_longer_improves(dataset: Path, tmp_path: Path) -> None:
    options = {"epochs": 50, "patience": 2, "learning_rate": 1e-12, "ema": 0, "warmup": 0}
    _, trainer = train(_prepare(tmp_path, dataset, training=options))
    assert trainer.progress.epoch < 50
    assert trainer.progress.epoch == trainer.progress.best_epoch + 2


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_a_loss_that_is_not_finite_ends_training_with_advice(optimizer: str, dataset: Path, tmp_path: Path) -> None:
    prepared = _prepare(tmp_path, dataset, training={"optimizer": optimizer})
    trainer = make_trainer(prepared, _alone())
    with torch.no_grad():
        next(iter(trainer.parameters.values())).fill_(float("nan"))
    with pytest.raises(UnstableError, match=r"step 0.*learning_rate"):
        trainer.run()


def test_schedules(dataset: Path, tmp_path: Path) -> None:
    for schedule, last in (("cosine", 0.05), ("constant", 1.0)):
        options = {"epochs": 3, "schedule": schedule, "learning_rate": 1e-3, "warmup": 0}
        train(_prepare(tmp_path / schedule, dataset, training=options))
        rates = [row["learning_rate"] for row in _log(tmp_path / schedule)]
        assert rates[-1] == pytest.approx(last * 1e-3, abs=0.05e-3)


def test_the_head_tells_all_and_draws_the_fits(dataset: Path, tmp_path: Path) -> None:
    prepared = _prepare(tmp_path, dataset)
    write_head(prepared)
    assert "learning_rate: 0.005" in (tmp_path / "out/recipe.yaml").read_text()
    pictures = sorted(p.name for p in (tmp_path / "out/priors").glob("*.png"))
    assert pictures == ["angles.png", "bonds.png", "dihedrals.png"]


def _alone():  # type: ignore[no-untyped-def]
    from mdflash.engine.distributed import Ranks

    return Ranks()


def _command(recipe: Path) -> list[str]:
    return ["-m", "mdflash", "train", str(recipe), "--threads", "1"]


def test_two_ranks_make_the_steps_of_one(dataset: Path, tmp_path: Path) -> None:
    train(_prepare(tmp_path / "one", dataset, training={"epochs": 2}))
    _prepare(tmp_path / "two", dataset, training={"epochs": 2})
    results = finish(start_ranks(2, _command(tmp_path / "two/recipe.yaml")))
    assert [code for code, _, _ in results] == [0, 0], results
    one, two = (_log(tmp_path / name) for name in ("one", "two"))
    for key in ("training_loss", "validation_loss"):
        np.testing.assert_allclose([r[key] for r in two], [r[key] for r in one], rtol=1e-4)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bits(dataset: Path, tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        recipe = write_recipe(tmp_path / name / "recipe.yaml", dataset, training={"epochs": 40})
        if name == "whole":
            python(*_command(recipe), cwd=ROOT, check=True)
    log = tmp_path / "killed/out/log.csv"
    for rows in (3, 11):
        process = Process(*_command(recipe), cwd=ROOT)
        while not (log.exists() and log.read_text().count("\n") > rows):
            time.sleep(0.05)
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    python(*_command(recipe), cwd=ROOT, check=True)
    for file in ("log.csv", "forcefield/weights.safetensors"):
        assert (tmp_path / "killed/out" / file).read_bytes() == (tmp_path / "whole/out" / file).read_bytes()


def test_a_damaged_state_is_named(dataset: Path, tmp_path: Path) -> None:
    prepared = _prepare(tmp_path, dataset, training={"epochs": 1})
    trainer: Trainer = train(prepared)[1]
    trainer.state_file.write_bytes(trainer.state_file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"state\.safetensors.*cannot be read"):
        train(prepared)


def test_tensorboard_gets_the_losses(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(_prepare(tmp_path, dataset, training={"epochs": 3, "tensorboard": True}))
    board = EventAccumulator(str(tmp_path / "out/tensorboard"))
    board.Reload()
    shown = [(e.step, e.value) for e in board.Scalars("loss/validation")]
    expected = [(row["epoch"], row["validation_loss"]) for row in _log(tmp_path)]
    np.testing.assert_allclose(shown, expected, rtol=1e-6)


def test_on_decoys_the_network_is_silent(dataset: Path, tmp_path: Path) -> None:
    """Far from the data it adds little to the priors, and on the data it is as good as without."""
    silent, loss = {}, {}
    for name, decoys in (("with", {"decoys": {"share": 0.5, "noise": "1.5 angstrom"}}), ("without", {})):
        prepared = _prepare(
            tmp_path / name,
            dataset,
            data={"validation": 0.3, **decoys},
            priors={"key": "beads", "angles": "none"},
            training={"epochs": 8, "batch": 16, "learning_rate": 1e-2},
        )
        folder, trainer = train(prepared)
        loss[name] = trainer.progress.best
        ff = load_forcefield(folder)
        system, molecule = ff.system()[0], prepared.data.molecules[0]
        held = molecule.positions[molecule.validation]
        away = (held + np.random.default_rng(3).normal(0.0, 1.2, held.shape)).astype(np.float32)
        network = prior_forces(ff, system, away)[0]
        network = network - prior_forces(dataclasses.replace(ff, networks=()), system, away)[0]
        silent[name] = float(np.sqrt((network**2).mean()))
    assert silent["with"] < 0.5 * silent["without"]
    assert loss["with"] < 1.1 * loss["without"]

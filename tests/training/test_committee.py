"""A committee: members are plain trainings, their spread grows where there was no data, and what is chosen there."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.core.state import Layout
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.spread import SpreadOnFrames, evaluate_members
from mdflash.errors import ForceFieldError, InputError, Interrupted, MdflashError
from mdflash.forcefields.committee import (
    Committee,
    committee_folder,
    energy_spread_of,
    load_committee,
    spread_of,
)
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.sampling.dataset import create_dataset
from mdflash.sampling.trajectory import TrajectoryWriter
from mdflash.sampling.where import pick
from mdflash.training import committee
from mdflash.training.committee import Standing, make_members, train_members, write_committee
from mdflash.training.frames import load_frames
from mdflash.training.recipe import load_recipe
from mdflash.training.run import PreparedTraining, prepare_training, train
from tests.helpers import go_helix, helix, simulate
from tests.training.datasets import write_dataset, write_recipe

MEMBERS = 3
LONG_ENOUGH = {
    "priors": {"key": "beads", "angles": "none"},
    "training": {"epochs": 8, "batch": 32, "learning_rate": 1e-2},
}


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedTraining, Committee]:
    """Three members that learned a helix near its native structure."""
    folder = tmp_path_factory.mktemp("committee")
    recipe = write_recipe(folder / "recipe.yaml", dataset, **LONG_ENOUGH)
    prepared = prepare_training(load_recipe(recipe))
    members = [train(member)[0] for member in make_members(prepared, MEMBERS)]
    write_committee(prepared, members)
    return prepared, load_committee(prepared.recipe.output)


def _crumpled() -> np.ndarray:
    """[20, 7, 3] beads nearer than they ever are in the data."""
    rng = np.random.default_rng(3)
    return np.asarray(0.8 * helix(7) + 0.3 * rng.standard_normal((20, 7, 3)))


def test_the_spread_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    forces, energies = rng.standard_normal((4, 6, 5, 3)), rng.standard_normal((4, 6))
    for f in range(6):
        beads = []
        for i in range(5):
            mean = forces[:, f, i].mean(axis=0)
            beads.append(np.sqrt(sum(((forces[m, f, i] - mean) ** 2).sum() for m in range(4)) / 3))
        assert spread_of(forces)[f] == pytest.approx(max(beads))
    offsets = tuple(energies.mean(axis=1).tolist())
    shifted = energies + np.array([5.0, -3.0, 100.0, 0.0])[:, None]  # a constant is no disagreement
    np.testing.assert_allclose(
        energy_spread_of(shifted, tuple(shifted.mean(axis=1).tolist())), energy_spread_of(energies, offsets)
    )


def test_members_differ_by_their_seeds_alone(
    trained: tuple[PreparedTraining, Committee], dataset: Path, tmp_path: Path
) -> None:
    """The second member has the bits of a plain training with the next seed."""
    prepared, members = trained
    recipe = write_recipe(tmp_path / "recipe.yaml", dataset, **LONG_ENOUGH)
    plain, _ = train(prepare_training(load_recipe(recipe, ["training.seed=4"])))
    assert load_forcefield(plain).digest == members.members[1].digest
    assert len({member.digest for member in members.members}) == MEMBERS
    assert len({member.folder for member in members.members}) == MEMBERS
    for member in members.members:  # each an ordinary force field that knows where it belongs
        assert committee_folder(member) == prepared.recipe.output
    assert committee_folder(load_forcefield(plain)) is None


def test_members_disagree_where_there_was_no_data(trained: tuple[PreparedTraining, Committee]) -> None:
    """The rounds in short: frames that the data lacks have a larger spread, and are what is chosen."""
    prepared, members = trained
    (molecule,) = prepared.data.molecules
    known = molecule.positions[::30].astype(np.float64)
    frames = np.concatenate([known, _crumpled()])
    found = SpreadOnFrames(members, molecule.system, 16)(frames)  # in chunks, the last of them filled up
    own = members.own["helix"]
    assert 0.0 < own.median < own.forces
    assert np.median(found.forces[len(known) :]) > own.forces
    assert np.isfinite(found.energies).all()
    chosen = pick(molecule.system, frames, found.forces, 5, 0.5, own.forces)
    assert chosen and min(chosen) >= len(known)
    forces, energies = evaluate_members(members.members, molecule.system, frames)
    np.testing.assert_allclose(found.forces, spread_of(forces), rtol=1e-6)
    np.testing.assert_allclose(found.energies, energy_spread_of(energies, own.offsets), rtol=1e-4, atol=1e-6)


def test_what_is_picked_is_uncertain_and_apart() -> None:
    system, _ = go_helix(6, "helix")
    rng = np.random.default_rng(1)
    x = helix(6) + 1.0 * rng.standard_normal((8, 6, 3))
    frames = np.concatenate([x, x + 0.01 * rng.standard_normal(x.shape)])  # each with a neighbor
    spread = np.concatenate([np.arange(8.0), np.arange(8.0) + 0.5])
    chosen = pick(system, frames, spread, 5, 0.2, 2.0)
    assert chosen == [15, 14, 13, 12, 11]  # the less certain of each two neighbors
    assert pick(system, frames, spread, 50, 0.2, 4.0) == [15, 14, 13, 12]  # nothing that is known
    assert len(pick(system, frames, spread, 50, 0.0, 4.0)) == 7
    assert len(pick(system, frames, spread, 50, 100.0, 0.0)) == 1


def test_a_committee_whose_member_was_trained_again_is_refused(
    trained: tuple[PreparedTraining, Committee], tmp_path: Path
) -> None:
    _, members = trained
    for k, member in enumerate(members.members):
        save_forcefield(tmp_path / f"member-{k + 1}" / "forcefield", member)
    text = (members.folder / "committee.yaml").read_text()
    (tmp_path / "committee.yaml").write_text(text)
    assert load_committee(tmp_path).own == members.own
    other = dataclasses.replace(members.members[1], networks=members.members[0].networks)
    save_forcefield(tmp_path / "member-2" / "forcefield", other)
    with pytest.raises(ForceFieldError, match=r"member-2.*is not the member"):
        load_committee(tmp_path)
    for damaged in (text.replace("percentile_99", "percentile"), text.replace("median: ", f"median: {10**400} #")):
        (tmp_path / "committee.yaml").write_text(damaged)
        with pytest.raises(ForceFieldError, match="is damaged"):
            load_committee(tmp_path)
    with pytest.raises(ForceFieldError, match="--committee"):
        load_committee(tmp_path / "member-1")


def _chosen_dataset(folder: Path) -> None:
    system, ff = go_helix(7, "helix")
    create_dataset(folder, {"helix": (system, None)}, "ca", {})
    x = _crumpled()
    layout = Layout((system,), (len(x),))
    engine = simulate(layout, [ff], x.reshape(-1, 3), LangevinMiddle(0.004, 20.0), temperature=300.0)
    engine.evaluate()
    f = layout.view(engine.state.forces, 0).numpy()
    for k in range(2):
        with TrajectoryWriter(folder / "helix" / f"{k:03d}.h5", 7, seed=1, aggregation="basic", chosen=True) as writer:
            for t in range(10):
                writer.append(x[10 * k + t], f[10 * k + t], 300.0, float(t))


def test_chosen_frames_have_forces_and_no_weight(dataset: Path, tmp_path: Path) -> None:
    _chosen_dataset(tmp_path / "chosen")
    both = [dataset, tmp_path / "chosen"]
    (molecule,) = load_frames(both, 0.3).molecules
    assert molecule.biased.sum() == 20 and 0 < (molecule.biased & molecule.validation).sum() < 20
    for weights in ("mbar", "equal", "column"):
        with pytest.raises(InputError, match=r"a committee chose.*no weight.*leave this dataset out"):
            load_frames(both, 0.3, weights=weights)
    recipe = write_recipe(tmp_path / "recipe.yaml", dataset, data={"dataset": [str(f) for f in both]})
    prepared = prepare_training(load_recipe(recipe))
    alone = prepare_training(load_recipe(write_recipe(tmp_path / "alone.yaml", dataset)))
    assert prepared.data.count(False) > alone.data.count(False)
    for term, same in zip(prepared.priors.terms, alone.priors.terms, strict=True):
        if term.name != "repulsion":  # which is of closest approaches, not of how often frames come
            assert all(np.array_equal(term.parameters[p], same.parameters[p]) for p in term.columns)
    said = load_recipe(recipe, ["data.weights=equal"])
    with pytest.raises(InputError, match="no weight"):
        prepare_training(said)


PROGRAM = """
import pathlib, signal, sys, time
words = dict(word.split("=", 1) for word in sys.argv if "=" in word)
folder = pathlib.Path(words["folder"].strip('"'))
folder.mkdir(exist_ok=True)
signal.signal(signal.SIGTERM, lambda *_: (folder.joinpath("saved").touch(), sys.exit(75)))
sys.stderr.write("note: said again\\n" * 6000)  # more than a pipe holds
sys.stderr.flush()
rows = ["epoch,step,learning_rate,training_loss,validation_loss"]
for epoch in (1, 2):
    rows.append(f"{epoch},{epoch},1,1,{words['training.seed']}.{epoch}")
    folder.joinpath("log.csv").write_text("\\n".join(rows) + "\\n")
    time.sleep(0.0 if folder.joinpath("saved").exists() else 0.2)
if words.get("training.epochs") == "none":
    sys.exit("error: training.epochs: expected a number")
folder.joinpath("threads").write_text(sys.argv[-1])
"""


def test_members_are_trained_side_by_side(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a program in place of `mdflash train` that only writes a log, and a mark when it is asked to stop."""
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(committee, "PROGRAM", (sys.executable, str(tmp_path / "program.py")))
    monkeypatch.setattr(committee, "POLL", 0.05)
    recipe = write_recipe(tmp_path / "recipe.yaml", dataset)
    members = list(make_members(prepare_training(load_recipe(recipe)), 3))
    (tmp_path / "out").mkdir()
    seen: list[Standing] = []

    def note(standing: Standing) -> None:
        seen.append(dataclasses.replace(standing))

    with pytest.raises(Interrupted, match="every member saved its state"):
        train_members(recipe, [], members, 4, note, lambda: len({s.number for s in seen}) == 3)
    assert [(tmp_path / "out" / f"member-{k}" / "saved").exists() for k in (1, 2, 3)] == [True] * 3
    folders = train_members(recipe, [], members, 4, note)
    assert folders == [tmp_path / "out" / f"member-{k}" / "forcefield" for k in (1, 2, 3)]
    assert [(folder.parent / "threads").read_text() for folder in folders] == ["1"] * 3
    assert {s.number: (s.epochs, s.loss) for s in seen} == {1: (2, 3.2), 2: (2, 4.2), 3: (2, 5.2)}
    with pytest.raises(MdflashError, match=r"^member 1: training.epochs: expected a number$"):
        train_members(recipe, ["training.epochs=none"], members, 1)


def test_a_member_is_an_ordinary_training(dataset: Path, tmp_path: Path) -> None:
    """The command that is started for a member is one of the command line, and gives the member's bits."""
    recipe = write_recipe(tmp_path / "recipe.yaml", dataset, training={"epochs": 1})
    _, member = make_members(prepare_training(load_recipe(recipe)), 2)
    words = committee.command(recipe, ["training.epochs=1"], member, 1)[len(committee.PROGRAM) :]
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    folder = tmp_path / "out" / "member-2"
    there = member.recipe.model_copy(update={"folder": tmp_path / "other"})
    set_threads(1)
    again, _ = train(dataclasses.replace(member, recipe=there))
    assert load_forcefield(folder / "forcefield").digest == load_forcefield(again).digest


def test_a_dataset_that_was_chosen_says_so(tmp_path: Path) -> None:
    from mdflash.sampling.dataset import load_dataset

    write_dataset(tmp_path / "plain", frames=3)
    _chosen_dataset(tmp_path / "chosen")
    for name, chosen in (("plain", False), ("chosen", True)):
        trajectories = load_dataset(tmp_path / name).molecules[0].trajectories
        assert {t.chosen for t in trajectories} == {chosen} and {t.biased for t in trajectories} == {chosen}

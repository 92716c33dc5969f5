"""Training by relative entropy: it learns, goes on to the same bits, and says what does not fit."""

from __future__ import annotations

import csv
import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.core.state import Layout, State
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Backend, Dynamics
from mdflash.errors import InputError, Interrupted, UnstableError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.base import SumPotential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.variables.distance import Distance
from mdflash.sampling.dataset import create_dataset
from mdflash.sampling.restraint import make_restraint
from mdflash.sampling.trajectory import TrajectoryWriter
from mdflash.training.entropy import loop
from mdflash.training.entropy.loop import EntropyTrainer
from mdflash.training.entropy.loss import add_gradient, energies_of, slopes_of
from mdflash.training.entropy.run import make_entropy_trainer, train_entropy
from mdflash.training.recipe import load_recipe
from mdflash.training.run import PreparedTraining, prepare_training, train
from mdflash.training.state import EntropyProgress, load_progress, read_identity, save_progress
from tests.helpers import go_helix, helix
from tests.processes import Process, python
from tests.training.datasets import write_dataset, write_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def begun(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A force field that force matching began, without angles."""
    folder = tmp_path_factory.mktemp("begun")
    recipe = write_recipe(
        folder / "recipe.yaml", dataset, priors={"key": "beads", "angles": "none"}, training={"epochs": 1}
    )
    return train(prepare_training(load_recipe(recipe)))[0]


def _prepare(folder: Path, dataset: Path, begun: Path, **sections: object) -> PreparedTraining:
    folder.mkdir(exist_ok=True)
    entropy: dict[str, object] = {
        "updates": 15, "renew_after": 4, "keep": 2, "replicas": 6, "settle": "2 ps", "length": "2 ps",
        "every": "0.25 ps", "batch": 32, "friction": "20 /ps", "seed": 4,
        "along": [{"name": "ends", "variable": "distance", "beads": [0, 6]}],
    }  # fmt: skip
    recipe: dict[str, object] = {
        "mdflash": 1, "data": {"dataset": str(dataset), "validation": 0.3}, "start": str(begun),
        "folder": str(folder / "out"),
    }  # fmt: skip
    recipe["relative_entropy"] = entropy | sections.pop("relative_entropy", {})  # type: ignore[operator]
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe | sections))
    return prepare_training(load_recipe(file))


def _log(folder: Path) -> list[dict[str, float]]:
    with (folder / "out/log.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(dataset: Path, begun: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train_entropy(_prepare(folder, dataset, begun))
    return folder


def test_it_learns_where_the_frames_are(whole: Path, begun: Path) -> None:
    rows = _log(whole)
    assert [row["update"] for row in rows] == [0, 5, 10, 15]
    assert rows[0]["held_out_entropy"] == pytest.approx(0.0, abs=1e-6)
    assert rows[-1]["held_out_entropy"] < -0.1  # nats
    assert all(0.4 <= row["effective_share"] <= 2.0 for row in rows)
    assert rows[-1]["force_loss"] < 1.05 * rows[0]["force_loss"]
    learned, start = load_forcefield(whole / "out/forcefield"), load_forcefield(begun)
    assert learned.provenance["method"] == "relative entropy" and learned.provenance["start"] == start.digest
    assert learned.provenance["held_out_relative_entropy_nats"] == pytest.approx(rows[-1]["held_out_entropy"], rel=1e-5)
    assert [t.name for t in learned.terms] == [t.name for t in start.terms]
    assert (whole / "out/progress/progress.png").stat().st_size > 10_000
    with (whole / "out/progress/ends.csv").open() as file:
        bins = list(csv.DictReader(file))
    assert (
        list(bins[0]) == ["ends_A", "data_kcal_mol", "data_error_kcal_mol", "start_kcal_mol", "now_kcal_mol"]
        and len(bins) == 20
    )


def test_stopped_while_updating_and_while_simulating_it_goes_on_to_the_same_bits(
    whole: Path, dataset: Path, begun: Path, tmp_path: Path
) -> None:
    prepared = _prepare(tmp_path, dataset, begun)
    for stop in (
        lambda t: True,
        lambda t: t.progress.update == 3,
        lambda t: t.progress.renewals and t.doing != "updating",
    ):
        told: list[bool] = []
        with pytest.raises(Interrupted, match="same command"):
            train_entropy(
                prepared, 1, lambda t: told.append(bool(stop(t))), lambda: any(told)  # noqa: B023
            )  # fmt: skip
    train_entropy(prepared)
    for file in ("log.csv", "forcefield/weights.safetensors"):
        assert (tmp_path / "out" / file).read_bytes() == (whole / "out" / file).read_bytes()


class Killed(BaseException):
    """As a kill: nothing is saved on the way out."""


def test_killed_at_random_moments_it_goes_on_to_the_same_bits(
    whole: Path, dataset: Path, begun: Path, tmp_path: Path
) -> None:
    prepared = _prepare(tmp_path, dataset, begun)
    rng = np.random.default_rng()

    def killer(moments: int):  # type: ignore[no-untyped-def]
        def report(trainer: EntropyTrainer) -> None:
            nonlocal moments
            moments -= 1
            if moments < 0:
                raise Killed

        return report

    for moments in (0, 1, *rng.integers(2, 8, 4)):  # before and after the first simulation, and later
        with suppress(Killed):  # some may get to the end
            train_entropy(prepared, report=killer(int(moments)))
    trainer = train_entropy(prepared)[1]
    assert trainer.resumed
    for file in ("log.csv", "forcefield/weights.safetensors", "progress/ends.csv"):
        assert (tmp_path / "out" / file).read_bytes() == (whole / "out" / file).read_bytes()


def test_terms_learn_too_and_go_on_to_the_same_bits(dataset: Path, begun: Path, tmp_path: Path) -> None:
    start = load_forcefield(begun)
    stiff = [replace(t, parameters={**t.parameters, "k": 3.0 * t.parameters["k"]}) if t.name == "bonds" else t
             for t in start.terms]  # fmt: skip
    save_forcefield(tmp_path / "stiff", replace(start, terms=tuple(stiff)))

    def trained(name: str, priors: str, stops: tuple[int, ...] = ()) -> Path:
        learn = {"priors": priors, "learning_rate": 2e-2}
        prepared = _prepare(tmp_path / name, dataset, tmp_path / "stiff", relative_entropy=learn)
        for update in stops:
            told: list[bool] = []
            with pytest.raises(Interrupted):
                train_entropy(
                    prepared, 1, lambda t: told.append(t.progress.update >= update), lambda: any(told)  # noqa: B023
                )  # fmt: skip
        return train_entropy(prepared)[0]

    fixed, whole = trained("fixed", "fixed"), trained("whole", "learn")
    assert _log(tmp_path / "whole")[-1]["held_out_entropy"] < _log(tmp_path / "fixed")[-1]["held_out_entropy"]
    assert _log(tmp_path / "whole")[-1]["force_loss"] < _log(tmp_path / "fixed")[-1]["force_loss"]
    k = {name: load_forcefield(folder).terms for name, folder in (("fixed", fixed), ("learn", whole))}
    bonds = {name: next(t for t in terms if t.name == "bonds").parameters["k"] for name, terms in k.items()}
    np.testing.assert_array_equal(bonds["fixed"], stiff[0].parameters["k"])
    assert (bonds["learn"] < bonds["fixed"]).all()  # towards what the frames have
    again = trained("again", "learn", stops=(4, 11))
    for file in ("forcefield.yaml", "weights.safetensors"):
        assert (again / file).read_bytes() == (whole / file).read_bytes()


def test_it_stops_where_nothing_is_gained(dataset: Path, begun: Path, tmp_path: Path) -> None:
    prepared = _prepare(
        tmp_path,
        dataset,
        begun,
        relative_entropy={"updates": 200, "patience": 5, "learning_rate": 1e-9, "renew_after": 999},
    )
    trainer = train_entropy(prepared)[1]
    assert trainer.progress.update - trainer.progress.best_update == 5 < trainer.progress.update < 200


def test_targets_are_approached_and_their_price_is_told(dataset: Path, begun: Path, tmp_path: Path) -> None:
    """A population at a temperature without data, held as near to the start as it allows; and killed on the way."""
    wanted = {"name": "short", "variable": "distance", "beads": [0, 6], "below": "10 angstrom",
              "error": 0.02, "temperature": "330 K"}  # fmt: skip
    settings = {"hold": "start", "updates": 10, "learning_rate": 1e-2, "patience": None}
    for name in ("whole", "killed"):
        target = {**wanted, "population": 0.9}
        prepared = _prepare(tmp_path / name, dataset, begun, relative_entropy=settings, targets=target)
        if name == "killed":
            with pytest.raises(Interrupted):
                train_entropy(prepared, should_stop=itertools.chain([False] * 12, itertools.repeat(True)).__next__)
        trainer = train_entropy(prepared)[1]
        assert [(g.kelvin, g.share) for g in trainer.material.groups] == [(300.0, 1.0), (330.0, 0.0)]
    rows = _log(tmp_path / "whole")
    assert rows[0]["price"] == pytest.approx(0.0, abs=1e-6)
    assert rows[0]["short"] < rows[-1]["short"] and rows[-1]["target_cost"] < 0.9 * rows[0]["target_cost"]
    assert 0.0 < rows[-1]["price"] < 5.0
    learned = load_forcefield(tmp_path / "whole/out/forcefield").provenance
    assert learned["targets"]["short"]["goal"] == 0.9 and learned["price_nats"] > 0.0
    for file in ("log.csv", "forcefield/weights.safetensors"):
        assert (tmp_path / "killed/out" / file).read_bytes() == (tmp_path / "whole/out" / file).read_bytes()


def _held_dataset(folder: Path) -> None:
    """A Gō helix in three windows of the distance of its ends, as far as it seldom is."""
    system, ff = go_helix(7, "helix")
    centers, stiff = (8.0, 11.0, 14.0), 1.5
    layout = Layout((system,), (len(centers),))
    bias = Bias("window", Distance(system, 0, 6), layout, stiff, centers)
    free = build_potential([ff], layout)
    engine = Engine(
        layout, SumPotential([*free.terms, bias]), State.at(layout, np.tile(helix(7), (3, 1)), 300.0),
        Dynamics(LangevinMiddle(0.004, 20.0), seed=3), Backend(),
    )  # fmt: skip
    engine.run(3000)
    create_dataset(folder, {"helix": (system, helix(7)[None])}, "ca", {"made_for": "tests"})
    writers = [
        TrajectoryWriter(
            folder / "helix" / f"{k:03d}.h5", 7, seed=1, aggregation="basic", biased=True,
            restraint=make_restraint("distance", [0, 6], c, stiff),
        )
        for k, c in enumerate(centers)
    ]  # fmt: skip
    for _ in range(150):
        engine.run(100)
        x = engine.state.positions
        f = engine.state.forces - bias.energy_and_forces(x, layout, None).forces
        for k, writer in enumerate(writers):
            writer.append(layout.view(x, 0)[k].numpy(), layout.view(f, 0)[k].numpy(), 300.0, engine.time)
    for writer in writers:
        writer.close()


def test_windows_are_compared_with_their_own_frames(begun: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    _held_dataset(data)
    settings = {"windows": "hold", "learning_rate": 1e-2, "replicas": 7, "updates": 20}
    prepared = _prepare(tmp_path, data, begun, relative_entropy=settings)
    trainer = train_entropy(prepared)[1]
    (group,), (pool,) = trainer.material.groups, trainer.pools
    assert group.windows.states == 4 and np.allclose(group.shares, [0, 1 / 3, 1 / 3, 1 / 3])
    assert (pool.counts == 8 * np.array([0, 3, 2, 2])).all()  # 7 replicas
    first = pool.positions[: pool.counts[0].sum()]
    ends = (first[:, 6] - first[:, 0]).norm(dim=1).numpy().reshape(8, 7)
    assert ends[:, :3].mean() < ends[:, 3:5].mean() < ends[:, 5:].mean()
    rows = _log(tmp_path)
    assert rows[0]["held_out_entropy"] == pytest.approx(0.0, abs=1e-6)
    assert rows[-1]["held_out_entropy"] < -0.05 and rows[-1]["ends_rmse"] < rows[0]["ends_rmse"]
    again = _prepare(tmp_path / "again", data, begun, relative_entropy=settings)
    with pytest.raises(Interrupted):
        train_entropy(again, should_stop=itertools.chain([False] * 20, itertools.repeat(True)).__next__)
    train_entropy(again)
    for file in ("log.csv", "forcefield/weights.safetensors"):
        assert (tmp_path / "again/out" / file).read_bytes() == (tmp_path / "out" / file).read_bytes()
    with pytest.raises(InputError, match=r"2 replicas are fewer than the 3 windows.*replicas: 12"):
        make_entropy_trainer(_prepare(tmp_path / "few", data, begun, relative_entropy={**settings, "replicas": 2}))
    with pytest.raises(InputError, match=r"held in windows do not exchange"):
        ladder = {**settings, "ladder": ["350 K"]}
        make_entropy_trainer(_prepare(tmp_path / "ladder", data, begun, relative_entropy=ladder))


def test_several_molecules_have_targets_of_their_own(begun: Path, tmp_path: Path) -> None:
    """A temperature without data comes behind all others, and its replicas stand beside those of its molecule."""
    for k, beads in enumerate((7, 9)):
        write_dataset(tmp_path / f"data{k}", name=f"helix{beads}", beads=beads)
    recipe = write_recipe(
        tmp_path / "begin.yaml", tmp_path / "data0", priors={"key": "types"}, training={"epochs": 1},
        data={"dataset": [str(tmp_path / "data0"), str(tmp_path / "data1")]},
    )  # fmt: skip
    start = train(prepare_training(load_recipe(recipe)))[0]
    target = {"name": "short", "variable": "distance", "beads": [0, 6], "below": "10 angstrom", "error": 0.02,
              "temperature": "330 K", "population": 0.9, "system": "helix7"}  # fmt: skip
    settings = {"updates": 2, "replicas": 7, "along": []}
    sections = {"data": {"dataset": [str(tmp_path / "data0"), str(tmp_path / "data1")], "validation": 0.3}}
    prepared = _prepare(tmp_path / "run", tmp_path, start, relative_entropy=settings, targets=target, **sections)
    trainer = train_entropy(prepared)[1]
    assert [(g.molecule, g.kelvin) for g in trainer.material.groups] == [(0, 300.0), (1, 300.0), (0, 330.0)]
    assert [pool.positions.shape[1] for pool in trainer.pools] == [7, 9, 7]


def test_an_experiment_is_approached(dataset: Path, begun: Path, tmp_path: Path) -> None:
    """Dyes and a radius that say the helix is shorter than it is."""
    lab = tmp_path / "lab.yaml"
    lab.write_text(
        "temperature: 300 K\nrg: 0.35 +- 0.02 nm\nfret: {residues: [1, 7], efficiency: 0.9 +- 0.02, R0: 1 nm}\n"
    )
    settings = {"hold": "start", "updates": 25, "learning_rate": 4e-2, "patience": None}
    prepared = _prepare(tmp_path, dataset, begun, relative_entropy=settings, experiments=str(lab))
    train_entropy(prepared)
    rows = _log(tmp_path)
    assert rows[-1]["target_cost"] < 0.8 * rows[0]["target_cost"]
    assert rows[-1]["target_cost"] == pytest.approx(0.5 * (rows[-1]["lab_rg"] + rows[-1]["lab_fret"]), rel=1e-5)
    learned = load_forcefield(tmp_path / "out/forcefield").provenance
    assert learned["targets"]["lab_fret"]["points"] == 1.0
    lab.write_text(lab.read_text().replace("0.9 +-", "0.8 +-"))
    with pytest.raises(InputError, match="belongs to another recipe or other data"):
        train_entropy(_prepare(tmp_path, dataset, begun, relative_entropy=settings, experiments=str(lab)))


def test_temperatures_learn_together(begun: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", trajectories=4, frames=60, temperatures=(300.0, 360.0))
    trainer = train_entropy(_prepare(tmp_path, tmp_path / "data", begun, relative_entropy={"updates": 5}))[1]
    assert [g.kelvin for g in trainer.material.groups] == [300.0, 360.0]
    assert [p.positions.shape[0] for p in trainer.pools] == [2 * 3 * 8] * 2 or trainer.progress.renewals < 2
    assert {"ends_300K_rmse", "ends_360K_mean"} <= set(_log(tmp_path)[-1])


def test_replicas_exchange_with_hotter_ones_that_are_no_samples(dataset: Path, begun: Path, tmp_path: Path) -> None:
    settings = {"ladder": ["330 K", "370 K"], "replicas": 3, "updates": 5, "learning_rate": 1e-5, "renew_after": 3}
    for name in ("whole", "stopped"):
        prepared = _prepare(tmp_path / name, dataset, begun, relative_entropy=settings)
        if name == "stopped":
            with pytest.raises(Interrupted):
                train_entropy(prepared, should_stop=itertools.chain([False] * 9, itertools.repeat(True)).__next__)
        trainer = train_entropy(prepared)[1]
        assert trainer.pools[0].counts.tolist() == [[3 * 8], [3 * 8]]  # those at 300 K
        assert [ends.shape for ends in trainer._ends] == [(9, 7, 3)]  # of all three temperatures
    for file in ("log.csv", "forcefield/weights.safetensors"):
        assert (tmp_path / "stopped/out" / file).read_bytes() == (tmp_path / "whole/out" / file).read_bytes()


def test_samples_of_a_ladder_are_those_of_its_lowest_temperature(dataset: Path, begun: Path, tmp_path: Path) -> None:
    """However hot the others are: the network's energies, and so the spread of the ends, are those without a ladder."""
    found = {}
    for name, ladder in (("alone", []), ("ladder", ["420 K", "600 K"])):
        settings = {"ladder": ladder, "replicas": 24, "length": "20 ps", "every": "0.5 ps", "settle": "4 ps"}
        trainer = make_entropy_trainer(_prepare(tmp_path / name, dataset, begun, relative_entropy=settings))
        sampler = trainer.material.sampler
        ff = trainer.material.forcefield(trainer.parameters)
        samples = sampler.simulate(ff, sampler.starts(), 0, 4.0)
        bonds = torch.linalg.vector_norm(samples.positions[0].diff(dim=1), dim=-1)
        found[name] = float(bonds.var(dim=0).mean())
    assert found["ladder"] == pytest.approx(found["alone"], rel=0.15)


def test_a_ladder_rises_from_one_temperature(dataset: Path, begun: Path, tmp_path: Path) -> None:
    prepared = _prepare(tmp_path, dataset, begun, relative_entropy={"ladder": ["350 K", "340 K"]})
    with pytest.raises(InputError, match=r"must rise from 300 K, found 350 K, 340 K"):
        make_entropy_trainer(prepared)
    write_dataset(tmp_path / "data", trajectories=4, frames=60, temperatures=(300.0, 360.0))
    prepared = _prepare(tmp_path, tmp_path / "data", begun, relative_entropy={"ladder": ["400 K"]})
    with pytest.raises(InputError, match=r"rises from one temperature.*300 K, 360 K"):
        make_entropy_trainer(prepared)


def test_what_is_logged_is_what_is_descended(begun: Path, tmp_path: Path) -> None:
    """At two temperatures: the slope of the relative entropy of the log, and that of the forces' likelihood."""
    write_dataset(tmp_path / "data", trajectories=4, frames=60, temperatures=(300.0, 360.0))
    trainer = make_entropy_trainer(_prepare(tmp_path, tmp_path / "data", begun))
    trainer._begin(lambda trainer: None, lambda: False)
    m, rng, variance = trainer.material, np.random.default_rng(), trainer.progress.variance
    assert [g.share for g in m.groups] == pytest.approx([0.5, 0.5])
    start = trainer._weights()
    along = {name: torch.from_numpy(rng.standard_normal(p.shape)).to(p) for name, p in start.items()}

    def slope(value: Callable[[], float], step: float = 1e-3) -> float:
        total = 0.0
        for k, weight in ((2, -1), (1, 8), (-1, -8), (-2, 1)):
            trainer._put({name: p + k * step * along[name] for name, p in start.items()})
            total += weight * value()
        trainer._put(start)
        return total / (12.0 * step)

    def pools() -> list[np.ndarray]:
        return [trainer._energies(g.molecule, q.positions) for g, q in zip(m.groups, trainer.pools, strict=True)]

    def found() -> float:
        return sum(float((p.grad * along[name]).sum()) for name, p in trainer.parameters.items() if p.grad is not None)

    trainer.optimizer.zero_grad()
    for group, pool, now in zip(m.groups, trainer.pools, pools(), strict=True):
        x = torch.cat([group.held_out.positions, pool.positions])
        add_gradient(m.forces, group.molecule, x, slopes_of(group, group.held_out.weights, pool.weigh(now)[0]))
    assert found() == pytest.approx(slope(lambda: trainer._held_out_entropy(pools())), rel=0.02, abs=0.02)

    chosen = np.sort(np.random.default_rng(1).integers(len(m.training), size=16))

    def likelihood() -> float:
        """|F - F*|^2 / (2 sigma^2) of a frame, in the mean."""
        (batch,) = m.training.batches(chosen)
        off = m.forces.predict(batch.molecule, batch.positions) - batch.forces
        return float(off.double().square().sum()) / (2.0 * variance * len(chosen))

    trainer.optimizer.zero_grad()
    trainer._add_forces(np.random.default_rng(1))
    assert found() == pytest.approx(slope(likelihood), rel=0.02, abs=0.02)


def test_a_step_that_would_lose_the_overlap_is_cut(
    dataset: Path, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "energies_of", lambda *args: 100.0 * energies_of(*args))  # a step does more than it seems
    train_entropy(_prepare(tmp_path, dataset, begun, relative_entropy={"updates": 5, "learning_rate": 0.05}))
    row = _log(tmp_path)[-1]
    assert row["shortened"] >= 1 and row["effective_share"] >= 0.4


def test_a_mean_that_no_sample_knows_is_not_learned(dataset: Path, begun: Path, tmp_path: Path) -> None:
    trainer = make_entropy_trainer(_prepare(tmp_path, dataset, begun))
    trainer._begin(lambda trainer: None, lambda: False)
    trainer.progress.best = np.inf
    trainer.mean = {name: 300.0 * value for name, value in trainer.mean.items()}
    trainer._log()
    assert trainer.row["mean_share"] < 0.4 < trainer.row["effective_share"]
    assert trainer.row["held_out_entropy"] == pytest.approx(0.0, abs=1e-6)
    assert all(torch.equal(trainer.best[name], p) for name, p in trainer.parameters.items())


def test_replicas_that_become_unstable_are_left_out_and_named(dataset: Path, begun: Path, tmp_path: Path) -> None:
    prepared = _prepare(tmp_path, dataset, begun)
    sampler, ff = make_entropy_trainer(prepared).material.sampler, load_forcefield(begun)
    (starts,) = sampler.starts()
    starts[2] *= 1e6  # torn
    samples = sampler.simulate(ff, [starts], 0, 0.0)
    assert len(samples.left_out) == 1 and samples.left_out[0].startswith("replica 2 of helix at step ")
    assert samples.positions[0].shape == (5 * 8, 7, 3) and bool((samples.positions[0].abs() < 50.0).all())
    assert (np.abs(samples.ends[0]) < 50.0).all()
    with pytest.raises(UnstableError, match=r"every replica .*lower relative_entropy\.learning_rate"):
        sampler.simulate(ff, [1e6 * starts], 0, 0.0)


def test_the_command_says_what_it_does_and_what_came_of_it(dataset: Path, begun: Path, tmp_path: Path) -> None:
    _prepare(tmp_path, dataset, begun, relative_entropy={"updates": 5})
    recipe = str(tmp_path / "recipe.yaml")
    dry = CliRunner().invoke(app, ["train", recipe, "--dry-run", "--threads", "1"])
    assert dry.exit_code == 0 and not (tmp_path / "out").exists(), dry.output
    for words in ("goes on from", "effective frames of 600 at 300 K", "6 replicas of 2 ps", "nothing was written"):
        assert words in dry.output
    done = CliRunner().invoke(app, ["train", recipe, "--threads", "1"])
    assert done.exit_code == 0, done.output
    for words in (
        "simulating 6 replicas for 4 ps before the first update",
        "update 5 of 5: relative entropy ",
        "effective share",
        "ends off by",
        "5 updates",
        "progress.png",
    ):
        assert words in done.output
    with pytest.raises(InputError, match="belongs to another recipe"):
        train_entropy(_prepare(tmp_path, dataset, begun, relative_entropy={"updates": 6}))
    file = tmp_path / "out/state.safetensors"
    state = load_progress(file, read_identity(file)[0], EntropyProgress)
    del state.tensors["pool/0/free"]
    save_progress(file, state)
    with pytest.raises(InputError, match=r"state\.safetensors.*cannot be read as the state of a training.*pool/0/free"):
        train_entropy(_prepare(tmp_path, dataset, begun, relative_entropy={"updates": 5}))


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_bits(dataset: Path, begun: Path, tmp_path: Path) -> None:
    """Killed ten times, each at a random moment after it saved something."""

    def command(name: str) -> list[str]:
        _prepare(tmp_path / name, dataset, begun, relative_entropy={"updates": 60})
        return ["-m", "mdflash", "train", str(tmp_path / name / "recipe.yaml"), "--threads", "1"]

    python(*command("whole"), cwd=ROOT, check=True)
    killed, rng, state = command("killed"), np.random.default_rng(), tmp_path / "killed/out/state.safetensors"
    for _ in range(10):
        process = Process(*killed, cwd=ROOT)
        before = state.stat().st_mtime_ns if state.exists() else 0
        while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns > before):
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0.0, 0.5)))
        process.kill()
        process.wait()
    python(*killed, cwd=ROOT, check=True)
    for file in ("log.csv", "forcefield/weights.safetensors"):
        assert (tmp_path / "killed/out" / file).read_bytes() == (tmp_path / "whole/out" / file).read_bytes()


def test_what_does_not_go_together_is_refused(dataset: Path, begun: Path, tmp_path: Path) -> None:
    for sections, message in (
        ({"start": None}, r"key 'relative_entropy': goes on from a force field; add for example `start:"),
        ({"training": {"epochs": 3}}, r"key 'training': .*settings of its own"),
        ({"relative_entropy": {"priors": "some"}}, r"key 'relative_entropy\.priors'"),
        ({"relative_entropy": {"force_weight": "some"}}, r"expected `likelihood`, or a number such as 0\.17"),
        ({"relative_entropy": {"replicas": "4"}}, r"key 'relative_entropy\.replicas'"),
    ):
        with pytest.raises(InputError, match=message):
            _prepare(tmp_path, dataset, begun, **sections)
    with pytest.raises(InputError, match=r"2 replicas are too few|key 'relative_entropy\.replicas'"):
        write_dataset(tmp_path / "data", trajectories=4, frames=40, temperatures=(300.0, 360.0))
        make_entropy_trainer(_prepare(tmp_path, tmp_path / "data", begun, relative_entropy={"replicas": 3}))
    with pytest.raises(InputError, match="runs in one process"):
        train_entropy(_prepare(tmp_path, dataset, begun), ranks=2)
    with pytest.raises(InputError, match=r"key 'relative_entropy\.along\.0\.beads'"):
        along = [{"name": "far", "variable": "distance", "beads": [0, 70]}]
        make_entropy_trainer(_prepare(tmp_path, dataset, begun, relative_entropy={"along": along}))

"""Runs of a committee's member: events where its force field knows nothing, the spread in the analysis, and what is
sampled there. The members are Gō models whose contacts differ in strength, so nothing has to be trained."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import mdflash
from mdflash.analysis.measures import rmsd
from mdflash.analysis.report.sections.series import time_series
from mdflash.cli.app import app
from mdflash.config.load import parse_run
from mdflash.core.plural import plural
from mdflash.engine.evaluator import Evaluator
from mdflash.engine.spread import SpreadOnFrames
from mdflash.errors import ForceFieldError, InputError, UnstableError
from mdflash.forcefields.committee import Own, load_committee, save_committee
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.io.events import read_events
from mdflash.runs.execute import execute
from mdflash.sampling import around
from mdflash.sampling.around import Where
from mdflash.sampling.dataset import load_dataset
from mdflash.sampling.recipe import load_recipe
from mdflash.sampling.sample import sample
from mdflash.sampling.where import choose
from mdflash.training.frames import load_frames
from tests.rank_helpers import command, finish, one_message, same_content, start_ranks

STRUCTURE = Path(__file__).parents[2] / "systems" / "chignolin.pdb"
KNOWN = 0.35
"""kcal/mol/Å; some frames at 400 K have more, most have less."""


@pytest.fixture(scope="module")
def committee(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("committee")
    go = load_forcefield("go-chignolin")
    members = []
    for k, scale in enumerate((0.9, 1.0, 1.1)):
        terms = tuple(
            dataclasses.replace(t, parameters={**t.parameters, "epsilon": scale * t.parameters["epsilon"]})
            if t.name == "contacts"
            else t
            for t in go.terms
        )
        members.append(folder / f"member-{k + 1}" / "forcefield")
        save_forcefield(members[-1], dataclasses.replace(go, terms=terms))
    save_committee(folder, members, {"chignolin": Own(KNOWN, 0.2, 1.0, (0.0, 0.0, 0.0))})
    return folder


def run(committee: Path, folder: Path, **guards: object) -> Path:
    data = {
        "mdflash": 1,
        "system": {"structure": str(STRUCTURE), "name": "chignolin"},
        "model": {"forcefield": str(committee / "member-2" / "forcefield")},
        "dynamics": {"temperature": "400 K", "steps": 600, "timestep": "10 fs", "seed": 3},
        "replicas": {"count": 3},
        "guards": guards,
        "output": {"folder": str(folder), "trajectory": {"interval": "0.2 ps"}, "log": {"interval": "0.2 ps"}},
    }
    source = folder.with_suffix(".yaml")
    source.write_text(json.dumps(data))
    execute(parse_run(source.read_text(), source), source)
    return folder


@pytest.fixture(scope="module")
def plain(committee: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(committee, tmp_path_factory.mktemp("runs") / "plain")


def spread(committee: Path, folder: Path) -> np.ndarray:
    """[R, F] from the frames of a run."""
    found = mdflash.open_run(folder)
    x = np.stack([found.positions[r][:] for r in range(3)])
    system = load_forcefield(committee / "member-1" / "forcefield").system()[0]
    return SpreadOnFrames(load_committee(committee), system)(x.reshape(-1, *x.shape[2:])).forces.reshape(x.shape[:2])


def test_an_event_whenever_a_replica_leaves_what_is_known(committee: Path, plain: Path, tmp_path: Path) -> None:
    folder = run(committee, tmp_path / "noted", spread=1)
    assert (folder / "log.csv").read_bytes() == (plain / "log.csv").read_bytes()  # looking changes nothing
    over = spread(committee, folder) > KNOWN
    over[:, 0] = False  # nothing was done yet
    entered = over[:, 1:] & ~over[:, :-1]
    assert entered.any()
    wanted = {(r, 20 * (t + 1)) for r, t in zip(*np.nonzero(entered), strict=True)}
    events = [e for e in read_events(folder / "events.jsonl") if e["event"] == "unknown territory"]
    assert {(e["replica"], e["step"]) for e in events} == wanted
    assert all(e["spread_kcal_mol_A"] > e["limit_kcal_mol_A"] == KNOWN for e in events)
    shown = CliRunner().invoke(app, ["run", str(folder)]).output
    assert f"{plural(len({r for r, _ in wanted}), 'replica')} left what the committee knows" in shown
    none = run(committee, tmp_path / "far", spread=100)
    assert not any(e["event"] == "unknown territory" for e in read_events(none / "events.jsonl"))


def test_a_run_that_shall_stop_there_keeps_the_frame(committee: Path, plain: Path, tmp_path: Path) -> None:
    over = (spread(committee, plain)[:, 1:] > KNOWN).any(axis=0)
    step = 20 * (int(np.argmax(over)) + 1)
    with pytest.raises(
        UnstableError, match=f"left what its committee knows at step {step}.*frame is that of step {step}"
    ):
        run(committee, tmp_path / "stopped", spread=1, beyond="stop")
    found = mdflash.open_run(tmp_path / "stopped")
    assert len(found.positions[0][:]) == step // 20 + 1 and found.manifest["status"] == "left known territory"
    (stable,) = (x for x in found.analyze().molecules["chignolin"].lights if x.name == "Stable")
    assert (stable.color, stable.sentence) == ("care", "The run ended because it left known territory.")


def test_many_ranks_end_together_there(committee: Path, tmp_path: Path) -> None:
    """As one process does: the same error of all, the same files."""
    with pytest.raises(UnstableError, match="left what its committee knows"):
        run(committee, tmp_path / "one", spread=1, beyond="stop")
    arguments = command(tmp_path / "one.yaml", tmp_path / "many", 600)
    results = finish(start_ranks(2, arguments))
    assert [code for code, _, _ in results] == [3, 3], results
    one_message(results, "left what its committee knows")
    same_content(tmp_path / "one", tmp_path / "many")
    assert json.loads((tmp_path / "many" / "manifest.json").read_text())["status"] == "left known territory"
    assert [e["event"] for e in read_events(tmp_path / "many" / "events.jsonl")][-1] == "left known territory"


def test_a_member_without_a_finite_energy_is_an_event(
    committee: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one replica at one time; the run, whose own energies are finite, goes on, and so does its analysis."""
    values = Evaluator._values
    x = mdflash.open_run(plain).positions[1][4].astype(np.float32)

    def failing(self: Evaluator, positions: np.ndarray, box: object) -> tuple[np.ndarray, ...]:
        given, energy, forces = values(self, positions, box)  # type: ignore[arg-type]
        lost = abs(given.reshape(len(energy), *x.shape) - x).max(axis=(1, 2)) < 1e-3
        return given, np.where(lost, np.nan, energy), forces

    monkeypatch.setattr(Evaluator, "_values", failing)
    folder = run(committee, tmp_path / "noted", spread=100)
    assert (folder / "log.csv").read_bytes() == (plain / "log.csv").read_bytes()
    (event,) = [e for e in read_events(folder / "events.jsonl") if e["event"] == "unknown territory"]
    assert (event["replica"], event["step"], event["spread_kcal_mol_A"]) == (1, 80, None)
    with pytest.raises(UnstableError, match=r"replica 1 .*at step 80: a member of it has no.*frame is that of step 80"):
        run(committee, tmp_path / "stopped", spread=100, beyond="stop")
    sample = mdflash.open_run(folder).analyze().molecules["chignolin"].sample
    assert [len(t) for t in sample.tracks] == [31, 30, 31] and 80 not in sample.tracks[1].steps
    assert all(np.isfinite(series).all() for series in sample.series("spread"))
    assert any("1 frame of 1 replica (1) left out" in note and "committee" in note for note in sample.notes)
    assert choose(folder, None, 100, 0.01).looked_at == 92


def test_guards_that_mean_nothing_are_refused(committee: Path, tmp_path: Path) -> None:
    save_forcefield(tmp_path / "a" / "alone", load_forcefield("go-chignolin"))
    (tmp_path / "member-2").mkdir()
    (tmp_path / "member-2" / "forcefield").symlink_to(tmp_path / "a" / "alone")
    with pytest.raises(InputError, match=r"guards.spread.*a member of a committee"):
        run(tmp_path, tmp_path / "run", spread=2)
    text = (committee / "committee.yaml").read_text()
    (tmp_path / "committee.yaml").write_text(text)
    with pytest.raises(ForceFieldError, match="forcefield"):
        run(tmp_path, tmp_path / "run", spread=2)
    with pytest.raises(InputError, match=r"guards.beyond"):
        run(committee, tmp_path / "run", spread=2, beyond="freeze")
    with pytest.raises(InputError, match=r"`spread` is of the frames that `mdflash run` writes"):
        mdflash.Simulation(
            "chignolin", str(committee / "member-1" / "forcefield"), temperature=300, guard={"spread": 2}
        )


def test_the_analysis_shows_the_spread_with_that_of_the_data(committee: Path, plain: Path) -> None:
    analysis = mdflash.open_run(plain).analyze()
    molecule = analysis.molecules["chignolin"]
    np.testing.assert_allclose(molecule.sample.series("spread"), spread(committee, plain), rtol=1e-6)
    share = float((spread(committee, plain) > KNOWN).mean())
    (light,) = (light for light in molecule.lights if light.name == "Known territory")
    assert light.value == f"{100 * share:.2g} % beyond"
    (figure,) = (f for f in time_series(molecule) if f.key == "series-spread")
    (level,) = (line for line in figure.lines if line.style == "dashed")  # type: ignore[union-attr]
    assert (level.y == KNOWN).all() and "99 of 100" in level.name


def test_frames_are_chosen_and_sampled_around(
    committee: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.sort(spread(committee, plain).ravel())[::-1]
    chosen = choose(plain, None, 2, 0.5)
    assert chosen.spread[0] == pytest.approx(values[0]) and chosen.beyond == (values > KNOWN).sum()
    assert (np.diff(chosen.spread) < 0).all() and chosen.spread[-1] > KNOWN
    with pytest.raises(ForceFieldError, match="is not a committee"):
        choose(plain, tmp_path, 2, 0.5)

    recipe = tmp_path / "recipe.yaml"
    said = {
        "mdflash": 1, "molecule": {"name": "chignolin", "structure": str(STRUCTURE), "starts": ["structure"]},
        "mapping": "ca", "aggregation": "basic", "temperatures": ["340 K"], "length": "0.08 ps", "interval": "0.04 ps",
        "equilibration": "0.04 ps", "processes": 1, "folder": str(tmp_path / "data"),
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(said))
    told: list[str] = []
    where = Where(plain, None, 1, 0.5)
    with pytest.raises(InputError, match="no run there"):
        sample(load_recipe(recipe), told.append, lambda progress: None, dataclasses.replace(where, run=tmp_path / "no"))
    assert not (tmp_path / "data").exists()
    folder = sample(load_recipe(recipe), told.append, lambda progress: None, where)
    data = load_dataset(folder)
    (molecule,) = data.molecules
    (trajectory,) = molecule.trajectories
    assert trajectory.chosen and trajectory.biased
    assert [f["frame"] for f in data.provenance["chosen"]["frames"]] == list(chosen.labels[:1])
    assert any("chose 1 frame" in line for line in told)
    first = trajectory.read().positions[:1].astype(np.float64)
    near, other = (float(rmsd(first, x)[0]) for x in chosen.positions)
    assert near < other
    with pytest.raises(InputError, match="have no weight"):
        load_frames([folder], 0.2, weights="mbar")

    before = {f: f.read_bytes() for f in (folder / "chignolin").glob("*.h5")}
    sample(load_recipe(recipe), told.append, lambda progress: None, dataclasses.replace(where, count=7))  # as it began
    assert before == {f: f.read_bytes() for f in (folder / "chignolin").glob("*.h5")}
    manifest = json.loads((plain / "manifest.json").read_text())
    manifest["forcefields"][0]["sha256"] = "0" * 64
    with monkeypatch.context() as patch:
        patch.setattr(around, "load_manifest", lambda run: manifest)
        with pytest.raises(InputError, match="had with another force field"):
            sample(load_recipe(recipe), told.append, lambda progress: None, where)
    with pytest.raises(InputError, match="choose another `folder`"):
        sample(load_recipe(recipe), told.append, lambda progress: None, dataclasses.replace(where, run=tmp_path))
    with pytest.raises(InputError, match="another recipe"):
        sample(load_recipe(recipe), told.append, lambda progress: None)

"""Replica exchange in a run: files, resume, export, configuration, a suggested ladder."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.config.load import load_run
from mdflash.engine.engine import Engine
from mdflash.errors import InputError, MdflashError, StorageError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.io.exchange_log import ExchangeLog, read_exchange
from mdflash.io.read import read_frames
from mdflash.runs.execute import Plan, Watch, execute
from mdflash.runs.ladder import EnergyCurve, suggest
from mdflash.units import BOLTZMANN
from tests.helpers import go_helix

LADDER = (300.0, 340.0, 390.0, 450.0)
OVERRIDES = (
    "exchange.interval=0.2 ps", "output.log.interval=0.4 ps", "output.trajectory.interval=0.2 ps",
    "output.checkpoint.interval=1 ps",
)  # fmt: skip


@pytest.fixture(scope="module")
def toy_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Gō helix with a ladder of four temperatures, two ladders."""
    folder = tmp_path_factory.mktemp("toy")
    _, ff = go_helix(8, epsilon=0.4)
    save_forcefield(folder, ff)
    structure = next((folder / "systems").glob("*.safetensors")).relative_to(folder)
    (folder / "system.yaml").write_text(
        f"""mdflash: 1
system: {{structure: {structure}}}
model: {{forcefield: .}}
dynamics: {{steps: 1000, timestep: 4 fs, seed: 7}}
replicas: {{count: 8}}
exchange:
  temperatures: [300 K, 340 K, 390 K, 450 K]
"""
    )
    return folder / "system.yaml"


def run(source: Path, folder: Path, *overrides: str, steps: int = 1000) -> Plan:
    config = load_run(source, [*OVERRIDES, f"output.folder={folder}", f"dynamics.steps={steps}", *overrides])
    return execute(config, source)


def test_resumed_runs_write_the_same_bytes(toy_yaml: Path, tmp_path: Path) -> None:
    run(toy_yaml, tmp_path / "whole")
    run(toy_yaml, tmp_path / "parts", steps=400)
    with (tmp_path / "parts/exchange.csv").open("a") as file:
        file.write("450,1.8,0,1,2")  # a torn row that the kill left
    assert run(toy_yaml, tmp_path / "parts", steps=1000).start == "resume"
    for name in ("exchange.csv", "log.csv", "checkpoint/step_000000000001000.npz"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
    summaries = [json.loads((tmp_path / d / "manifest.json").read_text())["exchange"] for d in ("whole", "parts")]
    assert summaries[0] == summaries[1]
    assert summaries[0]["temperatures_K"] == [300.0, 340.0, 390.0, 450.0]
    shares = summaries[0]["acceptance"]["helix"]
    assert len(shares) == 3 and all(0 < share <= 1 for share in shares)


def test_exchange_csv_says_who_held_what(toy_yaml: Path, tmp_path: Path) -> None:
    plan = run(toy_yaml, tmp_path / "run")
    table = read_exchange(tmp_path / "run/exchange.csv")
    assert table.steps.tolist() == list(range(0, 1001, 50))
    assert table.replica_ids == tuple(range(8)) and table.n_states == 4
    assert table.labels[0].tolist() == [0, 1, 2, 3] * 2
    last = [LADDER[label] for label in table.labels[-1]]
    assert plan.engine.state.temperature.tolist() == last
    # what is reported at a step belongs to the labels from before that step's attempt
    assert table.at(np.array([0, 49, 50, 51, 100, 10_000])).tolist() == [
        table.labels[i].tolist() for i in (0, 0, 0, 1, 1, -1)
    ]


@pytest.mark.parametrize("form", ["hdf5", "xtc"])
def test_export_by_temperature(toy_yaml: Path, tmp_path: Path, form: str) -> None:
    """Frame by frame, the file holds the replica whose simulation was at that temperature at that step."""
    folder = tmp_path / "run"
    config = load_run(toy_yaml, [*OVERRIDES, f"output.folder={folder}", f"output.trajectory.format={form}"])
    held: dict[int, list[float]] = {}

    class Witness:
        def next_report(self, step: int) -> int:
            return (step // 50 + 1) * 50

        def report(self, simulation: Engine) -> None:
            held[simulation.state.step] = simulation.state.temperature.tolist()

    def planned(plan: Plan) -> None:
        held[0] = plan.engine.state.temperature.tolist()
        plan.engine.reporters.append(Witness())

    execute(config, toy_yaml, watch=Watch(planned=planned))
    out = tmp_path / "state.xtc"
    for ladder, text, label in ((0, "390 K", 2), (1, "300 K", 0)):
        done = CliRunner().invoke(
            app,
            ["export", str(folder), "--by", "temperature", "--temperature", text, "--ladder", str(ladder),
             "--out", str(out), "--force"],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        frames = read_frames(out)
        assert frames.steps.tolist() == list(range(0, 1001, 50))
        files = sorted((folder / "trajectory").iterdir())
        for i, step in enumerate(frames.steps.tolist()):
            r = next(r for r in range(4 * ladder, 4 * ladder + 4) if held[step][r] == LADDER[label])
            source = read_frames(files[0], r) if form == "hdf5" else read_frames(files[r])
            assert source.steps[i] == step
            np.testing.assert_allclose(frames.positions[i], source.positions[i], atol=0.0051)
    assert mdtraj.load(str(out), top=str(folder / "topology.pdb")).n_frames == 21


def test_export_says_what_there_is(toy_yaml: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(toy_yaml, folder, steps=100)

    def error(*arguments: str) -> str:
        command = ["export", str(folder), "--by", "temperature", "--out", str(tmp_path / "x.xtc"), *arguments]
        found = CliRunner().invoke(app, command).exception
        assert isinstance(found, MdflashError)
        return str(found)

    assert "0: 300 K, 1: 340 K, 2: 390 K, 3: 450 K" in error("--temperature", "310 K", "--ladder", "0")
    assert "no unit" in error("--temperature", "300", "--ladder", "0")
    assert "no state 4" in error("--state", "4", "--ladder", "0")
    assert "--ladder, 0 to 1" in error("--state", "0")
    assert "no ladder 2" in error("--state", "0", "--ladder", "2")
    (folder / "exchange.csv").write_text("step,time_ps\n")
    assert "exchange.csv" in error("--state", "0", "--ladder", "0")


def test_a_cut_exchange_csv_is_refused(tmp_path: Path) -> None:
    log = ExchangeLog.create(tmp_path / "exchange.csv", [0, 1])
    log.append(0, 0.0, np.array([0, 1]))
    log.flush(sync=True)
    with pytest.raises(StorageError, match=r"exchange\.csv: has \d+ bytes, but had"):
        ExchangeLog.resume(log.path, log.size + 1)
    with pytest.raises(StorageError, match="already exists"):
        ExchangeLog.create(log.path, [0, 1])


# --- configuration ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "key", "words"),
    [
        ("replicas.count=10", "replicas.count", "the nearest: 8 and 12; write `count: 12`"),
        ("replicas.count=3", "replicas.count", "the nearest: 4; write `count: 4`"),
        ("dynamics.integrator=verlet", "dynamics.integrator", "write `integrator: langevin-middle`"),
        ("dynamics.temperature=300 K", "dynamics.temperature", "set by the ladder"),
        ("exchange.interval=2.001 ps", "exchange.interval", "not a whole number"),
        ("exchange.interval=2", "exchange.interval", "write `interval: 2 ps`"),
        ("exchange.temperatures=[340 K, 300 K]", "exchange.temperatures", r"write `temperatures: \[300 K, 340 K\]`"),
        ("exchange.temperatures=[300 K]", "exchange.temperatures", "at least 2"),
        ("exchange.temperatures={min: 300 K, max: 400 K}", "exchange.temperatures", "keys min, max, count"),
        ("exchange.temperatures={min: 300 K, max: 400, count: 4}", "exchange.temperatures", "write `max: 400 K`"),
        ("exchange.temperatures={min: 400 K, max: 300 K, count: 4}", "exchange.temperatures", "below max"),
        ("exchange.temperatures={min: 300 K, max: 400 K, count: 1.5}", "exchange.temperatures", "whole number"),
        ("exchange.scheme=gibs", "exchange.scheme", "write `scheme: gibbs`"),
        ("exchange.every=5", "exchange.every", "not a known key"),
        ("exchange=none", "dynamics.temperature", "is missing"),
        ("guards.nonfinite=freeeze", "guards.nonfinite", "write `nonfinite: freeze`"),
        ("guards.max_force=5000", "guards.max_force", "write `max_force: 5000 kcal/mol/angstrom`"),
    ],
)
def test_wrong_sections_are_explained(toy_yaml: Path, override: str, key: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        load_run(toy_yaml, [override])
    assert error.value.key == key


def test_a_geometric_ladder(toy_yaml: Path) -> None:
    config = load_run(toy_yaml, ["exchange.temperatures={min: 300 K, max: 450 K, count: 8}"])
    assert config.exchange is not None
    found = np.array(config.exchange.temperatures)
    assert (found[0], found[-1], len(found)) == (300.0, 450.0, 8)
    np.testing.assert_allclose(found[1:] / found[:-1], 1.5 ** (1 / 7), rtol=1e-5)
    assert config.temperatures == config.exchange.temperatures


# --- a suggested ladder -----------------------------------------------------------------------------------------


def test_a_suggested_ladder_has_the_acceptance_it_was_made_for() -> None:
    """Harmonic oscillators: energies are gamma distributed, so the acceptance can be drawn."""
    n, t = 200, np.geomspace(280.0, 500.0, 12)
    kT = BOLTZMANN * t
    curve = EnergyCurve(t, n / 2 * kT, math.sqrt(n / 2) * kT)
    ladder = suggest([curve], 300.0, 450.0, 0.3)
    assert (ladder[0], ladder[-1]) == (300.0, 450.0)
    rng = np.random.default_rng(2)
    for low, high in pairwise(ladder):
        u, v = (rng.gamma(n / 2, BOLTZMANN * temperature, 200_000) for temperature in (low, high))
        drawn = np.minimum(1.0, np.exp((u - v) / BOLTZMANN * (1 / low - 1 / high))).mean()
        assert drawn == pytest.approx(curve.acceptance(low, high), abs=0.02)
        assert 0.29 < drawn < 0.42  # one rung less would be below 0.3 somewhere
    assert len(suggest([curve], 300.0, 450.0, 0.6)) > len(ladder)
    assert len(suggest([curve], 300.0, 450.0, 0.3, fewest=len(ladder) + 2)) == len(ladder) + 2


def test_check_suggests_a_ladder_to_paste(toy_yaml: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(toy_yaml), "--suggest-ladder", "--pilot-steps", "500"])
    assert done.exit_code == 0, done.output
    pasted = done.stdout[done.stdout.index("exchange:") :]
    ladder = pasted.split("temperatures: ")[1]
    config = load_run(toy_yaml, [f"exchange.temperatures={ladder}", f"replicas.count={ladder.count('K')}"])
    assert config.exchange is not None
    assert (config.exchange.temperatures[0], config.exchange.temperatures[-1]) == (300.0, 450.0)
    missing = CliRunner().invoke(
        app,
        ["check", str(toy_yaml), "--suggest-ladder", "--set", "exchange=none", "--set", "dynamics.temperature=300 K"],
    )
    assert isinstance(missing.exception, InputError)
    assert "--min '300 K'" in str(missing.exception)

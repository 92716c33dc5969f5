"""Temperatures that follow a schedule: the log, the same bits however a run is cut, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mdflash
from mdflash.analysis.report.provenance import methods
from mdflash.config.load import load_run, parse_run
from mdflash.config.rules import warnings
from mdflash.engine.annealing import Annealing, Stage
from mdflash.errors import InputError
from mdflash.runs.execute import execute
from tests.runs.test_metadynamics import content, run, write

SCHEDULE = (
    "[{to: 400 K, after: 0.8 ps, length: 2 ps, every: 0.08 ps}, "
    "{to: 200 K, length: 4 ps, every: 0.4 ps, form: geometric}]"
)
EARLY = "output.log.interval=0.4 ps"


def test_the_log_follows_and_bits_do_not_depend_on_cuts(tmp_path: Path) -> None:
    source = write(tmp_path, "", replicas=2)
    given = [f"dynamics.annealing={SCHEDULE}", EARLY]
    whole = run(source, tmp_path / "whole", *given)
    for steps in (333, 1_000, 2_000):
        run(source, tmp_path / "parts", *given, f"dynamics.steps={steps}")
    assert content(tmp_path / "parts") == content(whole)
    log = mdflash.open_run(whole).log
    assert set(log["state"]) == {0}
    t = log.groupby("time_ps")["target_K"].first()
    assert t[0.8] == 300.0 and t[1.2] == pytest.approx(300.0 + 100.0 * 0.32 / 2.0)  # shown before it changes
    assert t[4.8] == pytest.approx(400.0 * 0.5 ** (1.6 / 4.0)) and t[8.0] == 200.0
    assert len(set(log["target_K"])) > 10
    analysis = mdflash.open_run(whole).analyze()
    (molecule,) = analysis.molecules.values()
    assert "at 200 K, annealed until 6.8 ps" in molecule.sentences[0]
    assert molecule.sentences[-1].startswith("Sampled enough: no.")
    assert "to 200 K within 4 ps (geometric) after 0 ps" in methods(analysis)


@pytest.mark.parametrize("seed", range(4))
def test_a_schedule_is_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = rng.uniform(250.0, 400.0, 3)
    stages, stop = [], 0
    for form in ("linear", "geometric", "linear"):
        every = int(rng.integers(1, 9))
        begin = -(-(stop + int(rng.integers(0, 20))) // every) * every
        stop = begin + every * int(rng.integers(1, 30))
        stages.append(Stage(float(rng.uniform(200.0, 600.0)), begin, stop, every, form))  # type: ignore[arg-type]
    annealing = Annealing(start.tolist(), stages)
    step, held = 0, annealing.at(0)
    np.testing.assert_array_equal(held, start)
    while (due := annealing.next_change(step)) <= stop:
        assert all(np.array_equal(annealing.at(s), held) for s in range(step, due))
        step, held = due, annealing.at(due)
        stage = next(s for s in stages if due <= s.stop)
        begin = annealing.at(stage.start)
        share = (due - stage.start) / (stage.stop - stage.start)
        linear, ratio = begin + share * (stage.kelvin - begin), begin * (stage.kelvin / begin) ** share
        np.testing.assert_allclose(held, linear if stage.form == "linear" else ratio, rtol=1e-14)
    assert (annealing.at(stop + 1000) == stages[-1].kelvin).all()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("[{to: 0 K, length: 1 ps}]", "above 0 K"),
        ("[{to: 400 K, length: 1.5 ps}]", "not a whole number; .*write `length: 2 ps`"),
        ("[{to: 400 K, length: 1e300 ps}]", "can be counted"),
        ("[{to: 400 K, length: 1 ps, every: 0.001 ps}]", "not a whole number"),
        ("[{to: 400 K, length: 1 ps, form: wild}]", "linear"),
        ("[{to: 400 K}]", "length"),
    ],
)
def test_wrong_schedules_are_explained(tmp_path: Path, given: str, words: str) -> None:
    source = write(tmp_path, "")
    with pytest.raises(InputError, match=words):
        parse_run(source.read_text().replace("steps: 2_000", f"steps: 2_000, annealing: {given}"), source)


def test_it_does_not_go_with_any_exchange(tmp_path: Path) -> None:
    """States are told apart by their temperatures, also where biases or scales are traded."""
    source = write(tmp_path, "exchange: {scale: {bonds: [0.9, 1]}}\n")
    load_run(source, [EARLY])
    with pytest.raises(InputError, match="states of an exchange keep their temperatures"):
        load_run(source, [f"dynamics.annealing={SCHEDULE}", EARLY])


def test_a_run_that_is_too_short_for_its_stages_is_a_warning(tmp_path: Path) -> None:
    given = [f"dynamics.annealing={SCHEDULE}", EARLY]
    source = write(tmp_path, "")
    assert not any("annealing" in sentence for sentence in warnings(load_run(source, given)))
    (said,) = (s for s in warnings(load_run(source, [*given, "dynamics.steps=1_000"])) if "annealing" in s)
    assert "ends at step 1,700, and the run at step 1,000" in said


def test_windows_tell_no_free_energy_while_it_moves(tmp_path: Path) -> None:
    windows = (
        "biases: {name: ends, variable: distance, beads: [0, 9], force_constant: 1 kcal/mol/angstrom^2, "
        "center: [13 angstrom, 14 angstrom]}\n"
    )
    folder = run(write(tmp_path, windows), tmp_path / "out", f"dynamics.annealing={SCHEDULE}", EARLY)
    (molecule,) = mdflash.open_run(folder).analyze().molecules.values()
    assert not molecule.windows and any("while the temperature moves" in note for note in molecule.notes)


def test_it_does_not_go_with_hills_and_cannot_be_added_later(tmp_path: Path) -> None:
    source = write(tmp_path)
    with pytest.raises(InputError, match="hills are made for one temperature"):
        load_run(source, [f"dynamics.annealing={SCHEDULE}"])
    source = write(tmp_path, "")
    folder = run(source, tmp_path / "plain", "dynamics.steps=100", EARLY)
    with pytest.raises(InputError, match=r"dynamics\.annealing: none"):
        execute(load_run(source, [f"output.folder={folder}", f"dynamics.annealing={SCHEDULE}", EARLY]), source)


def test_a_run_that_ends_before_its_schedule_says_so(tmp_path: Path) -> None:
    source = write(tmp_path, "", replicas=1)
    given = [f"dynamics.annealing={SCHEDULE}", "dynamics.steps=100"]
    (note,) = (n for n in warnings(load_run(source, given)) if "annealing" in n)
    assert "does not get to where it moves" in note
    assert not [n for n in warnings(load_run(source, [given[0], "dynamics.length=6.8 ps"])) if "annealing" in n]


def test_python_and_yaml_describe_the_same_run(tmp_path: Path) -> None:
    """One schedule, the same bits; frames of a TrajectoryReporter are known to be annealed."""
    stages = [
        {"to": "400 K", "after": "0.8 ps", "length": "2 ps", "every": "0.08 ps"},
        {"to": "200 K", "length": "4 ps", "every": "0.4 ps", "form": "geometric"},
    ]
    source = write(tmp_path, "", replicas=2)
    folder = run(source, tmp_path / "out", f"dynamics.annealing={SCHEDULE}", EARLY)
    (structure,) = (tmp_path / "helix" / "systems").glob("*.safetensors")
    sim = mdflash.Simulation(structure, tmp_path / "helix", replicas=2, seed=7, annealing=stages)
    sim.reporters.append(mdflash.TrajectoryReporter(tmp_path / "frames", 100))
    sim.run(2_000)
    assert (sim.state.temperature == 200.0).all()
    log = mdflash.open_run(folder).log
    np.testing.assert_array_equal(log[log["step"] == 2_000]["potential_kcal_mol"], sim.energies)
    (molecule,) = sim.analyze().molecules.values()
    assert "at 200 K, annealed until 6.8 ps" in molecule.sentences[0]


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([{"to": 500, "length": "1 ns"}], r"argument 'annealing\[0\]\.to' of Simulation: .*unit"),
        ([{"to": "500 K", "length": "1.5 ps"}], r"argument 'annealing\[0\]\.length' .*`'length': '2 ps'`"),
        ([{"to": "500 K", "until": "1 ns"}], r"annealing\[0\]"),
    ],
)
def test_wrong_stages_of_a_call_are_explained(stages: list[dict[str, object]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        mdflash.Simulation("chignolin", "go-chignolin", annealing=stages)

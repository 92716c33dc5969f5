"""`environment:` of a run: what is left out is the force field's, and a ladder does not change the energy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mdflash import Simulation, load_forcefield
from mdflash.config.load import parse_run
from mdflash.errors import InputError
from mdflash.forcefields.environment import Environment
from mdflash.mapping.chain import chain_of
from mdflash.runs.prepare import Prepared, prepare

RUN = """
mdflash: 1
system: {{sequence: MKHEDRSGGW, name: chain}}
model: {{forcefield: {model}}}
dynamics: {{timestep: 10 fs, friction: 0.01 /ps, steps: 1000, seed: 1{temperature}}}
replicas: {{count: 2}}
{more}
"""


def prepared(model: str = "calvados2", temperature: str = ", temperature: 300 K", more: str = "") -> Prepared:
    return prepare(parse_run(RUN.format(model=model, temperature=temperature, more=more), Path("run.yaml")))


def around(run: Prepared) -> Environment:
    found = run.forcefields[0].environment
    assert found is not None
    return found


def test_defaults() -> None:
    run = prepared()
    assert around(run) == Environment(300.0, 0.15, 7.5)
    assert run.config.environment.temperature == 300.0
    assert run.forcefields[0].digest != load_forcefield("calvados2").digest


def test_given() -> None:
    run = prepared(more="environment: {ionic_strength: 50 mM, pH: 6, temperature: 280 K}")
    assert around(run) == Environment(280.0, 0.05, 6.0)


def test_a_ladder_exchanges_under_one_energy() -> None:
    ladder = "exchange: {temperatures: {min: 280 K, max: 320 K, count: 2}, interval: 1 ps}"
    run = prepared(temperature="", more=ladder)
    assert around(run).temperature == 293.15
    assert any("293.15 K" in note and "environment.temperature" in note for note in run.notes)
    assert around(prepared(temperature="", more=f"{ladder}\nenvironment: {{temperature: 310 K}}")).temperature == 310.0


def test_annealing_moves_the_bath_alone() -> None:
    run = prepared(temperature=", temperature: 300 K, annealing: {to: 320 K, length: 1 ps}")
    assert around(run).temperature == 300.0
    assert any("the temperature moves, but the energy does not" in note and "300 K" in note for note in run.notes)


def test_a_model_with_fixed_parameters_says_so() -> None:
    run = prepared("hps-urry", more="environment: {pH: 6}")
    assert run.forcefields[0].environment is None
    assert any("environment.pH does not change hps-urry" in note for note in run.notes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("environment: {ionic_strength: 0.15}", "write `ionic_strength: 0.15 M`"),
        ("environment: {ionic_strength: -1 M}", "must be 0 or more"),
        ("environment: {temperature: 0 K}", "must be more than 0"),
        ("environment: {pH: 70}", "a number from -2 to 16"),
        ("environment: {salt: 0.15 M}", "known here: temperature, ionic_strength, pH"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        prepared(more=text)
    assert says in str(error.value)


def test_one_of_structure_and_sequence() -> None:
    text = RUN.format(model="calvados2", temperature="", more="").replace("sequence: MKHEDRSGGW, ", "")
    with pytest.raises(InputError, match="or `sequence: "):
        parse_run(text, Path("run.yaml"))


def test_in_python() -> None:
    ff = load_forcefield("calvados2")
    system, start = chain_of("MKHEDRSGGW", ff, "chain", frames=2)
    salty = {"ionic_strength": 0.5, "pH": 6.0}
    sim = Simulation(
        system,
        "calvados2",
        start=start,
        replicas=2,
        temperatures="293.15 K",
        timestep="10 fs",
        seed=1,
        environment=salty,
    )
    same = Simulation(
        system, ff.at(Environment(293.15, 0.5, 6.0)), start=start, replicas=2, temperatures="293.15 K",
        timestep="10 fs", seed=1, environment={**salty, "temperature": "293.15 K"},
    )  # fmt: skip
    plain = Simulation(system, "calvados2", start=start, replicas=2, temperatures="293.15 K", timestep="10 fs", seed=1)
    energies = [[r.energy for r in s.replicas] for s in (sim, same, plain)]
    np.testing.assert_array_equal(energies[0], energies[1])
    assert energies[0] != energies[2]
    with pytest.raises(InputError, match="ionic_strength"):
        Simulation(system, "calvados2", start=start, environment={"ionic_strength": "1 kg"})

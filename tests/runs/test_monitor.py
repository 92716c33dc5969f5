"""`monitor:`: any variable is recorded without acting on the run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mdflash import Simulation
from mdflash.config.load import parse_run
from mdflash.config.write import resolved_yaml
from mdflash.errors import InputError
from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.base import UNITS
from mdflash.runs.execute import execute

STRUCTURE = Path(__file__).parents[2] / "systems" / "chignolin.pdb"
ENTRIES = [
    {"name": f"my_{name}", "variable": name, "beads": list(range(0, 3 * kind.takes, 3)) if kind.takes else "all"}
    for name, kind in VARIABLES.items()
]


def run(folder: Path, steps: int, **more: object) -> Path:
    folder.mkdir(exist_ok=True)
    source = folder / "a.yaml"
    data = {
        "mdflash": 1,
        "system": {"structure": str(STRUCTURE)},
        "model": {"forcefield": "go-chignolin"},
        "dynamics": {"temperature": "340 K", "steps": steps, "timestep": "10 fs", "seed": 3},
        "replicas": {"count": 2},
        "output": {
            "folder": str(folder / "run"),
            **{key: {"interval": "0.5 ps"} for key in ("colvars", "log", "trajectory")},
        },
        **more,
    }
    source.write_text(json.dumps(data))
    config = parse_run(source.read_text(), source)
    assert parse_run(resolved_yaml(config), source).monitor == config.monitor
    execute(config, source)
    return folder / "run"


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("monitored"), 200, monitor=ENTRIES)


def rows(folder: Path) -> np.ndarray:
    return np.genfromtxt(folder / "colvars.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")


def test_every_variable_has_one_column_and_the_value_that_it_has_in_python(monitored: Path) -> None:
    found = rows(monitored)
    columns = [f"{e['name']}_{UNITS[VARIABLES[str(e['variable'])].dimension]}".rstrip("_") for e in ENTRIES]
    assert list(found.dtype.names)[6:] == columns
    sim = Simulation(STRUCTURE, "go-chignolin", replicas=2, temperatures="340 K", timestep="10 fs", seed=3,
                     monitor=ENTRIES)  # fmt: skip
    for step in (0, 50, 100, 150, 200):
        sim.run(step - sim.state.step)
        now = sim.variables()
        for entry, column in zip(ENTRIES, columns, strict=True):
            assert found[column][found["step"] == step].tolist() == now[str(entry["name"])].tolist()


def test_the_run_is_the_same_as_without(monitored: Path, tmp_path: Path) -> None:
    plain = run(tmp_path, 200)
    assert (plain / "log.csv").read_bytes() == (monitored / "log.csv").read_bytes()
    assert not (plain / "colvars.csv").exists()


def test_with_a_bias_and_resumed(tmp_path: Path) -> None:
    bias = {"name": "pull", "variable": "distance", "beads": [0, 9], "force_constant": "1 kcal/mol/angstrom^2",
            "center": "8 angstrom"}  # fmt: skip
    more: dict[str, object] = {"biases": bias, "monitor": {"name": "ends", "variable": "distance", "beads": [0, 9]}}
    run(tmp_path / "cut", 100, **more)
    cut = run(tmp_path / "cut", 200, **more)
    whole = run(tmp_path / "whole", 200, **more)
    assert (cut / "colvars.csv").read_bytes() == (whole / "colvars.csv").read_bytes()
    found = rows(cut)
    assert list(found.dtype.names)[6:] == ["pull_A", "pull_kcal_mol", "ends_A"]
    assert found["ends_A"].tolist() == found["pull_A"].tolist()
    with pytest.raises(InputError, match="monitor"):
        run(tmp_path / "cut", 300, biases=bias)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"beads": "A"}, "write for example 'chain A'"),
        ({"beads": "chain B"}, "there is no chain B; the chains are A"),
        ({"system": "other"}, "there is no system 'other'"),
        ({"force_constant": "1 kcal/mol/angstrom^2"}, "write it as 'biases.force_constant'"),
    ],
)
def test_mistakes_are_named_with_their_key(entry: dict[str, str], says: str, tmp_path: Path) -> None:
    monitor = {"name": "rg", "variable": "radius_of_gyration", **entry}
    with pytest.raises(InputError) as error:
        run(tmp_path, 100, monitor=monitor)
    assert says in str(error.value)
    assert f"monitor.{'0.' * ('beads' in entry)}{next(iter(entry))}" in str(error.value)


def test_chains_by_letter(tmp_path: Path) -> None:
    found = rows(run(tmp_path, 50, monitor=[
        {"name": "a", "variable": "radius_of_gyration", "beads": "chain A"},
        {"name": "b", "variable": "radius_of_gyration"},
    ]))  # fmt: skip
    assert found["a_A"].tolist() == found["b_A"].tolist()

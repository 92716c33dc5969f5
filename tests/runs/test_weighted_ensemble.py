"""Weighted ensembles in runs: the file, walkers.csv, the same bits however a run is cut, killed or shared."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mdflash
from mdflash.config.load import load_run, parse_run
from mdflash.config.rules import warnings
from mdflash.config.write import resolved_yaml
from mdflash.errors import InputError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.io.checkpoint import load_checkpoint
from mdflash.io.repair import repair_file
from mdflash.runs.execute import execute
from mdflash.runs.prepare import prepare
from mdflash.runs.writers import misfit
from tests.helpers import go_helix
from tests.processes import Process
from tests.rank_helpers import command, finish, newest_step, start_ranks

ENSEMBLE = """weighted_ensemble:
  name: ends
  variable: distance
  beads: [0, 9]
  every: 0.4 ps
  bins: {min: 13.5 angstrom, max: 16.5 angstrom, count: 4}
  target: {min: 17 angstrom}
"""


def write(folder: Path, ensemble: str = ENSEMBLE, more: str = "") -> Path:
    """A Gō helix of 10 residues, 6 walkers."""
    _, ff = go_helix(10, "helix", 0.4)
    save_forcefield(folder / "helix", ff)
    structure = next((folder / "helix" / "systems").glob("*.safetensors")).relative_to(folder)
    text = (
        f"mdflash: 1\nname: run\nsystem: {{structure: {structure}, forcefield: helix, name: helix}}\n"
        "dynamics: {timestep: 4 fs, seed: 7, temperature: 600 K, steps: 2_000, minimize: 5}\nreplicas: {count: 6}\n"
        "output: {trajectory: {interval: 2 ps}, log: {interval: 2 ps}, checkpoint: {interval: 1.2 ps, keep: 1}}\n"
    )
    (folder / "system.yaml").write_text(text + ensemble + more)
    return folder / "system.yaml"


def run(source: Path, folder: Path, *overrides: str) -> Path:
    execute(load_run(source, [f"output.folder={folder}", *overrides]), source)
    return folder


def content(folder: Path) -> dict[str, Any]:
    """What must not depend on what happened on the way."""
    checkpoint = load_checkpoint(folder / "checkpoint")
    assert checkpoint is not None
    tables = {name: (folder / name).read_bytes() for name in ("walkers.csv", "log.csv")}
    return tables | {name: array.tobytes() for name, array in checkpoint.arrays.items()}


def test_a_run_is_its_files(tmp_path: Path) -> None:
    """walkers.csv adds up, from one resampling to the next; so do manifest and checkpoint."""
    folder = run(write(tmp_path), tmp_path / "out")
    rows = mdflash.open_run(folder).walkers
    assert list(rows.columns) == ["step", "time_ps", "replica", "value", "weight", "arrived", "parent", "next_weight"]
    assert len(rows) == 6 * 20 and rows["step"].unique().tolist() == list(range(100, 2001, 100))
    table = {name: rows[name].to_numpy().reshape(20, 6) for name in rows.columns}
    for name in ("weight", "next_weight"):
        np.testing.assert_allclose(table[name].sum(axis=1), 1.0, rtol=1e-13)
    assert (table["weight"][1:] == table["next_weight"][:-1]).all() and (table["weight"][0] == 1 / 6).all()
    assert ((table["value"] >= 17.0) == (table["arrived"] == 1)).all()
    arrived = table["weight"][table["arrived"] == 1]
    found = json.loads((folder / "manifest.json").read_text())["weighted_ensemble"]
    assert found == {
        "name": "ends", "walkers": 6, "every_steps": 100, "arrivals": len(arrived),
        "arrived_weight": pytest.approx(arrived.sum()),
    }  # fmt: skip
    assert len(arrived) > 0
    checkpoint = load_checkpoint(folder / "checkpoint")
    assert checkpoint is not None and np.array_equal(checkpoint.arrays["walker_weights"], table["next_weight"][-1])
    assert repair_file(folder / "walkers.csv").kept == 120


def test_cut_and_resumed_it_has_the_same_bits(tmp_path: Path) -> None:
    source = write(tmp_path)
    whole = content(run(source, tmp_path / "whole"))
    folder = tmp_path / "parts"
    for steps in (50, 333, 1_000, 2_000):
        run(source, folder, f"dynamics.steps={steps}")
    assert content(folder) == whole


def test_killed_it_has_the_same_bits(tmp_path: Path) -> None:
    source = write(tmp_path)
    seldom = "output.checkpoint.interval=2 ps"
    whole = content(run(source, tmp_path / "whole", "dynamics.steps=20_000", seldom))
    folder = tmp_path / "killed"
    child = Process(*command(source, folder, 20_000, seldom))
    while child.poll() is None and newest_step(folder) < 2_000:
        time.sleep(0.01)
    child.kill()
    child.communicate()
    assert child.returncode == -9
    run(source, folder, "dynamics.steps=20_000", seldom)
    assert content(folder) == whole


def test_the_number_of_ranks_changes_no_bit(tmp_path: Path) -> None:
    source = write(tmp_path)
    whole = content(run(source, tmp_path / "one"))
    results = finish(start_ranks(2, command(source, tmp_path / "two", 2_000)))
    assert [code for code, *_ in results] == [0, 0], results
    assert content(tmp_path / "two") == whole


def test_a_checkpoint_must_hold_the_walkers(tmp_path: Path) -> None:
    source = write(tmp_path)
    prepared = prepare(load_run(source))
    found = load_checkpoint(run(source, tmp_path / "run", "dynamics.steps=300") / "checkpoint")
    assert found is not None and misfit(prepared, found.arrays, found.header) is None
    for name in [name for name in found.arrays if name.startswith("walker_")]:
        rest = {key: array for key, array in found.arrays.items() if key != name}
        assert misfit(prepared, rest, found.header) == f"it has no '{name}'"
    header = {key: value for key, value in found.header.items() if key != "walkers_size"}
    assert misfit(prepared, found.arrays, header) == "its header has no walkers_size"


REVO = ENSEMBLE.replace("bins: {min: 13.5 angstrom, max: 16.5 angstrom, count: 4}", "merge_distance: 0.5 angstrom")


@pytest.mark.parametrize("ensemble", [ENSEMBLE, REVO, ENSEMBLE.replace("  target: {min: 17 angstrom}\n", "")])
def test_resolved_yaml_reads_back(tmp_path: Path, ensemble: str) -> None:
    config = load_run(write(tmp_path, ensemble))
    assert config.weighted_ensemble is not None
    (tmp_path / "resolved.yaml").write_text(resolved_yaml(config))
    again = load_run(tmp_path / "resolved.yaml")
    assert again.weighted_ensemble == config.weighted_ensemble and resolved_yaml(again) == resolved_yaml(config)


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("bins: {min: 13.5 angstrom, max: 16.5 angstrom, count: 4}", "bins: none", "bins",
         "is missing; add for example `bins: {min: 4 angstrom, max: 20 angstrom, count: 15}`"),
        ("every: 0.4 ps", "every: 0.401 ps", "every", "not a whole number"),
        ("every: 0.4 ps", "every: 0.4 ps\n  merge_distance: 1 angstrom", "merge_distance", "is of REVO"),
        ("max: 16.5 angstrom", "max: 16.5", "bins", "no unit"),
        ("count: 4}", "count: 100_000_000}", "bins", "a whole number from 2 to"),
        ("{min: 13.5 angstrom, max: 16.5 angstrom, count: 4}", "[3 angstrom, 2 angstrom]", "bins", "must increase"),
        ("target: {min: 17 angstrom}", "target: 17 angstrom", "target", "write for example `target: {max: 8 angstrom"),
        ("target: {min: 17", "target: {max: 1 angstrom, min: 17", "target", "min must be below max, found min 17"),
        ("target: {min: 17", "target: {minimum: 17", "target", "expected min, max or both, found 'minimum'"),
        ("target: {min: 17", "target: {min: 12", "target", "replica 0 starts in the target"),
        ("beads: [0, 9]", "beads: [0, 99]", "beads", "bead 99 is not in system"),
        ("timestep: 4 fs", "timestep: 4 fs, integrator: verlet", "integrator", "never part"),
        ("timestep: 4 fs", "timestep: 4 fs, annealing: [{length: 4 ps, to: 500 K}]", "annealing", "must not move"),
        ("count: 6", "count: 1", "replicas.count", "one cannot be split"),
        ("temperature: 600 K", "temperature: [6 K, 6 K, 6 K, 6 K, 6 K, 7 K]", "temperature", "have one temperature"),
        ("temperature: 600 K,", "", "exchange", "keep their state"),
        ("weighted", "biases: {name: b, variable: distance, beads: [0, 9], force_constant: 1 kcal/mol/angstrom^2, "
         "center: [3 angstrom, 4 angstrom]}\nweighted", "biases", "differs between walkers"),
        ("weighted", "metadynamics: {name: m, variables: {name: q, variable: dihedral, beads: [0, 1, 2, 3], "
         "width: 9 degree}}\nweighted", "metadynamics", "grows while walkers move"),
    ],
)  # fmt: skip
def test_wrong_entries_are_explained(tmp_path: Path, old: str, new: str, key: str, words: str) -> None:
    more = "" if key != "exchange" else "exchange: {temperatures: [600 K, 700 K]}\n"
    source = write(tmp_path, more=more)
    with pytest.raises(InputError) as caught:
        prepare(parse_run(source.read_text().replace(old, new), source)).engine().evaluate()
    assert str(caught.value.key).endswith(key) and words in str(caught.value)


def test_what_is_odd_is_a_warning(tmp_path: Path) -> None:
    few, late = warnings(load_run(write(tmp_path), ["weighted_ensemble.every=9.2 ps"]))
    assert "6 walkers for up to 5 bins leave fewer than 4" in late + few
    assert "longer than the run" in late + few


def test_from_python() -> None:
    walkers = {"name": "q", "variable": "native_contacts", "bins": [0.5, 0.7, 0.9], "every": "1 ps"}
    sim = mdflash.Simulation("chignolin", "go-chignolin", replicas=8, timestep="10 fs", weighted_ensemble=walkers)
    sim.run("4 ps")
    assert sim.ensemble is not None and sim.ensemble.weights.sum() == pytest.approx(1.0)
    with pytest.raises(InputError, match=r"argument 'weighted_ensemble\.bins' of Simulation: is missing"):
        mdflash.Simulation("chignolin", "go-chignolin", weighted_ensemble={**walkers, "bins": None})

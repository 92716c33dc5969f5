"""Biases that move, in runs: the file, columns, resuming, and Jarzynski's average in the analysis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mdflash
from mdflash.config.load import load_run
from mdflash.config.rules import warnings
from mdflash.config.write import resolved_yaml
from mdflash.errors import InputError
from mdflash.units import kT
from tests.runs.test_metadynamics import content, run, write

PULL = """biases:
  - {name: pull, variable: distance, beads: [0, 9], center: 13 angstrom, center_to: 25 angstrom,
     force_constant: 2 kcal/mol/angstrom^2, moving: {after: 1 ps, length: 5 ps, every: 0.04 ps}}
"""


def test_a_run_its_work_and_its_analysis(tmp_path: Path) -> None:
    source = write(tmp_path, PULL, replicas=6)
    folder = run(source, tmp_path / "whole")
    rows = mdflash.open_run(folder).colvars
    assert list(rows.columns[6:]) == [
        "pull_A", "pull_kcal_mol", "pull_center", "pull_force_constant", "pull_work_kcal_mol",
    ]  # fmt: skip
    assert set(rows["state"]) == {0}
    centers = rows[rows["replica"] == 0].set_index("step")["pull_center"]
    assert (centers[200], centers[2_000]) == (13.0, 25.0)
    assert centers[700] == pytest.approx(13.0 + 12.0 * 1.76 / 5.0)  # before the step of its time
    energy = 0.5 * 2.0 * (rows["pull_A"] - rows["pull_center"]) ** 2
    np.testing.assert_allclose(rows["pull_kcal_mol"], energy, rtol=1e-12)
    assert not rows[rows["time_ps"] <= 1.0]["pull_work_kcal_mol"].any()

    parts = tmp_path / "parts"
    for steps in (333, 710, 2_000):
        run(source, parts, f"dynamics.steps={steps}")
    assert content(parts) == content(folder)

    (molecule,) = mdflash.open_run(folder).analyze().molecules.values()
    (pulled,) = molecule.pulled
    last = rows[rows["step"] == 2_000]["pull_work_kcal_mol"].to_numpy()
    kt = kT(300.0)
    assert pulled.free[-1] == pytest.approx(-kt * np.log(np.exp(-last / kt).mean()))
    assert pulled.free[-1] < pulled.mean[-1] and pulled.error[-1] > 0 and pulled.replicas == 6


def test_a_path_beyond_the_end_of_the_run_is_a_warning(tmp_path: Path) -> None:
    source = write(tmp_path, PULL)
    assert not warnings(load_run(source))
    (said,) = warnings(load_run(source, ["dynamics.steps=1_000"]))
    assert said.startswith("biases.0.moving ends at step 1,500, and the run at step 1,000: pull does not get")


@pytest.mark.parametrize("name", ["pull_center", "pull_work_kcal_mol"])
def test_no_two_columns_have_one_name(tmp_path: Path, name: str) -> None:
    monitor = f"monitor: {{name: {name}, variable: native_contacts}}\n"
    with pytest.raises(InputError, match=f"'{name}' has the column {name} of colvars.csv, which another") as caught:
        load_run(write(tmp_path, PULL + monitor))
    assert str(caught.value.key).startswith("monitor")


def test_resolved_yaml_reads_back(tmp_path: Path) -> None:
    config = load_run(write(tmp_path, PULL))
    (tmp_path / "resolved.yaml").write_text(resolved_yaml(config))
    assert load_run(tmp_path / "resolved.yaml").biases == config.biases


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        (", moving: {after: 1 ps, length: 5 ps, every: 0.04 ps}", "", "moving", "is missing beside `center_to`"),
        (" center_to: 25 angstrom,", "", "moving", "moves nothing"),
        ("every: 0.04 ps", "every: 0.041 ps", "moving.every", "not a whole number"),
        ("after: 1 ps", "after: 1.01 ps", "moving.after", "not a whole number"),
        ("25 angstrom", "25", "center_to", "no unit"),
        ("25 angstrom", "-3 angstrom", "center_to", "out of reach"),
    ],
)
def test_wrong_entries_are_explained(tmp_path: Path, old: str, new: str, key: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_run(write(tmp_path, PULL.replace(old, new)))
    assert caught.value.key == f"biases.0.{key}" and words in str(caught.value)

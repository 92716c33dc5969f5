"""`run.windows`: the parameters that every row of colvars.csv was made with."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import mdflash
from mdflash.config.load import load_run
from mdflash.runs.execute import execute

pytest.importorskip("pandas", reason="tables need pandas (pip install 'mdflash[analysis]')")

CHIGNOLIN = Path(mdflash.__file__).parents[1] / "systems" / "chignolin.pdb"
YAML = """
mdflash: 1
system:
  - {{structure: chignolin.pdb, name: one, replicas: 2}}
  - {{structure: chignolin.pdb, name: two, replicas: 6}}
model: {{forcefield: go-chignolin}}
dynamics: {{timestep: 10 fs, length: 4 ps, seed: 7, temperature: {temperature}}}
biases:
  - {{name: pull, variable: distance, beads: [0, 9], center: {{min: 4 angstrom, max: 8 angstrom, count: 3}},
     force_constant: 2 kcal/mol/angstrom^2, system: two}}
  - {{name: near, variable: rmsd, form: flat-bottom, center: 0 angstrom, width: 0.2 angstrom, system: one,
     force_constant: [5 kcal/mol/angstrom^2, 7 kcal/mol/angstrom^2], reference: chignolin.pdb}}
output: {{folder: run, trajectory: {{format: none}}, log: {{interval: 200 fs}}, colvars: {{interval: 200 fs}}}}
"""


def windows_and_rows(folder: Path, text: str):  # type: ignore[no-untyped-def]
    """Of a run whose input files are gone."""
    source = folder / "input" / "run.yaml"
    source.parent.mkdir()
    source.write_text(text.replace("folder: run", f"folder: {folder / 'run'}"))
    shutil.copy(CHIGNOLIN, source.parent)
    execute(load_run(source), source)
    shutil.rmtree(source.parent)
    run = mdflash.open_run(folder / "run")
    states = run.windows.drop(columns="replica").drop_duplicates(["system", "state"])
    return run.windows, run.colvars.merge(states, on=["system", "state"])


def test_windows_without_exchange(tmp_path: Path) -> None:
    windows, rows = windows_and_rows(
        tmp_path, YAML.format(temperature="[300 K, 310 K, 300 K, 320 K, 300 K, 320 K, 300 K, 320 K]")
    )
    assert windows.replica.tolist() == list(range(8)) and windows.system.tolist() == ["one"] * 2 + ["two"] * 6
    assert windows.temperature_K.tolist() == [300, 310, 300, 320, 300, 320, 300, 320]
    np.testing.assert_allclose(windows.pull_center, [np.nan, np.nan, 4, 6, 8, 4, 6, 8])
    np.testing.assert_allclose(windows.near_force_constant, [5, 7] + [np.nan] * 6)
    assert windows.state.tolist() == [0, 1, 0, 1, 2, 3, 4, 5]
    assert len(rows) == 8 * 21 and (rows.target_K == rows.temperature_K).all()
    expected = 0.5 * rows.pull_force_constant * (rows.pull_A - rows.pull_center) ** 2
    np.testing.assert_allclose(rows.pull_kcal_mol, expected, atol=1e-9)
    expected = 0.5 * rows.near_force_constant * (rows.near_A - rows.near_width).clip(lower=0.0) ** 2
    np.testing.assert_allclose(rows.near_kcal_mol, expected, atol=1e-9)


def test_windows_that_replicas_trade(tmp_path: Path) -> None:
    text = YAML[: YAML.index("  - {{name: near")].replace(
        "  - {{structure: chignolin.pdb, name: one, replicas: 2}}\n", ""
    )
    text = (text + YAML[YAML.index("output:") :]).format(temperature="300 K")
    text += "exchange: {biases: [pull], interval: 200 fs}\n"
    windows, rows = windows_and_rows(tmp_path, text)
    assert windows.state.tolist() == [0, 1, 2, 0, 1, 2] and windows.pull_center.tolist() == [4, 6, 8, 4, 6, 8]
    assert rows.groupby("replica").state.nunique().max() > 1, "replicas have traded"
    expected = 0.5 * rows.pull_force_constant * (rows.pull_A - rows.pull_center) ** 2
    np.testing.assert_allclose(rows.pull_kcal_mol, expected, atol=1e-9)


def test_ladders_and_scales_are_windows_too(tmp_path: Path) -> None:
    text = (
        "mdflash: 1\nsystem: {structure: chignolin.pdb}\nmodel: {forcefield: go-chignolin}\nreplicas: {count: 4}\n"
        "dynamics: {timestep: 10 fs, length: 400 fs, seed: 7}\noutput: {folder: run, trajectory: {format: none},\n"
        "log: {interval: 200 fs}, colvars: {interval: 200 fs}}\n"
        "exchange: {temperatures: {min: 300 K, max: 330 K, count: 4}, interval: 200 fs,\n"
        "           scale: {contacts: [1, 0.9, 0.8, 0.7]}}\n"
    )  # fmt: skip
    windows, rows = windows_and_rows(tmp_path, text)
    assert windows.scale_contacts.tolist() == [1, 0.9, 0.8, 0.7]
    np.testing.assert_allclose(windows.temperature_K, np.geomspace(300, 330, 4), rtol=1e-3)
    assert (rows.target_K == rows.temperature_K).all()

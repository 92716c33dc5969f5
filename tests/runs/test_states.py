"""Rows of log.csv and colvars.csv say which state they belong to: the one before the attempt at their step."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import mdflash
from mdflash.config.load import load_run
from mdflash.errors import InputError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.io.by_state import find_state
from mdflash.io.checkpoint import load_checkpoint, save_checkpoint
from mdflash.io.exchange_log import read_exchange
from mdflash.runs.execute import execute
from tests.helpers import go_helix

BIAS = "{name: pull, variable: distance, beads: [0, 7], force_constant: 0.3 kcal/mol/angstrom^2, center: %s}"
CENTERS = (5.0, 7.0, 9.0, 11.0)
WINDOWS = BIAS % f"[{', '.join(f'{c} angstrom' for c in CENTERS)}]"


@pytest.fixture(scope="module")
def helix_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("helix")
    save_forcefield(folder, go_helix(8, epsilon=0.4)[1])
    return folder


def run(helix_folder: Path, out: Path, more: str, steps: int = 1000) -> Path:
    """Eight replicas; every row of log and colvars is at the step of an attempt, where there are attempts."""
    structure = next((helix_folder / "systems").glob("*.safetensors")).relative_to(helix_folder)
    source = helix_folder / "system.yaml"
    source.write_text(
        f"""mdflash: 1
system: {{structure: {structure}}}
model: {{forcefield: .}}
dynamics: {{steps: {steps}, timestep: 4 fs, seed: 7{"" if "temperatures" in more else ", temperature: 320 K"}}}
replicas: {{count: 8}}
output: {{folder: {out}, log: {{interval: 0.4 ps}}, colvars: {{interval: 0.2 ps}},
         trajectory: {{interval: 0.2 ps}}, checkpoint: {{interval: 1 ps}}}}
{more}
"""
    )
    execute(load_run(source), source)
    return out


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as text:
        return list(csv.DictReader(text))


def test_with_exchange_rows_belong_to_the_state_before_the_attempt(helix_folder: Path, tmp_path: Path) -> None:
    ladder = (300.0, 340.0, 390.0, 450.0)
    out = run(
        helix_folder, tmp_path / "run", "exchange: {temperatures: [300 K, 340 K, 390 K, 450 K], interval: 0.2 ps}"
    )
    table = read_exchange(out / "exchange.csv")
    after = dict(zip(table.steps.tolist(), table.labels.tolist(), strict=True))
    found = rows(out / "log.csv")
    assert len(found) == 8 * 11
    moved = 0
    for row in found:
        step, replica, state = int(row["step"]), int(row["replica"]), int(row["state"])
        assert state == after[max(step - 50, 0)][replica]
        assert float(row["target_K"]) == ladder[state]
        moved += state != after[step][replica]
    assert moved > 10  # a join on `step` would be wrong for these
    opened = mdflash.open_run(out)
    held = opened.states(opened.log.step.unique())
    for row in opened.log.itertuples():
        assert held.loc[row.step, row.replica] == row.state
    ladder_of = [find_state(out, ladder, temperature=near, ladder=0).state for near in (299.6, 340.4, 390.0, 450.5)]
    assert ladder_of == [0, 1, 2, 3]
    with pytest.raises(InputError, match="is not on the ladder"):
        find_state(out, ladder, temperature=341.0, ladder=0)
    steps = opened.xarray().step.values
    assert list(opened.states(steps).index) == list(steps)


def test_bias_energies_are_those_of_the_row_s_window(helix_folder: Path, tmp_path: Path) -> None:
    out = run(helix_folder, tmp_path / "run", f"biases: {WINDOWS}\nexchange: {{biases: [pull], interval: 0.2 ps}}")
    found = rows(out / "colvars.csv")
    assert len(found) == 8 * 21 and list(found[0])[4:] == ["state", "target_K", "pull_A", "pull_kcal_mol"]
    for row in found:
        assert float(row["target_K"]) == 320.0
        energy = 0.15 * (float(row["pull_A"]) - CENTERS[int(row["state"])]) ** 2
        assert float(row["pull_kcal_mol"]) == pytest.approx(energy, rel=1e-9)


def test_without_exchange_replicas_keep_their_states(helix_folder: Path, tmp_path: Path) -> None:
    out = run(helix_folder, tmp_path / "windows", f"biases: {WINDOWS}", steps=100)
    for row in (*rows(out / "log.csv"), *rows(out / "colvars.csv")):
        assert int(row["state"]) == int(row["replica"]) % 4 and row["target_K"] == "320.0"
    with pytest.raises(InputError, match="no replica exchange"):
        mdflash.open_run(out).states([0, 50])
    plain = run(helix_folder, tmp_path / "plain", "", steps=100)
    assert {row["state"] for row in rows(plain / "log.csv")} == {"0"}


def without_states(file: Path) -> bytes:
    """The table as mdflash 0.1 wrote it."""
    lines = [line.split(",") for line in file.read_text().splitlines()]
    return "".join(",".join(line[:4] + line[6:]) + "\n" for line in lines).encode()


def test_a_folder_of_0_1_goes_on_with_the_columns_it_has(helix_folder: Path, tmp_path: Path) -> None:
    more = f"biases: {WINDOWS}\nexchange: {{biases: [pull], interval: 0.2 ps}}"
    whole, parts = run(helix_folder, tmp_path / "whole", more), run(helix_folder, tmp_path / "parts", more, steps=500)
    for name in ("log.csv", "colvars.csv"):
        (parts / name).write_bytes(without_states(parts / name))
    checkpoint = load_checkpoint(parts / "checkpoint")
    assert checkpoint is not None
    size = (parts / "colvars.csv").stat().st_size
    save_checkpoint(parts / "checkpoint", checkpoint.arrays, checkpoint.header | {"colvars_size": size})
    with (parts / "colvars.csv").open("a") as file:
        file.write("550,2.2,0,helix,1.0")  # a kill left it
    run(helix_folder, parts, more)
    for name in ("log.csv", "colvars.csv"):
        assert (parts / name).read_bytes() == without_states(whole / name)
    old, new = mdflash.open_run(parts), mdflash.open_run(whole)
    assert list(old.log.columns) == list(new.log.columns)
    assert (old.log == new.log).all(axis=None)
    assert (old.colvars == new.colvars).all(axis=None)

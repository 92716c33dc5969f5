"""Metadynamics in runs: the file, hills.csv, colvars.csv, the same bits however a run is cut, killed or shared."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mdflash
from mdflash.config.load import load_run, parse_run
from mdflash.config.rules import warnings
from mdflash.config.write import resolved_yaml
from mdflash.errors import InputError, StorageError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.io.checkpoint import load_checkpoint
from mdflash.io.hills import HillsLog, hill_bytes
from mdflash.io.repair import repair_file
from mdflash.runs.execute import execute
from mdflash.runs.identity import as_now_written
from mdflash.runs.prepare import prepare
from mdflash.runs.writers import misfit
from mdflash.units import kT
from tests.helpers import go_helix
from tests.processes import Process
from tests.rank_helpers import command, finish, newest_step, start_ranks

HILLS = """metadynamics:
  - name: fold
    variables:
      - {name: ends, variable: distance, beads: [0, 9], width: 0.6 angstrom, grid: {min: 2 angstrom, max: 40 angstrom}}
      - {name: twist, variable: dihedral, beads: [0, 3, 6, 9], width: 20 degree}
    height: 0.3 kcal/mol
    bias_factor: 8
    every: 0.2 ps
    walkers: 2
"""
SPACE = """metadynamics:
  - name: fold
    variables:
      - {name: ends, variable: distance, beads: [0, 9], width: 2 angstrom, grid: [2 angstrom, 40 angstrom, 40]}
      - {name: twist, variable: dihedral, beads: [0, 3, 6, 9], width: 30 degree, grid: {points: 24}}
      - {name: rg, variable: radius_of_gyration, width: 1 angstrom, grid: [2 angstrom, 14 angstrom, 26]}
    height: 0.3 kcal/mol
    every: 0.2 ps
"""
"""Over three variables, on a grid that is coarser than without `points`."""


def write(folder: Path, hills: str = HILLS, replicas: int = 4, more: str = "") -> Path:
    """A Gō helix of 10 residues."""
    _, ff = go_helix(10, "helix", 0.4)
    save_forcefield(folder / "helix", ff)
    structure = next((folder / "helix" / "systems").glob("*.safetensors")).relative_to(folder)
    text = (
        f"mdflash: 1\nname: run\nsystem: {{structure: {structure}, forcefield: helix, name: helix}}\n"
        f"dynamics: {{timestep: 4 fs, seed: 7, temperature: 300 K, steps: 2_000}}\nreplicas: {{count: {replicas}}}\n"
        "output: {trajectory: {interval: 2 ps}, log: {interval: 2 ps}, colvars: {interval: 0.4 ps},\n"
        "         checkpoint: {interval: 1.2 ps, keep: 1}}\n"
    )
    (folder / "system.yaml").write_text(text + hills + more)
    return folder / "system.yaml"


def run(source: Path, folder: Path, *overrides: str) -> Path:
    execute(load_run(source, [f"output.folder={folder}", *overrides]), source)
    return folder


def content(folder: Path) -> dict[str, Any]:
    """What must not depend on what happened on the way."""
    checkpoint = load_checkpoint(folder / "checkpoint")
    assert checkpoint is not None
    names = [name for name in ("hills.csv", "colvars.csv", "log.csv") if (folder / name).is_file()]
    tables = {name: (folder / name).read_bytes() for name in names}
    return tables | {name: array.tobytes() for name, array in checkpoint.arrays.items()}


def test_a_run_is_its_files(tmp_path: Path) -> None:
    """hills.csv adds up to the checkpoint's grids; V and c(t) of colvars.csv; the manifest counts."""
    folder = run(write(tmp_path), tmp_path / "out")
    found = mdflash.open_run(folder)
    hills, rows = found.hills, found.colvars
    assert len(hills) == 4 * 40 and set(hills["group"]) == {0, 1} and set(hills["bias"]) == {"fold"}
    checkpoint = load_checkpoint(folder / "checkpoint")
    assert checkpoint is not None
    (bias,) = prepare(load_run(folder)).grid_biases
    bias.deposit(  # type: ignore[attr-defined]
        hills["group"].to_numpy(), hills[["center_1", "center_2"]].to_numpy(), hills["height_kcal_mol"].to_numpy()
    )
    assert np.array_equal(bias.surfaces, checkpoint.arrays["hills_surface_fold"])
    assert list(rows.columns[6:]) == [
        "ends_A", "twist_rad", "fold_kcal_mol", "fold_ct_kcal_mol", "fold_rbias_kcal_mol",
    ]  # fmt: skip
    first = rows[rows["step"] == 0]
    assert not first["fold_kcal_mol"].any() and not first["fold_ct_kcal_mol"].abs().gt(1e-12).any()
    np.testing.assert_allclose(
        rows["fold_rbias_kcal_mol"], rows["fold_kcal_mol"] - rows["fold_ct_kcal_mol"], atol=1e-14
    )
    joined = hills.merge(rows, on=["step", "replica"])
    assert len(joined) > 50  # a hill's height follows from the bias that colvars.csv reports at its step
    expected = 0.3 * np.exp(-joined["fold_kcal_mol"] / (kT(300.0) * 7.0))
    np.testing.assert_allclose(joined["height_kcal_mol"], expected, rtol=1e-12)
    np.testing.assert_array_equal(joined["center_1"], joined["ends_A"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["metadynamics"] == [{"name": "fold", "groups": 2, "hills": [80, 80]}]
    assert repair_file(folder / "hills.csv").kept == 160


EARLY = ["output.trajectory.interval=0.04 ps", "output.log.interval=0.04 ps"]
OPES = HILLS.replace("height: 0.3 kcal/mol", "method: opes").replace("bias_factor: 8", "barrier: 5 kcal/mol")


@pytest.mark.parametrize("hills", [HILLS, OPES, OPES.replace("opes", "opes-explore"), SPACE])
def test_cut_and_resumed_it_has_the_same_bits(tmp_path: Path, hills: str) -> None:
    source = write(tmp_path, hills)
    whole = content(run(source, tmp_path / "whole"))
    folder = tmp_path / "parts"
    for steps in (333, 1_000, 2_000):
        run(source, folder, f"dynamics.steps={steps}")
    assert content(folder) == whole


@pytest.mark.parametrize("hills", [HILLS, OPES])
def test_a_checkpoint_must_hold_the_bias(tmp_path: Path, hills: str) -> None:
    source = write(tmp_path, hills)
    prepared = prepare(load_run(source))
    found = load_checkpoint(run(source, tmp_path / "run", "dynamics.steps=500") / "checkpoint")
    assert found is not None and misfit(prepared, found.arrays, found.header) is None
    for name in [name for name in found.arrays if name.startswith("hills_")]:
        rest = {key: array for key, array in found.arrays.items() if key != name}
        assert misfit(prepared, rest, found.header) == f"it has no '{name}'"
    other = found.arrays | {"hills_surface_fold": np.zeros((1, 2, 3, 4))}
    assert "hills_surface_fold" in str(misfit(prepared, other, found.header))
    header = {key: value for key, value in found.header.items() if key != "hills_size"}
    assert misfit(prepared, found.arrays, header) == "its header has no hills_size"


def test_a_table_that_was_cut_off_goes_on_from_an_older_checkpoint(tmp_path: Path) -> None:
    """Rows before the newest checkpoint are gone: the one before it knows how to write them again."""
    source, keep = write(tmp_path), "output.checkpoint.keep=3"
    whole = content(run(source, tmp_path / "whole", keep))
    folder = run(source, tmp_path / "cut", keep, "dynamics.steps=1_500")
    size = load_checkpoint(folder / "checkpoint").header["hills_size"]  # type: ignore[union-attr]
    with (folder / "hills.csv").open("r+b") as table:
        table.truncate(size - 10)
    plan = execute(load_run(source, [f"output.folder={folder}", keep]), source)
    assert plan.start == "resume"
    assert any("hills.csv: rows before" in note and "were cut off since" in note for note in plan.notes), plan.notes
    assert content(folder) == whole
    with (folder / "hills.csv").open("r+b") as table:
        table.truncate(90)  # before all of them
    with pytest.raises(StorageError, match=r"hills\.csv: has 90 bytes"):
        run(source, folder, keep, "dynamics.steps=2_500")


def test_too_few_hills_are_not_enough(tmp_path: Path) -> None:
    folder = run(write(tmp_path), tmp_path / "short", "dynamics.steps=1_000", "output.trajectory.interval=0.08 ps")
    (molecule,) = mdflash.open_run(folder).analyze().molecules.values()
    assert molecule.lacking == ["fold has only 80 hills, and a free energy takes 100"]
    assert "Sampled enough: no. Not met: every changing bias tells a free energy" in molecule.sentences[-1]
    assert not molecule.filled


def test_a_bias_that_cannot_act_is_a_warning(tmp_path: Path) -> None:
    (said,) = warnings(load_run(write(tmp_path), ["dynamics.steps=40", *EARLY]))
    assert said == "metadynamics.0.every is longer than the run (40 steps): no hill is added"


def test_three_variables_on_a_fine_grid_are_a_warning(tmp_path: Path) -> None:
    assert not warnings(load_run(write(tmp_path, SPACE)))
    fine = SPACE.replace(", 40]", "]").replace(", 26]", "]").replace(", grid: {points: 24}", "")
    fine = re.sub(r"grid: \[(\d+ angstrom), (\d+ angstrom)\]", r"grid: {min: \1, max: \2}", fine)
    (said,) = warnings(load_run(write(tmp_path, fine)))
    assert "5.1 x 5 x 5.1 points for each width" in said
    assert "with `points:` of 48, 30, 30 it is exact" in said


def test_killed_it_has_the_same_bits(tmp_path: Path) -> None:
    source = write(tmp_path)
    seldom = "output.checkpoint.interval=8 ps"
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


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_number_of_ranks_changes_no_bit(tmp_path: Path, ranks: int) -> None:
    source = write(tmp_path)
    whole = content(run(source, tmp_path / "one"))
    results = finish(start_ranks(ranks, command(source, tmp_path / "many", 2_000)))
    assert [code for code, *_ in results] == [0] * ranks, results
    assert content(tmp_path / "many") == whole


def test_resolved_yaml_reads_back(tmp_path: Path) -> None:
    config = load_run(write(tmp_path))
    (entry,) = config.metadynamics
    assert entry.walkers == 2 and [v.grid[2] for v in entry.variables] == [318, 90]
    (tmp_path / "resolved.yaml").write_text(resolved_yaml(config))
    again = load_run(tmp_path / "resolved.yaml")
    assert "bias_factor: 8" in (tmp_path / "resolved.yaml").read_text()
    default = resolved_yaml(load_run(write(tmp_path, HILLS.replace("    bias_factor: 8\n", ""))))
    assert "bias_factor: 10" in default
    older = as_now_written({"metadynamics": [{"method": "well-tempered", "bias_factor": "none"}]})
    assert older["metadynamics"][0]["bias_factor"] == 10.0
    assert again.metadynamics == config.metadynamics and resolved_yaml(again) == resolved_yaml(config)


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("name: fold", "name: ends", "0.name", "is the name of 2"),
        ("height: 0.3 kcal/mol", "method: opes", "0.barrier", "is missing; `method: opes` needs it"),
        ("height: 0.3 kcal/mol", "barrier: 3 kcal/mol", "0.barrier", "is of opes"),
        ("height: 0.3 kcal/mol", "method: opes\n    barrier: 1 kcal/mol", "0.barrier", "2 kT"),
        ("height: 0.3", "method: opes\n    barrier: 5 kcal/mol\n    height: 0.2", "0.height", "remove it"),
        ("every: 0.2 ps", "every: 0.201 ps", "0.every", "not a whole number"),
        ("walkers: 2", "walkers: 3", "0.walkers", "do not fill groups of 3 walkers; write `walkers: 2`"),
        ("bias_factor: 8", "bias_factor: 1", "0.bias_factor", "greater than 1"),
        ("height: 0.3 kcal/mol", "height: 0.3", "0.height", "no unit"),
        (", grid: {min: 2 angstrom, max: 40 angstrom}", "", "0.variables.0.grid", "has no natural end"),
        ("max: 40 angstrom", "max: 1 angstrom", "0.variables.0.grid", "min must be below max"),
        ("max: 40 angstrom", "max: 40 angstrom, points: 20", "0.variables.0.grid", "does not resolve hills"),
        (", width: 20 degree", "", "0.variables.1.width", "a hill needs one"),
        ("width: 20 degree", "width: 20 degree, grid: {min: 0 degree}", "0.variables.1.grid", "the whole turn"),
        ("beads: [0, 9]", "beads: [0, 99]", "0.variables.0.beads", "bead 99 is not in system"),
    ],
)
def test_wrong_entries_are_explained(tmp_path: Path, old: str, new: str, key: str, words: str) -> None:
    source = write(tmp_path, HILLS.replace(old, new))
    with pytest.raises(InputError) as caught:
        config = parse_run(source.read_text(), source)
        prepare(config)
    assert str(caught.value.key).endswith(key) and words in str(caught.value)


def test_a_grid_beyond_the_limit_is_told_what_would_fit(tmp_path: Path) -> None:
    fine = SPACE.replace("40 angstrom, 40]", "40 angstrom, 600]") + "    walkers: 2\n"
    with pytest.raises(InputError, match=r"600 x 400 x 26 nodes for each of 2 groups") as found:
        load_run(write(tmp_path, fine.replace("points: 24", "points: 400")))
    (points,) = re.findall(r"write `points:` of (\d+), (\d+), (\d+)", str(found.value))
    assert "6,240,000 nodes and 798.7 MB; it may have at most 4,000,000 nodes and 2.0 GB in all" in str(found.value)
    fitting = SPACE
    for old, new in zip((", 40]", "points: 24}", ", 26]"), points, strict=True):
        fitting = fitting.replace(old, f", {new}]" if "]" in old else f"points: {new}}}")
    load_run(write(tmp_path, fitting))
    many = write(tmp_path, fine.replace("walkers: 2", "walkers: 1"), replicas=128)
    with pytest.raises(InputError, match=r"for each of 128 groups of walkers.*nearer ends"):
        load_run(many)


def test_walkers_of_one_bias_have_one_temperature(tmp_path: Path) -> None:
    source = write(tmp_path)
    with pytest.raises(InputError, match="walkers of one bias have one temperature"):
        load_run(source, ["dynamics.temperature=[300 K, 310 K, 300 K, 310 K]"])


def test_from_python() -> None:
    sim = mdflash.Simulation(
        "chignolin", "go-chignolin", replicas=2, timestep="10 fs", seed=3,
        metadynamics=[{"name": "fold", "variables": {"name": "q", "variable": "native_contacts", "width": 0.03},
                       "height": "0.5 kcal/mol", "bias_factor": 10, "every": "1 ps"}],
    )  # fmt: skip
    sim.run("4 ps")
    assert sim.deposits.biases[0].hills.tolist() == [8]
    assert sim.variables()["q"].shape == (2,)
    with pytest.raises(InputError, match="metadynamics"):
        mdflash.Simulation("chignolin", "go-chignolin", metadynamics=[{"name": "fold"}])


def test_columns_are_those_of_their_bias_whatever_the_order_of_systems(tmp_path: Path) -> None:
    source = write(tmp_path, "")
    (entry,) = (line for line in source.read_text().splitlines() if line.startswith("system:"))
    one = entry.removeprefix("system: ")
    other = one.replace("name: helix", "name: other")
    grid = "variable: distance, beads: [0, 9], width: 0.6 angstrom, grid: {min: 2 angstrom, max: 40 angstrom}"
    hills = "".join(
        f"  - {{name: {name}, every: 0.2 ps, variables: {{name: {name}_q, system: {system}, {grid}}}}}\n"
        for name, system in (("second", "other"), ("first", "helix"))
    )
    text = source.read_text().replace(entry, f"system: [{one}, {other}]")
    source.write_text(text.replace("count: 4", "count: 1") + f"metadynamics:\n{hills}")
    folder = run(source, tmp_path / "run", "dynamics.steps=500", "output.colvars.interval=0.2 ps")
    opened = mdflash.open_run(folder)
    rows, added = opened.colvars, opened.hills
    for name, system in (("first", "helix"), ("second", "other")):
        mine, others = rows[rows["system"] == system], rows[rows["system"] != system]
        assert others[f"{name}_q_A"].isna().all()
        at = mine.set_index("step")[f"{name}_q_A"]
        for step, center in added[added["bias"] == name][["step", "center_1"]].itertuples(index=False):
            assert at[step] == center


def test_the_space_for_hills_is_enough_for_three_variables(tmp_path: Path) -> None:
    """Rows of numbers with all their digits."""
    rng = np.random.default_rng(5)
    for count in (1, 2, 3):
        log = HillsLog.create(tmp_path / f"{count}.csv", count)
        centers, widths = rng.normal(size=(2, 500, count)) * 10
        before = (tmp_path / f"{count}.csv").stat().st_size
        log.append(123_456_789, 1234567.891, "metadynamics", np.arange(500), np.arange(500), centers,
                   rng.random(500), widths)  # fmt: skip
        log.flush()
        written = (tmp_path / f"{count}.csv").stat().st_size - before
        assert written <= 500 * hill_bytes(count) <= 1.6 * written

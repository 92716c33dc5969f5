"""Sweeps become folders: names, what is in them, how a plan is extended, and what is refused."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdflash.campaigns.expand import expand
from mdflash.campaigns.folder import read_rows
from mdflash.campaigns.inputs import digest_of_run
from mdflash.campaigns.jobs import script_values
from mdflash.campaigns.plan import Laid, lay_out
from mdflash.campaigns.recipe import load_campaign
from mdflash.campaigns.table import write_table
from mdflash.cli.app import app
from mdflash.config.load import load_run
from mdflash.errors import InputError, StorageError
from mdflash.forcefields.committee import Own, committee_folder, save_committee
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.runs.prepare import prepare

REPO = Path(__file__).parents[2]


def write(folder: Path, text: str, name: str = "sweep.yaml") -> Path:
    """A sweep beside a system.yaml, a structure and two copies of a force field."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "system.yaml").exists():
        shutil.copy(REPO / "systems" / "chignolin.pdb", folder / "a.pdb")
        text_b = (folder / "a.pdb").read_text() + "REMARK another\n"
        (folder / "b.pdb").write_text(text_b)
        for model in ("one", "two"):
            shutil.copytree(REPO / "forcefields" / "go-chignolin", folder / model)
        (folder / "system.yaml").write_text(
            "mdflash: 1\nname: base\nsystem: {structure: a.pdb}\nmodel: {forcefield: one}\n"
            "dynamics: {temperature: 300 K, steps: 100}\n"
        )
    (folder / name).write_text(f"mdflash: 1\nrun: system.yaml\nfolder: {folder / 'all'}\n{text}")
    return folder / name


def laid_out(sweep: Path) -> Laid:
    return lay_out(sweep, lambda runs: None, lambda what, done, total: None)


def test_every_combination_has_a_name_and_its_values(tmp_path: Path) -> None:
    sweep = write(
        tmp_path,
        "set: {replicas.count: 2}\n"
        "sweep:\n  dynamics.temperature: [300 K, [310 K, 320 K]]\n  dynamics.seed: {from: 3, to: 4}\n"
        "together:\n- {system.structure: [a.pdb, b.pdb], model.forcefield: [one, two]}\n",
    )
    runs = list(expand(*load_campaign(sweep)))
    names = [f"{s}_{t}_seed{n}" for s in ("a_one", "b_two") for t in ("300K", "temperature2") for n in (3, 4)]
    assert [run.name for run in runs] == names
    assert runs[-1].values == {
        "system.structure": "b.pdb",
        "model.forcefield": "two",
        "dynamics.temperature": "[310 K, 320 K]",
        "dynamics.seed": "4",
    }
    assert runs[-1].config.dynamics.temperature == (310.0, 320.0)
    assert {run.config.replicas.count for run in runs} == {2}
    assert {run.config.model.forcefield.name for run in runs if run.config.model.forcefield} == {"one", "two"}


def test_keys_that_change_together_may_repeat_a_value(tmp_path: Path) -> None:
    text = "together: [{model.forcefield: [one, one], dynamics.seed: [1, 2], dynamics.temperature: [300 K, 300 K]}]\n"
    runs = list(expand(*load_campaign(write(tmp_path, text))))
    assert [run.name for run in runs] == ["one_seed1_300K", "one_seed2_300K"]


def test_a_campaign_and_each_of_its_runs_can_be_moved(tmp_path: Path) -> None:
    laid = laid_out(write(tmp_path / "here", "sweep: {model.forcefield: [one, two], dynamics.seed: [1, 2]}\n"))
    assert [row.number for row in laid.rows] == [1, 2, 3, 4]
    moved = tmp_path / "there"
    laid.folder.rename(moved)
    shutil.rmtree(tmp_path / "here")
    for row in read_rows(moved):
        place = moved / "runs" / row.name
        config = load_run(place / "system.yaml")
        assert config.folder == place / "run"
        assert config.name == row.name
        assert config.system[0].name == "a"  # as without a campaign
        assert str(config.dynamics.seed) == row.values["dynamics.seed"]
        assert all(path.is_relative_to(place / "inputs") for path in (*config.forcefields, config.system[0].structure))  # type: ignore[union-attr]
        assert digest_of_run(place) == row.digest
        alone = tmp_path / row.name
        shutil.copytree(place, alone)
        assert load_run(alone / "system.yaml").folder == alone / "run"
    structures = {(moved / "runs" / row.name / "inputs" / "a.pdb").stat().st_ino for row in read_rows(moved)}
    assert len(structures) == 1  # one file on the disk, however many runs


def test_values_that_are_added_add_runs_and_leave_the_others(tmp_path: Path) -> None:
    first = laid_out(write(tmp_path, "sweep: {dynamics.temperature: [320 K, 300 K], dynamics.seed: [1, 2]}\n"))
    script = first.script.read_text()
    assert "#SBATCH --array=1-4%16\n" in script
    first.script.write_text(script.replace("--cpus-per-task=1", "--cpus-per-task=7"))
    before = {row.name: (row, (first.folder / "runs" / row.name / "system.yaml").stat()) for row in first.rows}
    again = laid_out(write(tmp_path, "sweep: {dynamics.temperature: [310 K, 320 K, 300 K], dynamics.seed: [1, 2]}\n"))
    assert again.added == 2
    assert [row.number for row in again.rows] == [1, 2, 3, 4, 5, 6]
    assert [row.name for row in again.rows[4:]] == ["310K_seed1", "310K_seed2"]
    for row in again.rows[:4]:
        assert before[row.name] == (row, (again.folder / "runs" / row.name / "system.yaml").stat())
    assert "#SBATCH --array=1-6%16\n" in again.script.read_text()
    assert "--cpus-per-task=7" in again.script.read_text()
    assert laid_out(tmp_path / "sweep.yaml").added == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("sweep: {dynamics.seed: [1]}\n", "1 of 2 runs that .* does not describe: seed2"),
        ("sweep: {dynamics.seed: [1, 2], replicas.count: [1]}\n", "does not describe: seed1, seed2"),
        ("set: {dynamics.timestep: 2 fs}\nsweep: {dynamics.seed: [1, 2]}\n", "dynamics.timestep: 4 fs, now it is 2 fs"),
        ("structure", "run seed1 was planned with system.structure: content"),
        ("force field", "run seed1 was planned with model.forcefield: content"),
    ],
)
def test_another_plan_in_the_same_folder_is_refused(change: str, says: str, tmp_path: Path) -> None:
    laid = laid_out(write(tmp_path, "sweep: {dynamics.seed: [1, 2]}\n"))
    before = {file: file.read_bytes() for file in laid.folder.rglob("*") if file.is_file()}
    if change == "structure":
        shutil.copy(tmp_path / "b.pdb", tmp_path / "a.pdb")
    elif change == "force field":
        with (tmp_path / "one" / "forcefield.yaml").open("a") as file:
            file.write("# changed\n")
    else:
        write(tmp_path, change)
    with pytest.raises(InputError, match=says) as error:
        laid_out(tmp_path / "sweep.yaml")
    assert "values that are added to" in str(error.value)
    assert {file: file.read_bytes() for file in laid.folder.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing varies"),
        ("sweep: {dynamics.sed: [1, 2]}\n", "line 4.*dynamics.sed"),
        ("sweep:\n  replicas.count: [1]\n  dynamics.temperature: [300 K, 310]\n", "line 6.*has no unit"),
        ("sweep: {dynamics.temperature: 300 K}\n", r"expected a list of values.*dynamics.temperature: \[300 K\]"),
        ("sweep: {dynamics.seed: [1, 2, 1]}\n", "dynamics.seed: 1 is given twice"),
        ("together: [{dynamics.seed: [1, 2, 1], replicas.count: [1, 1, 1]}]\n", "count: 1, 1 is given twice"),
        (
            "sweep:\n  dynamics.timestep: [10 fs, 5 fs, 0.01 ps]\n  dynamics.seed: [1, 2]\n",
            "line 4.*timestep: 10 fs and dynamics.timestep: 0.01 ps are the same run",
        ),
        (
            "share: batch\nsweep: {dynamics.temperature: [300 K, 300.0 K], system.structure: [a.pdb, b.pdb]}\n",
            "300 K and dynamics.temperature: 300.0 K are the same run",
        ),
        ("sweep: {dynamics.seed: {from: 3, to: 1}}\n", "whole numbers as in"),
        ("sweep: {name: [a, b]}\n", "every run has its own"),
        ("sweep: {dynamics.seed: [1]}\nset: {dynamics.seed: 2}\n", "stands in two places"),
        ("together: [{dynamics.seed: [1, 2], replicas.count: [1]}]\n", "lists of one length"),
        ("sweep: {dynamics.seed: {from: 0, to: 99999}, replicas.count: {from: 1, to: 2}}\n", "200,000 runs"),
        (
            "sweep: {dynamics.seed: [1], dynamics: [{temperature: 300 K, steps: 10}]}\n",
            "'dynamics' would replace 'dynamics.seed'",
        ),
        ("swep: {dynamics.seed: [1]}\n", "did you mean 'sweep'"),
        ("sweep: {system.structure: [c.pdb]}\n", "no such file: .*c.pdb"),
    ],
)
def test_what_is_wrong_in_a_sweep_is_said_with_its_line(text: str, says: str, tmp_path: Path) -> None:
    sweep = write(tmp_path, text)
    with pytest.raises(InputError, match=says):
        laid_out(sweep)
    assert not (tmp_path / "all").exists()


def test_a_run_file_is_no_sweep(tmp_path: Path) -> None:
    file = tmp_path / "system.yaml"
    file.write_text("mdflash: 1\nsystem: {structure: a.pdb}\nmodel: {forcefield: ff}\n")
    with pytest.raises(InputError, match=r"is a system\.yaml.*mdflash init .*system\.yaml --campaign"):
        load_campaign(file)


def test_molecules_share_a_run_where_that_is_wanted(tmp_path: Path) -> None:
    laid = laid_out(
        write(
            tmp_path,
            "share: batch\nsweep: {dynamics.temperature: [300 K, 320 K]}\n"
            "together: {system.structure: [a.pdb, b.pdb], model.forcefield: [one, two]}\n",
        )
    )
    assert [(row.name, row.values) for row in laid.rows] == [
        ("300K", {"dynamics.temperature": "300 K"}),
        ("320K", {"dynamics.temperature": "320 K"}),
    ]
    config = load_run(laid.folder / "runs" / "320K" / "system.yaml")
    assert [(entry.name, entry.forcefield and entry.forcefield.name) for entry in config.system] == [
        ("a_one", "one"),
        ("b_two", "two"),
    ]
    analysis = laid.folder / "runs" / "320K" / "run" / "analysis"
    analysis.mkdir(parents=True)
    (analysis / "properties.csv").write_text("molecule,rg_A\na_one,5\nb_two,6\n")
    table = list(csv.DictReader(write_table(laid.folder).read_text().splitlines()))
    assert [(x["run"], x["molecule"], x["system.structure"], x["model.forcefield"], x["rg_A"]) for x in table] == [
        ("300K", "", "", "", ""),
        ("320K", "a_one", "a.pdb", "one", "5"),
        ("320K", "b_two", "b.pdb", "two", "6"),
    ]


def test_the_run_file_that_is_missing_is_named(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text("mdflash: 1\nrun: absent.yaml\nsweep: {dynamics.seed: [1]}\n")
    with pytest.raises(InputError, match="line 2, key 'run': no such file"):
        laid_out(sweep)


def test_folders_of_others_and_links_are_refused(tmp_path: Path) -> None:
    sweep = write(tmp_path, "sweep: {dynamics.seed: [1, 2]}\n")
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "runs.csv").write_text("mine\n")
    with pytest.raises(StorageError, match=r"would replace runs.csv"):
        laid_out(sweep)
    assert (tmp_path / "all" / "runs.csv").read_text() == "mine\n"
    shutil.rmtree(tmp_path / "all")
    laid = laid_out(sweep)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(laid.folder / "runs", elsewhere)
    (laid.folder / "runs").symlink_to(elsewhere)
    write(tmp_path, "sweep: {dynamics.seed: [1, 2, 3]}\n")
    with pytest.raises(StorageError, match="symbolic link"):
        laid_out(sweep)
    assert sorted(path.name for path in elsewhere.iterdir()) == ["seed1", "seed2"]


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 101])
def test_a_list_of_runs_that_a_stranger_made_leads_nowhere(name: str, tmp_path: Path) -> None:
    laid = laid_out(write(tmp_path, "sweep: {dynamics.seed: [1, 2]}\n"))
    file = laid.folder / "runs.csv"
    with file.open() as lines:
        rows = list(csv.reader(lines))
    rows[2][1] = name
    with file.open("w") as lines:
        csv.writer(lines).writerows(rows)
    with pytest.raises(InputError, match=r"runs\.csv, line 3: the name of a run names files"):
        read_rows(laid.folder)


def test_a_plan_that_was_killed_is_taken_up(tmp_path: Path) -> None:
    laid = laid_out(write(tmp_path, "sweep: {dynamics.seed: [1, 2]}\n"))
    (laid.folder / "runs" / ".mdflash-0123456789abcdef.tmp").mkdir()
    kept = laid.folder / "runs" / "seed1" / "system.yaml"
    before = kept.stat()
    shutil.rmtree(laid.folder / "runs" / "seed2")
    (laid.folder / "runs.csv").unlink()
    assert laid_out(tmp_path / "sweep.yaml").rows == laid.rows
    assert kept.stat() == before
    assert sorted(path.name for path in kept.parents[1].iterdir()) == ["seed1", "seed2"]


@pytest.mark.parametrize(("scheduler", "script"), [("slurm", "job.slurm"), ("pbs", "job.pbs"), ("shell", "job.sh")])
def test_job_scripts(scheduler: str, script: str, tmp_path: Path) -> None:
    import subprocess

    laid = laid_out(
        write(tmp_path, f"sweep: {{dynamics.seed: [1, 2]}}\njob: {{scheduler: {scheduler}, gpus: 1, time: 90 min}}\n")
    )
    text = laid.script.read_text()
    assert laid.script.name == script
    assert "@" not in text
    assert subprocess.run(["bash", "-n", laid.script]).returncode == 0
    if scheduler != "shell":
        assert "01:30:00" in text
        assert "5100 s" in text


def test_a_path_in_a_job_script_is_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/my programs/bin/python")
    assert script_values("all", 3600.0, 1, 0, 4)["PATH"] == "'/my programs/bin'"


def test_the_command_lists_runs_without_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", "--campaign"])
    assert "next: mdflash campaign plan sweep.yaml --dry-run" in done.stdout
    done = CliRunner().invoke(app, ["campaign", "plan", "sweep.yaml", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "320K_seed4" in done.stdout
    assert "8 runs; nothing was written" in done.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["sweep.yaml"]


def test_what_could_not_start_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = write(tmp_path, "sweep: {model.forcefield: [one, ala2], dynamics.seed: [1, 2]}\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["campaign", "plan", str(sweep)])
    assert "the run ala2_seed1 could not start: " in str(done.exception)
    assert "has no bead type 'TYR-N'" in str(done.exception)
    assert not (tmp_path / "all").exists()


def test_a_member_of_a_committee_takes_the_others_along(tmp_path: Path) -> None:
    """So that a run can look at their spread, also where the campaign is moved."""
    trained = tmp_path / "trained"
    for k in (1, 2, 3):
        shutil.copytree(REPO / "forcefields" / "go-chignolin", trained / f"member-{k}" / "forcefield")
    listed = [trained / f"member-{k}" / "forcefield" for k in (1, 2)]
    save_committee(trained, listed, {"chignolin": Own(0.3, 0.2, 1.0, (0.0, 0.0))})
    assert committee_folder(load_forcefield(listed[0])) == trained
    left_over = trained / "member-3" / "forcefield"
    text = (left_over / "forcefield.yaml").read_text()
    (left_over / "forcefield.yaml").write_text(text.replace("name: go-chignolin", "name: other"))
    assert committee_folder(load_forcefield(left_over)) is None
    sweep = write(
        tmp_path,
        "set: {guards.spread: 2, system.name: chignolin, model.forcefield: trained/member-2/forcefield}\n"
        "sweep: {dynamics.seed: [1, 2]}\n",
    )
    laid_out(sweep)
    assert laid_out(sweep).added == 0
    shutil.move(tmp_path / "all", tmp_path / "moved")
    shutil.rmtree(trained)
    place = tmp_path / "moved" / "runs" / "seed1"
    assert not (place / "inputs" / "trained" / "member-3").exists()
    (committee,) = prepare(load_run(place / "system.yaml").with_seed()).committees.values()
    assert [ff.folder for ff in committee.members] == [
        place / "inputs" / "trained" / f"member-{k}" / "forcefield" for k in (1, 2)
    ]

"""The same command from another folder resumes the run where it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.errors import InputError
from mdflash.io.runfolder import load_manifest

STRUCTURE = Path(__file__).parents[2] / "systems" / "chignolin.pdb"
TEXT = f"""\
mdflash: 1
name: a
system: {{structure: {STRUCTURE}}}
model: {{forcefield: go-chignolin}}
dynamics: {{temperature: 340 K, steps: 100, timestep: 10 fs}}
output: {{trajectory: {{format: none}}, log: {{interval: 0.5 ps}}}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with its YAML file in a folder, and a run started from the top."""
    for name in ("configs", "elsewhere/deep"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "configs" / "a.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    run("configs/a.yaml")
    return tmp_path


def run(file: str, *more: str) -> tuple[str, str]:
    done = CliRunner().invoke(app, ["run", file, *more])
    assert done.exit_code == 0, done.output or done.exception
    return done.stdout, done.stderr


def steps(folder: Path) -> int:
    return int(load_manifest(folder)["step"])


@pytest.mark.parametrize("here", ["configs", "elsewhere", "elsewhere/deep"])
def test_from_any_folder(project: Path, here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / here)
    out, err = run(os.path.relpath(project / "configs" / "a.yaml"), "--steps", "200")
    assert "resuming" in out
    assert f"going on in {project / 'runs' / 'a'}" in err
    assert steps(project / "runs" / "a") == 200
    assert not Path("runs").exists()


def test_also_once_the_file_was_changed_and_the_project_moved(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest names the file; where that name is old, the copy of the file in the run folder tells."""
    file = project / "configs" / "a.yaml"
    monkeypatch.chdir(project / "configs")
    run("../runs/a", "--steps", "150")  # which does not forget where it came from
    file.write_text(file.read_text().replace("steps: 100", "steps: 200"))
    assert "going on in" in run("a.yaml")[1]
    moved = project.with_name("moved")
    project.rename(moved)
    monkeypatch.chdir(moved / "elsewhere")
    assert "going on in" in run("../configs/a.yaml", "--steps", "250")[1]
    assert steps(moved / "runs" / "a") == 250


@pytest.mark.parametrize("more", [["--fresh"], ["--set", "dynamics.seed=5"], ["--set", "output.folder={here}/runs/a"]])
def test_another_run_starts_here(project: Path, more: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh one, one with other settings, one with a folder in full; the first stays as it is."""
    here = project / "elsewhere"
    monkeypatch.chdir(here)
    before = (project / "runs" / "a" / "log.csv").read_bytes()
    _, err = run("../configs/a.yaml", *(word.format(here=here) for word in more))
    assert "going on" not in err
    if "dynamics.seed=5" in more:
        assert f"the run in {project / 'runs' / 'a'} was made from another file or with other settings" in err
    assert steps(here / "runs" / "a") == 100
    assert (project / "runs" / "a" / "log.csv").read_bytes() == before
    assert (
        "going on" not in run("../configs/a.yaml", *(word.format(here=here) for word in more if word != "--fresh"))[1]
    )


def test_advice_where_something_else_was_meant(project: Path) -> None:
    error = CliRunner().invoke(app, ["run", "configs/a.yaml", "--set", "dynamics.timestep=5 fs"]).exception
    assert f"`mdflash run {project / 'runs' / 'a'}` resumes it as it was made" in str(error)
    error = CliRunner().invoke(app, ["run", str(STRUCTURE)]).exception
    assert f"make one with: mdflash init {STRUCTURE} --forcefield" in str(error)
    out, _ = run("runs/a", "--steps", "10")  # fewer than there are: nothing is left to warn about
    assert "stands at step 100" in " ".join(out.split())
    assert "longer than the run" not in out


def test_a_key_that_the_molecule_does_not_fit_has_its_line(project: Path) -> None:
    file = project / "configs" / "b.yaml"
    bias = "{name: pull, variable: distance, beads: [0, 99], center: 8 angstrom, force_constant: 1 kcal/mol/A^2}"
    file.write_text(f"{TEXT}biases:\n  - {bias}\n")
    for words in (["check"], ["run"], ["run", "--dry-run"]):
        error = CliRunner().invoke(app, [*words, str(file)]).exception
        assert isinstance(error, InputError), error
        assert (error.file, error.line, error.key) == (file, 8, "biases.0.beads")
    error = CliRunner().invoke(app, ["run", str(file), "--set", "biases.0.beads=[0, 77]"]).exception
    assert str(error).startswith("--set biases.0.beads=[0, 77]")


def test_a_dry_run_says_what_the_run_would_do(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    command = ["run", str(project / "configs" / "a.yaml"), "--set", "output.folder=there"]

    def asked(*more: str) -> str:
        before = {file: file.stat().st_mtime_ns for file in project.rglob("*")}
        shown = CliRunner().invoke(app, [*command, "--dry-run", *more], catch_exceptions=False).output
        assert {file: file.stat().st_mtime_ns for file in project.rglob("*")} == before
        assert shown.endswith("Dry run: nothing was written.\n")
        return shown

    assert "resuming" not in asked() and "delete" not in asked("--fresh")
    CliRunner().invoke(app, command, catch_exceptions=False)
    assert "there is nothing to do" in asked() and "would delete the run" in asked("--fresh")
    assert "resuming at step 100 " in asked("--steps", "200")
    with pytest.raises(InputError, match=r"was made with dynamics\.timestep"):
        asked("--set", "dynamics.timestep=1 fs")

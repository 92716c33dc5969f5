from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import mdflash
from mdflash.cli import app as app_module
from mdflash.cli import doctor as doctor_module
from mdflash.cli.app import app, main
from mdflash.config.load import load_run
from mdflash.config.schema import RunConfig
from mdflash.core.yamlfile import load_yaml
from mdflash.errors import InputError, Interrupted, MdflashError, UnstableError
from tests.processes import python

HEAVY = ("torch", "numba", "mdtraj", "openmm", "MDAnalysis", "pydantic", "numpy", "h5py")


def command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The real command line, in a process of its own; kernels may have to be compiled."""
    return python("-m", "mdflash", *arguments, env=os.environ | {"COLUMNS": "200"}, cwd=cwd, timeout=600)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a structure and a force field folder."""
    top = Path(__file__).parents[2]
    shutil.copy(top / "systems" / "chignolin.pdb", tmp_path / "protein.pdb")
    shutil.copytree(top / "forcefields" / "go-chignolin", tmp_path / "my ff")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_start_imports_nothing_heavy() -> None:
    code = f"import sys, mdflash.cli.app; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module", ["forcefields.forcefield", "importers.go_model", "mapping.structure", "io.runfolder", "simulation"]
)
def test_what_reads_and_builds_needs_no_torch(module: str) -> None:
    """`info`, `go` and `map` start in half the time, and a script that names `Simulation` in a sixth of it."""
    code = f"import sys, mdflash.{module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_help_lists_every_verb() -> None:
    done = command("--help")
    assert done.returncode == 0
    for verb in (
        "run",
        "check",
        "compile",
        "init",
        "info",
        "energy",
        "go",
        "import",
        "export",
        "repair",
        "doctor",
        "schema",
    ):
        assert f" {verb} " in done.stdout


def test_version() -> None:
    assert command("--version").stdout == f"mdflash {mdflash.__version__}\n"


def test_public_names_arrive_on_first_use() -> None:
    for name in mdflash.__all__:
        assert getattr(mdflash, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        mdflash.Nothing  # noqa: B018


@pytest.mark.parametrize(
    ("before", "after", "place", "says"),
    [
        ("timestep:", "timstep:", "line 8, key 'dynamics.timstep'", "did you mean 'timestep'?"),
        ("300 K", "300", "line 11, key 'dynamics.temperature'", "write `temperature: 300 K`"),
        ("  timestep", "\ttimestep", "line 8, key 'dynamics.timestep'", "use spaces"),
        ("[60 angstrom, ", "[", "line 4, key 'box'", "three lengths"),
        ("protein.pdb", "absent.pdb", "line 3, key 'system.structure'", "no such file"),
    ],
)
def test_a_wrong_file_leaves_with_2(project: Path, before: str, after: str, place: str, says: str) -> None:
    text = """\
mdflash: 1
system:
  structure: protein.pdb
box: [60 angstrom, 60 angstrom, 60 angstrom]
model:
  forcefield: my ff
dynamics:
  timestep: 4 fs
  friction: 1 /ps
  length: 1 ns
  temperature: 300 K
"""
    assert before in text
    (project / "wrong.yaml").write_text(text.replace(before, after))
    done = command("check", "wrong.yaml", cwd=project)
    assert done.returncode == 2
    assert done.stderr.startswith("error: wrong.yaml, line ")
    assert place in done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("wrong", file="system.yaml", line=3, key="name"), 2),
        (UnstableError("replica 3 left the finite numbers"), 3),
        (Interrupted("stopped at step 5"), 75),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    broken = typer.Typer(pretty_exceptions_enable=False)
    broken.command()(fail)
    monkeypatch.setattr(app_module, "app", broken)
    monkeypatch.setattr(sys, "argv", ["mdflash"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code
    if isinstance(error, MdflashError):  # stopping when asked is none
        assert capsys.readouterr().err == ("" if code == 75 else "error: ") + f"{error}\n"


def test_a_bug_shows_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    broken = typer.Typer(pretty_exceptions_enable=False)
    broken.command()(fail)
    monkeypatch.setattr(app_module, "app", broken)
    monkeypatch.setattr(sys, "argv", ["mdflash"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_schema_is_json() -> None:
    done = CliRunner().invoke(app, ["schema", "--json"])
    assert done.exit_code == 0
    assert set(json.loads(done.stdout)["properties"]) == set(RunConfig.model_fields)


def test_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0
    for what in ("python", "torch", "numba", "memory", "kernel cache", "kernels", "GPU"):
        assert what in done.stdout
    monkeypatch.setattr(doctor_module, "OPTIONAL", {"no_such_module": "gpu"})
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0
    assert "pip install 'mdflash[gpu]'" in done.stdout
    monkeypatch.setattr(doctor_module, "REQUIRED", ("numpy", "no_such_module"))
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 2


def test_init_writes_every_key_with_a_comment(project: Path) -> None:
    (project / "runs-here").mkdir()
    out = Path("runs-here") / "fold it.yaml"
    done = CliRunner().invoke(app, ["init", "protein.pdb", "--forcefield", "my ff", "--out", str(out)])
    assert done.exit_code == 0, done.output
    run = load_run(out)
    assert run.system[0].structure == project / "protein.pdb"
    assert run.forcefields == (project / "my ff",)
    assert run.folder == project / "runs" / "fold-it"
    assert all("#" in line for line in out.read_text().splitlines() if line)
    assert str(project) not in out.read_text()

    data = load_yaml(out).data
    assert set(data) == set(RunConfig.model_fields)
    for key, field in RunConfig.model_fields.items():
        if isinstance(data[key], dict) and key != "system":
            assert set(data[key]) == set(field.annotation.model_fields)  # type: ignore[union-attr]


def test_init_never_overwrites_unasked(project: Path) -> None:
    (project / "system.yaml").write_text("mine")
    arguments = ["init", "protein.pdb", "--forcefield", "my ff"]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, InputError)
    assert "--force" in str(done.exception)
    assert (project / "system.yaml").read_text() == "mine"
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0
    assert load_run(project / "system.yaml").name == "protein"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["init", "absent.pdb", "--forcefield", "my ff"], "absent.pdb: no such file"),
        (["init", "protein.pdb", "--forcefield", "absent"], "shipped force fields:"),
        (["init", "protein.pdb", "--forcefield", "my ff", "--out", "no/system.yaml"], "cannot be written"),
    ],
)
def test_init_refuses(project: Path, arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, MdflashError)
    assert says in str(done.exception)
    assert sorted(path.name for path in project.iterdir()) == ["my ff", "protein.pdb"]

"""The commands that show what a run has sampled."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.config.load import load_run
from mdflash.runs.execute import execute


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    small = [f"output.folder={folder}", "replicas.count=2", "dynamics.steps=4000", "output.log.interval=1 ps"]
    small += ["output.trajectory.interval=1 ps"]
    execute(load_run("chignolin", small), Path(__file__).parents[2] / "systems" / "chignolin.yaml")
    return folder


def test_analyze(run: Path) -> None:
    done = CliRunner().invoke(app, ["analyze", str(run), "--svg"])
    assert done.exit_code == 0, done.output
    assert "Sampled enough:" in done.output and str(run / "analysis" / "report.html") in done.output
    assert {"report.html", "properties.csv", "analysis.json", "svg"} == {p.name for p in (run / "analysis").iterdir()}


def test_analyze_against_experiment(run: Path, tmp_path: Path) -> None:
    """What is wrong with it is told before frames are read; a molecule that the run does not have, by name."""
    given = ["analyze", str(run), "--out", str(tmp_path), "--experiment"]
    done = CliRunner().invoke(app, [*given, "rg=6 +- 0.1 angstrom", "--experiment", "theta=10"])
    assert done.exit_code == 0 and "Against experiment chi² is" in done.output and "(theta 10)" in done.output
    assert {"report.html", "weights.csv"} <= {p.name for p in tmp_path.iterdir()}
    done = CliRunner().invoke(app, [*given, "rg=6 +- 0.1 angstrom", "--experiment", "molecule=other", "--force"])
    assert "there is no 'other'; write `molecule: chignolin`" in str(done.exception)
    done = CliRunner().invoke(app, [*given, "rg=6 angstrom", "--force"])
    assert "expected a value with its error" in str(done.exception)


def test_analyze_the_file_of_a_run(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "system.yaml"
    file.write_text((run / "resolved.yaml").read_text())
    done = CliRunner().invoke(app, ["analyze", str(file), "--out", str(tmp_path)])
    assert done.exit_code == 0 and (tmp_path / "report.html").is_file(), done.output


def test_several_on_one_page(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["analyze", str(run), str(run), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert f"wrote {tmp_path / 'report.html'}" in done.output and str(run / "analysis" / "report.html") in done.output
    page = (tmp_path / "report.html").read_text()
    assert "1: run and 2: run" in page and 'id="figure-series-rg"' in page and 'id="figure-side-by-side"' in page
    assert "agree in all observables within 3 standard errors" in page
    rows = (tmp_path / "properties.csv").read_text().splitlines()
    assert rows[0].startswith("run,molecule,state") and len(rows) == 3


def test_watch(run: Path) -> None:
    done = CliRunner().invoke(app, ["watch", str(run)])
    assert done.exit_code == 0, done.output
    assert "step 4,000 of 4,000 (100.0 %)" in done.output and "finished" in done.output


def test_melt(tmp_path: Path) -> None:
    arguments = [
        "melt",
        "chignolin",
        "--from",
        "300 K",
        "--to",
        "420 K",
        "--count",
        "4",
        "--out",
        str(tmp_path / "melt"),
    ]
    done = CliRunner().invoke(app, [*arguments, "--set", "dynamics.length=40 ps", "--set", "exchange.interval=200 fs"])
    assert done.exit_code == 0, done.output
    assert "4 temperatures from 300 to 420 K" in done.output
    assert (tmp_path / "melt" / "analysis" / "report.html").is_file()


@pytest.mark.parametrize(("low", "high", "words"), [("300", "420 K", "'--from'"), ("420 K", "300 K", "'--to'")])
def test_melt_between_wrong_temperatures(low: str, high: str, words: str) -> None:
    done = CliRunner().invoke(app, ["melt", "chignolin", "--from", low, "--to", high])
    assert done.exit_code != 0 and words in str(done.exception) + done.output


def test_report_at_the_end(tmp_path: Path) -> None:
    arguments = ["run", "chignolin", "--report", "--steps", "500", "--set", f"output.folder={tmp_path / 'run'}"]
    done = CliRunner().invoke(app, [*arguments, "--set", "replicas.count=2"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "analysis" / "report.html").is_file()

"""The gallery: every picture has its script, is what the page shows, and its script works on a run of seconds."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app

HERE = Path(__file__).parents[2] / "docs" / "gallery"
GALLERY: dict[str, Any] = runpy.run_path(str(HERE / "gallery.py"))
QUICK = ("melting", "surface", "walk")
"""They share a run."""


def test_every_picture_is_there_and_small() -> None:
    names = GALLERY["PICTURES"]
    assert {p.stem for p in HERE.glob("*.png")} == set(names)
    sizes = [(HERE / f"{name}.png").stat().st_size for name in names]
    assert max(sizes) < 150_000 and sum(sizes) < 1_000_000
    assert (HERE / "README.md").read_text(encoding="utf-8") == GALLERY["page"](), "make gallery"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[str]]]:
    """Where runs are, and the commands that were run there."""
    return tmp_path_factory.mktemp("gallery"), []


def short(name: str) -> Iterator[list[str]]:
    """The commands of a picture, with runs of seconds."""
    module = GALLERY["load"](name)
    for command in module.COMMANDS:
        words = GALLERY["arguments"](command)
        yield words + [w for key in module.SHORT if words[0] in ("run", "melt") for w in ("--set", key)]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in GALLERY["PICTURES"]]
)
def test_every_script_draws(name: str, runs: tuple[Path, list[list[str]]], monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "page" and GALLERY["load"]("page").browser() is None:
        pytest.skip("no Chromium on this machine")
    folder, done = runs
    monkeypatch.chdir(folder)
    for words in short(name):
        if words not in done:
            said = CliRunner().invoke(app, words)
            assert said.exit_code == 0, (said.output, said.exception)
            done.append(words)
    assert GALLERY["draw"](name, folder).startswith(b"\x89PNG")

"""Data are text: names and paths are shown as they are, whatever they hold."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.cli.lines import PlainConsole, show_line, show_rows, styled, visible
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield

PIECES = (
    "[/]",
    "[red]",
    "[/x]",
    "[link=http://a]",
    ":smile:",
    "\x1b[2J",
    "\x1b]0;owned\a",
    "\x9b31m",
    "\u202e",
    "a",
    "Å",
    " b",
)


def awkward(seed: int) -> str:
    """A name of markup, control characters and letters."""
    draw = np.random.default_rng(seed)
    return "x" + "".join(draw.choice(PIECES, size=int(draw.integers(1, 6)))) + "y"


@pytest.mark.parametrize("seed", range(20))
def test_every_way_to_the_terminal_shows_data_as_text(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    name, out = awkward(seed), io.StringIO()
    console = PlainConsole(file=out)
    table = Table("type", name, title=name)
    table.add_row(name, styled((name, "bold")))
    console.print(table)
    console.print(name, soft_wrap=True)
    console.rule(name)
    show_line(console, name)
    show_rows(console, {name: name})
    shown = out.getvalue()
    assert shown.count(visible(name)) == 9, shown
    assert not set(shown) & set("\x1b\a\x9b\u202e")


@pytest.mark.parametrize("seed", range(2))
def test_info_of_a_force_field_with_any_text(tmp_path: Path, seed: int) -> None:
    """Its name is a plain word; what it says of its origin is free."""
    name = awkward(seed)
    save_forcefield(tmp_path / "ff", load_forcefield("go-chignolin"))
    file = tmp_path / "ff" / "forcefield.yaml"
    quoted = '"' + "".join(c if c.isascii() and c.isprintable() else f"\\u{ord(c):04x}" for c in name) + '"'
    file.write_text(file.read_text() + f"\n  note: {quoted}\n")
    done = CliRunner().invoke(app, ["info", str(tmp_path / "ff")])
    assert done.exit_code == 0, done.exception
    assert visible(name) in done.output and "\x1b" not in done.output

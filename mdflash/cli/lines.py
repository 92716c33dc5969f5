"""Text that is never cut and never wrapped: a path or a command can be copied from a log file as it stands; plurals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text


def show_rows(console: Console, rows: Mapping[str, Any], *, indent: str = "", style: str = "bold") -> None:
    """One line for each name and what it stands for; further lines of a value stand below its first."""
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        lines = str(value).splitlines() or [""]
        for i, line in enumerate(lines):
            left = f"{name if i == 0 else '':<{width}}"
            console.print(Text.assemble(indent, (left, style), "  ", line), soft_wrap=True)


def show_line(console: Console, line: str) -> None:
    """One line as it stands."""
    console.print(Text(line), soft_wrap=True)


def plural(count: int, word: str) -> str:
    """'1 frame', '2,000 frames', '3 clashes'."""
    ending = "" if count == 1 else "es" if word.endswith(("s", "sh", "ch")) else "s"
    return f"{count:,} {word}{ending}"

"""The boundary between data and the terminal: names and paths are text, whatever they hold.

Text is never cut and never wrapped, so a path or a command can be copied from a log file as it stands. It is never
markup, and control characters are shown, not obeyed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import IO, Any

from rich.console import Console
from rich.text import Text

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys, or that changes the direction of writing; not line ends and tabs."""


def visible(text: str) -> str:
    """`text` with control characters as escapes, such as \\x1b."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def styled(*parts: str | tuple[str, str]) -> Text:
    """Parts of a line, each data or (words, style)."""
    return Text.assemble(*(visible(p) if isinstance(p, str) else (visible(p[0]), p[1]) for p in parts))


class PlainConsole(Console):
    """A console to which every string is data: no markup, no emoji, no control characters."""

    def __init__(self, *, file: IO[str] | None = None, stderr: bool = False, quiet: bool = False) -> None:
        super().__init__(file=file, stderr=stderr, quiet=quiet, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """As Console's."""
        return super().render_str(visible(text), **options)


def show_rows(console: Console, rows: Mapping[str, Any], *, indent: str = "", style: str = "bold") -> None:
    """One line for each name and what it stands for; further lines of a value stand below its first."""
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        lines = str(value).splitlines() or [""]
        for i, line in enumerate(lines):
            left = f"{name if i == 0 else '':<{width}}"
            console.print(styled(indent, (left, style), "  ", line), soft_wrap=True)


def show_line(console: Console, line: str) -> None:
    """One line as it stands."""
    console.print(styled(line), soft_wrap=True)

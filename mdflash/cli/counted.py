"""How far work is that counts what it does: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mdflash.cli.lines import show_line, visible
from mdflash.cli.options import duration
from mdflash.cli.progress import OFTEN, due_after

if TYPE_CHECKING:
    from rich.console import Console
    from typing_extensions import Self


class Counted:
    """Called with what is done, how much of it, and of how much; a context manager.

    What takes less than `OFTEN` seconds is shown in a terminal alone. The time left is that of the present work.

    Args:
        console: where it is shown.
    """

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1, left="")
        self._what, self._first = "", 0  # the present work, and what was done of it when it began
        self._begun = self._since = time.monotonic()
        self._due = self._begun + OFTEN

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._first, self._since = what, done, now
        rate = (done - self._first) / max(now - self._since, 1e-9)
        left = f"about {duration((total - done) / rate)} left" if rate > 0.0 and now - self._since > 2.0 else ""
        self._bar.update(self._task, description=visible(what), completed=done, total=max(total, 1), left=left)
        if not self._console.is_terminal and now >= self._due:
            self._due = now + due_after(now - self._begun)
            show_line(self._console, ", ".join(filter(None, (f"{what}: {done:,} of {total:,}", left))))

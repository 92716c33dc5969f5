"""Signs of life of work that counts what it does."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mdflash.cli import counted
from mdflash.cli.counted import Counted
from mdflash.cli.progress import EARLY, LATER, OFTEN


def test_lines_say_how_far_it_is_and_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(counted.time, "monotonic", lambda: now)
    out = io.StringIO()
    with Counted(Console(file=out, width=30)) as show:
        for now in range(int(EARLY + 10 * LATER)):
            show("reading\x1b frames of a long name" if now < 100 else "simulating", now, 1200)
    lines = out.getvalue().splitlines()
    assert lines[0] == f"reading\\x1b frames of a long name: {OFTEN:.0f} of 1,200, about 20 min left"
    assert lines[-1].startswith("simulating: 840 of 1,200, about 6 min left")
    assert len(lines) == EARLY / OFTEN + 9


def test_short_work_is_not_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(counted.time, "monotonic", lambda: now)
    out = io.StringIO()
    with Counted(Console(file=out)) as show:
        for now in range(int(OFTEN)):
            show("reading", now, 0)
    assert not out.getvalue()

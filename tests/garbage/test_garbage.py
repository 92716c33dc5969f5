"""A few damaged files of every kind are taken, or refused in a sentence with a place; `make garbage` tries more."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

import mdflash
from tests.garbage.judge import FINDINGS
from tests.garbage.kinds import KINDS, Kind
from tests.garbage.worker import drawing, sound, worker

EXAMPLES = 40
"""Of each kind: 20 s of CPU for all."""
PATIENCE = 120.0
"""Seconds: of a hang, not of a busy machine."""
PACKAGE = Path(mdflash.__file__).parent


@cache
def number() -> int:
    """Each state of the package has damaged files of its own, and the same ones again: a finding stays one."""
    h = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        h.update(file.read_bytes())
    return int.from_bytes(h.digest()[:8], "big")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_damaged_files_end_in_a_sentence(kind: Kind, tmp_path: Path) -> None:
    seeds = list(kind.seeds(tmp_path))
    if not seeds:
        pytest.skip(f"a package that reads {kind.name} is not installed")
    sound(seeds)
    damaged = [one.damaged for one in seeds]
    with worker(seeds, PATIENCE) as helper:

        @seed(number())
        @drawing(EXAMPLES)
        @given(st.data())
        def read(data: st.DataObject) -> None:
            k = data.draw(st.integers(0, len(seeds) - 1))
            content = data.draw(damaged[k])
            outcome = helper.try_(k, content)
            assert outcome.verdict not in FINDINGS, (seeds[k].file.name, outcome, content[:2000])

        read()

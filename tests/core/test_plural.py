"""How many of what, in a sentence."""

from __future__ import annotations

import pytest

from mdflash.core.plural import plural


@pytest.mark.parametrize(
    ("count", "word", "text"),
    [(1, "frame", "1 frame"), (2000, "frame", "2,000 frames"), (3, "clash", "3 clashes"), (6, "epoch", "6 epochs")],
)
def test_a_number_of_things(count: int, word: str, text: str) -> None:
    assert plural(count, word) == text

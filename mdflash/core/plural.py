"""How many of what, in a sentence."""

from __future__ import annotations


def plural(count: int, word: str) -> str:
    """'1 frame', '2,000 frames', '3 clashes', '4 epochs'."""
    hissing = word.endswith(("s", "sh", "ch")) and word != "epoch"
    ending = "" if count == 1 else "es" if hissing else "s"
    return f"{count:,} {word}{ending}"

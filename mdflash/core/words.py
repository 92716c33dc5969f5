"""Names that become names of files: plain words, wherever they come from.

A name that is read from a file may have been written by a stranger; one such as `../../x` would lead out of the folder.
"""

from __future__ import annotations

import re
from typing import Final

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
LONGEST: Final = 100


def plain_word(text: str) -> str:
    """`text` made fit to name files."""
    word = re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.+_")
    return word or "run"


def is_word(value: object) -> bool:
    """Whether `value` is fit to name files."""
    return isinstance(value, str) and len(value) <= LONGEST and _WORD.fullmatch(value) is not None


def what_a_word_is(value: object) -> str:
    """What a name must be, with a corrected one, to follow the place where `value` was found."""
    shown = f"'{value}'" if isinstance(value, str) else repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return (
        f"names files, so it must start with a letter or digit and have at most {LONGEST} letters, digits, "
        f"'.', '_', '+' or '-'; found {shown}; for example {plain_word(str(value))[:LONGEST]}"
    )

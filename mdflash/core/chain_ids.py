"""The ids of chains that have none of their own."""

from __future__ import annotations

from typing import Final

CHAIN_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def chain_name(index: int) -> str:
    """A, B, ..., 9, AA, AB, ...: the id of the chain with this number."""
    first, last = divmod(index, len(CHAIN_LETTERS))
    return (chain_name(first - 1) if first else "") + CHAIN_LETTERS[last]

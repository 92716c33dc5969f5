"""A series of values as `{min, max, count}`: of windows, temperatures and scales."""

from __future__ import annotations

from collections.abc import Mapping

from mdflash.core.quantity import describe


def read_series(value: Mapping[str, object], most: int, example: str, of: str = "") -> tuple[object, object, int]:
    """min, max and count, the first two as they are written.

    Args:
        value: the mapping.
        most: the largest count.
        example: a sound one, for errors.
        of: owner of the series, for errors; ends with ": ".

    Raises:
        ValueError: other keys, or a count that is no whole number from 2 to `most`.
    """
    if set(value) != {"min", "max", "count"}:
        raise ValueError(f"{of}expected the keys min, max, count, found {', '.join(map(str, value))}; write {example}")
    count = value["count"]
    if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= most:
        raise ValueError(
            f"{of}count must be a whole number from 2 to {most:,}, found {describe(count)}; for example {example}"
        )
    return value["min"], value["max"], count

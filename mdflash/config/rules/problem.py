"""What is wrong with a key, and questions that several rules ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from mdflash.config.biases import VariableEntry
from mdflash.core.quantity import show_quantity

TIME_UNITS: Final = ("ps", "ns", "fs")


class Problem(NamedTuple):
    """A key (its path) and what is wrong with it."""

    path: tuple[str | int, ...]
    message: str


def whole_steps(path: tuple[str | int, ...], time: float, timestep: float) -> Iterator[Problem]:
    """A problem of the key at `path` where `time` (ps) is not a whole number of steps of `timestep` (ps)."""
    shown = show_quantity(time, "time", TIME_UNITS)
    step = show_quantity(timestep, "time", ("fs", "ps"))
    ratio = time / timestep
    if ratio > 2**53:
        yield Problem(path, f"{shown} is {ratio:.3g} steps of {step}; at most 2^53 (9.0e15) can be counted")
        return
    whole = round(ratio)
    # `ratio` has the rounding of two decimal numbers, a few parts in 1e16
    if whole >= 1 and abs(ratio - whole) <= 1e-9 + 1e-14 * ratio:
        return
    near = [n for n in (int(ratio), int(ratio) + 1) if n >= 1]
    texts = [show_quantity(float(f"{n * timestep:.15g}"), "time", TIME_UNITS) for n in near]
    best = texts[-1] if ratio - int(ratio) >= 0.5 else texts[0]
    yield Problem(
        path,
        f"{shown} is {ratio:.6g} steps of {step}, which is not a whole number; "
        f"the nearest: {' and '.join(texts)}; write `{path[-1]}: {best}`",
    )


def system_is_known(entry: VariableEntry, systems: Sequence[str]) -> bool:
    """Whether an entry names one of the systems, or need not name the only one."""
    return entry.system in systems or (entry.system is None and len(systems) == 1)

"""Lights with their thresholds, and numbers as text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Color = Literal["good", "care", "bad", "unknown"]
RANK: dict[Color, int] = {"unknown": 0, "good": 0, "care": 1, "bad": 2}
HARDLY = 0.1
"""Effective fraction of frames, below which no weights mend a simulation."""


@dataclass(frozen=True)
class Light:
    """One thing that must hold before numbers are believed.

    Attributes:
        name: what is looked at.
        color: how it stands.
        value: the number with its unit, as text.
        rule: what is wanted, with thresholds.
        sentence: what it means here.
        proof: whether it can show that enough was sampled: a run that is complete and stable may have seen little.
    """

    name: str
    color: Color
    value: str
    rule: str
    sentence: str
    proof: bool = True


def grade(value: float, good: float, care: float, *, more: bool) -> Color:
    """`good` if value is beyond `good`, `care` beyond `care`, else `bad`; beyond: above where `more`, else below."""
    if math.isnan(value):
        return "unknown"
    if more:
        return "good" if value >= good else "care" if value >= care else "bad"
    return "good" if value <= good else "care" if value <= care else "bad"


def worst(lights: list[Light]) -> Color:
    """The worst of them."""
    return max((light.color for light in lights), key=lambda c: RANK[c], default="unknown")


def enough(lights: list[Light]) -> str:
    """Whether enough was sampled: "yes" takes proof, and nothing that is not met; what is not judged limits it."""
    if (color := worst(lights)) in ("care", "bad"):
        return "no" if color == "bad" else "not surely"
    if not any(light.proof and light.color == "good" for light in lights):
        return "not known"
    return "yes, as far as it can be judged" if not_judged(lights) else "yes"


def not_judged(lights: list[Light]) -> list[Light]:
    """Those that could not be."""
    return [light for light in lights if light.color == "unknown"]


def measured(value: float, error: float, unit: str = "", most: int = 9) -> str:
    """'347.9 ± 0.9 K': as many digits as the error's first two (one, where it begins above 2) say.

    `most` are the digits after the point that a reader has a use for.
    """
    end = f" {unit}" if unit else ""
    if not math.isfinite(value):
        return "not known"
    if not math.isfinite(error) or error <= 0:
        return f"{round(value, most):.4g}{end}"
    digits = -math.floor(math.log10(error))
    if error * 10.0**digits < 1.95:
        digits += 1
    if digits > most:
        return f"{value:,.{most}f} ± {error:.{most}f}{end}" if round(error, most) > 0 else f"{value:,.{most}f}{end}"
    places = max(digits, 0)
    return f"{round(value, digits):,.{places}f} ± {round(error, digits):.{places}f}{end}"


def rhat_text(value: float) -> str:
    """'1.013', '4.4', '167': near 1 three digits count."""
    return f"{value:.3f}" if value < 2.0 else f"{value:.2g}" if value < 10.0 else f"{value:.0f}"


def time_text(ps: float, digits: int = 4) -> str:
    """'12.5 ns'; an estimate has no more digits than are known."""
    ps = float(f"{ps:.{digits}g}")
    for unit, size in (("ms", 1e9), ("µs", 1e6), ("ns", 1e3)):
        if ps >= size:
            return f"{ps / size:.4g} {unit}"
    return f"{ps:.4g} ps"

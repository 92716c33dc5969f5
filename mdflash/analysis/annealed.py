"""Of a run whose temperature moves: from when on it stays, and at what. Frames before that are of no ensemble."""

from __future__ import annotations

from typing import NamedTuple

from mdflash.analysis.open_run import Run
from mdflash.config.schema import AnnealingStage
from mdflash.errors import MdflashError


class Annealed(NamedTuple):
    """How far the temperature had moved at some time.

    Attributes:
        until: ps at which it moved last; frames after it have `kelvin`. Infinite while it still moves.
        kelvin: where it goes, or has come to.
    """

    until: float
    kelvin: float


def annealed(run: Run, time: float) -> Annealed | None:
    """The last move before `time`, ps; None where the temperature has not moved, or the settings are gone."""
    try:
        dynamics = run.config.get("dynamics")
        entries = dynamics.get("annealing") if isinstance(dynamics, dict) else None
        stages = [AnnealingStage.model_validate(entry) for entry in entries] if isinstance(entries, list) else []
    except (MdflashError, OSError, ValueError):
        return None
    found, end = None, 0.0
    for stage in stages:
        begin, end = end + stage.after, end + stage.after + stage.length
        if time <= begin:
            break
        found = Annealed(end if time > end else float("inf"), stage.to)
    return found

"""Every mutant, by what it breaks."""

from __future__ import annotations

from typing import Final

from tests.mutants.listed import analysis, dynamics, files, forces, states, training
from tests.mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *dynamics.MUTANTS,
    *forces.MUTANTS,
    *states.MUTANTS,
    *files.MUTANTS,
    *analysis.MUTANTS,
    *training.MUTANTS,
)

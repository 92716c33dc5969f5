"""The frames of a run against another ensemble."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from mdflash.analysis.against.ensemble import SAME_TEMPERATURE, Reference, nearest_state, of_sample, read_ensemble
from mdflash.analysis.against.findings import EnsembleResult, compare_ensembles
from mdflash.analysis.open_run import Run
from mdflash.analysis.sample import Sample
from mdflash.mapping.choices import Reading

FEWEST: Final = 20
"""Frames that are worth a comparison."""


def against_ensemble(
    run: Run, sample: Sample, reference: Reference, reading: Reading | None, first_step: int, focus: int
) -> EnsembleResult | str:
    """The frames from `first_step` on of the state nearest in temperature; a sentence where there are too few.

    Args:
        run: where the frames are.
        sample: of the molecule.
        reference: what to compare with.
        reading: how its structure is to be read.
        first_step: of equilibrium.
        focus: the state of the pictures, which a reference without a temperature is compared with.

    Raises:
        InputError: the reference is of another molecule, or cannot be read.
    """
    here = float(sample.temperatures[focus])
    wanted = here if reference.kelvin is None else reference.kelvin
    other = read_ensemble(reference, sample.molecule, wanted, reading)
    known = other.kelvin if np.isfinite(other.kelvin) else wanted
    mine = of_sample(run, sample, nearest_state(sample, known, focus), first_step)
    if min(mine.frames, other.frames) < FEWEST:
        return f"{mine.frames} and {other.frames} frames are too few to compare ensembles"
    kelvin = mine.kelvin if np.isfinite(mine.kelvin) else known
    notes = []
    if not np.isfinite(other.kelvin):
        notes.append(f"the temperature of {other.name} is not known and taken to be {kelvin:.4g} K")
    elif abs(kelvin - other.kelvin) > SAME_TEMPERATURE:
        notes.append(
            f"{other.name} is at {other.kelvin:.4g} K, and the frames that it is compared with at {kelvin:.4g} K"
        )
    molecule = sample.molecule
    found = compare_ensembles(molecule.system, molecule.reference, other, mine, kelvin)
    return replace(found, notes=(*notes, *found.notes))

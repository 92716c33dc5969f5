"""Windows of datasets whose trajectories do not store them: from the recipe of `mdflash sample` in the head."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from mdflash.core.system import System
from mdflash.core.tensors import read_tensors
from mdflash.errors import MdflashError
from mdflash.sampling.recipe import RmsdWindows, TorsionWindows
from mdflash.sampling.restraint import Restraint, make_restraint
from mdflash.sampling.windows import TORSIONS


def recorded_restraint(
    provenance: Mapping[str, Any], folder: Path, name: str, system: System, number: int
) -> Restraint | None:
    """What held a trajectory, or None where the dataset does not tell.

    Args:
        provenance: of the dataset.
        folder: of the dataset; the structure that an RMSD is measured from is in its folder `sampling`.
        name: of the molecule.
        system: its beads.
        number: of the trajectory, as its file is named.
    """
    recipe = provenance.get("recipe")
    if not isinstance(recipe, dict) or not isinstance(recipe.get("molecule"), list):
        return None
    for entry in recipe["molecule"]:
        if not isinstance(entry, dict) or entry.get("name") != name:
            continue
        with suppress(ValidationError, MdflashError, KeyError, IndexError, TypeError):
            ladders = 1 if recipe.get("exchange") not in (None, "none") else len(recipe["temperatures"])
            if entry.get("windows"):
                torsion = TorsionWindows.model_validate(entry["windows"])
                window = torsion.all[number // ladders % torsion.count]
                return make_restraint("dihedral", _beads(torsion, system), *window)
            if entry.get("rmsd_windows"):
                rmsd = RmsdWindows.model_validate(entry["rmsd_windows"])
                arrays, _ = read_tensors(folder / "sampling" / name / "setup.safetensors")
                window = rmsd.all[number // ladders % rmsd.count]
                return make_restraint("rmsd", "all", *window, np.asarray(arrays["reference"], np.float64))
    return None


def _beads(windows: TorsionWindows, system: System) -> list[int]:
    """The four beads of a torsion."""
    place = {(int(r), name): k for k, (r, name) in enumerate(zip(system.residue_index, system.bead_names, strict=True))}
    return [place[windows.residue - 1 + shift, name] for shift, name in TORSIONS[windows.torsion]]

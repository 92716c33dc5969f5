"""mlcg's bead type numbers and our names for them."""

from __future__ import annotations

from typing import Final

RESIDUES: Final = tuple("ALA CYS ASP GLU PHE GLY HIS ILE LYS LEU MET ASN PRO GLN ARG SER THR VAL TRP TYR".split())
"""Types 1 to 20: on the Cβ of a five-bead model (on the Cα of glycine), on the Cα of a Cα model."""

BACKBONE: Final = {21: "N", 22: "CA", 23: "C", 24: "O"}


def type_name(number: int) -> str:
    """The bead type `number` as a force field calls it: "ALA", "CA", or "type30"."""
    if 1 <= number <= len(RESIDUES):
        return RESIDUES[number - 1]
    return BACKBONE.get(number, f"type{number}")

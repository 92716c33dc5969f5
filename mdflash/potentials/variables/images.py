"""Variables in a periodic box. Positions are taken as they are: a molecule is never wrapped, so within one that bonds
hold together no box matters, and the center of its beads is where it is. Between molecules a variable must know images;
what does not is refused with a box.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdflash.errors import InputError
from mdflash.potentials.variables.base import Variable

if TYPE_CHECKING:
    from mdflash.core.system import System
    from mdflash.core.types import Box, IntArray


def in_box(variable: Variable, system: System, box: Box) -> Variable:
    """The variable as it is right in a periodic box: between nearest images, where it lies between molecules.

    Raises:
        InputError: it lies between molecules and knows no images.
    """
    if variable.between_molecules or _apart(np.concatenate(variable.groups), system) is None:
        return variable
    found = variable.in_box(box)
    check_images(found, system, box)
    return found


def check_images(variable: Variable, system: System, box: Box | None) -> None:
    """Refuse a variable that is wrong in this periodic box (None: in none).

    Raises:
        InputError: no chain of bonds connects two of its beads and it knows no images, or those of another box.
    """
    if variable.box is not None and variable.box != box:
        raise InputError(
            f"the variable {variable.name} is made for a periodic box of {variable.box} Å, found {box or 'no box'}; "
            "write " + ("the variable without .in_box(...)" if box is None else f"variable.in_box({box})")
        )
    if box is None or variable.between_molecules:
        return
    for beads in (np.concatenate(variable.groups),) if variable.box is None else variable.groups:
        pair = _apart(beads, system)
        if pair is not None:
            one, other = (system.bead_label(bead) for bead in pair)
            what = "the beads of a group are of one molecule"
            if variable.box is None:
                what = "a bias acts within one molecule, or on the distance of two"
            raise InputError(
                f"with a periodic box, {what}, but no bonds connect {one} and {other}; "
                "choose other beads, or write `box: none`"
            )


def _apart(beads: IntArray, system: System) -> tuple[int, int] | None:
    """Two of the beads that no chain of bonds connects."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(system.bonds)), tuple(system.bonds.T)), shape=(system.n_beads,) * 2)
    molecule = connected_components(graph, directed=False)[1]
    others = beads[molecule[beads] != molecule[beads[0]]]
    return (int(beads[0]), int(others[0])) if len(others) else None

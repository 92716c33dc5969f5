"""Variables in a periodic box. Positions are taken as they are: a molecule is never wrapped, so within one that bonds
hold together no box matters. What lies between molecules would need images, and is refused with a box.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mdflash.errors import InputError
from mdflash.potentials.variables.base import Variable

if TYPE_CHECKING:
    from mdflash.core.system import System


def check_images(variable: Variable, system: System) -> None:
    """Refuse a variable that lies between molecules, for use with a periodic box.

    Raises:
        InputError: no chain of bonds connects two of its beads.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if variable.between_molecules:
        return
    graph = coo_array((np.ones(len(system.bonds)), tuple(system.bonds.T)), shape=(system.n_beads,) * 2)
    molecule = connected_components(graph, directed=False)[1]
    beads = np.concatenate(variable.groups)
    apart = beads[molecule[beads] != molecule[beads[0]]]
    if len(apart):
        one, other = (system.bead_label(int(bead)) for bead in (beads[0], apart[0]))
        raise InputError(
            f"with a periodic box, a bias acts within one molecule, but no bonds connect {one} and {other}; "
            "choose beads of one molecule, or write `box: none`"
        )

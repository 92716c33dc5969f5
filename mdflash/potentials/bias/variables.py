"""Collective variables by the names they had in 0.1; they go with the next release."""

from __future__ import annotations

import warnings

from mdflash.potentials.bias.term_energy import TermEnergy as energy
from mdflash.potentials.variables.angle import Angle as angle
from mdflash.potentials.variables.base import Variable as Variable
from mdflash.potentials.variables.dihedral import Dihedral as dihedral
from mdflash.potentials.variables.distance import Distance as distance
from mdflash.potentials.variables.images import check_images as check_images
from mdflash.potentials.variables.native_contacts import NativeContacts as native_contacts
from mdflash.potentials.variables.native_contacts import contacts_of as contacts_of
from mdflash.potentials.variables.position import Position as position
from mdflash.potentials.variables.radius_of_gyration import RadiusOfGyration as radius_of_gyration
from mdflash.potentials.variables.rmsd import Rmsd as rmsd

__all__ = [
    "Variable",
    "angle",
    "check_images",
    "contacts_of",
    "dihedral",
    "distance",
    "energy",
    "native_contacts",
    "position",
    "radius_of_gyration",
    "rmsd",
]

warnings.warn(
    "mdflash.potentials.bias.variables is now mdflash.potentials.variables, and its functions are classes "
    "(distance.Distance, ...); the old names go with the next release",
    DeprecationWarning,
    stacklevel=2,
)

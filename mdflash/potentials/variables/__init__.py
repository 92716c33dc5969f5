"""The list of collective variables: what biases act on. Each has one file here, and three lines in this one.

The file of a variable holds its definition and source, its class (which describes it, see `base.Variable`, and has its
value in torch) and its compiled value and gradient. The schema of `biases:`, the help texts, the kernels, the units in
colvars.csv and the conformance tests follow from this list. docs/dev/add_a_collective_variable.md adds one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from mdflash.compiled.deferred import njit
from mdflash.potentials.variables import angle, dihedral, distance, native_contacts, position, radius_of_gyration, rmsd
from mdflash.potentials.variables.base import Variable, VariableArrays

if TYPE_CHECKING:
    from mdflash.core.types import FloatArray

VARIABLES: Final[Mapping[str, type[Variable]]] = MappingProxyType(
    {
        variable.name: variable
        for variable in (
            distance.Distance,
            angle.Angle,
            dihedral.Dihedral,
            position.Position,
            rmsd.Rmsd,
            radius_of_gyration.RadiusOfGyration,
            native_contacts.NativeContacts,
        )
    }
)
"""Every variable that a bias in a system.yaml can act on, by name."""


@njit
def value_gradient(number: int, v: VariableArrays, x: FloatArray, g: FloatArray) -> float:
    """The variable at a place in the list, at x [N, 3]; overwrites g [M, 3] with its gradient.

    Written out, since numba keeps no machine code on the disk of a function that closes over others.
    """
    if number == 0:
        return distance.value_gradient(v, x, g)
    if number == 1:
        return angle.value_gradient(v, x, g)
    if number == 2:
        return dihedral.value_gradient(v, x, g)
    if number == 3:
        return position.value_gradient(v, x, g)
    if number == 4:
        return rmsd.value_gradient(v, x, g)
    if number == 5:
        return radius_of_gyration.value_gradient(v, x, g)
    if number == 6:
        return native_contacts.value_gradient(v, x, g)
    return float("nan")

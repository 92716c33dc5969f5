"""What a collective variable is: a number that is a function of one molecule's positions.

The class of a variable describes it: to the schema of `biases:`, to the kernels, to the columns of colvars.csv and to
the tests. An object of the class is the variable of one molecule, with its beads. Nothing here imports torch or numba,
so that a system.yaml is checked without them.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from mdflash.core.section import Section
    from mdflash.core.system import System
    from mdflash.core.types import Box, FloatArray, IntArray

Beads = int | Sequence[int] | npt.NDArray[np.int64]
"""A bead, or a group of beads, by index within the molecule."""

Dimension = Literal["length", "angle"]
Symmetry = Literal["translation", "rotation"]

UNITS: Final[Mapping[Dimension | None, str]] = MappingProxyType({"length": "A", "angle": "rad", None: ""})
"""The unit of a value, as columns name it."""
AXES: Final[Mapping[Dimension | None, str]] = MappingProxyType({"length": " / Å", "angle": " / rad", None: ""})
"""What follows the name of a variable at an axis."""


class Options(NamedTuple):
    """Keys of its own that a variable has in `biases:`.

    Attributes:
        key: the key that holds them.
        section: what they are.
        text: about the key, for help texts.
    """

    key: str
    section: type[Section]
    text: str


class Selected(NamedTuple):
    """What an entry of `biases:` means for one molecule.

    Attributes:
        groups: each entry of `beads:`, as bead numbers.
        reference: [N, 3] Å of the whole molecule, for variables that need one.
        options: options, for variables that have some.
    """

    groups: Sequence[Sequence[int]]
    reference: FloatArray | None
    options: Any

    @property
    def beads(self) -> list[int]:
        """All groups as one set."""
        return [bead for group in self.groups for bead in group]


class VariableArrays(NamedTuple):
    """What compiled functions read of one variable with M beads.

    Attributes:
        beads: [M] counted within the molecule, group by group.
        weight: [M] of each bead.
        reference: [M, 3] Å; zeros where a variable has none.
        start: [5] group k owns the beads start[k]:start[k + 1]; unused groups are empty.
        constants: [3 or more] of the variable, then zeros.
    """

    beads: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    reference: npt.NDArray[np.float64]
    start: npt.NDArray[np.int64]
    constants: npt.NDArray[np.float64]


class Variable(ABC):
    """One collective variable of one molecule.

    Attributes:
        name: its name in `variable:`.
        dimension: dimension of its value; None: a plain number.
        takes: how many beads (or groups of beads, up to 4) it takes; None: one set of beads.
        lowest, highest: the values that it can have.
        periodic: whether values 2 pi apart are the same.
        needs_reference: whether it compares with a structure.
        default_center: center of a harmonic bias that names none; None: the center must be given.
        options: its own keys.
        about: a word on what it is, where its name leaves that open.
        symmetries: what can be done to the molecule without changing the value.
        between_molecules: whether it is right for beads that no bonds connect, in a periodic box.

        groups: the beads of each group; a set is one group.
        weights: weight of each bead, for the compiled function.
        reference: [M, 3] Å of all beads, or [0, 3].
        constants: further numbers for the compiled function.
        box: edges of the periodic box through whose walls its groups see each other; None: as the positions are.
    """

    name: ClassVar[str]
    dimension: ClassVar[Dimension | None]
    takes: ClassVar[int | None] = None
    lowest: ClassVar[float] = 0.0
    highest: ClassVar[float] = math.inf
    periodic: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = False
    default_center: ClassVar[float | None] = None
    options: ClassVar[Options | None] = None
    about: ClassVar[str] = ""
    symmetries: ClassVar[tuple[Symmetry, ...]] = ("translation", "rotation")
    between_molecules: ClassVar[bool] = False
    box: Box | None = None

    def __init__(
        self,
        groups: tuple[IntArray, ...],
        weights: tuple[FloatArray, ...],
        reference: FloatArray | None = None,
        constants: tuple[float, ...] = (),
    ) -> None:
        self.groups, self.weights, self.constants = groups, weights, constants
        self.reference: FloatArray = np.zeros((0, 3)) if reference is None else reference

    @classmethod
    @abstractmethod
    def select(cls, system: System, selected: Selected) -> Variable:
        """The variable that an entry of `biases:` asks for.

        Raises:
            InputError: beads that the molecule does not have, or of which this variable makes no sense.
        """

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """The variable at x [n, N, 3] in Å: [n], differentiable. The compiled function is compared with it."""

    def in_box(self, box: Box) -> Variable:
        """The variable between the nearest images of its groups; itself where it knows no images."""
        return self

    @property
    def unit(self) -> str:
        """Of the value, as columns name it."""
        return UNITS[self.dimension]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that changes a value, hexadecimal."""
        constants = (*self.constants, 0.0, 0.0)[: max(2, len(self.constants))]  # two at least, as runs of 0.1 wrote it
        h = hashlib.sha256(" ".join([self.name, *map(repr, constants)]).encode())
        for array in (*self.groups, *self.weights, self.reference):
            h.update(f"{array.shape}".encode() + array.tobytes())
        h.update(self.stamp())
        return h.hexdigest()

    def plumed(self, label: str) -> list[str]:
        """Lines of a plumed.dat (in Å) that compute it under this label; none where PLUMED has no such variable."""
        return []

    def stamp(self) -> bytes:
        """What changes a value beside beads, weights, reference and constants."""
        return b""


def plumed_atoms(beads: IntArray) -> str:
    """Beads as PLUMED counts atoms, from 1."""
    return ",".join(str(bead + 1) for bead in beads.tolist())


def one_group(system: System, beads: Beads) -> IntArray:
    """The beads of a group, each of them in the molecule, and once.

    Raises:
        InputError: an empty group, a bead the molecule does not have, a bead named twice.
    """
    found: IntArray = np.atleast_1d(np.asarray(beads, np.int64))
    if not len(found):
        raise InputError(f"a group of beads of system '{system.name}' is empty")
    if found.min() < 0 or found.max() >= system.n_beads:
        bad = found.max() if found.min() >= 0 else found.min()
        raise InputError(f"bead {bad} is not in system '{system.name}'; its beads are 0 to {system.n_beads - 1}")
    if len(set(found.tolist())) < len(found):
        raise InputError(f"a group of beads of system '{system.name}' names a bead twice: {found.tolist()}")
    return found


def mass_shares(system: System, beads: IntArray) -> FloatArray:
    """[M] each bead's share of the mass."""
    masses = system.masses[beads]
    return np.asarray(masses / masses.sum())


def reference_points(beads: IntArray, reference: npt.ArrayLike) -> FloatArray:
    """[M, 3] a reference point in Å for each bead.

    Raises:
        InputError: another shape, or a number that is not finite.
    """
    points = np.asarray(reference, np.float64)
    if points.shape != (len(beads), 3) or not np.isfinite(points).all():
        raise InputError(f"the reference must be [{len(beads)}, 3] finite numbers in Å, found {list(points.shape)}")
    return points


def norm(v: Tensor) -> Tensor:
    """|v| over the last axis; with gradient 0, not NaN, at 0."""
    import torch

    length: Tensor = torch.linalg.vector_norm(v, dim=-1)
    return length

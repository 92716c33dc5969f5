"""Q, the fraction of native contacts: one definition, that of the variable `native_contacts` of biases.

Q = mean of 1 / (1 + exp(beta (r - stretch r0))) over pairs of beads that touch in the native structure (Best, Hummer &
Eaton, PNAS 110, 17874 (2013)). With beta infinite it is the share of contacts shorter than stretch r0.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mdflash.core.geometry import distances
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.potentials.variables.base import Beads
from mdflash.potentials.variables.native_contacts import Contacts, contacts_of

RULE: Final = Contacts()
"""The defaults of `contacts:` in system.yaml."""


def native_contacts(
    positions: FloatArray,
    system: System,
    native: npt.ArrayLike,
    *,
    contacts: npt.ArrayLike | None = None,
    beads: Beads | None = None,
    cutoff: float = RULE.cutoff,
    separation: int = RULE.separation,
    beta: float = RULE.beta,
    stretch: float = RULE.stretch,
) -> FloatArray:
    """The fraction of native contacts Q of each frame, as `variable: native_contacts` in `biases:` defines it.

        system, native = forcefield.system()
        mdflash.native_contacts(run.positions[3][:], system, native[0])   # [F], 0 to 1

    Args:
        positions: [F, N, 3] Å, or [N, 3].
        system: the molecule.
        native: [N, 3] Å, its native structure.
        contacts: [C, 2] pairs of beads, such as those of a Gō force field's term; None: found in `native`.
        beads: among which contacts are looked for; None: all.
        cutoff: pairs nearer than this in `native` are contacts, Å.
        separation: pairs of one chain are contacts only more residues apart than this.
        beta: steepness, 1/Å; `math.inf` counts a contact as there or not.
        stretch: how far a contact may stretch.

    Returns:
        [F], or one number for positions [N, 3].

    Raises:
        InputError: positions of another molecule, or no contacts.
    """
    x, reference = np.asarray(positions, np.float64), np.asarray(native, np.float64)
    for name, found in (("native", reference[None]), ("positions", x if x.ndim == 3 else x[None])):
        if found.shape[1:] != (system.n_beads, 3):
            raise InputError(f"{name} must be [{system.n_beads}, 3] in Å for each frame, found {list(found.shape)}")
    among = np.arange(system.n_beads) if beads is None else beads
    pairs = contacts_of(system, among, reference, cutoff, separation) if contacts is None else np.asarray(contacts)
    if not len(pairs):
        raise InputError(
            f"the native structure has no contacts: no two beads are nearer than {cutoff:g} Å and more than "
            f"{separation} residues apart"
        )
    found = fraction(x if x.ndim == 3 else x[None], pairs, distances(reference[None], pairs)[0], beta, stretch)
    return found if x.ndim == 3 else found[0]


def fraction(
    positions: FloatArray, pairs: IntArray, r0: FloatArray, beta: float = RULE.beta, stretch: float = RULE.stretch
) -> FloatArray:
    """[F] Q of positions [F, N, 3] over pairs [C, 2] of native lengths r0 [C] Å."""
    over = distances(positions, pairs) - stretch * r0
    if np.isinf(beta):
        return np.asarray((over < 0.0).mean(axis=1))
    return np.asarray((1.0 / (1.0 + np.exp(np.clip(beta * over, -50.0, 50.0)))).mean(axis=1))

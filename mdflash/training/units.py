"""Whether the forces of a dataset are what holds its bonds, so that a wrong unit or sign is seen before a training.

In equilibrium, forces f and positions x obey <f . g> = -kT <div g> for any field g(x) (the hypervirial theorem:
J. O. Hirschfelder, J. Chem. Phys. 33, 1462 (1960)). With g along a bond r, and as long as its departure from the mean,
each bond yields kT from its own forces, which no other motion disturbs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mdflash.core.system import System
from mdflash.units import DIMENSIONS, kT

Float32 = npt.NDArray[np.float32]

FACTOR = 3.0
"""How far kT from the forces may be off, up or down."""
SURE = 5.0
"""Standard errors between kT from the forces and what is allowed."""
_PARTS = 10
_FEWEST = 100
"""Frames."""
_KJ = DIMENSIONS["energy"]["kJ/mol"]
_UNITS = (
    (1 / _KJ, f"kJ/mol/Å; multiply them by {_KJ:.4g}"),
    (10 / _KJ, f"kJ/mol/nm; multiply them by {_KJ / 10:.4g}"),
    (1 / DIMENSIONS["energy"]["eV"], f"eV/Å; multiply them by {DIMENSIONS['energy']['eV']:.4g}"),
    (10.0, "kcal/mol/nm; divide them by 10"),
)


def other_force_unit(system: System, positions: Float32, forces: Float32, temperature: Float32) -> str | None:
    """What is wrong with the unit or sign of forces, as a sentence with the cure; None where nothing is sure.

    Args:
        system: its bonds are looked at.
        positions: [F, N, 3] Å.
        forces: [F, N, 3], maybe kcal/mol/Å.
        temperature: [F] K.
    """
    if len(positions) < _FEWEST or not len(system.bonds):
        return None
    i, j = system.bonds.T
    d = (positions[:, j] - positions[:, i]).astype(np.float64)
    r = np.linalg.norm(d, axis=2)
    if not r.all():
        return None
    along = ((forces[:, j] - forces[:, i]) * d).sum(axis=2) / r
    off = r - r.mean(axis=0)
    energy = -(along * off).sum(axis=1) / (2.0 + 4.0 * off / r).sum(axis=1)  # [F], what kT is found to be
    ratio = energy / (kT(1.0) * temperature)
    parts = np.array([part.mean() for part in np.array_split(ratio, _PARTS)])
    mean, error = float(parts.mean()), SURE * float(parts.std(ddof=1)) / _PARTS**0.5
    if abs(mean) <= error or 1 / FACTOR - error <= mean <= FACTOR + error:
        return None
    said = f"the forces along the bonds are {mean:.2g} times those that the spread of the bonds asks for"
    if mean < 0:
        return f"{said}: they have the sign of a gradient; forces are -dU/dx in kcal/mol/Å, so multiply them by -1"
    near = min(_UNITS, key=lambda unit: abs(np.log(mean / unit[0])))
    return f"{said}; forces are in kcal/mol/Å, and these look as if they were in {near[1]}"

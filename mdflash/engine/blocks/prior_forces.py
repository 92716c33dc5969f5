"""What every compiled loop does for one replica: evaluate its priors and biases."""

from __future__ import annotations

from mdflash.compiled.jit import njit
from mdflash.core.types import FloatArray, IntArray
from mdflash.potentials.bias.cpu import Biases, add_biases
from mdflash.potentials.priors.cpu import Listed, Nonbonded, add_listed, add_nonbonded


@njit(cache=True, unit=True, borrow=True, error_model="numpy")
def prior_forces(
    listed: Listed,
    nonbonded: Nonbonded,
    biases: Biases | None,
    system: int,
    replica: int,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    start: IntArray,  # [N + 1]
    neighbor: IntArray,  # [P]
    x: FloatArray,  # [N, 3] Å
    f: FloatArray,  # [N, 3] kcal/mol/Å
) -> float:
    """Overwrite f [N, 3] with the forces of priors and biases; returns their energy."""
    f[:] = 0.0
    energy = add_listed(listed, system, x, f)
    if nonbonded.cutoff[system] > 0.0:
        energy += add_nonbonded(nonbonded, system, box, start, neighbor, x, f)
    if biases is not None:
        energy += add_biases(biases, system, replica, x, f)
    return energy

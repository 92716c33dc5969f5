"""What every compiled loop does for one replica: evaluate its priors and biases."""

from __future__ import annotations

from mdflash.compiled.jit import njit
from mdflash.potentials.bias.cpu import add_biases
from mdflash.potentials.priors.cpu import add_listed, add_nonbonded


@njit(cache=True, unit=True, error_model="numpy")
def prior_forces(listed, nonbonded, biases, system, replica, box, start, neighbor, x, f):
    """Overwrite f [N, 3] with the forces of priors and biases; returns their energy."""
    f[:] = 0.0
    energy = add_listed(listed, system, x, f)
    if nonbonded.cutoff[system] > 0.0:
        energy += add_nonbonded(nonbonded, system, box, start, neighbor, x, f)
    if biases is not None:
        energy += add_biases(biases, system, replica, x, f)
    return energy

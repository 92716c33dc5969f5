"""Multiple time steps (r-RESPA): priors and biases at every step, networks at every k-th, as impulses.

With `network_every: k`, the force F of step n in any scheme (`langevin.py`, `verlet.py`) is replaced by

    F_n = F_fast(x_n) + w_n F_slow(x_n),    w_n = k where k divides n, else 0

For velocity Verlet and BAOAB, whose steps begin and end with half a kick, k steps are then

    v += k dt/2 F_slow/m;   k steps of dt under F_fast;   v += k dt/2 F_slow/m

the symmetric splitting of Tuckerman, Berne & Martyna, J. Chem. Phys. 97, 1990 (1992), with the thermostat inside as in
Leimkuhler & Matthews, "Molecular Dynamics" (Springer, 2015). langevin-middle joins the last half kick of a step
with the first of the next, for both forces alike: the same map, seen half a kick earlier. The error is of second order
in k dt, and averages are those of states at multiples of k, where reports belong.

n is the number of the step since the start of the run, not since the start of a block, and a block begins by
evaluating the impulse of its first step again. Between blocks the state holds energy and forces of the whole potential
at its positions, whatever n. So how steps are grouped, where a run was stopped and which steps are reported change no
bit.

Impulses resonate with the fastest motion: the scheme is unstable near k dt = T/2 and its multiples, T the period of
that motion, and inaccurate from about T/3 on (Ma, Izaguirre & Skeel, SIAM J. Sci. Comput. 24, 1951 (2003)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mdflash.core.state import Layout
from mdflash.errors import InputError
from mdflash.integrators import DEFAULT
from mdflash.integrators.base import Integrator
from mdflash.integrators.timestep_check import shortest_period
from mdflash.potentials.base import Potential

RESONANCE: Final = 1.0 / 3.0
"""Periods of the fastest motion that an impulse should not be apart."""


def check_network_every(integrator: Integrator, every: int) -> None:
    """Refuse a scheme that takes no impulses.

    Raises:
        InputError: `every` is not a positive number, or the scheme has no velocities.
    """
    if every < 1:
        raise InputError(f"must be 1 or more, found {every}", key="dynamics.network_every")
    if every > 1 and not integrator.has_velocities:
        raise InputError(
            f"{integrator.name} dynamics has no velocities to take impulses; write `network_every: 1`, or "
            f"`integrator: {DEFAULT}`",
            key="dynamics.network_every",
        )


def resonance(terms: Sequence[Potential], layout: Layout, timestep: float, every: int) -> str | None:
    """A warning where impulses come too near to the period of the stiffest bond; None where they do not.

    Bonds are what is known of the fast motion: angles, contacts and the networks themselves may add to it.
    """
    period = shortest_period(terms, layout)
    if every == 1 or every * timestep <= RESONANCE * period:
        return None
    return (
        f"dynamics.network_every: the networks act every {every * timestep * 1e3:g} fs, more than a third of the "
        f"{period * 1e3:.3g} fs period of the stiffest bond: impulses may resonate with it; compare energies and "
        f"temperatures with a run of `network_every: 1`"
    )

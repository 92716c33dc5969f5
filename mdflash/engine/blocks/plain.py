"""The plain loop: one step at a time from Python, for potentials that the compiled loop does not know.

The integrator's arithmetic and noise are the compiled loop's own functions, so for equal forces both loops give the
same bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mdflash.compiled.jit import njit, prange
from mdflash.core.state import Layout, State
from mdflash.core.types import Box, FloatArray, IntArray
from mdflash.engine.blocks.arguments import Batch, batch
from mdflash.engine.settings import Dynamics
from mdflash.integrators.cpu import Scheme, after_force, before_force, scheme
from mdflash.neighbors.verlet import VerletList
from mdflash.potentials.base import EnergyForces, Potential
from mdflash.units import BOLTZMANN


@njit(cache=True, parallel=True, nogil=True)
def _before(
    s: Scheme,
    layout: Batch,
    alive: npt.NDArray[np.bool_],  # [R]
    kT: FloatArray,  # [R] kcal/mol
    seed: int,
    step: int,
    x: FloatArray,  # [B, 3] Å
    v: FloatArray,  # [B, 3] Å/ps
    f: FloatArray,  # [B, 3] kcal/mol/Å
) -> None:
    for r in prange(kT.shape[0]):
        if alive[r]:
            a, b = layout.bead_offset[r], layout.bead_offset[r + 1]
            before_force(s, x[a:b], v[a:b], f[a:b], layout.mass[a:b], kT[r], seed, layout.replica_id[r], step)


@njit(cache=True, parallel=True, nogil=True)
def _after(
    s: Scheme,
    layout: Batch,
    alive: npt.NDArray[np.bool_],  # [R]
    v: FloatArray,  # [B, 3] Å/ps
    f: FloatArray,  # [B, 3] kcal/mol/Å
) -> None:
    for r in prange(alive.shape[0]):
        if alive[r]:
            a, b = layout.bead_offset[r], layout.bead_offset[r + 1]
            after_force(s, v[a:b], f[a:b], layout.mass[a:b])


class PlainPropagator:
    """Runs a batch under any `Potential`.

    Args:
        layout: the batch.
        potential: what acts on it.
        dynamics: see `settings`.
        box: periodic edges in Å, or None.
        networks: what acts besides, as impulses at every `network_every`-th step; see `integrators.respa`.
    """

    kernels = "python"
    gpu = None

    def __init__(
        self,
        layout: Layout,
        potential: Potential,
        dynamics: Dynamics,
        box: Box | None,
        networks: Potential | None = None,
    ) -> None:
        self.layout, self.potential = layout, potential
        self._scheme = scheme(dynamics.integrator, dynamics.remove_com_motion)
        self._seed = dynamics.seed
        self._batch = batch(layout)
        self._networks, self._every = networks, dynamics.network_every
        cutoffs = [p.cutoff for p in (potential, networks) if p is not None and p.cutoff is not None]
        self._list = VerletList(layout, max(cutoffs), dynamics.skin, box) if cutoffs else None

    def evaluate(self, state: State) -> None:
        """Bring energy and forces of the state up to date with its positions."""
        energy, forces = self._fast_and_slow(state, impulse=1)
        state.energy.copy_(energy)
        state.forces.copy_(forces)

    def _fast_and_slow(self, state: State, impulse: int) -> EnergyForces:
        """The potential at the state's positions, and `impulse` times the networks' forces."""
        pairs = None if self._list is None else self._list.pairs(state.positions)
        energy, forces = self.potential.energy_and_forces(state.positions, self.layout, pairs)
        if self._networks is not None and impulse:
            slow = self._networks.energy_and_forces(state.positions, self.layout, pairs)
            energy, forces = energy + slow.energy, forces + impulse * slow.forces
        return EnergyForces(energy, forces)

    def _push(self, state: State, step: int) -> EnergyForces:
        return self._fast_and_slow(state, self._every if step % self._every == 0 else 0)

    def advance(self, state: State, steps: int) -> IntArray:
        """Run `steps` steps, in place; returns [R] failed step or -1."""
        failed = np.full(self.layout.n_replicas, -1, np.int64)
        kT = BOLTZMANN * state.temperature.numpy()
        x, v = state.positions.numpy(), state.velocities.numpy()
        impulses = self._networks is not None and self._every > 1
        f = self._push(state, state.step).forces.numpy() if impulses else state.forces.numpy()
        for step in range(state.step, state.step + steps):
            _before(self._scheme, self._batch, failed < 0, kT, self._seed, step, x, v, f)
            if impulses:
                energy, forces = self._push(state, step + 1)
                f[:] = forces.numpy()
            else:
                self.evaluate(state)
                energy = state.energy
            failed[(failed < 0) & ~np.isfinite(energy.numpy())] = step
            _after(self._scheme, self._batch, failed < 0, v, f)
        state.step += steps
        if impulses:
            self.evaluate(state)
            failed[(failed < 0) & ~np.isfinite(state.energy.numpy())] = state.step - 1
        return failed

"""The compiled loop: a whole block of steps of every replica without returning to Python.

Replicas never meet inside a block, so each is carried through all its steps by one thread: no barrier, its few
kilobytes stay in the cache, and its bits cannot depend on the other replicas, on the batch, or on the number of
threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mdflash.compiled.jit import njit, prange
from mdflash.core.state import Layout, State
from mdflash.engine.blocks.list_cache import Lists, Scratch, make_lists, make_scratch
from mdflash.engine.blocks.network import block_alone, block_of_each, block_together
from mdflash.engine.blocks.prior_forces import prior_forces
from mdflash.engine.settings import Dynamics
from mdflash.integrators.cpu import after_force, before_force, scheme
from mdflash.neighbors.cpu import moved_too_far, rebuild
from mdflash.neighbors.verlet import check_box
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.potentials.pack import Packed
from mdflash.potentials.priors.cpu import Listed
from mdflash.potentials.schnet.tabulated import together
from mdflash.units import BOLTZMANN


class Batch(NamedTuple):
    """The layout as the kernels see it."""

    mass: npt.NDArray[np.float64]  # [B]
    bead_offset: npt.NDArray[np.int64]  # [R + 1]
    system: npt.NDArray[np.int64]  # [R]
    replica_id: npt.NDArray[np.int64]  # [R]


def batch(layout: Layout) -> Batch:
    """The kernels' view of a layout."""
    return Batch(
        layout.masses.numpy(),
        layout.bead_offset,
        layout.system_of_replica,
        np.array(layout.replica_ids, np.int64),
    )


@njit(cache=True, error_model="numpy")
def _carry(
    s, listed, nonbonded, biases, system, replica, mass, replica_id, kT, seed, first_step, steps, skin, box, x, v, f
):
    """One replica through `steps` steps, in place; returns its energy and the step that failed, or -1."""
    n = x.shape[0]
    with_list = nonbonded.cutoff[system] > 0.0
    reach = nonbonded.cutoff[system] + skin
    row = nonbonded.first[system] + system
    exclusion_start = nonbonded.exclusion_start[row : row + n + 1]
    start = np.zeros(n + 1, np.int64)
    neighbor = np.empty(0, np.int64)
    built_at = np.full((n if with_list else 0, 3), np.nan)
    energy = np.nan
    for step in range(first_step, first_step + steps):
        before_force(s, x, v, f, mass, kT, seed, replica_id, step)
        if with_list and moved_too_far(x, built_at, skin):
            neighbor = rebuild(x, reach, box, exclusion_start, nonbonded.exclusion, start, neighbor)
            built_at[:] = x
        energy = prior_forces(listed, nonbonded, biases, system, replica, box, start, neighbor, x, f)
        if not np.isfinite(energy):
            return energy, step
        after_force(s, v, f, mass)
    return energy, -1


@njit(cache=True, parallel=True, nogil=True)
def _block(
    s, distance, angle_cosine, angle, dihedral, nonbonded, biases, layout, kT, seed, first_step, steps, skin, box,
    x, v, f, energy, failed,
):  # fmt: skip
    for r in prange(energy.shape[0]):
        listed = Listed(distance, angle_cosine, angle, dihedral)  # a parallel loop takes no nested tuples
        a, b = layout.bead_offset[r], layout.bead_offset[r + 1]
        energy[r], failed[r] = _carry(
            s, listed, nonbonded, biases, layout.system[r], r, layout.mass[a:b], layout.replica_id[r], kT[r], seed,
            first_step, steps, skin, box, x[a:b], v[a:b], f[a:b],
        )  # fmt: skip


@njit(cache=True, parallel=True, nogil=True)
def _evaluate(distance, angle_cosine, angle, dihedral, nonbonded, biases, layout, box, x, f, energy):
    for r in prange(energy.shape[0]):
        listed = Listed(distance, angle_cosine, angle, dihedral)
        a, b = layout.bead_offset[r], layout.bead_offset[r + 1]
        system = layout.system[r]
        n = b - a
        start = np.zeros(n + 1, np.int64)
        neighbor = np.empty(0, np.int64)
        if nonbonded.cutoff[system] > 0.0:
            row = nonbonded.first[system] + system
            neighbor = rebuild(
                x[a:b], nonbonded.cutoff[system], box, nonbonded.exclusion_start[row : row + n + 1],
                nonbonded.exclusion, start, neighbor,
            )  # fmt: skip
        energy[r] = prior_forces(listed, nonbonded, biases, system, r, box, start, neighbor, x[a:b], f[a:b])


def _box(box: tuple[float, float, float] | None) -> npt.NDArray[np.float64]:
    return np.zeros(3) if box is None else np.array(box, np.float64)


class CompiledPriors(Potential):
    """All packed priors and biases as one potential: the compiled twin of their sum, for use from Python.

    The neighbour list is built afresh, so `pairs` is not needed.
    """

    def __init__(self, packed: Packed, box: tuple[float, float, float] | None = None) -> None:
        self.name = "priors"
        self.packed = packed
        self._box = _box(box)

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        x = positions.detach().to("cpu", torch.float64).contiguous().numpy()
        forces, energy = np.empty_like(x), np.empty(layout.n_replicas)
        biases = self.packed.biases.of(layout).arrays()
        _evaluate(*self.packed.listed, self.packed.nonbonded, biases, batch(layout), self._box, x, forces, energy)
        return EnergyForces(torch.from_numpy(energy).to(positions), torch.from_numpy(forces).to(positions))


class Crew:
    """Whether all threads work on one replica, or one: whichever was faster of late. The bits are the same.

    Threads that share a replica wait for each other some twenty times a step, which takes microseconds on cores of
    their own and milliseconds on cores that are busy with something else.
    """

    RETRY = 64
    """Blocks after which the slower way is tried again. Early on it is after 4, 8, 16, ..., since the first block of
    either may have compiled something, or was disturbed."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}  # of one step, by number of threads
        self._blocks = 0

    def choose(self, most: int) -> int:
        """Threads for the next block of steps."""
        self._blocks += 1
        for threads in (most, 1):
            if threads not in self._seconds:
                return threads
        faster, slower = sorted((most, 1), key=self._seconds.__getitem__)
        early = self._blocks < self.RETRY and self._blocks.bit_count() == 1
        return slower if early or self._blocks % self.RETRY == 0 else faster

    def time(self, kernel: Callable[..., Any], steps: int) -> Callable[..., Any]:
        """`kernel` with the threads to use, timed where it makes steps."""
        most = numba.get_num_threads()

        def timed(*arguments: object) -> Any:
            threads = self.choose(most) if steps else most
            numba.set_num_threads(threads)
            began = time.perf_counter()
            try:
                result = kernel(*arguments)
            finally:
                numba.set_num_threads(most)
            if steps:
                self._seconds[threads] = (time.perf_counter() - began) / steps
            return result

        return timed


class CompiledPropagator:
    """Runs a batch whose whole potential is packed; see the module's docstring.

    Args:
        layout: the batch.
        packed: its potential; `rest` must be empty.
        dynamics: see `engine.settings`.
        box: periodic edges in Å, or None.
    """

    kernels = "compiled"
    gpu = None

    def __init__(
        self,
        layout: Layout,
        packed: Packed,
        dynamics: Dynamics,
        box: tuple[float, float, float] | None,
    ) -> None:
        assert not packed.rest
        cutoff = float(packed.nonbonded.cutoff.max())
        if packed.networks is not None:
            cutoff = max(cutoff, float(packed.networks.cutoff.max()))
        check_box(box, cutoff + dynamics.skin if cutoff > 0.0 else 0.0)
        self.layout, self.packed = layout, packed
        self._scheme = scheme(dynamics.integrator, dynamics.remove_com_motion)
        self._dynamics, self._box = dynamics, _box(box)
        self._batch = batch(layout)
        self._crew = Crew()
        self._lists: list[Lists] = []  # of each replica, once they are carried one by one
        self._scratch: list[Scratch] = []  # of each system

    def evaluate(self, state: State) -> None:
        """Bring energy and forces of the state up to date with its positions."""
        if self.packed.networks is not None:
            self._carry(state, 0)
            return
        _evaluate(
            *self.packed.listed,
            self.packed.nonbonded,
            self.packed.biases.arrays(),
            self._batch,
            self._box,
            state.positions.numpy(),
            state.forces.numpy(),
            state.energy.numpy(),
        )

    def advance(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        """Carry the state through `steps` steps, in place.

        Returns:
            [R] the step at which a replica's energy stopped being finite (it stays there), or -1.
        """
        failed = self._carry(state, steps)
        state.step += steps
        return failed

    def _carry(self, state: State, steps: int) -> npt.NDArray[np.int64]:
        failed = np.empty(self.layout.n_replicas, np.int64)
        networks = () if self.packed.networks is None else (self.packed.networks, self._dynamics.network_every)
        arguments = (
            self._scheme,
            *self.packed.listed,
            self.packed.nonbonded,
            self.packed.biases.arrays(),
            *networks,
            self._batch,
            BOLTZMANN * state.temperature.numpy(),
            self._dynamics.seed,
            state.step,
            steps,
            self._dynamics.skin,
            self._box,
            state.positions.numpy(),
            state.velocities.numpy(),
            state.forces.numpy(),
            state.energy.numpy(),
            failed,
        )
        if networks and together(self.layout):
            self._crew.time(self._one_by_one, steps)(arguments)
        elif networks and self.layout.n_replicas == 1:
            self._one_by_one(arguments)
        else:
            (block_of_each if networks else _block)(*arguments)
        return failed

    def _one_by_one(self, arguments: tuple[object, ...]) -> None:
        """One replica after the other, with lists that stay; each by all threads, where there is more than one."""
        kernel = block_together if together(self.layout) else block_alone
        if not self._lists:
            sizes = [system.n_beads for system in self.layout.systems]
            self._scratch = [make_scratch(self.packed.networks, s, n) for s, n in enumerate(sizes)]
            self._lists = [make_lists(sizes[s]) for s in self._batch.system.tolist()]
        for r, (system, lists) in enumerate(zip(self._batch.system.tolist(), self._lists, strict=True)):
            kernel(*arguments, r, lists, self._scratch[system])


def set_threads(threads: int | None) -> int:
    """Use that many threads in compiled loops (None: all cores); returns how many."""
    most = int(numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(min(threads or most, most))
    return int(numba.get_num_threads())

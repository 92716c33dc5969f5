"""The compiled loop: a whole block of steps of every replica without returning to Python.

Replicas never meet inside a block, so one thread runs all steps of a replica: no barrier, its few
kilobytes stay in the cache, and its bits cannot depend on the other replicas, on the batch, or on the number of
threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import numba
import numpy as np
import torch
from torch import Tensor

from mdflash.compiled.arrays import release
from mdflash.compiled.held_arguments import Kept, keep
from mdflash.compiled.jit import njit
from mdflash.core.state import Layout, State
from mdflash.core.types import Box, FloatArray, IntArray
from mdflash.engine.blocks.arguments import Arrays, Batch, arrays, batch, edges
from mdflash.engine.blocks.list_cache import Lists, Scratch, make_lists, make_scratch
from mdflash.engine.blocks.network import run_by_all_threads, run_by_one_thread, run_each_by_one_thread
from mdflash.engine.blocks.prior_cache import PriorCache, make_cache, rebuild_list, same, with_room
from mdflash.engine.blocks.prior_forces import prior_forces
from mdflash.engine.blocks.threads import over_ranges
from mdflash.engine.settings import Block, Dynamics
from mdflash.integrators.cpu import Scheme, after_force, before_force, scheme
from mdflash.neighbors.cpu import moved_too_far, remember
from mdflash.neighbors.verlet import check_box
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.potentials.bias.cpu import Biases, find_variables, push_biases
from mdflash.potentials.pack import Packed
from mdflash.potentials.priors.cpu import Listed, Nonbonded, find_by_one_thread
from mdflash.potentials.schnet.tabulated import together

KEPT: Final = 256
"""Replicas up to which priors without a network keep their lists from block to block."""


@njit(cache=True, borrow=True, error_model="numpy")
def _run_one(
    s: Scheme,
    listed: Listed,
    nonbonded: Nonbonded,
    biases: Biases | None,
    batch: Batch,
    block: Block,
    arrays: Arrays,
    cache: PriorCache,
    r: int,
) -> None:
    """Replica r through a block of steps, in place. With 0 steps: brings energy and forces up to date."""
    a, b, system = batch.bead_offset[r], batch.bead_offset[r + 1], batch.system[r]
    x, v, f, mass = arrays.x[a:b], arrays.v[a:b], arrays.f[a:b], batch.mass[a:b]
    start, built_at = cache.start[cache.row[r] : cache.row[r + 1]], cache.built_at[a:b]
    neighbor, known, share = cache.neighbor[cache.room[r] : cache.room[r + 1]], cache.x[a:b], cache.f[a:b]
    value, gradient = cache.value[r], cache.gradient[r]
    room, box, energy, own = len(neighbor), block.box, np.nan, False
    last = block.first_step + block.steps
    for now in range(block.first_step if block.steps == 0 else block.first_step + 1, last + 1):
        if now > block.first_step:
            before_force(s, x, v, f, mass, block.kT[r], block.seed, batch.replica_id[r], now - 1)
        if biases is not None and block.steps == 0 and same(x, known):
            remember(share, f)
            energy = cache.energy[r]
            energy += push_biases(biases, system, r, value, gradient, f)
        else:
            if nonbonded.cutoff[system] > 0.0 and moved_too_far(x, built_at, block.skin):
                rebuilt = rebuild_list(nonbonded, system, block.skin, box, x, start, neighbor, built_at)
                if own:
                    release(neighbor)
                neighbor, own = rebuilt, True
            energy = prior_forces(listed, nonbonded, None, system, r, box, start, neighbor, x, f)
            if biases is not None:
                known[0, 0] = np.nan  # should this replica not come to the end of the block
                find_variables(biases, system, x, value, gradient)
                if now == last:
                    remember(x, known)
                    remember(f, share)
                    cache.energy[r] = energy
                energy += push_biases(biases, system, r, value, gradient, f)
        if now > block.first_step:
            if not np.isfinite(energy):
                arrays.failed[r] = now - 1
                break
            after_force(s, v, f, mass)
    arrays.energy[r] = energy
    if len(neighbor) > room:
        cache.wanted[r] = len(neighbor)
        built_at[:] = np.nan
    if own:
        release(neighbor)


@njit(cache=True, nogil=True)
def run_each(tables: Kept, kept: Kept, first: int, last: int) -> None:
    """A block of steps of the replicas first:last; both hold arguments of `_run_one`, `kept` those of this block."""
    block, arrays = kept.arguments
    s, listed, nonbonded, biases, batch, cache = tables.arguments
    for r in range(first, last):
        _run_one(s, listed, nonbonded, biases, batch, block, arrays, cache, r)


@njit(cache=True, nogil=True)
def _evaluate(
    listed: Listed,
    nonbonded: Nonbonded,
    biases: Biases | None,
    layout: Batch,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    x: FloatArray,  # [B, 3] Å
    f: FloatArray,  # [B, 3] kcal/mol/Å
    energy: FloatArray,  # [R] kcal/mol, out
    first: int,
    last: int,
) -> None:
    """Energy and forces of the replicas first:last, with lists of their own."""
    for r in range(first, last):
        a, b = layout.bead_offset[r], layout.bead_offset[r + 1]
        system = layout.system[r]
        start = np.zeros(nonbonded.rows[system], np.int64)
        neighbor = np.empty(0, np.int64)
        if nonbonded.cutoff[system] > 0.0:
            neighbor = find_by_one_thread(nonbonded, system, 0.0, box, x[a:b], start, neighbor)
        energy[r] = prior_forces(listed, nonbonded, biases, system, r, box, start, neighbor, x[a:b], f[a:b])


class CompiledPriors(Potential):
    """All packed priors and biases as one potential: the compiled twin of their sum, for use from Python.

    The neighbor list is built afresh, so `pairs` is not needed.
    """

    def __init__(self, packed: Packed, box: Box | None = None) -> None:
        self.name = "priors"
        self.packed = packed
        self._box = edges(box)

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        x = positions.detach().to("cpu", torch.float64).contiguous().numpy()
        forces, energy = np.empty_like(x), np.empty(layout.n_replicas)
        biases = self.packed.biases.of(layout).arrays()
        arguments = (
            self.packed.listed, self.packed.nonbonded, biases, batch(layout), self._box, x, forces, energy,
        )  # fmt: skip
        over_ranges(_evaluate, arguments, layout.n_replicas)
        return EnergyForces(torch.from_numpy(energy).to(positions), torch.from_numpy(forces).to(positions))


class Crew:
    """Whether all threads do some work, or one: whichever was faster of late. The bits are the same.

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

    def __init__(self, layout: Layout, packed: Packed, dynamics: Dynamics, box: Box | None) -> None:
        assert not packed.rest
        cutoff = float(packed.nonbonded.cutoff.max())
        if packed.networks is not None:
            cutoff = max(cutoff, float(packed.networks.weights.cutoff.max()))
        check_box(box, cutoff + dynamics.skin if cutoff > 0.0 else 0.0)
        self.layout, self.packed = layout, packed
        self._scheme = scheme(dynamics.integrator, dynamics.remove_com_motion)
        self._dynamics, self._box = dynamics, edges(box)
        self._batch = batch(layout)
        self._crew = Crew()
        self._evaluators = Crew()  # one evaluation, as after each hill, may take less than waking the other threads
        self._cache = make_cache(self._batch, packed.nonbonded, packed.biases.arrays())
        self._held: tuple[Biases | None, PriorCache] | None = None  # what changes at times of `_tables`
        self._tables: Kept
        self._lists: list[Lists] = []  # of each replica, once they run one by one
        self._scratch: list[Scratch] = []  # of each system

    def evaluate(self, state: State) -> None:
        """Bring energy and forces of the state up to date with its positions."""
        self._run(state, 0)

    def advance(self, state: State, steps: int) -> IntArray:
        """Run `steps` steps, in place.

        Returns:
            [R] the step at which a replica's energy stopped being finite (it stays there), or -1.
        """
        failed = self._run(state, steps)
        state.step += steps
        return failed

    def _run(self, state: State, steps: int) -> IntArray:
        changing = arrays(state)
        replicas, networks = self.layout.n_replicas, self.packed.networks
        block = self._dynamics.block(state, steps, self._box)
        tables = (self._scheme, self.packed.listed, self.packed.nonbonded, self.packed.biases.arrays())
        if networks is None:
            held = (tables[-1], self._cache)
            if self._held is None or any(now is not then for now, then in zip(held, self._held, strict=True)):
                self._tables, self._held = keep((*tables, self._batch, self._cache)), held
            launch = over_ranges if steps else self._evaluators.time(over_ranges, 1)
            launch(run_each, (self._tables, keep((block, changing))), replicas)
            if replicas <= KEPT:
                self._cache = with_room(self._cache)
            return changing.failed
        arguments = (*tables, networks, self._batch, block, changing)
        if together(self.layout):
            self._crew.time(self._one_by_one, steps)(arguments)
        elif replicas == 1:
            self._one_by_one(arguments)
        else:
            over_ranges(run_each_by_one_thread, arguments, replicas)
        return changing.failed

    def _keep_lists(self) -> None:
        """Make the lists of each replica, if there are none yet."""
        if not self._lists:
            sizes = [system.n_beads for system in self.layout.systems]
            rows = self.packed.nonbonded.rows.tolist()
            self._lists = [make_lists(sizes[s], rows[s]) for s in self._batch.system.tolist()]

    def _one_by_one(self, arguments: tuple[object, ...]) -> None:
        """One replica after the other, with lists that stay; each by all threads, where there is more than one."""
        run_steps: Callable[..., None] = run_by_all_threads if together(self.layout) else run_by_one_thread
        self._keep_lists()
        if not self._scratch:
            networks = self.packed.networks
            assert networks is not None
            self._scratch = [
                make_scratch(networks.weights, s, system.n_beads) for s, system in enumerate(self.layout.systems)
            ]
        for r, (system, lists) in enumerate(zip(self._batch.system.tolist(), self._lists, strict=True)):
            run_steps(*arguments, r, lists, self._scratch[system])


def set_threads(threads: int | None) -> int:
    """Use that many threads in compiled loops (None: all cores); returns how many."""
    most = int(numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(min(threads or most, most))
    return int(numba.get_num_threads())

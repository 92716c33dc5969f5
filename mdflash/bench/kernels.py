"""Compiled kernels of the measurements: the machine's limits, and the parts of a step, each repeated on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from mdflash.compiled.jit import int64, njit, prange
from mdflash.compiled.panels import TILE_ROWS, TILE_VECTORS, activate, multiply
from mdflash.compiled.simd import fma, lanes, load, local, store
from mdflash.core.types import FloatArray, IntArray, Reals
from mdflash.engine.blocks.prior_forces import prior_forces
from mdflash.integrators.cpu import Scheme, after_force, before_force
from mdflash.neighbors.cpu import moved_too_far, rebuild, rebuild_together
from mdflash.potentials.bias.cpu import Biases
from mdflash.potentials.priors.cpu import Listed, Nonbonded, find_by_all_threads, find_by_one_thread
from mdflash.potentials.schnet.arrays import Tables, Weights, make_pairs, make_work
from mdflash.potentials.schnet.cpu import evaluate_alone, evaluate_together

if TYPE_CHECKING:
    from mdflash.engine.blocks.arguments import Batch


@njit(cache=True, parallel=True)
def triad(
    a: FloatArray,  # [n]
    b: FloatArray,  # [n]
    c: FloatArray,  # [n]
) -> None:
    """a = b + 3 c, of long arrays."""
    for i in prange(a.shape[0]):
        a[i] = b[i] + 3.0 * c[i]


CHAINS: Final = TILE_ROWS * TILE_VECTORS
"""Vectors whose multiply-adds are independent: as many as a processor's registers hold; see `processor.tile_shape`."""


@njit(cache=True)
def _chain(data: Reals, at: int, rounds: int) -> None:
    width = lanes(data)
    c, a = local(data, CHAINS), load(data, at)
    for k in range(CHAINS):  # starts that a compiler cannot know to be alike
        store(c, k * width, load(data, at + k * width))
    for _ in range(rounds):
        for k in range(CHAINS):
            store(c, k * width, fma(load(c, k * width), a, a))
    for k in range(CHAINS):
        store(data, at + k * width, load(c, k * width))


@njit(cache=True, parallel=True)
def chains(data: Reals, threads: int, rounds: int) -> None:
    """`CHAINS` independent chains of multiply-adds in every thread; `data` holds as many vectors for each."""
    for thread in prange(threads):
        _chain(data, int64(thread) * CHAINS * lanes(data), rounds)


def _prior_lists(
    all_threads: bool,
) -> Callable[[Nonbonded, Batch, float, FloatArray, FloatArray, int, int, int], None]:
    """Compile the repeated building of priors' lists, each by one thread or by all."""

    @njit(cache=True, nogil=True)
    def build(
        nonbonded: Nonbonded,
        layout: Batch,  # of R replicas
        skin: float,
        box: FloatArray,  # [3] edges in Å, 0 for no box
        x: FloatArray,  # [B, 3] Å
        times: int,
        first: int,
        last: int,
    ) -> None:
        """Build the lists of priors of the replicas first:last, `times` times."""
        for r in range(first, last):
            a, b, system = layout.bead_offset[r], layout.bead_offset[r + 1], layout.system[r]
            if nonbonded.cutoff[system] > 0.0:
                start, neighbor = np.zeros(nonbonded.rows[system], np.int64), np.empty(0, np.int64)
                for _ in range(times):
                    if all_threads:  # known when it is compiled
                        neighbor = find_by_all_threads(nonbonded, system, skin, box, x[a:b], start, neighbor)
                    else:
                        neighbor = find_by_one_thread(nonbonded, system, skin, box, x[a:b], start, neighbor)

    return build


def _network_lists(
    all_threads: bool,
) -> Callable[[Weights, Batch, float, FloatArray, FloatArray, int, int, int], None]:
    """Compile the repeated building of networks' lists, each by one thread or by all."""

    @njit(cache=True, nogil=True)
    def build(
        weights: Weights,
        layout: Batch,  # of R replicas
        skin: float,
        box: FloatArray,  # [3] edges in Å, 0 for no box
        x: FloatArray,  # [B, 3] Å
        times: int,
        first: int,
        last: int,
    ) -> None:
        """Build the lists of networks of the replicas first:last, `times` times."""
        for r in range(first, last):
            a, b, system = layout.bead_offset[r], layout.bead_offset[r + 1], layout.system[r]
            if weights.cutoff[system] > 0.0:
                row = weights.first[system] + system
                old = (weights.exclusion_start[row : row + b - a + 1], weights.exclusion, np.zeros(b - a + 1, np.int64))
                reach, neighbor = weights.cutoff[system] + skin, np.empty(0, np.int64)
                for _ in range(times):
                    if all_threads:  # known when it is compiled
                        neighbor = rebuild_together(x[a:b], reach, box, *old, neighbor)
                    else:
                        neighbor = rebuild(x[a:b], reach, box, *old, neighbor)

    return build


prior_lists_of_each, prior_lists_together = _prior_lists(all_threads=False), _prior_lists(all_threads=True)
network_lists_of_each, network_lists_together = _network_lists(all_threads=False), _network_lists(all_threads=True)


@njit(cache=True, nogil=True)
def priors(
    listed: Listed,
    nonbonded: Nonbonded,
    biases: Biases,
    layout: Batch,  # of R replicas
    skin: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    x: FloatArray,  # [B, 3] Å
    times: int,
    first: int,
    last: int,
) -> None:
    """Evaluate priors and biases of the replicas first:last, `times` times."""
    for r in range(first, last):
        a, b, system = layout.bead_offset[r], layout.bead_offset[r + 1], layout.system[r]
        start, neighbor = np.zeros(nonbonded.rows[system], np.int64), np.empty(0, np.int64)
        if nonbonded.cutoff[system] > 0.0:
            neighbor = find_by_one_thread(nonbonded, system, skin, box, x[a:b], start, neighbor)
        f = np.empty((b - a, 3))
        for _ in range(times):
            prior_forces(listed, nonbonded, biases, system, r, box, start, neighbor, x[a:b], f)


@njit(cache=True, parallel=True)
def integrator(
    s: Scheme,
    layout: Batch,  # of R replicas
    kT: FloatArray,  # [R] kcal/mol
    skin: float,
    x: FloatArray,  # [B, 3] Å
    v: FloatArray,  # [B, 3] Å/ps
    f: FloatArray,  # [B, 3] kcal/mol/Å
    times: int,
) -> None:
    """Make `times` steps of every replica under constant forces, with the check of the neighbor list."""
    for r in prange(layout.system.shape[0]):
        a, b = layout.bead_offset[r], layout.bead_offset[r + 1]
        y, u, begin = x[a:b].copy(), v[a:b].copy(), x[a:b].copy()
        for step in range(times):
            before_force(s, y, u, f[a:b], layout.mass[a:b], kT[r], 1, layout.replica_id[r], step)
            after_force(s, u, f[a:b], layout.mass[a:b])
            if moved_too_far(y, begin, skin):
                y[:], u[:] = x[a:b], v[a:b]


def _network_kernel(
    all_threads: bool,
) -> Callable[[Weights, Tables, IntArray | None, int, float, FloatArray, FloatArray, int], None]:
    """Compile the repeated evaluation of one replica's network, by one thread or by all."""

    @njit(cache=True)
    def repeat(
        weights: Weights,
        tables: Tables,
        rules: IntArray | None,
        system: int,
        skin: float,
        box: FloatArray,  # [3] edges in Å, 0 for no box
        x: FloatArray,  # [N, 3] Å
        times: int,
    ) -> None:
        n = x.shape[0]
        row = weights.first[system] + system
        exclusion_start = weights.exclusion_start[row : row + n + 1]
        start, neighbor = np.zeros(n + 1, np.int64), np.empty(0, np.int64)
        reach = weights.cutoff[system] + skin
        neighbor = rebuild(x, reach, box, exclusion_start, weights.exclusion, start, neighbor)
        pairs, work = make_pairs(weights, system, neighbor.shape[0]), make_work(weights, system, n)
        f = np.zeros((n, 3))
        for _ in range(times):
            if all_threads:
                evaluate_together(weights, tables, rules, system, box, start, neighbor, x, pairs, work, f)
            else:
                evaluate_alone(weights, tables, rules, system, box, start, neighbor, x, pairs, work, f)

    return repeat


_network_by_one_thread = _network_kernel(all_threads=False)
_network_by_all_threads = _network_kernel(all_threads=True)


@njit(cache=True, parallel={"prange": True, "numpy": False})
def network_of_each(
    weights: Weights,
    tables: Tables,
    rules: IntArray | None,
    layout: Batch,  # of R replicas
    skin: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    x: FloatArray,  # [B, 3] Å
    times: int,
) -> None:
    """Evaluate every replica's network, `times` times, each replica by one thread."""
    for r in prange(layout.system.shape[0]):
        if weights.cutoff[layout.system[r]] > 0.0:
            a, b = layout.bead_offset[r], layout.bead_offset[r + 1]
            _network_by_one_thread(weights, tables, rules, layout.system[r], skin, box, x[a:b], times)


@njit(cache=True)
def network_together(
    weights: Weights,
    tables: Tables,
    rules: IntArray | None,
    layout: Batch,  # of R replicas
    skin: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    x: FloatArray,  # [B, 3] Å
    times: int,
) -> None:
    """As `network_of_each`, every replica by all threads."""
    for r in range(layout.system.shape[0]):
        if weights.cutoff[layout.system[r]] > 0.0:
            a, b = layout.bead_offset[r], layout.bead_offset[r + 1]
            _network_by_all_threads(weights, tables, rules, layout.system[r], skin, box, x[a:b], times)


@njit(cache=True, parallel={"prange": True, "numpy": False})
def dense(layers: IntArray, data: Reals, activation: int, widest: int, rows: IntArray, times: int) -> None:
    """The dense layers alone, forward and back, of `rows` [tasks] beads each (multiples of `panels.ROW_STEP`).

    layers [J, 6]: n_in, n_out, the weights forward and backward, the bias, and whether an activation follows.
    """
    for task in prange(rows.shape[0]):
        n = rows[task]
        a, b = np.zeros(n * widest, data.dtype), np.zeros(n * widest, data.dtype)
        slopes = np.zeros(n * widest, data.dtype)
        for _ in range(times):
            for k in range(layers.shape[0]):
                n_in, n_out = layers[k, 0], layers[k, 1]
                multiply(a, 0, n_in, data, layers[k, 2], layers[k, 4], b, 0, n_out, n, 0, n, False)
                if layers[k, 5]:
                    activate(activation, b, 0, slopes, 0, n_out, n, 0, n)
                multiply(a, 0, n_out, data, layers[k, 3], -1, b, 0, n_in, n, 0, n, False)

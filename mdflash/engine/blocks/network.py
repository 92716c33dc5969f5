"""The compiled loop for potentials with a SchNet: priors and network in one block of steps.

With many replicas each is run by one thread, as in `compiled.py`. With fewer replicas than threads, all threads
work on one replica after the other. Then, and for a lone replica, neighbor lists are kept from block to block, since a
block of a large replica is a single step. Every bit is the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mdflash.compiled.arrays import vectors
from mdflash.compiled.jit import njit
from mdflash.engine.blocks.arguments import Arrays, Batch
from mdflash.engine.blocks.list_cache import (
    Lists,
    Scratch,
    make_lists,
    make_scratch,
    update_by_all_threads,
    update_by_one_thread,
)
from mdflash.engine.blocks.prior_forces import prior_forces
from mdflash.engine.settings import Block
from mdflash.integrators.cpu import Scheme, add_impulse, after_force, before_force
from mdflash.potentials.bias.cpu import Biases
from mdflash.potentials.priors.cpu import Listed, Nonbonded
from mdflash.potentials.schnet.arrays import Networks
from mdflash.potentials.schnet.cpu import evaluate_alone, evaluate_together

RunSteps = Callable[
    [Scheme, Listed, Nonbonded, Biases | None, Networks, Batch, Block, Arrays, int, Lists, Scratch], None
]


def _runner(all_threads: bool) -> RunSteps:
    """Compile the loop over the steps of one replica, for one thread or for all."""

    @njit(cache=True, unit=True, error_model="numpy", nogil=True)
    def run_steps(
        s: Scheme,
        listed: Listed,
        nonbonded: Nonbonded,
        biases: Biases | None,
        networks: Networks,
        batch: Batch,
        block: Block,
        arrays: Arrays,
        r: int,
        lists: Lists,
        scratch: Scratch,
    ) -> None:
        """Replica r through a block of steps, in place.

        With 0 steps: brings forces up to date with positions. Energy and forces at the end are those of the whole
        potential.
        """
        a, b, system = batch.bead_offset[r], batch.bead_offset[r + 1], batch.system[r]
        x, v, f, mass = arrays.x[a:b], arrays.v[a:b], arrays.f[a:b], batch.mass[a:b]
        every, first_step, skin, box = block.network_every, block.first_step, block.skin, block.box
        energy = np.nan
        # with network_every > 1, what moves the beads is not f but the impulses of integrators/respa.py
        push = f if every == 1 else vectors(x.shape[0])
        slow = f if every == 1 else vectors(x.shape[0])
        last = first_step + block.steps
        for now in range(first_step if every > 1 or block.steps == 0 else first_step + 1, last + 1):
            if now > first_step:
                before_force(s, x, v, push, mass, block.kT[r], block.seed, batch.replica_id[r], now - 1)
            if all_threads:  # known when it is compiled
                update_by_all_threads(lists, scratch, nonbonded, networks.weights, system, skin, box, x)
            else:
                update_by_one_thread(lists, scratch, nonbonded, networks.weights, system, skin, box, x)
            energy = prior_forces(listed, nonbonded, biases, system, r, box, lists.start, lists.neighbor, x, push)
            if networks.weights.cutoff[system] > 0.0 and (now % every == 0 or now == last):
                if every > 1:
                    slow[:] = 0.0
                own_start, own_neighbor, pairs, work = lists.own_start, lists.own_neighbor, scratch.pairs, scratch.work
                if all_threads:
                    energy += evaluate_together(
                        networks.weights, networks.tables, networks.rules, system, box, own_start, own_neighbor, x,
                        pairs, work, slow,
                    )  # fmt: skip
                else:
                    energy += evaluate_alone(
                        networks.weights, networks.tables, networks.rules, system, box, own_start, own_neighbor, x,
                        pairs, work, slow,
                    )  # fmt: skip
            if every > 1:
                add_impulse(push, slow, every, now, last, f)
            if not np.isfinite(energy):
                arrays.failed[r] = max(now - 1, first_step)
                break
            if now > first_step:
                after_force(s, v, push, mass)
        arrays.energy[r] = energy

    return run_steps


run_by_one_thread = _runner(all_threads=False)
run_by_all_threads = _runner(all_threads=True)


@njit(cache=True, nogil=True)
def run_each_by_one_thread(
    s: Scheme,
    listed: Listed,
    nonbonded: Nonbonded,
    biases: Biases | None,
    networks: Networks,
    batch: Batch,
    block: Block,
    arrays: Arrays,
    first: int,
    last: int,
) -> None:
    """A block of steps of the replicas first:last."""
    for r in range(first, last):
        n, system = batch.bead_offset[r + 1] - batch.bead_offset[r], batch.system[r]
        scratch, rows = make_scratch(networks.weights, system, n), nonbonded.rows[system]
        run_by_one_thread(s, listed, nonbonded, biases, networks, batch, block, arrays, r, make_lists(n, rows), scratch)

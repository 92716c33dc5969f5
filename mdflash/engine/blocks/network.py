"""The compiled loop for potentials with a SchNet: priors and network in one block of steps.

With many replicas each is carried by one thread, as in `compiled.py`. With fewer replicas than threads, all threads
work on one replica after the other. Then, and for a lone replica, neighbour lists are kept from block to block, since a
block of a large replica is a single step. Every bit is the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mdflash.compiled.jit import njit, prange
from mdflash.engine.blocks.list_cache import make_lists, make_scratch, update_alone, update_together
from mdflash.engine.blocks.prior_forces import prior_forces
from mdflash.integrators.cpu import add_impulse, after_force, before_force
from mdflash.potentials.priors.cpu import Listed
from mdflash.potentials.schnet.cpu import evaluate_alone, evaluate_together


def _carrier(team: bool) -> Any:
    """Compile the loop over the steps of one replica, for one thread or for all."""

    @njit(cache=True, unit=True, error_model="numpy")
    def carry(
        s, listed, nonbonded, biases, networks, every, system, replica, mass, replica_id, kT, seed, first_step, steps,
        skin, box, x, v, f, lists, scratch,
    ):  # fmt: skip
        """One replica through `steps` steps, in place; returns its energy and the step that failed, or -1.

        With 0 steps: brings f up to date with x. Energy and f at the end are those of the whole potential.
        """
        energy = np.nan
        # with network_every > 1, what moves the beads is not f but the impulses of integrators/respa.py
        push = f if every == 1 else np.empty(x.shape)
        slow = f if every == 1 else np.zeros(x.shape)
        last = first_step + steps
        for now in range(first_step if every > 1 or steps == 0 else first_step + 1, last + 1):
            if now > first_step:
                before_force(s, x, v, push, mass, kT, seed, replica_id, now - 1)
            if team:  # known when it is compiled
                update_together(lists, scratch, nonbonded, networks, system, skin, box, x)
            else:
                update_alone(lists, scratch, nonbonded, networks, system, skin, box, x)
            energy = prior_forces(
                listed, nonbonded, biases, system, replica, box, lists.start, lists.neighbor, x, push
            )  # fmt: skip
            if networks.cutoff[system] > 0.0 and (now % every == 0 or now == last):
                if every > 1:
                    slow[:] = 0.0
                own_start, own_neighbor, pairs, work = lists.own_start, lists.own_neighbor, scratch.pairs, scratch.work
                if team:
                    energy += evaluate_together(
                        networks, networks.rules, system, box, own_start, own_neighbor, x, pairs, work, slow
                    )
                else:
                    energy += evaluate_alone(
                        networks, networks.rules, system, box, own_start, own_neighbor, x, pairs, work, slow
                    )
            if every > 1:
                add_impulse(push, slow, every, now, last, f)
            if not np.isfinite(energy):
                return energy, max(now - 1, first_step)
            if now > first_step:
                after_force(s, v, push, mass)
        return energy, -1

    return carry


_carry_alone = _carrier(team=False)
_carry_together = _carrier(team=True)


@njit(cache=True, parallel={"prange": True, "numpy": False}, nogil=True)
def block_of_each(
    s, distance, angle_cosine, angle, dihedral, nonbonded, biases, networks, every, layout, kT, seed, first_step,
    steps, skin, box, x, v, f, energy, failed,
):  # fmt: skip
    """A block of steps, every replica by one thread."""
    for r in prange(energy.shape[0]):
        listed = Listed(distance, angle_cosine, angle, dihedral)  # a parallel loop takes no nested tuples
        a, b = layout.bead_offset[r], layout.bead_offset[r + 1]
        n, system = b - a, layout.system[r]
        energy[r], failed[r] = _carry_alone(
            s, listed, nonbonded, biases, networks, every, system, np.int64(r), layout.mass[a:b],
            layout.replica_id[r], kT[r], seed, first_step, steps, skin, box, x[a:b], v[a:b], f[a:b], make_lists(n),
            make_scratch(networks, system, n),
        )  # fmt: skip


def _block_of_one(team: bool) -> Any:
    """Compile a block of steps of one replica, whose lists the caller keeps."""

    @njit(cache=True, nogil=True)
    def block(
        s, distance, angle_cosine, angle, dihedral, nonbonded, biases, networks, every, layout, kT, seed, first_step,
        steps, skin, box, x, v, f, energy, failed, r, lists, scratch,
    ):  # fmt: skip
        listed = Listed(distance, angle_cosine, angle, dihedral)
        a, b = layout.bead_offset[r], layout.bead_offset[r + 1]
        arguments = (
            s, listed, nonbonded, biases, networks, every, layout.system[r], r, layout.mass[a:b],
            layout.replica_id[r], kT[r], seed, first_step, steps, skin, box, x[a:b], v[a:b], f[a:b], lists, scratch,
        )  # fmt: skip
        if team:
            energy[r], failed[r] = _carry_together(*arguments)
        else:
            energy[r], failed[r] = _carry_alone(*arguments)

    return block


block_alone = _block_of_one(team=False)
block_together = _block_of_one(team=True)

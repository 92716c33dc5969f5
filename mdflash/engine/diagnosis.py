"""Which replica became unstable, and which bead and term are at fault."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from mdflash.core.overlap import nearest_pair, pair_sentence
from mdflash.core.state import Layout, State
from mdflash.errors import UnstableError
from mdflash.neighbors.verlet import VerletList
from mdflash.potentials.base import Potential, SumPotential

_TORN = 1e12
"""kcal/mol; a term of a larger energy tore the molecule apart, and others are undefined (NaN) only because of that."""


_SOON, _STRAINED = 100, 100.0
"""Steps after a start, and kcal/mol for each bead there: within and beyond them it is the start that makes it fail."""


@dataclass(frozen=True)
class Failure:
    """A replica whose numbers are no longer finite.

    Attributes:
        replica: its global number.
        system: its system's name.
        step: the step being made when its energy stopped being finite.
        what: bead and term at fault, in words.
    """

    replica: int
    system: str
    step: int
    what: str


def unstable(
    layout: Layout,
    potential: Potential,
    state: State,
    timestep: float,
    failed: npt.NDArray[np.int64],
    before: npt.NDArray[np.float64] | None = None,
) -> UnstableError:
    """The error that ends a run: the first replica that failed, where, and what to try.

    Args:
        layout: the batch.
        potential: what acts on it.
        state: with that replica as it failed.
        timestep: ps.
        failed: [R] the step at which a replica failed, or -1; at least one did.
        before: [R] energies where the run began, kcal/mol, if they are known.
    """
    r = int(np.flatnonzero(failed >= 0)[0])
    failure = diagnose(layout, potential, state, r, int(failed[r]))
    others = int((failed >= 0).sum()) - 1
    also = f" ({others} more replicas failed too)" if others else ""
    start = _start(layout, r, failure.step, before)
    return UnstableError(
        f"replica {failure.replica} ({failure.system}) became unstable at step {failure.step} "
        f"({failure.step * timestep:g} ps): {failure.what}{also}. "
        + (start or f"Try a shorter time step (now {timestep * 1e3:g} fs) or minimize first (dynamics.minimize: 500)")
    )


def _start(layout: Layout, r: int, step: int, before: npt.NDArray[np.float64] | None) -> str:
    """Advice where the start is the cause of a failure soon after; empty where it is not known to be."""
    if before is None or step > _SOON or not before[r] > _STRAINED * np.diff(layout.bead_offset)[r]:
        return ""
    return (
        f"The cause is the start, whose energy is {before[r]:.3g} kcal/mol, not the time step: minimize first "
        "(dynamics.minimize: 500), or mend the start frames"
    )


def no_start(layout: Layout, potential: Potential, state: State, failed: npt.NDArray[np.int64]) -> UnstableError:
    """The error of a state without a finite energy, before any step; arguments as of `unstable`."""
    r = int(np.flatnonzero(failed >= 0)[0])
    failure = diagnose(layout, potential, state, r, int(failed[r]))
    system = layout.systems[int(layout.system_of_replica[r])]
    x = state.positions[layout.rows(r)].numpy()
    pair = nearest_pair(x) if np.isfinite(x).all() else None
    where = "" if pair is None else f"; {pair_sentence(system, pair, x)}"
    others = int((failed >= 0).sum()) - 1
    also = f" ({others} more replicas cannot either)" if others else ""
    return UnstableError(
        f"replica {failure.replica} ({failure.system}) cannot start at step {failure.step}: "
        f"{failure.what}{where}{also}. "
        "The cause is the start or the force field, not the time step: mend the start frames, or the rows of that term"
    )


def diagnose(layout: Layout, potential: Potential, state: State, r: int, step: int) -> Failure:
    """Find the bead and term at fault in replica r; evaluated again term by term, which only a failure pays for."""
    system = layout.systems[int(layout.system_of_replica[r])]
    x = state.positions[layout.rows(r)]
    lost = torch.nonzero(~torch.isfinite(x).all(dim=1)).flatten()
    if len(lost):
        what = f"{system.bead_label(int(lost[0]))} has no finite position"
    else:
        name, energy, bead = _worst_term(layout, potential, state, r)
        what = f"term '{name}' has energy {energy:.3g} kcal/mol and pulls hardest on {system.bead_label(bead)}"
    return Failure(layout.replica_ids[r], system.name, step, what)


def _worst_term(layout: Layout, potential: Potential, state: State, replica: int) -> tuple[str, float, int]:
    """The term with the worst energy, that energy, and the bead on which it pulls hardest, of one replica."""
    whole = state.positions.clone()
    for r in range(layout.n_replicas):  # the others may be broken in ways of their own
        if not bool(torch.isfinite(whole[layout.rows(r)]).all()):
            whole[layout.rows(r)] = 0.0
    terms = potential.terms if isinstance(potential, SumPotential) else (potential,)
    worst, name, shown, bead = -1.0, "", 0.0, 0
    for term in terms:
        pairs = None
        if term.cutoff is not None:
            pairs = VerletList(layout, term.cutoff, 0.0, state.box).pairs(whole)
        energy, forces = term.energy_and_forces(whole, layout, pairs)
        size = torch.nan_to_num(forces[layout.rows(replica)].norm(dim=1), nan=torch.inf)
        e = float(torch.nan_to_num(energy[replica].abs(), nan=torch.inf))
        undefined = math.isnan(energy[replica]) or bool(torch.isinf(size).any())
        found = max(_TORN, 0.0 if math.isinf(e) else e) if undefined else e
        if found > worst:
            worst, name, shown, bead = found, term.name, math.inf if undefined else e, int(size.argmax())
    return name, shown, bead

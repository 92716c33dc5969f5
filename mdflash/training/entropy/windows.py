"""Umbrella windows of the data, in which the force field is sampled too.

A place that comes once in a thousand frames hardly moves the relative entropy, but it is why windows were sampled. So
where a molecule has windows, half of the relative entropy is that of its ensemble, with frames weighed by MBAR, and
half that of the windows, each by its share of their frames:

    S = 1/2 S_free + 1/2 sum over windows k of (N_k / sum N) S_k,    S_k = beta <U>_frames of k - beta A_k + constant

A_k is the free energy of the force field with the bias of window k. Half of the replicas are held in windows, too, and
samples of all know all of these ensembles (see `pool`). So the populations on both sides of a barrier are known without
a replica that crosses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.variables.base import Variable
from mdflash.sampling.restraint import Restraint, values_of
from mdflash.training.frames import MoleculeFrames
from mdflash.training.split import SAME_TEMPERATURE
from mdflash.training.weights import FrameWeights

HALF = 0.5
"""Of the relative entropy, and of the replicas, that windows have."""


@dataclass(frozen=True, eq=False)
class Window:
    """A bias that held frames.

    Attributes:
        restraint: what it is.
        variable: what it acts on.
    """

    restraint: Restraint
    variable: Variable

    @property
    def kind(self) -> tuple[str, str]:
        """What one `Bias` can hold together: variable and form."""
        return self.variable.digest, self.restraint.entry.form

    def energy(self, positions: Tensor) -> FloatArray:
        """[M] kcal/mol at positions [M, N, 3] Å."""
        return self.restraint.energy(values_of(self.variable, positions.cpu().numpy()))


def windows_of(molecule: MoleculeFrames, known: FrameWeights) -> tuple[tuple[Window, ...], IntArray]:
    """The windows of weighed frames, and the state [F] of each: 0 in none, k in the window of number k - 1."""
    state = np.zeros(len(molecule.source), np.int64)
    if known.within is None:  # not by MBAR: frames count as they are
        return (), state
    found: dict[str, Window] = {}
    for k in np.unique(molecule.source[molecule.biased & (known.values > 0.0)]):
        restraint = molecule.restraints[k]
        assert restraint is not None  # MBAR has refused what nobody knows
        if restraint.digest not in found:
            found[restraint.digest] = Window(restraint, restraint.variable(molecule.system))
        mine = (molecule.source == k) & (np.abs(molecule.temperature - known.temperature) <= SAME_TEMPERATURE)
        state[mine] = list(found).index(restraint.digest) + 1
    return tuple(found.values()), state


def replica_states(count: int, windows: int) -> IntArray:
    """[count] the states of a group's replicas: half of them in windows, evenly, where there are some."""
    held = int(HALF * count) if windows else 0
    return np.concatenate([np.zeros(count - held, np.int64), 1 + np.arange(held) * windows // max(1, held)])


def biases(layout: Layout, system: int, held: Sequence[Window | None]) -> list[Bias]:
    """The biases that hold the replicas of a system, each in its window or in none."""
    found = []
    for number, kind in enumerate(dict.fromkeys(w.kind for w in held if w is not None)):
        mine = [w if w is not None and w.kind == kind else None for w in held]
        first = next(w for w in mine if w is not None)
        entries = [None if w is None else w.restraint.entry for w in mine]
        found.append(
            Bias(
                f"window_{system}_{number}",
                first.variable,
                layout,
                [0.0 if e is None else e.force_constant[0] for e in entries],
                [first.restraint.entry.center[0] if e is None else e.center[0] for e in entries],
                [0.0 if e is None else e.width for e in entries],
                first.restraint.entry.form,
                system,
            )
        )
    return found

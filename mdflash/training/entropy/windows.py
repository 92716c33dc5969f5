"""Windows that frames were held in, and that replicas of the force field are held in as well.

A molecule at a temperature is in one of several states: state 0 is the free molecule, state k is held by the k-th
window. With `windows: hold` the frames of each state are compared with samples of the same state,

    S = sum_k n_k / n  [ beta <U>_frames of k - beta A_k ],      A_k = -kT ln integral exp(-beta (U + V_k)),

the negative log likelihood of the frames as they were sampled, of which n_k are in state k. Free energies between the
states are those that the overlap of the windows implies; no frame needs a weight, and a place that the free molecule
seldom comes to counts as often as it was sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.bias_form import BiasForm
from mdflash.potentials.variables.base import Variable
from mdflash.sampling.restraint import Restraint, values_of
from mdflash.training.frames import MoleculeFrames

Kind: TypeAlias = tuple[str, BiasForm]
"""The digest of a variable, and the form of what acts on it."""


@dataclass(frozen=True, eq=False)
class Windows:
    """The states of a molecule.

    Attributes:
        restraints: of state 1, 2, ...
        variables: what each acts on.
    """

    restraints: tuple[Restraint, ...] = ()
    variables: tuple[Variable, ...] = ()

    @property
    def states(self) -> int:
        """How many, that of the free molecule among them."""
        return 1 + len(self.restraints)

    def energies(self, positions: Tensor) -> FloatArray:
        """[states, M] kcal/mol of every window at positions [M, N, 3] Å."""
        found: list[FloatArray] = [np.zeros(len(positions))]
        values: dict[str, FloatArray] = {}
        for restraint, variable in zip(self.restraints, self.variables, strict=True):
            if variable.digest not in values:
                values[variable.digest] = values_of(variable, positions.numpy())
            found.append(restraint.energy(values[variable.digest]))
        return np.stack(found)

    @cached_property
    def kinds(self) -> dict[Kind, list[int]]:
        """States by variable and form: those that one bias can hold."""
        found: dict[Kind, list[int]] = {}
        for k, (restraint, variable) in enumerate(zip(self.restraints, self.variables, strict=True), 1):
            found.setdefault((variable.digest, restraint.entry.form), []).append(k)
        return found


FREE = Windows()


def windows_of(molecule: MoleculeFrames, system: System) -> tuple[Windows, IntArray]:
    """The windows of a molecule's frames, and the state [F] of each frame.

    Args:
        molecule: of which every window is known.
        system: the molecule as it will be simulated.
    """
    restraints: list[Restraint] = []
    state = np.zeros(len(molecule.files), np.int64)
    for k, restraint in enumerate(molecule.restraints):
        if restraint is None:
            continue
        known = [r.digest for r in restraints]
        if restraint.digest not in known:
            restraints.append(restraint)
            known.append(restraint.digest)
        state[k] = 1 + known.index(restraint.digest)
    variables = tuple(r.variable(system) for r in restraints)
    return Windows(tuple(restraints), variables), state[molecule.source]


def biases_of_states(layout: Layout, system: int, replicas: Sequence[tuple[Windows, int]]) -> list[Bias]:
    """What holds replicas in their states.

    Args:
        layout: of all replicas.
        system: number of the molecule.
        replicas: of each of its replicas the windows and the state.
    """
    found = list[Bias]()
    done = set[Kind]()
    for windows, _ in replicas:
        for kind, states in windows.kinds.items():
            if kind in done:
                continue
            done.add(kind)
            constants, centers, widths = np.zeros((3, len(replicas)))
            for r, (own, state) in enumerate(replicas):
                if state in own.kinds.get(kind, ()):
                    entry = own.restraints[state - 1].entry
                    constants[r], centers[r], widths[r] = entry.force_constant[0], entry.center[0], entry.width
            if constants.any():
                name, variable = f"windows{len(found)}", windows.variables[states[0] - 1]
                k, center, width = (column.tolist() for column in (constants, centers, widths))
                found.append(Bias(name, variable, layout, k, center, width, kind[1], system))
    return found


def spread(counts: FloatArray, replicas: int) -> IntArray:
    """[replicas] the state of each, as often as `counts` [states] have it, and each that has frames at least once.

    There are at least as many replicas as states with frames.
    """
    used = np.flatnonzero(counts > 0)
    each = np.ones(len(used), np.int64)
    for _ in range(replicas - len(used)):  # to whoever has the most frames for each replica
        each[np.argmax(counts[used] / each)] += 1
    return np.repeat(used, each)

"""Targets: averages that the force field shall have, and what reaching them costs.

With samples x_i of weights w_i (sum 1) at a temperature, and an observable O of positions alone,

    d<O>/dU(x_i) = -beta w_i (O_i - <O>)

(S. Thaler and J. Zavadlav, Nat. Commun. 12, 6884 (2021), eq. 6). A mean with the target O* and its uncertainty s costs
((<O> - O*) / s)^2 / 2. A population p is compared as a free energy, by ln p / (1 - p), whose uncertainty is
s / (p* (1 - p*)): far from the target its gradient does not vanish.

The price is how far the ensemble has moved from that of the start, in nats,

    D = <ln p_now / p_start>_now = beta <U_start - U_now>_now + beta (A_now - A_start),

and with `hold: start` it is minimized with the targets, so what they leave open stays as it was: the least that has to
change (J. W. Pitera and J. D. Chodera, J. Chem. Theory Comput. 8, 3445 (2012)). Its gradient is that of the mean of
beta (U_start - U_now), taken as an observable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from torch import Tensor

from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.forcefields.model import ForceField
from mdflash.mapping.choices import AS_IT_IS
from mdflash.potentials.variables.base import Variable
from mdflash.runs.biases import read_structure, select_variable
from mdflash.training.entropy.loss import Group
from mdflash.training.entropy.profiles import values_of
from mdflash.training.entropy.target_section import TargetEntry
from mdflash.training.entropy.windows import FREE
from mdflash.training.frames import MoleculeFrames
from mdflash.training.split import SAME_TEMPERATURE

LEAST = 1e-6
"""A population that is not seen counts as this."""


class Target(ABC):
    """Averages of a group that shall have a value.

    Attributes:
        name: of its column in the log.
        group: number of its group.
    """

    name: str
    group: int

    @abstractmethod
    def observe(self, positions: Tensor) -> FloatArray:
        """[M, K] what is averaged, at positions [M, N, 3] Å."""

    @abstractmethod
    def cost(self, means: FloatArray) -> tuple[float, FloatArray]:
        """What averages [K] cost, and its derivative by them [K]."""

    @abstractmethod
    def stand(self, means: FloatArray) -> float:
        """What the log says of averages [K]."""

    @abstractmethod
    def off(self, stand: float) -> float:
        """How far that is from where it shall be, in its uncertainty."""

    @abstractmethod
    def said(self, stand: float, short: bool = False) -> str:
        """Where it stands and where it shall be, in words."""

    @abstractmethod
    def described(self, stand: float) -> dict[str, float]:
        """The same for the force field's provenance."""


@dataclass(frozen=True, eq=False)
class VariableTarget(Target):
    """What one average of a collective variable shall be.

    Attributes:
        name, group: see `Target`.
        variable: what is looked at.
        goal, error: the mean or population, and its uncertainty.
        span: the range whose population it is; None: a mean.
    """

    name: str
    variable: Variable
    group: int
    goal: float
    error: float
    span: tuple[float, float] | None = None

    def observe(self, positions: Tensor) -> FloatArray:
        """[M, 1] the variable, or 1 where it is in the range, else 0."""
        values = values_of(self.variable, positions)[:, None]
        return values if self.span is None else ((values > self.span[0]) & (values < self.span[1])).astype(np.float64)

    def cost(self, means: FloatArray) -> tuple[float, FloatArray]:
        mean = float(means[0])
        if self.span is None:
            off = (mean - self.goal) / self.error
            return 0.5 * off * off, np.array([off / self.error])
        p = min(max(mean, LEAST), 1.0 - LEAST)
        error = self.error / (self.goal * (1.0 - self.goal))
        off = (_logit(p) - _logit(self.goal)) / error
        return 0.5 * off * off, np.array([off / (error * p * (1.0 - p))])

    def stand(self, means: FloatArray) -> float:
        return float(means[0])

    def off(self, stand: float) -> float:
        return (stand - self.goal) / self.error

    def said(self, stand: float, short: bool = False) -> str:
        if short:
            return f"{stand:.3g} of {self.goal:.3g}"
        return f"{stand:.4g}, shall be {self.goal:.4g} ± {self.error:.2g}"

    def described(self, stand: float) -> dict[str, float]:
        return {"reached": stand, "goal": self.goal, "error": self.error}


def _logit(p: float) -> float:
    return float(np.log(p / (1.0 - p)))


@dataclass(frozen=True, eq=False)
class Reached:
    """Where targets stand.

    Attributes:
        stands: of each target, as the log has it.
        cost: of all of them.
    """

    stands: tuple[float, ...]
    cost: float


def reached(targets: Sequence[Target], observed: Sequence[FloatArray], weights: Sequence[FloatArray]) -> Reached:
    """Where targets stand.

    Args:
        targets: of all groups.
        observed: of each target [M, K], what it observes at the samples of its group.
        weights: for each group those of its samples [M].
    """
    means = [weights[t.group] @ seen for t, seen in zip(targets, observed, strict=True)]
    stands = tuple(t.stand(mean) for t, mean in zip(targets, means, strict=True))
    return Reached(stands, sum(t.cost(mean)[0] for t, mean in zip(targets, means, strict=True)))


def target_slopes(
    targets: Sequence[Target], group: int, thermal: float, observed: Sequence[FloatArray], weights: FloatArray
) -> FloatArray:
    """[M] d(cost)/dU of the samples of a group, per weight: times w_i it is the derivative by U(x_i).

    Args:
        targets: of all groups.
        group: number of the group.
        thermal: its kT, kcal/mol.
        observed: of each target [M, K], as for `reached`.
        weights: [M], sum 1.
    """
    total = np.zeros(len(weights))
    for target, seen in zip(targets, observed, strict=True):
        if target.group == group:
            mean = weights @ seen
            total -= (seen - mean) @ target.cost(mean)[1] / thermal
    return total


def price_slopes(thermal: float, start: FloatArray, now: FloatArray, weights: FloatArray) -> FloatArray:
    """[M] dD/dU of the samples of a group, per weight, from their energies [M] at the start and now, kcal/mol."""
    moved = (start - now) / thermal
    return np.asarray(-(moved - float(weights @ moved)) / thermal)


def price(thermal: float, start: FloatArray, now: FloatArray, weights: FloatArray, free: float) -> float:
    """D in nats, with the free energy A_now - A_start, kcal/mol; see the module."""
    return float(weights @ (start - now) + free) / thermal


def with_target_groups(groups: Sequence[Group], wanted: Sequence[tuple[int, float]]) -> tuple[Group, ...]:
    """The groups of the data, and one without a share in the loss of the data for each other temperature of targets.

    Their replicas begin with frames of the nearest temperature.

    Args:
        groups: of the data.
        wanted: number of the molecule and temperature, K, of each target.
    """
    found = list(groups)
    for molecule, kelvin in wanted:
        nearest = min((g for g in found if g.molecule == molecule), key=lambda g: abs(g.kelvin - kelvin))
        if abs(nearest.kelvin - kelvin) > SAME_TEMPERATURE:
            found.append(_without_data(nearest, kelvin))
    return tuple(found)


def _without_data(group: Group, kelvin: float) -> Group:
    """The free molecule at another temperature."""
    training, held_out = (replace(known, state=None) for known in (group.training, group.held_out))
    return replace(group, kelvin=kelvin, share=0.0, training=training, held_out=held_out, windows=FREE)


def group_at(groups: Sequence[Group], molecule: int, kelvin: float) -> int:
    """The number of a group that there is."""
    return next(
        k for k, g in enumerate(groups) if g.molecule == molecule and abs(g.kelvin - kelvin) <= SAME_TEMPERATURE
    )


def make_targets(
    entries: Sequence[TargetEntry], molecules: Sequence[MoleculeFrames], groups: Sequence[Group], ff: ForceField
) -> tuple[Target, ...]:
    """The targets of a recipe.

    Raises:
        InputError: no such molecule, beads or structure; two targets of one name.
    """
    names = [m.system.name for m in molecules]
    found: list[Target] = []
    for i, entry in enumerate(entries):
        if entry.name in {t.name for t in found}:
            raise InputError(f"'{entry.name}' names two targets; give each its own", key=f"targets.{i}.name")
        molecule = molecules[molecule_of(entry, names, i)]
        start = molecule.positions[0].astype(np.float64) if molecule.start is None else molecule.start[0]
        read = partial(read_structure, molecule.system, ff, ff.mapping, AS_IT_IS)
        variable = select_variable(f"targets.{i}", entry, molecule.system, start, read)
        group = group_at(groups, names.index(molecule.system.name), entry.temperature)
        span = None
        if entry.population is not None:
            low = -np.inf if entry.above is None else entry.above
            span = (low, np.inf if entry.below is None else entry.below)
        goal = entry.population if entry.mean is None else entry.mean
        assert goal is not None  # the section says one of them
        found.append(VariableTarget(entry.name, variable, group, goal, entry.error, span))
    return tuple(found)


def molecule_of(entry: TargetEntry, names: Sequence[str], i: int) -> int:
    """The number of the molecule that the i-th target is of.

    Raises:
        InputError: none of them.
    """
    if entry.system not in names and not (entry.system is None and len(names) == 1):
        raise InputError(
            f"name the molecule it is of: `system: {names[0]}`; there are {', '.join(names)}", key=f"targets.{i}.system"
        )
    return 0 if entry.system is None else names.index(entry.system)

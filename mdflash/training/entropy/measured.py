"""Targets that an experiment gives: SAXS, FRET, radii, as `mdflash analyze --experiment` compares with them.

With the averages a_k of what is measured, and its errors s_k, an experiment costs half of its chi²,

    sum_k ((scale a_k + offset - measured_k) / s_k)^2 / 2,

the negative log of a likelihood of independent errors. Scale and offset are 1 and 0, or for a curve in arbitrary units
those that cost least; so its derivative by a_k is that at this scale and offset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from mdflash.analysis.experiment.bme import fit
from mdflash.analysis.experiment.compare import collect_data, molecule_of
from mdflash.analysis.experiment.data import Data
from mdflash.analysis.experiment.file import load_experiment
from mdflash.analysis.molecule import Molecule
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.training.entropy.loss import Group
from mdflash.training.entropy.targets import Target, group_at
from mdflash.training.frames import MoleculeFrames

ONE = np.ones(1)
"""The weight of an average."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """One kind of data of one molecule.

    Attributes:
        name: of its column in the log.
        molecule: its number.
        kelvin: of the measurement.
        data: what was measured.
    """

    name: str
    molecule: int
    kelvin: float
    data: Data

    @property
    def digest(self) -> str:
        """SHA-256 over what was measured, hexadecimal."""
        d = self.data
        h = hashlib.sha256(f"{self.name}/{self.molecule}/{self.kelvin}/{d.source}/{d.labels}".encode())
        for array in (d.measured, d.errors, *(() if d.x is None else (d.x,))):
            h.update(np.ascontiguousarray(array, np.float64).tobytes())
        return h.hexdigest()

    @property
    def said(self) -> str:
        """In words."""
        points = len(self.data.measured)
        if points > 1:
            return f"{self.data.title}, {points} points at {self.kelvin:g} K"
        value, error = self.data.measured[0], self.data.errors[0]
        return f"{self.data.title} {value:.4g} ± {error:.2g} {self.data.unit}".rstrip() + f", at {self.kelvin:g} K"


def load_measurements(
    files: Sequence[Path], molecules: Sequence[MoleculeFrames], temperatures: Sequence[float]
) -> tuple[Measurement, ...]:
    """Everything that the experiments of a recipe measured.

    Args:
        files: see docs/user/analysis.md.
        molecules: of the training.
        temperatures: K, of its data: what a file without one is taken to be at, if there is only one.

    Raises:
        InputError: a file that cannot be read or does not fit, or whose molecule or temperature is not clear.
    """
    names = [m.system.name for m in molecules]
    found: list[Measurement] = []
    for file in files:
        experiment = load_experiment([str(file)])
        own = sorted(set(temperatures))
        if experiment.temperature is None and len(own) > 1:
            at = ", ".join(f"{t:g} K" for t in own)
            raise InputError(
                f"does not say at which temperature it was measured, and the data has {at}; write for example "
                f"`temperature: {own[0]:g} K`",
                file=file,
                key="temperature",
            )
        kelvin = own[0] if experiment.temperature is None else experiment.temperature
        try:
            number = names.index(molecule_of(experiment, names))
            molecule = molecules[number]
            start = None if molecule.start is None else molecule.start[0]
            every = collect_data(experiment, Molecule(molecule.system, start))
        except InputError as error:
            raise InputError(error.message, file=error.file or file, key=error.key) from None
        found += [Measurement(f"{file.stem}_{data.name}", number, kelvin, data) for data in every]
    columns = [m.name for m in found]
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise InputError(f"two of its files would be called '{twice}' in the log; rename one", key="experiments")
    return tuple(found)


@dataclass(frozen=True, eq=False)
class MeasuredTarget(Target):
    """One kind of data that averages shall agree with; the log has its chi² per point.

    Attributes:
        name, group: see `Target`.
        data: what was measured.
    """

    name: str
    group: int
    data: Data

    def observe(self, positions: Tensor) -> FloatArray:
        return np.asarray(self.data.values(positions.double().numpy()))

    def cost(self, means: FloatArray) -> tuple[float, FloatArray]:
        points = self.data.points(means[None])
        found = fit(points, ONE)
        off = (found.average - points.measured) / points.errors
        return 0.5 * float(off @ off), found.scale * off / points.errors

    def stand(self, means: FloatArray) -> float:
        return fit(self.data.points(means[None]), ONE).chi2

    def off(self, stand: float) -> float:
        return float(np.sqrt(stand))

    def said(self, stand: float, short: bool = False) -> str:
        return f"chi² {stand:.3g}" if short else f"chi² {stand:.3g} a point, over {len(self.data.measured)}"

    def described(self, stand: float) -> dict[str, float]:
        return {"chi2": stand, "points": float(len(self.data.measured))}


def measured_targets(measurements: Sequence[Measurement], groups: Sequence[Group]) -> tuple[Target, ...]:
    """The targets of measurements, with the groups of a training."""
    return tuple(MeasuredTarget(m.name, group_at(groups, m.molecule, m.kelvin), m.data) for m in measurements)

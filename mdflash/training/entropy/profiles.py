"""Free energies along chosen variables: of the data, at the start, and now."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mdflash.core.files import atomic_write
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.forcefields.model import ForceField
from mdflash.mapping.choices import AS_IT_IS
from mdflash.potentials.variables.base import AXES, UNITS, Variable
from mdflash.runs.biases import read_structure, select_variable
from mdflash.training.entropy.section import RelativeEntropy
from mdflash.training.entropy.weighed import Weighed

BINS = 20
POPULATED = 4.0
"""kcal/mol above the minimum: what the error counts."""


@dataclass(frozen=True, eq=False)
class Profile:
    """The free energy of one group along one variable.

    Attributes:
        name: of the column, with the temperature where there are several.
        variable: the variable.
        group: number of its group.
        kT: kcal/mol.
        edges: [bins + 1] of the bins.
        data: [bins] kcal/mol, of the frames; infinite where there is none.
        noise: [bins] kcal/mol, standard error of that; infinite where it is not known.
    """

    name: str
    variable: Variable
    group: int
    kT: float
    edges: FloatArray
    data: FloatArray
    noise: FloatArray

    def values(self, positions: Tensor) -> FloatArray:
        """[M] of positions [M, N, 3] Å."""
        return values_of(self.variable, positions)

    def along(self, values: FloatArray, weights: FloatArray) -> FloatArray:
        """[bins] kcal/mol above the minimum."""
        return free_energy(values, weights, self.edges, self.kT)

    def error(self, found: FloatArray) -> float:
        """Root mean square over bins where the data is within `POPULATED` of its minimum, kcal/mol.

        Both are shifted to each other by the populations of the data; a bin without samples does not count.
        """
        both = (self.data < POPULATED) & np.isfinite(found)
        if not both.any():
            return float("nan")
        d = found[both] - self.data[both]
        d -= np.average(d, weights=np.exp(-self.data[both] / self.kT))
        return float(np.sqrt((d**2).mean()))

    @property
    def uncertainty(self) -> float:
        """What `error` would be of the truth, by the frames being few: root mean square over the same bins."""
        both = (self.data < POPULATED) & np.isfinite(self.noise)
        return float(np.sqrt(np.square(self.noise[both]).mean())) if both.any() else float("nan")

    @property
    def axis(self) -> str:
        """What stands at the axis."""
        return f"{self.name}{AXES[self.variable.dimension]}"


def values_of(variable: Variable, positions: Tensor) -> FloatArray:
    """[M] of positions [M, N, 3] Å."""
    with torch.no_grad():
        return np.asarray(variable.value(positions.double()).numpy())


def free_energy(values: FloatArray, weights: FloatArray, edges: FloatArray, thermal: float) -> FloatArray:
    """[bins] -kT ln p, the minimum at 0."""
    p = np.histogram(np.clip(values, edges[0], edges[-1]), edges, weights=weights)[0]
    with np.errstate(divide="ignore"):
        f = -thermal * np.log(p)
    return np.asarray(f - f.min())


def make_profiles(settings: RelativeEntropy, weighed: Weighed, ff: ForceField) -> tuple[Profile, ...]:
    """The profiles that `along:` asks for.

    Raises:
        InputError: no such molecule, beads or structure.
    """
    found = []
    molecules, groups = weighed.molecules, weighed.groups
    known = [own for weights in weighed.weights for own in weights]  # of each group
    names = [m.system.name for m in molecules]
    for i, entry in enumerate(settings.along):
        key = f"relative_entropy.along.{i}"
        if entry.system not in names and not (entry.system is None and len(names) == 1):
            raise InputError(
                f"name the molecule it is of: `system: {names[0]}`; there are {', '.join(names)}", key=f"{key}.system"
            )
        number = 0 if entry.system is None else names.index(entry.system)
        molecule = molecules[number]
        start = molecule.positions[0].astype(np.float64) if molecule.start is None else molecule.start[0]
        read = partial(read_structure, molecule.system, ff, ff.mapping, AS_IT_IS)
        variable = select_variable(key, entry, molecule.system, start, read)
        mine = [(k, g) for k, g in enumerate(groups) if g.molecule == number]
        for k, group in mine:
            name = entry.name if len(mine) == 1 else f"{entry.name}_{group.kelvin:g}K"
            used = known[k].values > 0.0
            w, x = known[k].values[used], torch.from_numpy(molecule.positions[used])
            values = values_of(variable, x)
            low, high = values.min(), values.max()
            if variable.periodic:
                low, high = variable.lowest, variable.highest
            edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
            data = free_energy(values, w, edges, group.kT)
            noise = known[k].error(values_of(variable, torch.from_numpy(molecule.positions)), edges)
            found.append(Profile(name, variable, k, group.kT, edges, data, noise))
    return tuple(found)


def write_profile(folder: Path, profile: Profile, start: FloatArray, now: FloatArray) -> None:
    """NAME.csv: the middle of each bin, and free energies in kcal/mol; nothing where nothing was."""
    unit = UNITS[profile.variable.dimension]
    rows = [f"{profile.name}{f'_{unit}' if unit else ''},data_kcal_mol,data_error_kcal_mol,start_kcal_mol,now_kcal_mol"]
    middle = 0.5 * (profile.edges[1:] + profile.edges[:-1])
    for q, *energies in zip(middle, profile.data, profile.noise, start, now, strict=True):
        rows.append(",".join([f"{q:.6g}", *(f"{e:.4f}" if np.isfinite(e) else "" for e in energies)]))
    atomic_write(folder / f"{profile.name}.csv", "\n".join(rows) + "\n")

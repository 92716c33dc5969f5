"""colvars.csv: collective variables and bias energies of every replica, one row per report and replica.

    step,time_ps,replica,system,state,target_K,pull_A,pull_kcal_mol,q
    250,1.0,0,chignolin,0,340.0,7.31,0.2,0.81

Two columns for each bias: its variable (in Å, radians, or without unit) and its energy; then one for each variable that
is only monitored. One of another system leaves them empty. The energy is that of the window which the row's `state`
had; see `replica_table`.

A bias that moves adds its center, its force constant and the work it has done. Metadynamics comes last: its
variables, its energy V, the offset c(t), and V - c(t), which reweights the row: its weight is exp((V - c(t)) / kT).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mdflash.core.types import FloatArray, IntArray
from mdflash.io.replica_table import PLACE, ReplicaTable

OF_PATHS = ("center", "force_constant", "work_kcal_mol")
"""Columns of a bias that moves."""
OF_GRIDS = ("kcal_mol", "ct_kcal_mol", "rbias_kcal_mol")
"""Columns of metadynamics: V, c(t) and V - c(t)."""


Named = tuple[str, str]
"""The name of a variable, and its unit ("A", "rad" or "")."""


def column(name: str, unit: str) -> str:
    """The column of a variable."""
    return f"{name}_{unit}" if unit else name


def columns(
    biases: Sequence[Named],
    monitored: Sequence[Named] = (),
    grids: Sequence[tuple[str, Sequence[Named]]] = (),
    moving: Sequence[str] = (),
) -> list[str]:
    """What follows the columns of every table by replica. Arguments: as of `ColvarsLog.create`."""
    found = [each for name, unit in biases for each in (column(name, unit), f"{name}_kcal_mol")]
    found += [column(*variable) for variable in monitored]
    found += [f"{name}_{word}" for name in moving for word in OF_PATHS]
    for name, variables in grids:
        found += [column(*variable) for variable in variables]
        found += [f"{name}_{word}" for word in OF_GRIDS]
    return found


class ColvarsLog(ReplicaTable):
    """Appends rows to colvars.csv."""

    name = "colvars.csv"
    older = (",".join(PLACE),)

    @classmethod
    def create(
        cls,
        path: Path,
        biases: Sequence[Named],
        monitored: Sequence[Named] = (),
        grids: Sequence[tuple[str, Sequence[Named]]] = (),
        moving: Sequence[str] = (),
    ) -> ColvarsLog:
        """Start a new file for biases and monitored variables, by name and unit of the variable ("A", "rad" or "").

        `grids` are metadynamics, by name and variables; `moving` are the biases among them that move.

        Raises:
            StorageError: it already exists, or cannot be written.
        """
        return cls.start(path, ",".join([cls.header, *columns(biases, monitored, grids, moving)]) + "\n")

    def append(
        self,
        step: int,
        time_ps: float,
        replica_ids: Sequence[int],
        systems: Sequence[str],
        states: IntArray,
        targets: FloatArray,
        values: FloatArray,
        energies: FloatArray,
        more: FloatArray | None = None,
    ) -> None:
        """Take one report: [R] as in log.csv; values [R, biases and monitored], energies [R, biases]; NaN: empty.

        `more` [R, columns]: center, force constant and work of each bias that moves; then of each metadynamics its
        variables, V, c(t) and V - c(t).
        """
        biases = energies.shape[1]
        pairs = np.stack([values[:, :biases], energies], axis=2).reshape(len(values), -1)
        parts = [pairs, values[:, biases:], *([] if more is None else [more])]
        rest = [",".join(_texts(row)) for row in np.concatenate(parts, axis=1).tolist()]
        self.add_report(step, time_ps, replica_ids, systems, states, targets, rest)


def _texts(row: Sequence[float]) -> Iterator[str]:
    return ("" if x != x else repr(x) for x in row)

"""log.csv: energies and temperature of every replica, one row per report and replica.

    step,time_ps,replica,system,state,target_K,potential_kcal_mol,kinetic_kcal_mol,temperature_K

`temperature_K` is what the velocities have at that step (both it and the kinetic energy are empty where the integrator
has no velocities), `target_K` that of the row's state; see `replica_table`.
The text depends on the simulation alone (no wall-clock time): the same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

from mdflash.core.types import FloatArray, IntArray
from mdflash.io.replica_table import PLACE, STATE, ReplicaTable

_MEASURED = ("potential_kcal_mol", "kinetic_kcal_mol", "temperature_K")
COLUMNS = (*PLACE, *STATE, *_MEASURED)


class LogWriter(ReplicaTable):
    """Appends rows to log.csv."""

    name = "log.csv"
    header = ",".join(COLUMNS) + "\n"
    older = (",".join((*PLACE, *_MEASURED)) + "\n",)

    def append(
        self,
        step: int,
        time_ps: float,
        replica_ids: Sequence[int],
        systems: Sequence[str],
        states: IntArray,
        targets: FloatArray,
        potential: FloatArray,
        kinetic: FloatArray | None,
        temperature: FloatArray | None,
    ) -> None:
        """Take one report: [R] replica ids, system names, states, energies in kcal/mol, temperatures in K.

        What the velocities have is None where there are none.
        """
        columns: list[Iterable[str]] = [map(repr, potential.tolist())]
        columns += [repeat("") if column is None else map(repr, column.tolist()) for column in (kinetic, temperature)]
        rest = [",".join(row) for row in zip(*columns, strict=False)]
        self.add_report(step, time_ps, replica_ids, systems, states, targets, rest)

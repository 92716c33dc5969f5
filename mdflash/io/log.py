"""log.csv: energies and temperature of every replica, one row per report and replica.

    step,time_ps,replica,system,state,target_K,potential_kcal_mol,kinetic_kcal_mol,temperature_K

`temperature_K` is what the velocities have at that step, `target_K` that of the row's state; see `replica_table`.
The text depends on the simulation alone (no wall-clock time): the same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mdflash.core.types import FloatArray, IntArray
from mdflash.io.replica_table import PLACE, STATE, ReplicaTable

_MEASURED = ("potential_kcal_mol", "kinetic_kcal_mol", "temperature_K")
COLUMNS = (*PLACE, *STATE, *_MEASURED)


class LogWriter(ReplicaTable):
    """Appends rows to log.csv."""

    name = "log.csv"
    header = ",".join(COLUMNS) + "\n"
    older = (",".join((*PLACE, *_MEASURED)) + "\n",)

    @classmethod
    def create(cls, path: Path) -> LogWriter:
        """Start a new log.

        Raises:
            StorageError: it already exists, or cannot be written.
        """
        return cls.start(path, cls.header)

    def append(
        self,
        step: int,
        time_ps: float,
        replica_ids: Sequence[int],
        systems: Sequence[str],
        states: IntArray,
        targets: FloatArray,
        potential: FloatArray,
        kinetic: FloatArray,
        temperature: FloatArray,
    ) -> None:
        """Take one report: [R] replica ids, system names, states, energies in kcal/mol, temperatures in K."""
        values = zip(potential.tolist(), kinetic.tolist(), temperature.tolist(), strict=True)
        rest = [f"{u!r},{k!r},{t!r}" for u, k, t in values]
        self.add_report(step, time_ps, replica_ids, systems, states, targets, rest)

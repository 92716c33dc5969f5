"""log.csv: energies and temperature of every replica, one row per report and replica.

The text depends on the simulation alone (no wall-clock time): the same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mdflash.io.table import Table

COLUMNS = (
    "step",
    "time_ps",
    "replica",
    "system",
    "potential_kcal_mol",
    "kinetic_kcal_mol",
    "temperature_K",
)


class LogWriter(Table):
    """Appends rows to log.csv."""

    name = "log.csv"
    header = ",".join(COLUMNS) + "\n"

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
        potential: npt.NDArray[np.float64],
        kinetic: npt.NDArray[np.float64],
        temperature: npt.NDArray[np.float64],
    ) -> None:
        """Take one report: [R] replica ids, system names, energies in kcal/mol, temperatures in K."""
        values = (potential.tolist(), kinetic.tolist(), temperature.tolist())
        for replica, system, u, k, t in zip(replica_ids, systems, *values, strict=True):
            self.add(f"{step},{float(time_ps)!r},{replica},{system},{u!r},{k!r},{t!r}")

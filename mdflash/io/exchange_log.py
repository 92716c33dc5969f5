"""exchange.csv: which state (temperature, window, scale) every replica holds, one row per exchange attempt.

    step,time_ps,replica_0,replica_1,...
    0,0.0,0,1,...            the labels at the start
    500,2.0,1,0,...          the labels from after step 500 on

Label k is the k-th state of the ladder, counted from 0. What is reported at a step (frames, log rows) shows the
state before that step's attempt, so it belongs to the row above: see `ExchangeTable.at`. log.csv and colvars.csv have
a column `state` by this rule; joining them with this file on `step` gives the wrong state wherever a swap was accepted.
`pandas.read_csv("exchange.csv", index_col="step")` gives one column per replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdflash.core.files import storage_errors
from mdflash.core.regular import read_input
from mdflash.core.types import IntArray
from mdflash.errors import InputError
from mdflash.io.table import Table

_PREFIX = "replica_"


class ExchangeLog(Table):
    """Appends rows to exchange.csv."""

    name = "exchange.csv"
    header = f"step,time_ps,{_PREFIX}"

    @classmethod
    def create(cls, path: Path, replica_ids: Sequence[int]) -> ExchangeLog:
        """Start a new file.

        Raises:
            StorageError: it already exists, or cannot be written.
        """
        return cls.start(path, ",".join(["step", "time_ps", *(f"{_PREFIX}{r}" for r in replica_ids)]) + "\n")

    def append(self, step: int, time_ps: float, labels: IntArray) -> None:
        """Take the labels [R] that hold from after `step` on."""
        self.add(f"{step},{float(time_ps)!r},{','.join(map(str, labels.tolist()))}")


@dataclass(frozen=True)
class ExchangeTable:
    """The content of exchange.csv.

    Attributes:
        steps: [A] the start and every attempt.
        labels: [A, R] from after that step on.
        replica_ids: [R].
    """

    steps: IntArray
    labels: IntArray
    replica_ids: tuple[int, ...]

    @property
    def n_states(self) -> int:
        """Temperatures of the ladder."""
        return int(self.labels[0].max()) + 1

    def at(self, steps: IntArray) -> IntArray:
        """[F, R] the labels to which what was reported at `steps` [F] belongs."""
        row = np.searchsorted(self.steps, steps, side="left") - 1
        found: IntArray = self.labels[row.clip(min=0)]
        return found


def read_exchange(path: Path) -> ExchangeTable:
    """Every complete row of exchange.csv.

    Raises:
        InputError: no such file, or not such a file.
    """
    if not path.is_file():
        raise InputError("no such file: this run has no replica exchange", file=path)
    with storage_errors(path):
        data = read_input(path)
    head, *rows = data[: data.rfind(b"\n") + 1].decode(errors="replace").splitlines() or [""]
    columns = head.split(",")[2:]
    if not head.startswith(ExchangeLog.header) or not rows:
        raise InputError("is not an exchange.csv of mdflash: expected step,time_ps,replica_0,... and rows", file=path)
    try:
        table = np.array([[int(word) for k, word in enumerate(row.split(",")) if k != 1] for row in rows], np.int64)
        ids = tuple(int(c.removeprefix(_PREFIX)) for c in columns)
    except (ValueError, OverflowError):
        raise InputError("is damaged: a row has not one whole number for each replica", file=path) from None
    return ExchangeTable(table[:, 0], table[:, 1:], ids)

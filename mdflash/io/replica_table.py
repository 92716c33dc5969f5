"""What log.csv and colvars.csv have in common: one row for each report and replica, and which state the row belongs to.

    step,time_ps,replica,system,state,target_K,...

`state` is the number of the thermodynamic state that the replica held, and `target_K` its temperature. With replica
exchange a row at a step belongs to the state held BEFORE the attempt at that step, while the row of exchange.csv at the
same step says what holds afterwards. So these columns, not a join of the two files on `step`, sort rows by state.

Without exchange a replica keeps its state. The states of a system, each a temperature with the parameters of its
biases, are counted from 0 in the order of its replicas.

Files that mdflash 0.1 started lack the two columns, and go on without them: the first line of a file says what it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from mdflash.core.types import FloatArray, IntArray
from mdflash.io.table import Table

PLACE = ("step", "time_ps", "replica", "system")
STATE = ("state", "target_K")


class ReplicaTable(Table):
    """A table whose rows begin with their replica and its state; see the module."""

    header: ClassVar[str] = ",".join((*PLACE, *STATE))

    def add_report(
        self,
        step: int,
        time_ps: float,
        replica_ids: Sequence[int],
        systems: Sequence[str],
        states: IntArray,
        targets: FloatArray,
        rest: Iterable[str],
    ) -> None:
        """Take one report: [R] replica ids, system names, states, their temperatures in K, and the other fields."""
        stated = self.columns[len(PLACE) : len(PLACE) + len(STATE)] == STATE
        for replica, system, state, target, fields in zip(
            replica_ids, systems, states.tolist(), targets.tolist(), rest, strict=True
        ):
            held = f"{state},{target!r}," if stated else ""
            self.add(f"{step},{float(time_ps)!r},{replica},{system},{held}{fields}")

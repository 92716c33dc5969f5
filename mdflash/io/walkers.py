"""walkers.csv: every resampling of a weighted ensemble, a row for each walker.

    step,time_ps,replica,value,weight,arrived,parent,next_weight
    2500,10.0,3,0.412,0.0078125,0,3,0.00390625
    2500,10.0,4,0.187,0.0078125,1,3,0.00390625

`value` (of the variable, in its unit) and `weight` are those with which the walker of a replica came to the resampling
after this step; `arrived` is 1 where it was in the target. `parent` is the replica whose walker this one holds from
then on, with `next_weight`; where the parent had arrived, that is a start frame. A frame, or a row of log.csv or
colvars.csv, has the `weight` of the first row here of its replica that is at its step or later.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from mdflash.core.types import FloatArray, IntArray
from mdflash.io.table import Table


class WalkersLog(Table):
    """Appends rows to walkers.csv."""

    name = "walkers.csv"
    header = "step,time_ps,replica,value,weight,arrived,parent,next_weight\n"

    def append(
        self,
        step: int,
        time_ps: float,
        replica: IntArray,
        values: FloatArray,
        weights: FloatArray,
        arrived: npt.NDArray[Any],
        parents: IntArray,
        next_weights: FloatArray,
    ) -> None:
        """Take one resampling, all [N]."""
        begin = f"{step},{float(time_ps)!r}"
        columns = (x.tolist() for x in (replica, values, weights, arrived, parents, next_weights))
        for r, value, weight, there, parent, after in zip(*columns, strict=True):
            self.add(f"{begin},{r},{value!r},{weight!r},{int(there)},{parent},{after!r}")

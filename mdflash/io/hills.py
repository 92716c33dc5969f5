"""hills.csv: every hill of metadynamics, in the order in which they were added.

    step,time_ps,bias,group,replica,center_1,center_2,width_1,width_2,height_kcal_mol
    250,1.0,fold,0,3,0.731,,0.03,,0.5

Centers and widths are in the units of the variables (Å, rad, or none); the second ones are empty for a bias on one
variable. A run with a bias on three variables has a third center and width, empty for its other biases. `group` counts
the groups of walkers that share a bias. The height is that of the hill itself: PLUMED's HILLS have it multiplied by
gamma / (gamma - 1); see `mdflash export --format plumed`. Of OPES a row is a kernel, whose height has no unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mdflash.core.types import FloatArray, IntArray
from mdflash.io.table import Table


class HillsLog(Table):
    """Appends rows to hills.csv."""

    name = "hills.csv"
    header = "step,time_ps,bias,group,replica,center_1,center_2,"

    @classmethod
    def create(cls, path: Path, variables: int) -> HillsLog:
        """Start a new file for biases on at most so many variables.

        Raises:
            StorageError: it already exists, or cannot be written.
        """
        columns = [f"{what}_{k + 1}" for what in ("center", "width") for k in range(max(variables, 2))]
        return cls.start(path, f"step,time_ps,bias,group,replica,{','.join(columns)},height_kcal_mol\n")

    def append(
        self,
        step: int,
        time_ps: float,
        bias: str,
        replica: IntArray,
        group: IntArray,
        centers: FloatArray,
        heights: FloatArray,
        widths: FloatArray,
    ) -> None:
        """Take the hills of one bias: replica, group and heights [n], centers and widths [n, D]."""
        begin = f"{step},{float(time_ps)!r},{bias}"
        fields = sum(name.startswith("center_") for name in self.columns)
        columns = (x.tolist() for x in (replica, group, centers, widths, heights))
        for r, g, center, width, height in zip(*columns, strict=True):
            self.add(f"{begin},{g},{r},{_fields(center, fields)},{_fields(width, fields)},{height!r}")


def hill_bytes(variables: int) -> int:
    """About how long a row is of a bias on so many variables: a center and a width of each, with all digits."""
    return 70 + 40 * variables


def _fields(numbers: Sequence[float], count: int) -> str:
    """Numbers as so many fields, the last ones empty."""
    return ",".join([*map(repr, map(float, numbers)), *[""] * (count - len(numbers))])

"""hills.csv: every hill of metadynamics, in the order in which they were added.

    step,time_ps,bias,group,replica,center_1,center_2,width_1,width_2,height_kcal_mol
    250,1.0,fold,0,3,0.731,,0.03,,0.5

Centers and widths are in the units of the variables (Å, rad, or none); the second ones are empty for a bias on one
variable. `group` counts the groups of walkers that share a bias. The height is that of the hill itself: PLUMED's HILLS
have it multiplied by gamma / (gamma - 1); see `mdflash export --format plumed`. Of OPES a row is a kernel, whose
height has no unit.
"""

from __future__ import annotations

from collections.abc import Sequence

from mdflash.core.types import FloatArray, IntArray
from mdflash.io.table import Table


class HillsLog(Table):
    """Appends rows to hills.csv."""

    name = "hills.csv"
    header = "step,time_ps,bias,group,replica,center_1,center_2,width_1,width_2,height_kcal_mol\n"

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
        columns = (x.tolist() for x in (replica, group, centers, widths, heights))
        for r, g, center, width, height in zip(*columns, strict=True):
            self.add(f"{begin},{g},{r},{_two(center)},{_two(width)},{height!r}")


def _two(numbers: Sequence[float]) -> str:
    """One or two numbers as two fields."""
    return ",".join([*map(repr, map(float, numbers)), ""][:2])

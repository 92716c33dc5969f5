"""What a figure shows, apart from how it is drawn: the page, its CSV files and `--png` are made from the same."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mdflash.core.types import FloatArray

Style = Literal["line", "points", "steps", "dashed"]


@dataclass(frozen=True, eq=False)
class Line:
    """One curve.

    Attributes:
        name: in the legend; "" for none.
        x, y: [P]; NaN leaves a gap.
        low, high: [P] of the band around it, or None.
        style: how it is drawn.
        color: number in the palette.
        paint: a color of its own, "#rrggbb", or "".
    """

    name: str
    x: FloatArray
    y: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None
    style: Style = "line"
    color: int = 0
    paint: str = ""


@dataclass(frozen=True, eq=False)
class Plot:
    """Curves over an axis.

    Attributes:
        key: names its files and its place on the page.
        title: a sentence.
        want: what one wants to see, a sentence.
        x_label, y_label: with units.
        lines: the curves.
        x_range, y_range: of the axes; None: from the data.
        marks: x of vertical lines, with their labels.
        link: what a click leads to: "time" (the frame at x of the chosen replica), "value" (the frame whose observable
            is nearest), or nothing.
        names: of the observables on the axes, for a link: (y,) for "time", (x,) for "value".
        whole: whether x counts something, and so has whole ticks.
        shared: how many of the curves, from the first on, are drawn for several runs in one figure.
        subject: what the curves are, for the title of such a figure.
    """

    key: str
    title: str
    want: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    marks: Sequence[tuple[float, str]] = ()
    link: str = ""
    names: tuple[str, ...] = ()
    whole: bool = False
    shared: int = 0
    subject: str = ""

    def csv(self) -> str:
        """One row for each point of each curve."""
        rows = ["curve,x,y,low,high"]
        for line in self.lines:
            low = np.full(len(line.x), np.nan) if line.low is None else line.low
            high = np.full(len(line.x), np.nan) if line.high is None else line.high
            name = '"' + line.name.replace('"', '""') + '"'
            rows += [
                f"{name},{','.join(_number(v) for v in values)}"
                for values in zip(line.x, line.y, low, high, strict=True)
            ]
        return f"# x: {self.x_label}; y: {self.y_label}\n" + "\n".join(rows) + "\n"


@dataclass(frozen=True, eq=False)
class Map:
    """Numbers over a grid, as colors.

    Attributes:
        key, title, want, x_label, y_label: as of a plot.
        x_edges, y_edges: [X + 1], [Y + 1] of the cells.
        z: [Y, X]; NaN is left blank.
        z_label: with its unit.
        z_range: of the colors; None: from the data.
        palette: "heat" (viridis, dark is low), "blues" (from white), "balance" (blue, white, red).
        square: whether both axes have the same length.
        link, names: as of a plot; "value" with both names, or "replica" for rows that are replicas over time.
        rows: names of the cells along y, where they are no numbers.
        whole: whether the axes count something, and so have whole ticks.
    """

    key: str
    title: str
    want: str
    x_label: str
    y_label: str
    x_edges: FloatArray
    y_edges: FloatArray
    z: FloatArray
    z_label: str
    z_range: tuple[float, float] | None = None
    palette: str = "heat"
    square: bool = False
    link: str = ""
    names: tuple[str, ...] = ()
    rows: Sequence[str] = field(default=())
    whole: bool = False

    def csv(self) -> str:
        """The grid: x along the first row, y along the first column."""
        x, y = (0.5 * (e[1:] + e[:-1]) for e in (self.x_edges, self.y_edges))
        head = ",".join(["y\\x", *(_number(v) for v in x)])
        names = list(self.rows) or [_number(v) for v in y]
        body = [",".join([name, *(_number(v) for v in row)]) for name, row in zip(names, self.z, strict=True)]
        about = f"# x: {self.x_label}; y: {self.y_label}; values: {self.z_label}\n"
        return about + head + "\n" + "\n".join(body) + "\n"


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers side by side.

    Attributes:
        key, title, want: as of a plot.
        head: names of the columns.
        rows: as text; the first column names the row.
    """

    key: str
    title: str
    want: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def csv(self) -> str:
        """The rows."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.head, *self.rows])
        return out.getvalue()


Drawing = Plot | Map
Figure = Drawing | Table


def _number(value: float) -> str:
    return "" if not np.isfinite(value) else f"{value:.6g}"

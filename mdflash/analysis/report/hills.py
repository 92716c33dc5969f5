"""The free energy of PLUMED's HILLS as a figure and a table of their own: no run is needed."""

from __future__ import annotations

from pathlib import Path

from mdflash.analysis.hills import node_edges
from mdflash.analysis.plumed import HillSum
from mdflash.analysis.report.figure import Drawing, Line, Map, Plot
from mdflash.analysis.report.svg import draw
from mdflash.core.files import atomic_write, storage_errors

LABEL = "free energy, in the units of the file"


def hill_files(file: Path, folder: Path) -> list[Path]:
    """What `write_hills` writes."""
    return [folder / f"{file.name}.pmf.{kind}" for kind in ("csv", "svg")]


def write_hills(found: HillSum, file: Path, folder: Path) -> list[Path]:
    """Write NAME.pmf.csv and NAME.pmf.svg of the free energy from a file into a folder; returns them.

    Raises:
        StorageError: they cannot be written.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    figure = hill_figure(found, file.name)
    table, picture = hill_files(file, folder)
    atomic_write(table, figure.csv())
    atomic_write(picture, draw(figure, alone=True))
    return [table, picture]


def hill_figure(found: HillSum, name: str) -> Drawing:
    """A curve or a map."""
    title, want = f"Free energy by {found.hills:,} hills of {name}", "Connected basins, well below the highest point."
    if len(found.names) == 1:
        return Plot("pmf", title, want, found.names[0], LABEL, [Line("", found.nodes[0], found.energy)])
    x, y = (node_edges(n) for n in found.nodes)
    return Map("pmf", title, want, found.names[0], found.names[1], x, y, found.energy.T, LABEL)

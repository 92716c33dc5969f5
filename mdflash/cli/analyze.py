"""`mdflash analyze`: what a run has sampled, as one page and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mdflash.cli.lines import PlainConsole
from mdflash.cli.outputs import Force, may_write
from mdflash.cli.structures import takes_reading
from mdflash.mapping.choices import AS_IT_IS, Reading

if TYPE_CHECKING:
    from rich.console import Console

    from mdflash.analysis.against.ensemble import Reference
    from mdflash.analysis.experiment.file import Experimental
    from mdflash.analysis.result import Analysis


@dataclass(frozen=True)
class Wanted:
    """What a run is compared with: a structure and how it is read, experiments, another ensemble."""

    reference: Path | None = None
    reading: Reading | None = None
    experiment: Experimental | None = None
    against: Reference | None = None


NOTHING: Final = Wanted()


@takes_reading
def analyze(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, or their system.yaml: finished, running or killed. Or PLUMED's HILLS, to sum them.",
            metavar="RUN...",
        ),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Structure to compare with: RMSD, native contacts.", show_default="what a Gō force field calls native"
        ),
    ] = None,
    experiment: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|KEY=VALUE",
            help="What was measured: a file, or as in rg='2.1 +- 0.1 nm', saxs=curve.dat; repeatable.",
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Ensemble to compare with: a run, a dataset, or a trajectory; repeatable for trajectories."),
    ] = None,
    topology: Annotated[
        Path | None, typer.Option(help="Structure whose atoms the trajectories of --against have.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the files of one run, or of the page that compares several.",
            show_default="RUN/analysis, or runs/compare-RUN-RUN",
        ),
    ] = None,
    png: Annotated[bool, typer.Option("--png", help="Write every figure as PNG too.")] = False,
    svg: Annotated[bool, typer.Option("--svg", help="Write every figure as SVG too.")] = False,
    reading: Reading = AS_IT_IS,
    force: Force = False,
) -> None:
    """Analyze runs: report.html (one file, works offline), properties.csv and analysis.json; several on one page, too.

    Shape, contacts, free energies, exchange, melting and umbrella windows, with errors, and whether it is enough.
    A reference is read as the run read its structure; --model, --chain, --keep, --modified, --gaps choose otherwise.
    """

    from mdflash.analysis.plumed import is_hills
    from mdflash.errors import InputError

    if hills := [file for file in runs if is_hills(file)]:
        if len(hills) < len(runs) or experiment or against or reference:
            raise InputError("is PLUMED's HILLS, which is summed on its own; leave out all other runs and comparisons",
                             file=hills[0])  # fmt: skip
        _sum_hills(hills, out, force)
        return
    if out is not None:
        may_write([out / name for name in ("report.html", "properties.csv", "analysis.json", "weights.csv")], force)
    kinds = [kind for kind, wanted in (("png", png), ("svg", svg)) if wanted]
    measured = None
    if experiment:
        from mdflash.analysis.experiment.file import load_experiment

        measured = load_experiment(experiment)
    other = None
    if against:
        from mdflash.analysis.against.ensemble import Reference

        other = Reference(tuple(against), topology)
    elif topology is not None:
        raise InputError("is of the trajectories of --against, which is not given", key="--topology")
    wanted = Wanted(reference, reading, measured, other)
    folders = [_folder(run) for run in runs]
    if len(folders) == 1:
        report(folders[0], PlainConsole(), wanted, out, kinds)
        return
    from mdflash.analysis.report.comparison import run_names, write_comparison
    from mdflash.cli.lines import show_line
    from mdflash.core.quantity import plain_word

    found = [report(folder, PlainConsole(), wanted, None, kinds) for folder in folders]
    name = plain_word("-".join(["compare", *run_names(found)]))[:100]
    show_line(PlainConsole(), f"wrote {write_comparison(found, out or Path.cwd() / 'runs' / name)}")


def _sum_hills(files: Sequence[Path], out: Path | None, force: bool) -> None:
    """The free energy of each HILLS, as a table and a picture beside it (or in `out`)."""
    from mdflash.analysis.plumed import sum_hills
    from mdflash.analysis.report.hills import hill_files, write_hills
    from mdflash.cli.lines import show_line

    console = PlainConsole()
    for file in files:
        folder = out or file.parent
        may_write(hill_files(file, folder), force)
        found = sum_hills(file)
        places = " and ".join(f"{name} = {x:.4g}" for name, x in zip(found.names, found.lowest, strict=True))
        show_line(
            console,
            f"{found.hills:,} hills of {file.name}: the free energy is lowest at {places} (in the units of the file; "
            "PLUMED's own are nm, kJ/mol and rad).",
        )
        for path in write_hills(found, file, folder):
            show_line(console, f"wrote {path}")


def _folder(run: Path) -> Path:
    """The run folder; of a file, that which its run writes."""
    if not run.is_file():
        return run
    from mdflash.config.load import load_run
    from mdflash.runs.place import at_its_folder

    return at_its_folder(load_run(str(run)), run).folder


def report(
    folder: Path,
    console: Console,
    wanted: Wanted = NOTHING,
    out: Path | None = None,
    kinds: Sequence[str] = (),
) -> Analysis:
    """Analyze a run, write its page (and its figures in files of these kinds), and print the verdict."""
    from mdflash.analysis.analyze import analyze as examine
    from mdflash.analysis.open_run import open_run
    from mdflash.analysis.report.files import write_figures
    from mdflash.cli.counted import Counted
    from mdflash.cli.lines import show_line

    run = open_run(folder)
    with Counted(PlainConsole(stderr=True)) as progress:
        found = examine(run, wanted.reference, progress, wanted.reading, wanted.experiment, wanted.against)
        page = found.write(out, progress)
        drawn = [write_figures(found, page.parent / kind, kind, progress) for kind in kinds]
    for molecule in found.molecules.values():
        for sentence in molecule.sentences:
            show_line(console, sentence)
        for note in () if molecule.experiment is None else molecule.experiment.notes:
            show_line(console, f"note: {note}")
    for note in found.notes:
        show_line(console, f"note: {note}")
    for path in drawn:
        show_line(console, f"wrote {path}")
    show_line(console, f"wrote {page}")
    return found

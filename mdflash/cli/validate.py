"""`mdflash validate`: a force field against the data it should reproduce."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from mdflash.cli.lines import PlainConsole
from mdflash.cli.outputs import Force, may_write


def validate(
    forcefield: Annotated[
        str, typer.Argument(help="Force field folder, or the name of a shipped one.", metavar="FORCEFIELD")
    ],
    against: Annotated[Path, typer.Option(help="Dataset folder.", show_default=False)],
    temperature: Annotated[str, typer.Option(help="Of the simulation, and of the data compared.")] = "300 K",
    replicas: Annotated[int, typer.Option(min=2, help="Simulations, started from frames of the data.")] = 64,
    ladder: Annotated[
        str | None,
        typer.Option(
            help="Higher temperatures, such as '350 K, 410 K'; each replica exchanges with one at each of these.",
            show_default="no exchange",
        ),
    ] = None,
    length: Annotated[str, typer.Option(help="Length of each simulation.")] = "10 ns",
    settling: Annotated[str, typer.Option(help="Discarded at the start of each simulation.")] = "1 ns",
    timestep: Annotated[str, typer.Option(help="Time step.")] = "4 fs",
    friction: Annotated[str, typer.Option(help="Coupling to the bath.")] = "1 /ps",
    interval: Annotated[str, typer.Option(help="Time between frames.")] = "2 ps",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of report.html and report.json.", show_default="runs/validate-NAME")
    ] = None,
    force: Force = False,
) -> None:
    """Simulate with FORCEFIELD and compare free energies, structure and fluctuations with a dataset."""
    from mdflash import __version__
    from mdflash.cli.options import forcefield_folder, quantity
    from mdflash.errors import InputError
    from mdflash.forcefields.forcefield import load_forcefield
    from mdflash.sampling.dataset import load_dataset

    given = {
        "temperature": quantity("--temperature", temperature, "temperature"),
        "length": quantity("--length", length, "time"),
        "settling": quantity("--settling", settling, "time", zero=True),
        "timestep": quantity("--timestep", timestep, "time"),
        "friction": quantity("--friction", friction, "rate"),
        "interval": quantity("--interval", interval, "time"),
    }
    rungs = tuple(quantity("--ladder", part.strip(), "temperature") for part in ladder.split(",")) if ladder else ()
    if list(rungs) != sorted({*rungs} - {given["temperature"]}) or min(rungs, default=math.inf) < given["temperature"]:
        raise InputError(
            f"--ladder '{ladder}' must rise and start above --temperature, {temperature}; "
            "write for example --ladder '350 K, 410 K'"
        )
    if given["length"] < 10 * given["interval"]:
        raise InputError(f"--length {length} holds less than 10 frames, one every {interval}; simulate longer")
    ff = load_forcefield(forcefield_folder(forcefield))
    dataset = load_dataset(against)
    if out is not None:
        may_write([out / "report.html", out / "report.json"], force)
    folder = out or Path.cwd() / "runs" / f"validate-{ff.name}"

    from mdflash.analysis.against.simulate import SimulationPlan
    from mdflash.analysis.against.validate import validate as run_validation
    from mdflash.analysis.report.validation import write_validation
    from mdflash.cli.counted import Counted
    from mdflash.core.files import storage_errors
    from mdflash.engine.blocks.compiled import set_threads

    set_threads(threads)
    with storage_errors(folder):  # before hours are spent
        folder.mkdir(parents=True, exist_ok=True)
    plan = SimulationPlan(replicas=replicas, ladder=rungs, seed=seed, **given)
    with Counted(PlainConsole(stderr=True)) as progress:
        found = run_validation(
            ff, dataset, plan, lambda name, step: progress(f"simulating {name}, step", step, plan.steps)
        )
    about = {
        "force field": f"{ff.name} ({ff.digest[:16]})",
        "data": str(against),
        "temperature": f"{plan.temperature:g} K",
        "mdflash": __version__,
    }
    page = write_validation(folder, f"{ff.name} against {against.name}", about, found)
    for validation in found:
        for f in validation.result.findings:
            if not f.coordinate.group:
                typer.echo(
                    f"{validation.molecule}  {f.coordinate.name:20s} JSD {f.model.jsd:.4f}  free energy RMSE "
                    f"{f.model.rmse:.2f} ± {f.model.rmse_error:.2f} kcal/mol   "
                    f"(halves of the data: {f.halves.jsd:.4f}, {f.halves.rmse:.2f})"
                )
        if validation.coarse:
            typer.echo(f"{validation.molecule}: {validation.coarse}")
        if validation.frozen:
            typer.echo(f"{validation.molecule}: {validation.frozen} of {replicas} replicas became NaN or infinite")
    typer.echo(f"wrote {page}")

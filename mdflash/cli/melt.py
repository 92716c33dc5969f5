"""`mdflash melt`: a ladder of temperatures around a system, and where it melts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdflash.cli.lines import PlainConsole


def melt(
    file: Annotated[
        str, typer.Argument(help="A system.yaml, or the name of a shipped system.", metavar="FILE", show_default=False)
    ],
    low: Annotated[str, typer.Option("--from", help="Lowest temperature.")] = "300 K",
    high: Annotated[str, typer.Option("--to", help="Highest temperature.")] = "400 K",
    count: Annotated[int, typer.Option(min=2, help="Temperatures, each with one replica.")] = 16,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set dynamics.length='20 ns'."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="runs/NAME-melt")] = None,
) -> None:
    """Run replica exchange between two temperatures, and report heat capacity, folded fraction and melting temperature.

    The same command goes on where it was stopped. `mdflash check --suggest-ladder` says how many temperatures it takes.
    """

    from mdflash.cli.analyze import report
    from mdflash.cli.options import quantity
    from mdflash.cli.run import follow
    from mdflash.config.load import load_run
    from mdflash.engine.distributed import Ranks
    from mdflash.errors import InputError

    first, last = quantity("--from", low, "temperature"), quantity("--to", high, "temperature")
    if first >= last:
        raise InputError(f"must be above --from, {low}; found {high}", key="--to")
    config = load_run(file)
    folder = out or Path.cwd() / "runs" / f"{config.name}-melt"
    frames = config.output.trajectory.interval
    overrides = [
        f"exchange.temperatures={{min: {low}, max: {high}, count: {count}}}",
        "dynamics.temperature=none",
        f"replicas.count={count}",
        f"output.folder={folder}",
        f"output.log.interval={frames!r} ps",  # so that every frame has an energy
        *(set_ or []),
    ]
    follow(file, overrides, "its length", None, False, False, Ranks())
    report(folder, PlainConsole())

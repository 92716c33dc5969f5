"""`mdflash bench`: how fast a run is here, and where its time goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mdflash.cli.lines import PlainConsole, styled
from mdflash.cli.outputs import Force, may_write


def bench(
    file: Annotated[
        str, typer.Argument(help="A system.yaml, or the name of a shipped system.", metavar="FILE")
    ] = "chignolin",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set replicas.count=8."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Seconds per measurement (about a dozen).")] = 2.0,
    json_: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Also write all numbers there.", show_default=False)
    ] = None,
    force: Force = False,
) -> None:
    """Measure speed, time by term, memory and the best batch size of a run; nothing else is written."""
    from rich.table import Table

    from mdflash.bench.report import bench as measure
    from mdflash.bench.report import rows
    from mdflash.config.load import locate
    from mdflash.core.files import atomic_write_json

    if json_ is not None:
        may_write([json_], force, option="--json")
    console = PlainConsole()
    with console.status("starting") as status:

        def tell(what: str) -> None:
            status.update(f"measuring: {what}")
            if not console.is_terminal:
                typer.echo(f"measuring: {what}", err=True)

        report = measure(locate(file), set_ or [], seconds, message=tell)
    table = Table.grid(padding=(0, 2))
    for name, value in rows(report):
        table.add_row(styled((name, "bold")), value)
    console.rule(styled((f"mdflash {report.version}", "bold"), f"  {report.name}"))
    console.print(table)
    if json_ is not None:
        atomic_write_json(json_, report.as_data())
        console.print(f"wrote {json_}")

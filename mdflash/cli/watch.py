"""`mdflash watch`: a run folder, live in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mdflash.cli.lines import PlainConsole

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mdflash.analysis.watching import Glance

MOST_REPLICAS = 24


def watch(
    run: Annotated[Path, typer.Argument(help="Run folder.", metavar="RUN")],
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
) -> None:
    """Watch a run: progress, speed, temperatures, energies of replicas, exchange and events.

    Reads beside the run and never writes into its folder. Ctrl-C ends the watching, not the run.
    """
    import time

    from rich.live import Live

    from mdflash.analysis.watching import look
    from mdflash.core.signals import ASKED_TO_STOP

    console = PlainConsole()
    glance = look(run)
    if once or not console.is_terminal:
        console.print(_view(glance, console.width))
        return
    first = (time.time(), glance.step)
    marks = [first]
    with Live(_view(glance, console.width), console=console, auto_refresh=False) as live:
        try:
            while glance.status == "running":
                time.sleep(every)
                glance = look(run, marks[0])
                marks.append((time.time(), glance.step))
                if len(marks) > 30:  # the speed is that of the last minute
                    marks.pop(0)
                live.update(_view(glance, console.width), refresh=True)
        except ASKED_TO_STOP:
            pass


def _view(g: Glance, width: int) -> RenderableType:
    import numpy as np
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from mdflash.analysis.watching import event_line, sparkline
    from mdflash.cli.options import duration

    color = {"running": "cyan", "finished": "green", "unstable": "red", "left known territory": "red"}.get(
        g.status, "yellow"
    )
    share = 100.0 * g.step / g.total if g.total else 0.0
    head = Text.assemble((g.name, "bold"), "  ", (g.status, color), f"  step {g.step:,} of {g.total:,} ({share:.1f} %)")
    facts = []
    if g.nanoseconds_per_day:
        facts.append(f"{g.nanoseconds_per_day:,.0f} ns/day in all")
    if g.speed:
        facts.append(f"{g.speed:,.0f} steps/s")
    if g.status == "running" and g.left is not None:
        facts.append(f"about {duration(g.left)} left")
    facts.append(f"written {duration(g.updated)} ago")
    room = max(width - 2, 10)
    done = min(round(room * g.step / max(g.total, 1)), room)
    parts: list[RenderableType] = [head, Text.assemble(("━" * done, color), ("━" * (room - done), "bright_black"))]
    parts.append(Text(", ".join(facts), style="dim"))
    if g.status == "running" and g.updated > 120:
        parts.append(Text("Nothing was written for two minutes: the run may have been killed.", style="yellow"))
    if len(g.replicas):
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("replica", "bath / K", "mean T / K"):
            table.add_column(name, justify="right")
        room = max(10, (width - 40) // 2 - 2)
        table.add_column("temperature")
        table.add_column("potential energy")
        shown = range(len(g.replicas)) if len(g.replicas) <= MOST_REPLICAS else range(MOST_REPLICAS)
        for r in shown:
            moving = not np.isnan(g.temperatures[r]).all()
            table.add_row(
                str(g.replicas[r]), f"{g.targets[r]:.0f}", f"{g.temperatures[r].mean():.0f}" if moving else "",
                Text(sparkline(g.temperatures[r], room) if moving else "", style="yellow"),
                Text(sparkline(g.energies[r], room), style="cyan"),
            )  # fmt: skip
        parts.append(table)
        if len(g.replicas) > MOST_REPLICAS:
            parts.append(Text(f"and {len(g.replicas) - MOST_REPLICAS} more replicas", style="dim"))
    for system, shares in g.acceptance.items():
        line = " ".join("-" if a is None else f"{a:.2f}" for a in shares)
        trips = "" if g.round_trips is None else f"; {g.round_trips:,} round trips in all"
        parts.append(Text(f"exchange of {system}: accepted {line}{trips}"))
    parts += [Text(event_line(e), style="dim") for e in g.events]
    return Group(*parts)

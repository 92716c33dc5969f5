"""`mdflash check`: everything a run would trip over, in seconds, without writing anything."""

from __future__ import annotations

from typing import Annotated

import typer


def check(
    file: Annotated[str, typer.Argument(help="a system.yaml, or the name of a shipped system", metavar="FILE")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="override a key: --set replicas.count=8"),
    ] = None,
) -> None:
    """Validate a system.yaml, evaluate it once, and estimate speed, memory and disk."""
    from mdflash.config.load import load_run

    config = load_run(file, set_ or []).with_seed()

    import resource
    import time

    from rich.console import Console
    from rich.table import Table

    from mdflash.cli.follow import show_plan
    from mdflash.io.files import free_bytes, size_text
    from mdflash.outputs import bytes_to_come
    from mdflash.prepare import prepare
    from mdflash.run import Plan

    prepared = prepare(config)
    simulation = prepared.simulation()
    console = Console()
    show_plan(Plan(prepared, simulation, "fresh", prepared.notes), console)
    simulation.evaluate()
    force = simulation.state.forces.norm(dim=1).max()
    energy = simulation.state.energy
    begun = time.perf_counter()
    done = simulation.run(1)  # compiles
    compiled = time.perf_counter() - begun
    begun = time.perf_counter()
    while time.perf_counter() - begun < 1.0:
        done = simulation.run(max(10, done))
        done *= 2
    rate = (simulation.state.step - 1) / (time.perf_counter() - begun)

    layout = prepared.layout
    left = config.total_steps / rate
    to_write = bytes_to_come(config, layout, config.total_steps)
    table = Table.grid(padding=(0, 2))
    for name, value in {
        "start energy": f"{energy.min():.6g} to {energy.max():.6g} kcal/mol",
        "largest force": f"{force:.4g} kcal/mol/Å"
        + (" - high: consider dynamics.minimize: 500" if force > 500 else ""),
        "first step": f"{compiled:.1f} s",
        "speed": f"{rate * layout.n_replicas:,.0f} step·replicas/s, "
        f"{rate * layout.n_replicas * config.dynamics.timestep * 86.4:,.0f} ns/day aggregate",
        "the whole run": f"about {left:,.0f} s" if left < 7200 else f"about {left / 3600:,.1f} h",
        "memory": f"{size_text(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)} in all",
        "disk": f"about {size_text(to_write)}, {size_text(free_bytes(config.folder))} free",
    }.items():
        table.add_row(f"[bold]{name}[/]", value)
    console.print(table)
    console.print("[green bold]ok[/]: nothing was written")

"""`mdflash check`: find in seconds what would stop a run, without writing anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mdflash.cli.lines import PlainConsole, styled

if TYPE_CHECKING:
    from mdflash.config.schema import RunConfig


def check(
    file: Annotated[str, typer.Argument(help="A system.yaml, or the name of a shipped system.", metavar="FILE")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set replicas.count=8."),
    ] = None,
    suggest_ladder: Annotated[
        bool, typer.Option("--suggest-ladder", help="Run a short pilot and suggest temperatures for exchange.")
    ] = False,
    low: Annotated[
        str | None, typer.Option("--min", metavar="'300 K'", help="Lowest temperature; default: that of exchange.")
    ] = None,
    high: Annotated[
        str | None, typer.Option("--max", metavar="'450 K'", help="Highest temperature; default: that of exchange.")
    ] = None,
    acceptance: Annotated[
        float, typer.Option(min=0.01, max=0.95, help="Acceptance of swaps between neighboring temperatures.")
    ] = 0.3,
    pilot_steps: Annotated[int, typer.Option(min=100, help="Steps of the pilot, at most a minute of them.")] = 20_000,
) -> None:
    """Validate a system.yaml, evaluate it once, and estimate speed, memory and disk."""
    from mdflash.config.load import load_run, naming_lines

    config = load_run(file, set_ or []).with_seed()
    if suggest_ladder:
        _suggest(config, low, high, acceptance, pilot_steps)
        return

    import resource
    import time
    from functools import partial

    from rich.table import Table

    from mdflash.cli.progress import OFTEN, Waiting
    from mdflash.cli.terminal import show_plan
    from mdflash.core.files import free_bytes, size_text
    from mdflash.core.gpu import gpu_bytes
    from mdflash.io.runfolder import may_be_run_folder
    from mdflash.runs.execute import Plan
    from mdflash.runs.prepare import prepare
    from mdflash.runs.writers import bytes_to_come

    console = PlainConsole()
    waiting = Waiting(partial(typer.echo, err=True), OFTEN)
    try:
        with naming_lines(file, set_ or []):
            prepared = prepare(config)
            begun = time.perf_counter()
            engine = prepared.engine(as_placed=True)
        to_write = bytes_to_come(config, prepared.layout, config.total_steps)
        may_be_run_folder(config.folder, to_write, [system.name for system in prepared.layout.systems])
        show_plan(Plan(prepared, engine, "fresh", prepared.notes), console)
        engine.evaluate()
        force = engine.state.forces.norm(dim=1).max()
        energy = engine.state.energy.clone()
        done = engine.run(1)
        first = time.perf_counter() - begun
    finally:
        waiting.stop()
    begun = time.perf_counter()
    while time.perf_counter() - begun < 1.0:
        done = engine.run(max(10, done))
        done *= 2
    rate = (engine.state.step - 1) / (time.perf_counter() - begun)

    layout = prepared.layout
    left = config.total_steps / rate
    table = Table.grid(padding=(0, 2))
    for name, value in {
        "start energy": f"{energy.min():.6g} to {energy.max():.6g} kcal/mol",
        "largest force": f"{force:.4g} kcal/mol/Å"
        + (" - high: consider dynamics.minimize: 500" if force > 500 else ""),
        "first step": f"{first:.1f} s, with compilation where it was needed",
        "speed": f"{rate * layout.n_replicas:,.0f} step·replicas/s, "
        f"{rate * layout.n_replicas * config.dynamics.timestep * 86.4:,.0f} ns/day aggregate",
        "the whole run": f"about {left:,.0f} s" if left < 7200 else f"about {left / 3600:,.1f} h",
        "memory": f"{size_text(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)} in all"
        + (f", {size_text(gpu_bytes(engine.gpu))} on the GPU" if engine.gpu is not None else ""),
        "disk": f"about {size_text(to_write)}, {size_text(free_bytes(config.folder))} free",
    }.items():
        table.add_row(styled((name, "bold")), value)
    console.print(table)
    console.print(styled(("ok", "green bold"), ": nothing was written"))


def _suggest(config: RunConfig, low: str | None, high: str | None, acceptance: float, steps: int) -> None:
    """Run the pilot and print a ladder to paste."""
    from mdflash.cli.options import quantity
    from mdflash.errors import InputError

    ends: list[float] = []
    for option, text, end in (("--min", low, 0), ("--max", high, -1)):
        given = None if config.exchange is None else config.exchange.temperatures
        if text is not None:
            ends.append(quantity(option, text, "temperature"))
        elif given is not None:
            ends.append(given[end])
        else:
            raise InputError("is missing; give the range: --suggest-ladder --min '300 K' --max '450 K'", key=option)
    first, last = ends
    if first >= last:
        raise InputError(f"--min must be below --max; found {first:g} K and {last:g} K")

    from itertools import pairwise

    from mdflash.runs.ladder import FEWEST, POINTS, REPLICAS, pilot, suggest

    typer.echo(f"pilot: {REPLICAS} replicas at each of {POINTS} temperatures, {first:g} to {last:g} K", err=True)
    curves, done = pilot(config, first, last, steps, seconds=60.0)
    ladder = suggest(curves, first, last, acceptance, FEWEST)
    rounded = [f"{t:.2f}".rstrip("0").rstrip(".") for t in ladder]
    expected = [min(c.acceptance(a, b) for c in curves) for a, b in pairwise(ladder)]
    few = f"A melting curve needs at least {FEWEST}. " if len(ladder) == FEWEST else ""
    typer.echo(
        f"{len(ladder)} temperatures, expected acceptance {min(expected):.2f} to {max(expected):.2f}, from {done:,} "
        f"steps of pilot. {few}Near folding, energies are not normally distributed: compare with manifest.json "
        "after a first run.",
        err=True,
    )
    typer.echo(f"exchange:\n  temperatures: [{', '.join(f'{t} K' for t in rounded)}]")

"""`mdflash compile`: compile what runs need before they start, in several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from mdflash.core.plural import plural

if TYPE_CHECKING:
    from collections.abc import Iterator


class Task(NamedTuple):
    """A run whose kernels one process compiles."""

    file: str
    overrides: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.file, *(word.removeprefix("model.precision=") for word in self.overrides)))


def compile_(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="system.yaml files, or names of shipped systems; default: all shipped systems.", metavar="[FILE]..."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key in all files: --set replicas.count=8."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(metavar="PRECISION", help="fp32, mixed16 or fp64, instead of what the files say; repeatable."),
    ] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help="Processes; default: one a core.")] = None,
) -> None:
    """Compile the kernels that these runs need, once for this version; quick where they are compiled already.

    Nothing else is written. The folder is that of `mdflash doctor`.
    """
    from mdflash.config.load import load_run
    from mdflash.forcefields.shipped import shipped_names

    given = tuple(set_ or ())
    choices = [(*given, f"model.precision={p}") for p in precision or ()] or [given]
    # precisions of one file side by side: they share the least, and of two processes one waits for what they share
    tasks = [Task(file, choice) for file in files or shipped_names("systems") for choice in choices]
    for task in tasks:
        load_run(task.file, task.overrides)  # a mistake ends here, before anything is compiled
    _compile(tasks, jobs)


def _compile(tasks: list[Task], jobs: int | None) -> None:
    """Do the tasks, with a line on stderr for each that is done."""
    import time

    from mdflash.core.cores import usable_cores

    began, total = time.monotonic(), 0
    workers = min(jobs or usable_cores(), len(tasks))
    typer.echo(f"compiling for {plural(len(tasks), 'run')} in {plural(workers, 'process')}", err=True)
    for done, (task, count) in enumerate(_as_they_end(tasks, workers), 1):
        total += count
        seconds = time.monotonic() - began
        left = f", about {seconds / done * (len(tasks) - done):.0f} s left" if done < len(tasks) else ""
        typer.echo(f"[{done}/{len(tasks)}] {task}: {plural(count, 'function')}; {seconds:.0f} s{left}", err=True)
    typer.echo(
        f"compiled {plural(total, 'function')} in {time.monotonic() - began:.0f} s" if total else "all is compiled"
    )


def _as_they_end(tasks: list[Task], workers: int) -> Iterator[tuple[Task, int]]:
    """Every task when it is done, and how many functions it compiled; the rest are canceled where the caller stops."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    if workers == 1:
        yield from ((task, compile_for(task)) for task in tasks)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        pending = {pool.submit(compile_for, task): task for task in tasks}
        try:
            for future in as_completed(pending):
                yield pending[future], future.result()
        finally:
            for future in pending:
                future.cancel()


def compile_for(task: Task) -> int:
    """Compile what a run needs, and an evaluation of its molecules by another engine; returns how many functions."""
    import numpy as np
    import torch

    from mdflash.compiled.jit import compilation
    from mdflash.config.load import load_run
    from mdflash.engine.evaluator import Evaluator
    from mdflash.runs.prepare import prepare

    torch.set_num_threads(1)
    compilation.quiet, before = True, compilation.functions
    config = load_run(task.file, task.overrides).with_seed()
    prepared = prepare(config)
    engine = prepared.engine(as_placed=True)
    engine.evaluate()
    if engine.integrator.has_velocities:
        engine.draw_velocities()
    engine.run(1)
    engine.instantaneous_temperature()
    seen = 0
    for system, forcefield, replicas in zip(
        prepared.layout.systems, prepared.forcefields, prepared.layout.counts, strict=True
    ):
        x = prepared.start[seen : seen + system.n_beads].numpy()
        for copies in (1, 2):  # alone, and a batch
            Evaluator(forcefield, system, copies, config.model.precision)(np.tile(x, (copies, 1)))
        seen += replicas * system.n_beads
    return compilation.functions - before

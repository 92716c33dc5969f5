"""Run a simulation: start or resume it, until it is finished, stopped or unstable.

    fresh folder     -> compress or minimize, draw velocities, checkpoint of step 0, then steps
    unfinished one   -> newest checkpoint, files cut to it, then steps
    finished one     -> nothing to do

The same function runs on many ranks; see `distributed`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mdflash.config.rules import warnings
from mdflash.config.schema import RunConfig
from mdflash.config.write import resolved_yaml
from mdflash.core.partition import by_rank
from mdflash.core.regular import read_input
from mdflash.engine.distributed import Ranks, places, same_run
from mdflash.engine.engine import Engine
from mdflash.errors import Interrupted
from mdflash.io.checkpoint import Checkpoint
from mdflash.io.runfolder import RunFiles, may_be_run_folder
from mdflash.runs.identity import table_rule, with_recorded_seed
from mdflash.runs.prepare import Prepared, prepare
from mdflash.runs.resume import resume_from
from mdflash.runs.session import Saves, Source, open_session
from mdflash.runs.writers import bytes_to_come, restore


@dataclass(frozen=True)
class Plan:
    """What is about to happen; shown to the user before it does.

    Attributes:
        prepared: the run.
        engine: where it starts from.
        start: "fresh", "resume" or "finished".
        notes: messages for the user.
        places: for each of many ranks, its replicas and device; empty for one process.
    """

    prepared: Prepared
    engine: Engine
    start: Literal["fresh", "resume", "finished"]
    notes: tuple[str, ...]
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watch:
    """How the caller follows a run; of many ranks, each its own.

    Attributes:
        planned: called once, before the first step.
        progress: called between blocks, at least about every half second.
        said: called with what happens before the first step.
        should_stop: asked between blocks; a reason ("SIGTERM") stops the run, on all ranks, with a checkpoint.
    """

    planned: Callable[[Plan], None] = lambda plan: None
    progress: Callable[[Engine], None] = lambda engine: None
    should_stop: Callable[[], str | None] = lambda: None
    said: Callable[[str], None] = lambda text: None


def execute(
    config: RunConfig, source: Path, *, fresh: bool = False, watch: Watch | None = None, ranks: Ranks | None = None
) -> Plan:
    """Run what `config` describes, in its run folder.

    Args:
        config: the run, as loaded.
        source: the YAML file it came from; copied to input.yaml.
        fresh: delete what an earlier run wrote in the folder, and start over.
        watch: how to follow and stop it.
        ranks: the processes that run it together, each in this call; default: this process alone.

    Raises:
        InputError: bad input, the folder belongs to a different run, or more ranks than replicas.
        StorageError: the folder cannot be written, is in use, or its files do not fit its checkpoint.
        UnstableError: a replica's energy is no longer finite.
        Interrupted: stopped on request; a checkpoint was written.
    """
    watch, ranks = watch or Watch(), ranks or Ranks()
    read = Source(source, read_input(source))  # now: it may be a file of the folder that is started over
    same_run(ranks, resolved_yaml(config), str(source))
    given = config
    seed = ranks.from_first(lambda: with_recorded_seed(given, fresh).with_seed().dynamics.seed)
    config = given.model_copy(update={"dynamics": given.dynamics.model_copy(update={"seed": seed})})
    prepared = prepare(config)
    parts = by_rank(prepared.layout, ranks.size)
    with open_session(prepared, ranks, fresh) as session:
        checkpoint = _told(ranks.from_first(lambda: _telling(session.find())))
        engine = prepared.engine(ranks, as_placed=checkpoint is None)
        where = () if ranks.size == 1 else places(ranks, [part.replicas for part in parts], engine.device)
        plan = _plan(prepared, engine, checkpoint, session.notes, where)
        watch.planned(plan)
        if plan.start == "fresh":
            try:
                if prepared.compression is not None:
                    ranks.from_first(session.promise)
                stop = lambda: ranks.any(watch.should_stop() is not None)  # noqa: E731
                if not prepared.settle(engine, stop, watch.said):
                    same = ", to the same bits" if given.dynamics.seed is not None or not fresh else ""
                    raise Interrupted(
                        "stopped while the box was compressed, before step 0; no frame was written, and the same "
                        f"command begins again{same}"
                    )
                ranks.from_first(session.clear)
            except Interrupted:  # what was promised stays
                raise
            except BaseException:
                session.discard()
                raise
        if plan.start != "finished":
            with session.keep(engine, checkpoint, read) as saves:
                _loop(engine, saves, config, watch, ranks)
    return plan


def foresee(config: RunConfig, *, fresh: bool = False, ranks: Ranks | None = None) -> Plan:
    """What `execute` would do, with the same arguments and errors; nothing is written, and nothing locked."""
    config = with_recorded_seed(config, fresh).with_seed()
    prepared = prepare(config)
    need = bytes_to_come(config, prepared.layout, config.total_steps)
    may_be_run_folder(config.folder, need, [system.name for system in prepared.layout.systems])
    checkpoint = None if fresh else resume_from(RunFiles(config.folder), prepared)
    engine = prepared.engine(ranks or Ranks(), as_placed=checkpoint is None)
    return _plan(prepared, engine, checkpoint)


def _plan(
    prepared: Prepared,
    engine: Engine,
    checkpoint: Checkpoint | None,
    folder_notes: Sequence[str] = (),
    where: tuple[str, ...] = (),
) -> Plan:
    """From the start frames or, where there is one, from a checkpoint, which is brought into the engine."""
    if checkpoint is None:
        return Plan(prepared, engine, "fresh", (*prepared.notes, *folder_notes), where)
    restore(engine, checkpoint)
    finished = engine.state.step >= prepared.config.total_steps
    advice = warnings(prepared.config) if finished else ()  # on steps that nobody makes
    own = (note for note in prepared.notes if note not in advice)
    notes = (*own, *folder_notes, *checkpoint.notes, *_moved(checkpoint, engine, prepared))
    return Plan(prepared, engine, "finished" if finished else "resume", notes, where)


def _telling(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """A checkpoint as ranks exchange it."""
    return None if checkpoint is None else {**vars(checkpoint), "path": str(checkpoint.path)}


def _told(said: dict[str, Any] | None) -> Checkpoint | None:
    """The checkpoint of the first rank."""
    if said is None:
        return None
    return Checkpoint(said["arrays"], said["header"], Path(said["path"]), tuple(said["notes"]))


def _moved(checkpoint: Checkpoint, engine: Engine, prepared: Prepared) -> Iterator[str]:
    """Notes if the steps up to the checkpoint were made on another kind of device, or with other filter tables."""
    step = engine.state.step
    before, now = str(checkpoint.header.get("device", "cpu")), engine.device_kind
    if before != now:
        yield (
            f"the steps up to {step:,} were made on {before}, the following ones are made on {now}: both are correct, "
            "but results are not bit-identical to a run on a single device"
        )
    rule = table_rule(prepared)
    if rule is not None and checkpoint.header.get("tables", 1) != rule:
        version = checkpoint.header.get("version", "0.1")
        yield (
            f"the steps up to {step:,} were made by mdflash {version}, which chooses the grid of filter tables by "
            "another rule: both are as exact as the precision demands, but results may differ in the last bits from a "
            "run by one version"
        )


def _loop(engine: Engine, saves: Saves, config: RunConfig, watch: Watch, ranks: Ranks) -> None:
    """Steps and checkpoints until the end, or until the caller wants to stop."""
    every, seconds = config.checkpoint_every, config.checkpoint_seconds
    last = time.monotonic()

    def pause() -> bool:
        watch.progress(engine)
        saves.follow()
        overdue = seconds is not None and time.monotonic() - last >= seconds
        return ranks.any(overdue or watch.should_stop() is not None)

    while engine.state.step < config.total_steps:
        target = config.total_steps
        if every is not None:
            target = min(target, (engine.state.step // every + 1) * every)
        engine.run(target - engine.state.step, pause)
        saves.checkpoint(engine)
        last = time.monotonic()
        reason = next((r for r in ranks.all(watch.should_stop()) if r is not None), None)
        if reason is not None and engine.state.step < config.total_steps:
            raise Interrupted(
                f"{reason}: stopped at step {engine.state.step:,} of {config.total_steps:,}, checkpoint written; "
                f"run the same command again to resume"
            )
    watch.progress(engine)

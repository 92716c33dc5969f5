"""Carry out a run: start it, or go on where it was, until it is finished, stopped or unstable.

    fresh folder     -> minimise, draw velocities, checkpoint of step 0, then steps
    unfinished one   -> newest checkpoint, files cut to it, then steps
    finished one     -> nothing to do

The manifest is written once the checkpoint of step 0 is on the disk: a folder without one holds nothing worth keeping.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import numba
import numpy as np
import torch

from mdflash import __version__
from mdflash.config.schema import RunConfig
from mdflash.config.write import resolved_yaml, to_data
from mdflash.config.yamlfile import load_yaml
from mdflash.engine import Engine
from mdflash.errors import InputError, Interrupted, StorageError, UnstableError
from mdflash.io.checkpoint import Checkpoint, load_checkpoint
from mdflash.io.events import EventLog
from mdflash.io.files import atomic_write, atomic_write_json
from mdflash.io.runfolder import RunFolder
from mdflash.io.topology import write_pdb
from mdflash.outputs import Outputs, bytes_to_come, restore
from mdflash.prepare import Prepared, prepare

MAY_CHANGE = frozenset(
    {
        "dynamics.length",
        "dynamics.steps",
        "output.folder",
        "output.checkpoint",
        "guards",
        "neighbors.skin",
        "hardware",
        "structure",
        "start",
        "forcefield",
    }
)
"""Keys (dotted, or the last word) that a resumed run may give anew.

None of them changes a bit of what was written. Files may have moved: what is in them is compared by digest.
"""


@dataclass(frozen=True)
class Plan:
    """What is about to happen; shown to the user before it does.

    Attributes:
        prepared: the run.
        simulation: where it starts from.
        start: "fresh", "resume" or "finished".
        notes: sentences a person should read.
    """

    prepared: Prepared
    simulation: Engine
    start: Literal["fresh", "resume", "finished"]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Watch:
    """How the caller follows a run.

    Attributes:
        planned: called once, before the first step.
        progress: called between blocks, at least about every half second.
        should_stop: asked between blocks; a reason ("SIGTERM") stops the run with a checkpoint.
    """

    planned: Callable[[Plan], None] = lambda plan: None
    progress: Callable[[Engine], None] = lambda simulation: None
    should_stop: Callable[[], str | None] = lambda: None


def execute(config: RunConfig, source: Path, *, fresh: bool = False, watch: Watch | None = None) -> Plan:
    """Carry out the run that `config` describes, in its run folder.

    Args:
        config: the run, as loaded.
        source: the YAML file it came from; copied to input.yaml.
        fresh: delete what an earlier run wrote in the folder, and start over.
        watch: how to follow and stop it.

    Raises:
        InputError: bad input, or the folder belongs to a different run.
        StorageError: the folder cannot be written, is in use, or its files do not fit its checkpoint.
        UnstableError: a replica's energy is no longer finite.
        Interrupted: stopped on request; a checkpoint was written.
    """
    watch = watch or Watch()
    config = _with_recorded_seed(config, fresh).with_seed()
    prepared = prepare(config)
    need = bytes_to_come(config, prepared.layout, config.total_steps)
    with RunFolder.open(config.folder, need) as folder:
        if fresh:
            folder.fresh()
        checkpoint = _find_checkpoint(folder, config)
        simulation = prepared.simulation()
        if checkpoint is None:
            _discard_leftovers(folder)
            plan = Plan(prepared, simulation, "fresh", prepared.notes)
        else:
            _check_identity(folder, checkpoint, prepared)
            restore(simulation, checkpoint)
            finished = simulation.state.step >= config.total_steps
            notes = (*prepared.notes, *checkpoint.notes)
            plan = Plan(prepared, simulation, "finished" if finished else "resume", notes)
        watch.planned(plan)
        if plan.start == "fresh":
            try:
                _settle(simulation, config)
            except BaseException:
                folder.discard()
                raise
        if plan.start != "finished":
            _carry_out(plan, folder, checkpoint, source, watch)
    return plan


def _with_recorded_seed(config: RunConfig, fresh: bool) -> RunConfig:
    """The seed that an earlier start of this run drew."""
    resolved = config.folder / "resolved.yaml"
    if fresh or config.dynamics.seed is not None or not resolved.is_file():
        return config
    seed = load_yaml(resolved).data["dynamics"]["seed"]
    return config.model_copy(update={"dynamics": config.dynamics.model_copy(update={"seed": seed})})


def _find_checkpoint(folder: RunFolder, config: RunConfig) -> Checkpoint | None:
    checkpoint = load_checkpoint(folder.checkpoint)
    if checkpoint is None:
        if folder.manifest.exists():
            raise StorageError(
                f"{folder.path}: holds a run, but its checkpoints are gone; restore the folder "
                f"'checkpoint', or start over with --fresh (which deletes its trajectory)"
            )
        return None
    if folder.resolved.is_file():
        _check_same_run(folder, config)
    return checkpoint


def _check_same_run(folder: RunFolder, config: RunConfig) -> None:
    for key, old, new in _differences(load_yaml(folder.resolved).data, to_data(config)):
        raise InputError(
            f"the run in {folder.path} was made with {key}: {old}, now it is {new}; "
            f"choose another output.folder, put the value back, or start over with --fresh",
            key=key,
        )


def _differences(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every value that differs, by dotted key, save those that `MAY_CHANGE`."""
    if key in MAY_CHANGE or key.rpartition(".")[2] in MAY_CHANGE:
        return
    if isinstance(before, dict) and isinstance(now, dict):
        for word in before.keys() & now.keys():
            yield from _differences(before[word], now[word], f"{key}.{word}" if key else word)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _differences(old, new, f"{key}.{i}")
    elif before != now:
        yield key, before, now


def _identity(prepared: Prepared) -> dict[str, Any]:
    """What a checkpoint must agree with."""
    return {
        "forcefields": {f.name: f.digest for f in prepared.forcefields},
        "systems": {s.name: s.digest for s in prepared.layout.systems},
    }


def _check_identity(folder: RunFolder, checkpoint: Checkpoint, prepared: Prepared) -> None:
    for kind, now in _identity(prepared).items():
        before = checkpoint.header[kind]
        for name, digest in now.items():
            if before.get(name) != digest:
                raise InputError(
                    f"the {kind[:-1]} '{name}' has changed since {checkpoint.path.name} was written "
                    f"(it was {str(before.get(name))[:12]}, now it is {digest[:12]}); put the old one back, choose "
                    f"another output.folder, or start over with --fresh",
                    file=folder.path,
                )


def _discard_leftovers(folder: RunFolder) -> None:
    """Remove what a start that never reached its first checkpoint left behind."""
    if folder.own_files():
        folder.fresh()


def _carry_out(plan: Plan, folder: RunFolder, checkpoint: Checkpoint | None, source: Path, watch: Watch) -> None:
    prepared, simulation = plan.prepared, plan.simulation
    config = prepared.config
    identity = _identity(prepared)
    log = EventLog(folder.events)
    manifest = _Manifest(folder.manifest, prepared, simulation)
    try:
        if checkpoint is None:
            outputs = _start(plan, folder, source, identity)
            log.write(0, "start", version=__version__)
        else:
            outputs = Outputs.resume(folder, config, prepared.layout, identity, checkpoint)
            atomic_write(folder.resolved, resolved_yaml(config))
            log.write(simulation.state.step, "resume", version=__version__, notes=list(checkpoint.notes))
        try:
            outputs.attach(simulation)
            simulation.guard.listeners.append(log.write)
            manifest.write("running", outputs)
            _loop(simulation, outputs, config, watch)
        except Interrupted as stopped:
            log.write(simulation.state.step, "stopped", reason=str(stopped))
            manifest.write("stopped", outputs)
            raise
        except UnstableError as unstable:
            log.write(simulation.state.step, "unstable", reason=str(unstable))
            outputs.close()
            manifest.write("unstable", outputs)
            raise UnstableError(
                f"{unstable}. Everything before this block is in {folder.path}, its newest checkpoint is intact"
            ) from None
        else:
            log.write(simulation.state.step, "finished")
            manifest.write("finished", outputs)
        finally:
            outputs.close()
    finally:
        log.close()


def _settle(simulation: Engine, config: RunConfig) -> None:
    """From start frames to step 0; raises UnstableError where a start frame has no finite energy."""
    if config.dynamics.minimize:
        simulation.minimize(config.dynamics.minimize)
    simulation.evaluate()
    simulation.require_finite()
    if simulation.integrator.name != "brownian":
        simulation.draw_velocities()


def _start(plan: Plan, folder: RunFolder, source: Path, identity: dict[str, Any]) -> Outputs:
    """Bring step 0 to the disk."""
    prepared, simulation = plan.prepared, plan.simulation
    config, layout = prepared.config, prepared.layout
    atomic_write(folder.input, source.read_bytes())
    atomic_write(folder.resolved, resolved_yaml(config))
    names = [s.name for s in layout.systems]
    for s, system in enumerate(layout.systems):
        x = layout.view(simulation.state.positions, s)[0].numpy()
        write_pdb(folder.topology(system.name, names), system, x, config.box)
    outputs = Outputs.create(folder, config, layout, identity)
    try:
        outputs.report(simulation)
        outputs.checkpoint(simulation)
    except BaseException:
        outputs.close()
        raise
    return outputs


def _loop(simulation: Engine, outputs: Outputs, config: RunConfig, watch: Watch) -> None:
    """Steps and checkpoints until the end, or until the caller wants to stop."""
    every, seconds = config.checkpoint_every, config.checkpoint_seconds
    last = time.monotonic()

    def pause() -> bool:
        watch.progress(simulation)
        overdue = seconds is not None and time.monotonic() - last >= seconds
        return overdue or watch.should_stop() is not None

    while simulation.state.step < config.total_steps:
        target = config.total_steps
        if every is not None:
            target = min(target, (simulation.state.step // every + 1) * every)
        simulation.run(target - simulation.state.step, pause)
        outputs.checkpoint(simulation)
        last = time.monotonic()
        reason = watch.should_stop()
        if reason is not None and simulation.state.step < config.total_steps:
            raise Interrupted(
                f"{reason}: stopped at step {simulation.state.step} of {config.total_steps}, checkpoint written; "
                f"run the same command again to go on"
            )
    watch.progress(simulation)


class _Manifest:
    """manifest.json: what ran where, with what, and how fast."""

    def __init__(self, path: Path, prepared: Prepared, simulation: Engine) -> None:
        self.path, self.simulation = path, simulation
        self._begun = time.monotonic()
        self._first_step = simulation.state.step
        self._seconds_before = 0.0
        if path.is_file():
            self._seconds_before = float(json.loads(path.read_text())["timing"]["wall_seconds"])
        config, layout = prepared.config, prepared.layout
        self._fixed = {
            "mdflash_run": 1,
            "name": config.name,
            "versions": {
                "mdflash": __version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "torch": torch.__version__,
                "numba": numba.__version__,
            },
            "device": "cpu",
            "machine": platform.machine(),
            "threads": numba.get_num_threads(),
            "kernels": simulation.propagator.kernels,
            "precision": config.model.precision,
            "seed": simulation.seed,
            "systems": [
                {"name": s.name, "beads": s.n_beads, "replicas": n, "sha256": s.digest}
                for s, n in zip(layout.systems, layout.counts, strict=True)
            ],
            "forcefields": [{"name": f.name, "sha256": f.digest} for f in dict.fromkeys(prepared.forcefields)],
            "total_steps": config.total_steps,
        }

    def write(self, status: str, outputs: Outputs) -> None:
        seconds = time.monotonic() - self._begun
        steps = self.simulation.state.step - self._first_step
        ns = steps * self.simulation.integrator.timestep * 1e-3 * self.simulation.layout.n_replicas
        atomic_write_json(
            self.path,
            {
                **self._fixed,
                "status": status,
                "step": self.simulation.state.step,
                **self._counted(),
                "updated": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "timing": {
                    "wall_seconds": round(self._seconds_before + seconds, 3),
                    "aggregate_ns_per_day": round(ns / seconds * 86400, 3) if steps else None,
                    "writer_stall_seconds": round(outputs.stall_seconds, 3),
                },
            },
        )

    def _counted(self) -> dict[str, Any]:
        """What exchange and guard have counted, where there is something to say."""
        found: dict[str, Any] = {}
        guard, exchange, ids = self.simulation.guard, self.simulation.exchange, self.simulation.layout.replica_ids
        if exchange is not None:
            found["exchange"] = exchange.summary()
        if guard.frozen.any():
            since = guard.frozen_since.tolist()
            found["frozen_since_step"] = {str(r): step for r, step in zip(ids, since, strict=True) if step >= 0}
        return found

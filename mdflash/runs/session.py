"""The run folder of a run: what an earlier one left there, what this one adds, and how it ends.

The manifest is written once the checkpoint of step 0 is on the disk: a folder without one holds nothing worth keeping.
Of many ranks, the first keeps the folder; the sessions of the others are silent: they stop where it writes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numba
import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel

from mdflash import __version__
from mdflash.config.metadynamics import BIAS_FACTOR
from mdflash.config.schema import RunConfig
from mdflash.config.write import resolved_yaml, to_data
from mdflash.core.files import atomic_write, atomic_write_json, patch_head, storage_errors
from mdflash.core.regular import read_input
from mdflash.core.yamlfile import load_yaml
from mdflash.engine.distributed import Ranks
from mdflash.engine.engine import Engine
from mdflash.errors import InputError, Interrupted, MdflashError, StorageError, UnstableError
from mdflash.io.checkpoint import Checkpoint, drop_newer, load_checkpoint
from mdflash.io.events import EventLog
from mdflash.io.runfolder import RunFolder, load_manifest
from mdflash.io.table import changed_tables, cut_tables, recorded_tables
from mdflash.io.topology import write_topology
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.schnet.tables import SIZED_BY
from mdflash.potentials.variables import VARIABLES
from mdflash.runs.prepare import Prepared
from mdflash.runs.writers import Outputs, Silence, bytes_to_come, misfit

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
        "reference",
    }
)
"""Keys (dotted, or the last word) that a resumed run may change.

None of them changes a bit of what was written. Files may have moved: what is in them is compared by digest.
"""


MANIFEST_SECONDS = 5.0
"""How old manifest.json may be during a run, give or take a block of steps."""


class Source(NamedTuple):
    """The YAML file of a run, and what it held when the run was started or resumed."""

    file: Path
    text: bytes


class Saves(Protocol):
    """Writes checkpoints, and says between them where the run is."""

    def checkpoint(self, engine: Engine) -> None:
        """Bring everything so far to the disk."""

    def follow(self) -> None:
        """Look at the clock, between blocks: what is shown to others may be due."""


class RunSession:
    """The open run folder, as the first rank has it.

    Args:
        prepared: the run.
        folder: locked.
        ranks: who runs it.
        fresh: whether to start over.
    """

    def __init__(self, prepared: Prepared, folder: RunFolder, ranks: Ranks, fresh: bool) -> None:
        self.prepared, self.folder, self._ranks, self._fresh = prepared, folder, ranks, fresh

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user, about the folder."""
        return self.folder.notes

    def find(self) -> Checkpoint | None:
        """The checkpoint to resume from, or None for a fresh start.

        Raises:
            InputError: the folder belongs to a different run.
            StorageError: its checkpoints are gone or damaged.
        """
        if self._fresh:
            return None
        checkpoint = load_checkpoint(self.folder.checkpoint, self._fits)
        if checkpoint is None:
            if self.folder.manifest.exists():
                raise StorageError(
                    f"{self.folder.path}: holds a run, but its checkpoints are gone; restore the folder "
                    f"'checkpoint', or start over with --fresh (which deletes its trajectory)"
                )
            return None
        if self.folder.resolved.is_file():
            _check_same_run(self.folder, self.prepared.config)
        _check_identity(self.folder, checkpoint, self.prepared)
        checkpoint = self._before_changed_rows(checkpoint)
        notes = (*checkpoint.notes, *_other_starts(self.folder, self.prepared))
        return dataclasses.replace(checkpoint, notes=notes)

    def _fits(self, arrays: Mapping[str, npt.NDArray[Any]], header: Mapping[str, Any]) -> str | None:
        """Why the run cannot go on from a checkpoint of its own; of another run, that is said later."""
        if any(header.get(kind) != now for kind, now in _identity(self.prepared).items()):
            return None
        if self.folder.resolved.is_file() and any(changed(self.folder.path, self.prepared.config)):
            return None
        return misfit(self.prepared, arrays, header)

    def _before_changed_rows(self, newest: Checkpoint) -> Checkpoint:
        """An older checkpoint where rows between it and the newest were changed or cut off since they were written."""
        changed = changed_tables(self.folder.path, recorded_tables(newest.header))
        cut = cut_tables(self.folder.path, recorded_tables(newest.header))
        if not (changed or cut):
            return newest
        files = ", ".join([*changed, *cut])
        what = "changed" if changed else "cut off"
        with suppress(StorageError):
            older = load_checkpoint(
                self.folder.checkpoint,
                lambda arrays, header: self._fits(arrays, header) or self._rows(header),
            )
            if older is not None:
                why = f"{files}: rows before {newest.path.name} were {what} since they were written; the run goes on "
                return dataclasses.replace(
                    older, notes=(*newest.notes, f"{why}from {older.path.name} and writes them again")
                )
        if cut:
            return newest  # which no file fits; opening it says so
        why = f"{files}: rows were changed since they were written, before every checkpoint that is left; "
        return dataclasses.replace(newest, notes=(*newest.notes, f"{why}the run goes on behind them, as they are"))

    def _rows(self, header: Mapping[str, Any]) -> str | None:
        """Why the tables in the folder are not what they were at a checkpoint."""
        tables = recorded_tables(header)
        sound = not (changed_tables(self.folder.path, tables) or cut_tables(self.folder.path, tables))
        return None if sound else "rows"

    def clear(self) -> None:
        """Delete what an earlier run, or a start that failed, left here: the new one is known to start.

        Raises:
            InputError: one of them is an input of the new run.
            StorageError: a file cannot be deleted.
        """
        inputs = {file.resolve() for file in _input_files(self.prepared.config)}
        for file in self.folder.own_files():
            if file.resolve() in inputs:
                raise InputError(
                    f"is an input of this run and a file of the run in {self.folder.path}, which it would replace; "
                    "copy it to another place, or choose another output.folder",
                    file=file,
                )
        self.folder.fresh([system.name for system in self.prepared.layout.systems])

    def discard(self) -> None:
        """Remove the folder again if nothing was written into it."""
        self.folder.discard()

    @contextmanager
    def keep(self, engine: Engine, checkpoint: Checkpoint | None, source: Source) -> Iterator[Saves]:
        """Write while the block lasts, and note how it ends.

        Args:
            engine: at step 0, or at `checkpoint`.
            checkpoint: from `find`.
            source: the YAML file; copied to input.yaml.

        Raises:
            StorageError: the folder cannot be written, or its files do not fit the checkpoint.
        """
        prepared, folder = self.prepared, self.folder
        rule = table_rule(prepared)
        identity = _identity(prepared) | ({} if rule is None else {"tables": rule})
        log = EventLog(folder.events)
        manifest = _Manifest(folder.manifest, prepared, engine, self._ranks.size, source.file)
        try:
            if checkpoint is None:
                outputs = self._start(engine, source.text, identity)
                log.write(0, "start", version=__version__)
            else:
                outputs = Outputs.resume(folder, prepared, identity, checkpoint)
                drop_newer(folder.checkpoint, engine.state.step)
                atomic_write(folder.resolved, resolved_yaml(prepared.config))
                log.write(engine.state.step, "resume", version=__version__, notes=list(checkpoint.notes))
            try:
                outputs.attach(engine)
                engine.guard.listeners.append(log.write)
                engine.deposits.listeners.append(log.write)
                if engine.ensemble is not None:
                    engine.ensemble.listeners.append(log.write)
                manifest.write("running", outputs)
                self._ranks.from_first(lambda: outputs.intervals)
                yield _Keeper(outputs, manifest)
            except Interrupted as stopped:
                log.write(engine.state.step, "stopped", reason=str(stopped))
                manifest.write("stopped", outputs)
                raise
            except UnstableError as unstable:
                step, every = engine.state.step, prepared.config.trajectory_every
                frame = None if every is None else max(step - 1, 0) // every * every
                log.write(step, "unstable", reason=str(unstable), last_frame_step=frame)
                outputs.close()
                manifest.write("unstable", outputs)
                last = "" if frame is None else f" (its last frame is that of step {frame})"
                raise UnstableError(
                    f"{unstable}. Everything before this block is in {folder.path}{last}, its newest checkpoint is "
                    "intact"
                ) from None
            except BaseException as error:
                with suppress(MdflashError):  # the disk may be full
                    manifest.fail(outputs)
                    log.write(engine.state.step, "failed", reason=str(error) or type(error).__name__)
                raise
            else:
                log.write(engine.state.step, "finished")
                manifest.write("finished", outputs)
            finally:
                outputs.close()
        finally:
            log.close()

    def _start(self, engine: Engine, source: bytes, identity: dict[str, Any]) -> Outputs:
        """Bring step 0 to the disk."""
        prepared, folder = self.prepared, self.folder
        config, layout = prepared.config, prepared.layout
        atomic_write(folder.input, source)
        atomic_write(folder.resolved, resolved_yaml(config))
        names = [s.name for s in layout.systems]
        for s, system in enumerate(layout.systems):
            x = layout.view(engine.state.positions, s)[0].numpy()
            write_topology(folder.topology(system.name, names), system, x, config.box)
        outputs = Outputs.create(folder, prepared, identity)
        try:
            outputs.report(engine)
            outputs.checkpoint(engine)
        except BaseException:
            outputs.close()
            raise
        return outputs


class SilentSession:
    """What the other ranks have in place of a `RunSession`."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    @property
    def notes(self) -> tuple[str, ...]:
        """None: the first rank has them."""
        return ()

    def find(self) -> None:
        """Nothing: the first rank looks."""

    def clear(self) -> None:
        """Nothing: the first rank does."""

    def discard(self) -> None:
        """Nothing."""

    def checkpoint(self, engine: Engine) -> None:
        """Nothing."""

    def follow(self) -> None:
        """Nothing."""

    @contextmanager
    def keep(self, engine: Engine, checkpoint: Checkpoint | None, source: Source) -> Iterator[Saves]:
        """Stop where the first rank reports."""
        intervals = self._ranks.from_first(list[int])
        engine.reporters += [Silence(every) for every in intervals]
        yield self


@contextmanager
def open_session(prepared: Prepared, ranks: Ranks, fresh: bool) -> Iterator[RunSession | SilentSession]:
    """Open the run folder, and lock it while the block lasts.

    Args:
        prepared: the run.
        ranks: who runs it.
        fresh: delete what an earlier run wrote.

    Raises:
        StorageError: it cannot be written, is in use, or the disk is too full.
    """
    if ranks.rank > 0:
        yield SilentSession(ranks)
        return
    config = prepared.config
    need = bytes_to_come(config, prepared.layout, config.total_steps)
    with RunFolder.open(config.folder, need, [system.name for system in prepared.layout.systems]) as folder:
        yield RunSession(prepared, folder, ranks, fresh)


def _input_files(value: Any) -> Iterator[Path]:
    """Every path in a run's settings but its own folder."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        yield from (file for key, part in value if key != "folder" for file in _input_files(part))
    elif isinstance(value, (list, tuple)):
        yield from (file for part in value for file in _input_files(part))
    elif isinstance(value, dict):
        yield from (file for part in value.values() for file in _input_files(part))


def with_recorded_seed(config: RunConfig, fresh: bool) -> RunConfig:
    """The seed that an earlier start of this run drew."""
    resolved = config.folder / "resolved.yaml"
    if fresh or config.dynamics.seed is not None or not resolved.is_file():
        return config
    data = load_yaml(resolved).data
    dynamics = data.get("dynamics") if isinstance(data, dict) else None
    if not isinstance(dynamics, dict) or not isinstance(seed := dynamics.get("seed"), int):
        raise InputError(
            "is damaged: it has no dynamics.seed; restore it from a copy, or start over with --fresh", file=resolved
        )
    return config.model_copy(update={"dynamics": config.dynamics.model_copy(update={"seed": seed})})


def _check_same_run(folder: RunFolder, config: RunConfig) -> None:
    for key, old, new in changed(folder.path, config):
        raise InputError(
            f"the run in {folder.path} was made with {key}: {old}, now it is {new}; "
            f"`mdflash run {folder.path}` resumes it as it was made. Or put the value back, choose another "
            "output.folder, or start over with --fresh",
            key=key,
        )


def changed(folder: Path, config: RunConfig) -> Iterator[tuple[str, Any, Any]]:
    """Every setting of the run in a folder that `config` has otherwise, and that may not change: key, then, now."""
    yield from _differences(as_now_written(load_yaml(folder / "resolved.yaml").data), to_data(config))


def as_now_written(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a resolved.yaml of any version, as this version writes them."""
    found = {"monitor": "none", "metadynamics": "none", "weighted_ensemble": "none", **resolved}  # older runs had none
    if isinstance(dynamics := found.get("dynamics"), dict):
        found["dynamics"] = {"annealing": "none", **dynamics}
    if isinstance(exchange := found.get("exchange"), dict) and exchange.get("scheme") == "neighbours":
        found["exchange"] = {**exchange, "scheme": "neighbors"}
    if isinstance(entries := found["metadynamics"], list):
        found["metadynamics"] = [
            {**e, "bias_factor": BIAS_FACTOR}
            if isinstance(e, dict) and e.get("method") == "well-tempered" and e.get("bias_factor") == "none"
            else e
            for e in entries
        ]
    return found


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
    monitored = {entry.name: entry.variable.digest for entry in prepared.monitored}
    hills = {bias.name: _digest(bias) for bias in prepared.grid_biases}
    walkers = prepared.walkers
    return {
        "forcefields": {f.name: f.digest for f in prepared.forcefields},
        "systems": {s.name: s.digest for s in prepared.layout.systems},
        "bias variables": {bias.name: bias.variable.digest for bias in prepared.biases},
        **({"monitored variables": monitored} if monitored else {}),
        **({"metadynamics variables": hills} if hills else {}),
        **({"walker variables": {walkers.name: walkers.variable.digest}} if walkers is not None else {}),
    }


def _digest(bias: GridBias) -> str:
    """Of what a grid is over."""
    return hashlib.sha256(" ".join(variable.digest for variable in bias.variables).encode()).hexdigest()


def table_rule(prepared: Prepared) -> int | None:
    """How the filter tables of a run are sized; None for a run without any."""
    model = prepared.config.model
    exact = model.filters == "exact" or model.kernels == "reference"
    return None if exact or not any(ff.networks for ff in prepared.forcefields) else SIZED_BY


def _check_identity(folder: RunFolder, checkpoint: Checkpoint, prepared: Prepared) -> None:
    for kind, now in _identity(prepared).items():
        before = checkpoint.header.get(kind, {})
        for name, digest in now.items():
            if before.get(name) != digest:
                raise InputError(
                    f"the {kind[:-1]} '{name}' has changed since {checkpoint.path.name} was written "
                    f"(it was {str(before.get(name))[:12]}, now it is {digest[:12]}); put the old one back, choose "
                    f"another output.folder, or start over with --fresh",
                    file=folder.path,
                )


def _start_digests(prepared: Prepared) -> list[str]:
    """SHA-256 of the start frames of each system, to 0.001 Å: what a structure file tells, on whatever machine."""
    layout = prepared.layout
    frames = (layout.view(prepared.start, s).numpy() for s in range(len(layout.systems)))
    return [hashlib.sha256(np.rint(x * 1000).astype("<i8").tobytes()).hexdigest() for x in frames]


def _other_starts(folder: RunFolder, prepared: Prepared) -> Iterator[str]:
    """Notes on systems whose start frames are others now; of runs before 0.2 they are not known."""
    known = _recorded_starts(folder.path)
    for entry, system, digest in zip(
        prepared.config.system, prepared.layout.systems, _start_digests(prepared), strict=True
    ):
        if known.get(system.name, digest) != digest:
            file = entry.structure if entry.start is None else entry.start.file
            yield (
                f"{system.name}: the start frames{f' of {file}' if file else ''} are others than those that this run "
                "started from; it goes on from its checkpoint and does not use them (to start from them, choose "
                "another output.folder, or start over with --fresh)"
            )


def _recorded_starts(folder: Path) -> dict[str, str]:
    """By system, the digest of the start frames in the manifest; nothing where it is damaged or does not tell."""
    try:
        return {s["name"]: s["start_sha256"] for s in load_manifest(folder)["systems"] if "start_sha256" in s}
    except (OSError, InputError, KeyError, TypeError):
        return {}


def _variables(prepared: Prepared) -> dict[str, dict[str, str]]:
    """What the columns of colvars.csv are."""
    entries = [(entry.name, entry.variable) for entry in (*prepared.biases, *prepared.monitored)]
    entries += [(axis.name, axis.variable) for bias in prepared.grid_biases for axis in bias.axes]
    return {
        name: {"variable": v.name, "unit": v.unit, **({"about": v.about} if v.about else {})}
        for name, v in entries
        if v.name in VARIABLES
    }


def _gpu_versions() -> dict[str, str | None]:
    import triton

    return {"triton": triton.__version__, "cuda": torch.version.cuda}


class _Manifest:
    """manifest.json: what ran where, with what, and how fast."""

    def __init__(self, path: Path, prepared: Prepared, engine: Engine, ranks: int, source: Path) -> None:
        self.path, self.engine = path, engine
        made_from: str | None = os.path.relpath(source, path.parent)  # so that both may move together
        self._begun = time.monotonic()
        self._first_step = engine.state.step
        self._seconds_before = 0.0
        if path.is_file():
            with suppress(InputError, KeyError, TypeError, ValueError):  # damaged: it knows nothing else that matters
                before = load_manifest(path.parent)
                if source.parent.samefile(path.parent):  # a file of the folder itself
                    made_from = before.get("source")
                self._seconds_before = float(before["timing"]["wall_seconds"])
        config, layout = prepared.config, prepared.layout
        if engine.state.step == 0 and not path.is_file():
            starts = dict(zip((s.name for s in layout.systems), _start_digests(prepared), strict=True))
        else:
            starts = _recorded_starts(path.parent)
        started = {name: {"start_sha256": digest} for name, digest in starts.items()}
        self._fixed = {
            "mdflash_run": 1,
            "name": config.name,
            "source": made_from,
            "versions": {
                "mdflash": __version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "torch": torch.__version__,
                "numba": numba.__version__,
                **({} if engine.gpu is None else _gpu_versions()),
            },
            "device": engine.device_kind,
            "device_name": engine.device,
            "machine": platform.machine(),
            "ranks": ranks,
            "threads": numba.get_num_threads(),
            "kernels": engine.propagator.kernels,
            "precision": config.model.precision,
            "seed": engine.seed,
            "systems": [
                {"name": s.name, "beads": s.n_beads, "replicas": n, "sha256": s.digest} | started.get(s.name, {})
                for s, n in zip(layout.systems, layout.counts, strict=True)
            ],
            "forcefields": [{"name": f.name, "sha256": f.digest} for f in dict.fromkeys(prepared.forcefields)],
            "total_steps": config.total_steps,
            **({"variables": variables} if (variables := _variables(prepared)) else {}),
        }

    def write(self, status: str, outputs: Outputs) -> None:
        atomic_write_json(self.path, self.content(status, outputs))

    def fail(self, outputs: Outputs) -> None:
        """Note that the run ended by an error; where a full disk takes no new file, in the one that is there."""
        try:
            self.write("failed", outputs)
        except StorageError:
            with storage_errors(self.path):
                before = read_input(self.path)
            patch_head(self.path, before.replace(b'"status": "running"', b'"status": "failed" ', 1))

    def content(self, status: str, outputs: Outputs) -> dict[str, Any]:
        """As of this moment."""
        seconds = time.monotonic() - self._begun
        steps = self.engine.state.step - self._first_step
        ns = steps * self.engine.integrator.timestep * 1e-3 * self.engine.layout.n_replicas
        return {
            **self._fixed,
            "status": status,
            "step": self.engine.state.step,
            **self._counted(),
            "updated": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "timing": {
                "wall_seconds": round(self._seconds_before + seconds, 3),
                "aggregate_ns_per_day": round(ns / seconds * 86400, 3) if steps else None,
                "writer_stall_seconds": round(outputs.stall_seconds, 3),
            },
        }

    def _counted(self) -> dict[str, Any]:
        """What exchange, metadynamics and guard have counted, where there is any."""
        found: dict[str, Any] = {}
        guard, exchange, ids = self.engine.guard, self.engine.exchange, self.engine.layout.replica_ids
        if exchange is not None:
            found["exchange"] = exchange.summary()
        if self.engine.deposits.biases:
            found["metadynamics"] = self.engine.deposits.summary()
        if self.engine.ensemble is not None:
            found["weighted_ensemble"] = self.engine.ensemble.summary()
        if guard.frozen.any():
            since = guard.frozen_since.tolist()
            found["frozen_since_step"] = {str(r): step for r, step in zip(ids, since, strict=True) if step >= 0}
        return found


class _Keeper:
    """What the loop of steps sees of the open run folder."""

    def __init__(self, outputs: Outputs, manifest: _Manifest) -> None:
        self._outputs, self._manifest = outputs, manifest
        self._written = time.monotonic()

    def checkpoint(self, engine: Engine) -> None:
        self._outputs.checkpoint(engine)

    def follow(self) -> None:
        """Have the writer thread bring manifest.json up to date when it is old; no step waits for the disk."""
        if time.monotonic() - self._written >= MANIFEST_SECONDS:
            self._written = time.monotonic()
            now = self._manifest.content("running", self._outputs)
            self._outputs.submit(partial(atomic_write_json, self._manifest.path, now))

"""The run folder of a run: what an earlier one left there, what this one adds, and how it ends.

The manifest is written once the checkpoint of step 0 is on the disk: a folder without one holds nothing worth keeping.
Of many ranks, the first keeps the folder; the sessions of the others are silent: they stop where it writes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from mdflash import __version__
from mdflash.config.input_paths import input_paths
from mdflash.config.write import resolved_yaml
from mdflash.core.files import atomic_write, atomic_write_json
from mdflash.engine.distributed import Ranks
from mdflash.engine.engine import Engine
from mdflash.errors import InputError, Interrupted, MdflashError, UnstableError
from mdflash.io.checkpoint import Checkpoint, drop_newer
from mdflash.io.events import EventLog
from mdflash.io.runfolder import RunFolder
from mdflash.io.topology import write_topology
from mdflash.runs.identity import identity_of, table_rule
from mdflash.runs.manifest import Manifest
from mdflash.runs.prepare import Prepared
from mdflash.runs.resume import resume_from
from mdflash.runs.territory import LeftTerritory
from mdflash.runs.writers import Outputs, Silence, bytes_to_come

MANIFEST_SECONDS: Final = 5.0
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
        self._promised = False

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for the user, about the folder."""
        return self.folder.notes

    def find(self) -> Checkpoint | None:
        """The checkpoint to resume from, or None for a fresh start; errors as of `resume_from`."""
        return None if self._fresh else resume_from(self.folder, self.prepared)

    def clear(self) -> None:
        """Delete what an earlier run, or a start that failed, left here: the new one is known to start.

        Raises:
            InputError: one of them is an input of the new run.
            StorageError: a file cannot be deleted.
        """
        inputs = {file.resolve() for file in input_paths(self.prepared.config)}
        for file in self.folder.own_files():
            if file.resolve() in inputs:
                raise InputError(
                    f"is an input of this run and a file of the run in {self.folder.path}, which it would replace; "
                    "copy it to another place, or choose another output.folder",
                    file=file,
                )
        self.folder.fresh([system.name for system in self.prepared.layout.systems])

    def promise(self) -> None:
        """Record the run and its seed before the long way to step 0, for a start that is killed meanwhile.

        Not in the place of an earlier run, which is kept until the new one is known to start.
        """
        if not self.folder.manifest.exists():
            self.clear()
            atomic_write(self.folder.resolved, resolved_yaml(self.prepared.config))
            self._promised = True

    def discard(self) -> None:
        """Remove the folder again if nothing was written into it but a promise: another try takes another seed."""
        if self._promised:
            for file in self.folder.own_files():
                file.unlink(missing_ok=True)
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
        identity = identity_of(prepared) | ({} if rule is None else {"tables": rule})
        log = EventLog(folder.events)
        manifest = Manifest(folder.manifest, prepared, engine, self._ranks.size, source.file)
        try:
            if checkpoint is None:
                outputs = self._start(engine, source.text, identity)
                log.write(0, "start", version=__version__)
            else:
                outputs = Outputs.resume(folder, prepared, identity, checkpoint)
                drop_newer(folder.checkpoint, engine.state.step)
                folder.drop_unfinished()
                atomic_write(folder.resolved, resolved_yaml(prepared.config))
                log.write(engine.state.step, "resume", version=__version__, notes=list(checkpoint.notes))
            try:
                outputs.attach(engine)
                engine.guard.listeners.append(log.write)
                engine.deposits.listeners.append(log.write)
                if outputs.territory is not None:
                    outputs.territory.listeners.append(log.write)
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
                left = isinstance(unstable, LeftTerritory)
                done = step if left else max(step - 1, 0)
                frame = None if every is None else done // every * every
                status = "left known territory" if left else "unstable"
                log.write(step, status, reason=str(unstable), last_frame_step=frame)
                outputs.close()
                manifest.write(status, outputs)
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

    def promise(self) -> None:
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


class _Keeper:
    """What the loop of steps sees of the open run folder."""

    def __init__(self, outputs: Outputs, manifest: Manifest) -> None:
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

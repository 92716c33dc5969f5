"""The files of a run, kept in step with the engine: frames, log, checkpoints.

Frames and log rows go through a writer thread. A checkpoint is written only when everything before it is on the disk,
and records how many frames and rows that is; resuming cuts the files to exactly there. So wherever a run is killed, the
next one writes the same bytes again.

In between, the rows that wait in memory are written every `FLUSH_SECONDS`, without waiting for the disk, so that
whoever follows a table (`tail -f log.csv`) sees the run as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mdflash import __version__
from mdflash.config.schema import RunConfig
from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.engine.annealing import Annealing
from mdflash.engine.deposits import Deposits, Hills
from mdflash.engine.engine import Engine, Reporter
from mdflash.engine.ensemble.ensemble import Generation
from mdflash.engine.steering import Steering
from mdflash.io.background import BackgroundWriter
from mdflash.io.checkpoint import Checkpoint, save_checkpoint
from mdflash.io.colvars import ColvarsLog
from mdflash.io.exchange_log import ExchangeLog
from mdflash.io.formats import written_format
from mdflash.io.formats.base import FrameWriter, Target
from mdflash.io.hills import HillsLog, hill_bytes
from mdflash.io.log import LogWriter
from mdflash.io.runfolder import RunFolder
from mdflash.io.table import Table, written
from mdflash.io.walkers import WalkersLog
from mdflash.potentials.bias.bias import CENTER, FORCE_CONSTANT, Bias, biases_of
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.growing import GrowingBias
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.reporters import Periodic
from mdflash.runs.prepare import Prepared
from mdflash.runs.states import held_states
from mdflash.runs.territory import Territory

BLOCK_BYTES = 4 << 20
"""About how much of one trajectory is collected before it is written."""
FLUSH_SECONDS = 2.0
"""How long rows of tables may wait in memory."""


class FrameReporter(Periodic):
    """Hands the positions of every system to its writer."""

    def __init__(self, every: int, writers: Sequence[FrameWriter], background: BackgroundWriter) -> None:
        super().__init__(every)
        self.writers, self.background = writers, background

    def report(self, engine: Engine) -> None:
        """Copy the positions; they are written while the engine continues."""
        step, time = engine.state.step, engine.time
        x = engine.state.positions.clone()
        for s, writer in enumerate(self.writers):
            frame = engine.layout.view(x, s).numpy()
            self.background.submit(partial(writer.append, frame, step, time))


class LogReporter(Periodic):
    """Hands energies and temperatures of every replica to log.csv."""

    def __init__(self, every: int, log: LogWriter, layout: Layout, background: BackgroundWriter) -> None:
        super().__init__(every)
        self.log, self.background = log, background
        self._ids = layout.replica_ids
        self._names = [layout.systems[s].name for s in layout.system_of_replica]

    def report(self, engine: Engine) -> None:
        """Copy the energies; rows are written while the engine continues."""
        row = (
            engine.state.step,
            engine.time,
            self._ids,
            self._names,
            held_states(engine),
            engine.state.temperature.numpy().copy(),
            engine.state.energy.numpy().copy(),
            engine.kinetic_energy() if engine.integrator.has_velocities else None,
            engine.instantaneous_temperature() if engine.integrator.has_velocities else None,
        )
        self.background.submit(partial(self.log.append, *row))


class ColvarsReporter(Periodic):
    """Hands collective variables and bias energies to colvars.csv."""

    def __init__(self, every: int, log: ColvarsLog, prepared: Prepared, background: BackgroundWriter) -> None:
        super().__init__(every)
        layout = prepared.layout
        self.log, self.background = log, background
        self._monitored = prepared.monitored
        self._columns = [entry.name for entry in (*prepared.biases, *self._monitored)]
        self._packed: PackedBiases | None = None
        self._grids: PackedBiases | None = None
        self._ids = layout.replica_ids
        self._names = [layout.systems[s].name for s in layout.system_of_replica]

    def report(self, engine: Engine) -> None:
        """Measure; rows are written while the engine continues."""
        if self._packed is None or self._grids is None:
            self._packed = PackedBiases([*biases_of(engine.potential), *self._monitored], engine.layout)
            self._grids = PackedBiases(engine.deposits.biases, engine.layout)
        x = engine.state.positions.numpy()
        values, energies = self._packed.measure(x)
        names = [bias.name for bias in self._packed.biases]
        order = [names.index(name) for name in self._columns]
        row = (
            engine.state.step,
            engine.time,
            self._ids,
            self._names,
            held_states(engine),
            engine.state.temperature.numpy().copy(),
            values[:, order],
            energies[:, order[: len(order) - len(self._monitored)]],
            np.hstack([path_columns(engine), hill_columns(engine.deposits.biases, self._grids, x)]),
        )
        self.background.submit(partial(self.log.append, *row))


def path_columns(engine: Engine) -> FloatArray:
    """[R, columns] of biases that move: center, force constant and work of each."""
    parts = [np.zeros((engine.layout.n_replicas, 0))]
    for bias, work in zip(engine.steering.biases, engine.steering.work, strict=True):
        rows = bias.rows(engine.layout)
        now = np.where(rows[:, None] >= 0, bias.parameters[rows], np.nan)
        parts.append(np.stack([now[:, CENTER], now[:, FORCE_CONSTANT], work], axis=1))
    return np.concatenate(parts, axis=1)


def hill_columns(biases: Sequence[GrowingBias], packed: PackedBiases, positions: FloatArray) -> FloatArray:
    """[R, columns] of metadynamics: the variables, V, c(t) and V - c(t) of each of `biases`, which are packed alone."""
    values, energies = packed.measure(positions)
    parts = [np.zeros((len(values), 0))]
    for bias in biases:  # as the file names them; packed they are sorted by system
        first = packed.column[packed.biases.index(bias)]
        rows = bias.rows(packed.layout)
        energy = energies[:, first]
        offset = np.where(rows >= 0, bias.offsets()[bias.group[rows]], np.nan)
        parts += [values[:, first : first + len(bias.axes)], np.stack([energy, offset, energy - offset], axis=1)]
    return np.concatenate(parts, axis=1)


class Silence(Periodic):
    """A reporter without output: it stands for one of the rank that writes."""

    def report(self, engine: Engine) -> None:
        """Nothing."""


def _moves(bias: Bias | GridBias) -> bool:
    return isinstance(bias, Bias) and bias.path is not None


class Outputs:
    """Everything a run writes; make one with `create` or `resume`.

    Attributes:
        reporters: for `Engine.reporters`.
    """

    def __init__(
        self,
        folder: RunFolder,
        prepared: Prepared,
        identity: Mapping[str, Any],
        before: Mapping[str, Any] | None,
    ) -> None:
        """As `create` (`before` is None) or `resume` (from the numbers of that checkpoint's header on)."""
        config, layout = prepared.config, prepared.layout
        self.folder, self.layout, self._identity = folder, layout, dict(identity)
        self._keep = config.output.checkpoint.keep
        self.log = (
            LogWriter.start(folder.log) if before is None else LogWriter.resume_rows(folder.log, before["log_rows"])
        )
        self.exchange: ExchangeLog | None = None
        if config.exchange is not None:
            path = folder.path / ExchangeLog.name
            self.exchange = (
                ExchangeLog.create(path, layout.replica_ids)
                if before is None
                else ExchangeLog.resume(path, before["exchange_size"])
            )
        self.colvars: ColvarsLog | None = None
        if config.colvars_every is not None:
            path = folder.path / ColvarsLog.name
            biases, monitored = (
                [(entry.name, entry.variable.unit) for entry in entries]
                for entries in (prepared.biases, prepared.monitored)
            )
            grids = [
                (bias.name, [(axis.name, axis.variable.unit) for axis in bias.axes]) for bias in prepared.grid_biases
            ]
            moving = [bias.name for bias in PackedBiases(prepared.biases, layout).biases if _moves(bias)]
            self.colvars = (
                ColvarsLog.create(path, biases, monitored, grids, moving)
                if before is None
                else ColvarsLog.resume(path, before["colvars_size"])
            )
        self.hills: HillsLog | None = None
        if prepared.grid_biases:
            path = folder.path / HillsLog.name
            most = max(len(bias.axes) for bias in prepared.grid_biases)
            self.hills = HillsLog.create(path, most) if before is None else HillsLog.resume(path, before["hills_size"])
        self.walkers: WalkersLog | None = None
        if prepared.walkers is not None:
            path = folder.path / WalkersLog.name
            self.walkers = WalkersLog.start(path) if before is None else WalkersLog.resume(path, before["walkers_size"])
        self.writers: list[FrameWriter] = []
        if config.output.trajectory.format != "none":
            kind = written_format(config.output.trajectory.format).writer
            for target in _targets(folder, layout, config):
                self.writers.append(
                    kind.create(target)
                    if before is None
                    else kind.resume(target, before["frames"].get(target.system.name, 0))
                )
        self._background = BackgroundWriter(idle=self._flush_tables, every=FLUSH_SECONDS)
        self.reporters: list[Reporter] = [LogReporter(config.log_every, self.log, layout, self._background)]
        if self.colvars is not None and config.colvars_every is not None:
            self.reporters.append(ColvarsReporter(config.colvars_every, self.colvars, prepared, self._background))
        if config.trajectory_every is not None:
            self.reporters.append(FrameReporter(config.trajectory_every, self.writers, self._background))
        self.territory: Territory | None = None
        if config.guards.spread is not None:
            every, stop = config.trajectory_every or config.log_every, config.guards.beyond == "stop"
            self.territory = Territory(every, layout, prepared.committees, config.guards.spread, stop)
            self.reporters.append(self.territory)  # last: what it stops at is written

    @classmethod
    def create(cls, folder: RunFolder, prepared: Prepared, identity: Mapping[str, Any]) -> Outputs:
        """New, empty files. `identity` (versions, digests) goes into every checkpoint.

        Raises:
            StorageError: a file exists or cannot be written.
        """
        return cls(folder, prepared, identity, None)

    @classmethod
    def resume(
        cls,
        folder: RunFolder,
        prepared: Prepared,
        identity: Mapping[str, Any],
        checkpoint: Checkpoint,
    ) -> Outputs:
        """Cut the files to where the checkpoint was taken, and continue from there.

        Raises:
            StorageError: a file is missing or holds less than the checkpoint counts on.
        """
        return cls(folder, prepared, identity, checkpoint.header)

    def attach(self, engine: Engine) -> None:
        """Follow the engine from now on."""
        engine.reporters.extend(self.reporters)
        if engine.exchange is not None:
            engine.exchange.listeners.append(self._exchanged)
        if self.hills is not None:
            engine.deposits.hill_listeners.append(self._deposited)
        if engine.ensemble is not None:
            engine.ensemble.generation_listeners.append(self._resampled)

    @property
    def intervals(self) -> list[int]:
        """Steps between the reports of each reporter."""
        return [reporter.interval for reporter in self.reporters if isinstance(reporter, Periodic)]

    def _exchanged(self, step: int, time: float, labels: IntArray) -> None:
        assert self.exchange is not None
        self._background.submit(partial(self.exchange.append, step, time, labels))

    def _deposited(self, step: int, time: float, hills: Hills) -> None:
        assert self.hills is not None
        rest = (hills.replica, hills.group, hills.centers, hills.heights, hills.widths)
        self._background.submit(partial(self.hills.append, step, time, hills.bias.name, *rest))

    def _resampled(self, step: int, time: float, generation: Generation) -> None:
        assert self.walkers is not None
        self._background.submit(partial(self.walkers.append, step, time, *generation))

    def report(self, engine: Engine) -> None:
        """Report the start of a run (step 0), which no schedule contains."""
        for reporter in self.reporters:
            reporter.report(engine)
        if engine.exchange is not None:
            self._exchanged(engine.state.step, engine.time, engine.exchange.labels(engine.state))

    @property
    def _tables(self) -> list[Table]:
        some = (self.exchange, self.colvars, self.hills, self.walkers)
        return [self.log, *(table for table in some if table is not None)]

    @property
    def _flushes(self) -> list[Callable[..., None]]:
        return [*(table.flush for table in self._tables), *(writer.flush for writer in self.writers)]

    def _flush_tables(self) -> None:
        """In the writer thread: bring rows into the files, for those who follow them."""
        for table in self._tables:
            table.flush()

    def submit(self, job: Callable[[], object]) -> None:
        """Have the writer thread do a job of someone else after what was reported so far.

        Raises:
            StorageError: an earlier job could not write.
        """
        self._background.submit(job)

    def checkpoint(self, engine: Engine) -> None:
        """Bring everything reported so far to the disk, then write a checkpoint of this step.

        Raises:
            StorageError: disk full, for example; the checkpoint before stays valid.
        """
        for flush in self._flushes:
            self._background.submit(partial(flush, sync=True))
        self._background.barrier()
        state = engine.state
        arrays = {name: array.numpy() for name, array in state.arrays().items()}
        arrays |= {"replica_ids": np.array(self.layout.replica_ids)} | engine.guard.arrays()
        if engine.exchange is not None:
            arrays |= engine.exchange.arrays()
        for changing in engine.changing:
            arrays |= changing.arrays()
        save_checkpoint(
            self.folder.checkpoint,
            arrays,
            {
                "mdflash_checkpoint": 1,
                "version": __version__,
                "step": state.step,
                "time_ps": engine.time,
                "seed": engine.seed,
                "device": engine.device_kind,
                "frames": {w.target.system.name: w.frames for w in self.writers},
                "log_rows": self.log.rows,
                "exchange_size": 0 if self.exchange is None else self.exchange.size,
                "colvars_size": 0 if self.colvars is None else self.colvars.size,
                **({} if self.hills is None else {"hills_size": self.hills.size}),
                **({} if self.walkers is None else {"walkers_size": self.walkers.size}),
                "written": written(self._tables),
                **self._identity,
            },
            keep=self._keep,
        )

    @property
    def stall_seconds(self) -> float:
        """How long the engine has waited for the disk."""
        return self._background.stall_seconds

    def close(self) -> None:
        """Write what was reported, and close every file."""
        try:
            for flush in self._flushes:
                self._background.submit(flush)
        finally:
            self._background.close()
            for writer in self.writers:
                writer.close()


def misfit(prepared: Prepared, arrays: Mapping[str, npt.NDArray[Any]], header: Mapping[str, Any]) -> str | None:
    """Why a run cannot go on from a checkpoint's arrays and header, which were made for another batch or by hand."""
    state, exchange = prepared.state(), prepared.exchange()
    expected = {name: array.numpy() for name, array in state.arrays().items()}
    expected["replica_ids"] = np.array(prepared.layout.replica_ids)
    expected |= prepared.guard().arrays() | ({} if exchange is None else exchange.arrays())
    for changing in (Steering(prepared.layout, prepared.potential), Deposits(prepared.layout, prepared.potential)):
        expected |= changing.arrays()
    ensemble = prepared.ensemble()
    expected |= {} if ensemble is None else ensemble.arrays()
    if "anchor_step" in arrays:
        expected["anchor_step"] = np.array(0)
        expected |= {f"anchor_{name}": expected[name] for name in state.results()}
    for name, like in expected.items():
        if name not in arrays:
            return f"it has no '{name}'"
        grows = like.shape[:1] == (0,)  # the kernels of OPES, of which a run begins with none
        fits = arrays[name].shape[1:] == like.shape[1:] if grows else arrays[name].shape == like.shape
        if not fits or arrays[name].dtype != like.dtype:
            found = f"{arrays[name].dtype} {list(arrays[name].shape)}"
            return f"its '{name}' must be {like.dtype} {list(like.shape)}, found {found}"
        if like.dtype.kind == "f" and name in state.names() and not np.isfinite(arrays[name]).all():
            return f"its '{name}' holds numbers that are not finite"
    step = header.get("step")
    due = Annealing(state.temperature.tolist(), prepared.annealing()).at(step if type(step) is int else 0)
    if (np.sort(arrays["temperature"]) != np.sort(due)).any():
        return "its temperatures are not those of the run"
    if (arrays["replica_ids"] != expected["replica_ids"]).any():
        return "its replicas are not those of the run"
    sizes = ["log_rows", "exchange_size", "colvars_size", *(["hills_size"] if prepared.grid_biases else [])]
    for key in (*sizes, *(["walkers_size"] if prepared.walkers is not None else [])):
        if type(header.get(key)) is not int or header[key] < 0:
            return f"its header has no {key}"
    frames = header.get("frames")
    if not isinstance(frames, dict) or not all(type(n) is int and n >= 0 for n in frames.values()):
        return "its header has no numbers of frames"
    return None


def restore(engine: Engine, checkpoint: Checkpoint) -> None:
    """Put an engine where the checkpoint was taken: bit for bit, forces included."""
    engine.state.load({name: checkpoint.arrays[name] for name in engine.state.names()})
    engine.state.step = int(checkpoint.header["step"])
    engine.up_to_date()
    engine.guard.restore(checkpoint.arrays, engine.state)
    if engine.exchange is not None:
        engine.exchange.restore(checkpoint.arrays)
    for changing in engine.changing:
        changing.restore(checkpoint.arrays, engine.state.step)


def bytes_to_come(config: RunConfig, layout: Layout, steps: int) -> int:
    """About how much a run of `steps` steps will write."""
    total = 3 * layout.n_beads * 8 * 3 * config.output.checkpoint.keep
    total += 130 * layout.n_replicas * (steps // config.log_every + 1)
    if config.colvars_every is not None:
        per_row = 60 + 38 * config.n_biases + 19 * len(config.monitor)
        per_row += 57 * sum(entry.moving is not None for entry in config.biases)
        per_row += sum(19 * len(entry.variables) + 57 for entry in config.metadynamics)
        total += per_row * layout.n_replicas * (steps // config.colvars_every + 1)
    for entry in config.metadynamics:
        count = config.counts[0 if entry.system is None else [s.name for s in config.system].index(entry.system)]
        total += (config.output.checkpoint.keep + 1) * entry.grid_bytes(count // (entry.walkers or count))
        total += hill_bytes(len(entry.variables)) * layout.n_replicas * (steps // config.steps_in(entry.every))
    if config.weighted_ensemble is not None:
        total += 95 * layout.n_replicas * (steps // config.steps_in(config.weighted_ensemble.every))
    if config.exchange_every is not None:
        total += (24 + 3 * layout.n_replicas) * (steps // config.exchange_every + 1)
    if config.trajectory_every is not None:
        per_bead = written_format(config.output.trajectory.format).bytes_per_bead
        total += int(per_bead * layout.n_beads * (steps // config.trajectory_every + 1))
    return total


def _targets(folder: RunFolder, layout: Layout, config: RunConfig) -> list[Target]:
    first = layout.replica_offset.tolist()
    targets = []
    for s, system in enumerate(layout.systems):
        frame_bytes = 12 * layout.counts[s] * system.n_beads
        targets.append(
            Target(
                folder=folder.trajectory,
                system=system,
                replica_ids=layout.replica_ids[first[s] : first[s + 1]],
                box=config.box,
                block=max(1, min(16, BLOCK_BYTES // frame_bytes)),
            )
        )
    return targets

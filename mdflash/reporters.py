"""Reporters for `sim.reporters`: energies as OpenMM's StateDataReporter writes them, and trajectories.

A reporter of your own is any object with two methods:

    next_report(step) -> int      the first step after `step` at which `report` is due
    report(engine) -> None        report on it (the Simulation, or an Engine); its energy and forces are up to date
"""

from __future__ import annotations

import os
import time
import weakref
from pathlib import Path
from typing import TextIO

from mdflash.core.files import storage_errors
from mdflash.engine.engine import Engine
from mdflash.errors import InputError
from mdflash.io.formats import WRITTEN, format_of, written_format
from mdflash.io.formats.base import FrameWriter, Target
from mdflash.io.topology import write_topology
from mdflash.units import KCAL_PER_KJ


class Periodic:
    """Due at every multiple of `interval` steps; a base class for reporters.

    Args:
        interval: steps; `sim.steps_in("10 ps")` converts a time.

    Raises:
        InputError: not a whole number of 1 or more.
    """

    def __init__(self, interval: int) -> None:
        if not isinstance(interval, int) or isinstance(interval, bool) or interval < 1:
            raise InputError(
                f"{type(self).__name__}: the interval is a whole number of steps, found {interval!r}; "
                "write for example `sim.steps_in('10 ps')`"
            )
        self.interval = interval

    def next_report(self, step: int) -> int:
        """The next multiple of the interval."""
        return (step // self.interval + 1) * self.interval


class StateDataReporter(Periodic):
    """Writes step, time, energies and temperature of one replica as CSV, as `openmm.app.StateDataReporter` does.

    Columns, their titles and units (ps, kJ/mole, K, ns/day) match OpenMM's, so its readers work on these files.

    Args:
        file: a path (an existing file is replaced), or an open text file, such as `sys.stdout`.
        interval: steps between rows.
        replica: the number of the replica.
        step: whether to write the step.
        time: whether to write the time, in ps.
        potential_energy: whether to write it, in kJ/mol.
        kinetic_energy: whether to write it, in kJ/mol.
        total_energy: whether to write it, in kJ/mol.
        temperature: whether to write it, in K.
        speed: whether to write the speed, in ns/day.
        elapsed_time: whether to write the seconds since the first row.
        separator: text between columns.

    Raises:
        InputError: the interval is not a whole number, or no column is selected.
        StorageError: the file cannot be written.
    """

    def __init__(
        self,
        file: str | os.PathLike[str] | TextIO,
        interval: int,
        replica: int = 0,
        *,
        step: bool = True,
        time: bool = True,
        potential_energy: bool = True,
        kinetic_energy: bool = True,
        total_energy: bool = True,
        temperature: bool = True,
        speed: bool = False,
        elapsed_time: bool = False,
        separator: str = ",",
    ) -> None:
        super().__init__(interval)
        wanted = {
            "Step": step,
            "Time (ps)": time,
            "Potential Energy (kJ/mole)": potential_energy,
            "Kinetic Energy (kJ/mole)": kinetic_energy,
            "Total Energy (kJ/mole)": total_energy,
            "Temperature (K)": temperature,
            "Speed (ns/day)": speed,
            "Elapsed Time (s)": elapsed_time,
        }
        self.replica, self.separator = replica, separator
        self.columns = tuple(title for title, asked in wanted.items() if asked)
        if not self.columns:
            raise InputError("StateDataReporter: no column is selected; write for example `potential_energy=True`")
        self._path = Path(file) if isinstance(file, (str, os.PathLike)) else None
        if self._path is not None:
            with storage_errors(self._path):
                self._file: TextIO = self._path.open("w")
            weakref.finalize(self, self._file.close)
        else:
            assert not isinstance(file, (str, os.PathLike))
            self._file = file
        self._began: tuple[float, float] | None = None  # on the wall (s), in the simulation (ps)

    def report(self, engine: Engine) -> None:
        """Write one row, and the titles above the first."""
        if not 0 <= self.replica < engine.layout.n_replicas:
            raise InputError(
                f"StateDataReporter: there is no replica {self.replica}; "
                f"the simulation has {engine.layout.n_replicas}, from 0"
            )
        now = time.monotonic()
        lines = []
        if self._began is None:
            self._began = (now, engine.time)
            lines.append('#"' + f'"{self.separator}"'.join(self.columns) + '"')
        potential = float(engine.state.energy[self.replica]) / KCAL_PER_KJ
        kinetic = float(engine.kinetic_energy()[self.replica]) / KCAL_PER_KJ
        seconds, ps = now - self._began[0], engine.time - self._began[1]
        values = {
            "Step": str(engine.state.step),
            "Time (ps)": repr(engine.time),
            "Potential Energy (kJ/mole)": repr(potential),
            "Kinetic Energy (kJ/mole)": repr(kinetic),
            "Total Energy (kJ/mole)": repr(kinetic + potential),
            "Temperature (K)": repr(float(engine.instantaneous_temperature()[self.replica])),
            "Speed (ns/day)": f"{ps * 86.4 / seconds:.3g}" if ps and seconds > 0 else "--",
            "Elapsed Time (s)": repr(seconds),
        }
        lines.append(self.separator.join(values[title] for title in self.columns))
        with storage_errors(self._path or Path(str(getattr(self._file, "name", "the open file")))):
            print(*lines, sep="\n", file=self._file, flush=True)


class TrajectoryReporter(Periodic):
    """Writes the positions of all replicas, in the files of a run, with topology_NAME.pdb for each molecule.

    Every frame is in the files when `report` returns. `close` (or leaving a `with` block, or the end of the program)
    closes them, after which every program may open the HDF5 file.

    Args:
        folder: where the files go; created if needed.
        interval: steps between frames.
        format: file format, as `output.trajectory.format` in system.yaml.

    Raises:
        InputError: the interval is not a whole number, the format is unknown, or `folder` looks like a file or holds
            trajectories already.
    """

    def __init__(self, folder: str | os.PathLike[str], interval: int, format: str = WRITTEN[0]) -> None:
        super().__init__(interval)
        if format not in WRITTEN:
            raise InputError(f"TrajectoryReporter: expected one of {', '.join(WRITTEN)}, found format={format!r}")
        self.folder, self.format = Path(folder), format
        meant = format_of(self.folder)
        if meant is not None:
            raise InputError(
                f"TrajectoryReporter: '{folder}' looks like a file; expected a folder (it holds one file for each "
                f"molecule or replica); write TrajectoryReporter('{self.folder.stem}', {interval}, "
                f"'{meant.name}')"
            )
        there = sorted(self.folder.glob(f"*{written_format(format).suffix}"))
        if there:
            raise InputError(f"already holds {there[0].name}; choose another folder, or delete it", file=self.folder)
        self._writers: list[FrameWriter] = []
        self._closer = weakref.finalize(self, _close, self._writers)

    def report(self, engine: Engine) -> None:
        """Write one frame of every replica."""
        if not self._closer.alive:
            raise InputError("TrajectoryReporter: is closed; remove it from sim.reporters", file=self.folder)
        if not self._writers:
            self._create(engine)
        for s, writer in enumerate(self._writers):
            frame = engine.layout.view(engine.state.positions, s).numpy()
            writer.append(frame, engine.state.step, engine.time)
            writer.flush()

    def _create(self, engine: Engine) -> None:
        layout, box = engine.layout, engine.state.box
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        first = layout.replica_offset.tolist()
        for s, system in enumerate(layout.systems):
            x = layout.view(engine.state.positions, s)[0].numpy()
            write_topology(self.folder / f"topology_{system.name}.pdb", system, x, box)
            target = Target(self.folder, system, layout.replica_ids[first[s] : first[s + 1]], box)
            self._writers.append(written_format(self.format).writer.create(target))

    def close(self) -> None:
        """Close the files."""
        self._closer()

    def __enter__(self) -> TrajectoryReporter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _close(writers: list[FrameWriter]) -> None:
    for writer in writers:
        writer.close()

"""A run folder in one line: positions, tables and settings, during the run, after a kill, or when it is finished."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mdflash.analysis.lazy import LazyPositions, lazy_variable
from mdflash.analysis.run_windows import windows
from mdflash.core.damage import reading
from mdflash.core.files import storage_errors
from mdflash.core.optional import require
from mdflash.core.plural import plural
from mdflash.core.regular import open_input, read_input
from mdflash.core.types import Box, FloatArray
from mdflash.core.yamlfile import load_yaml
from mdflash.errors import InputError, MdflashError
from mdflash.io.claims import refuse_campaign
from mdflash.io.events import read_events
from mdflash.io.exchange_log import read_exchange
from mdflash.io.export import find_replica, trajectories
from mdflash.io.formats import no_trajectory
from mdflash.io.formats.base import Source
from mdflash.io.read import read_frames, read_times
from mdflash.io.replica_table import PLACE, STATE
from mdflash.io.runfolder import load_manifest, topology_path
from mdflash.units import NM_PER_ANGSTROM

if TYPE_CHECKING:
    import mdtraj
    import pandas
    import xarray


def open_run(folder: str | os.PathLike[str]) -> Run:
    """Open a run folder for reading.

        run = mdflash.open_run("runs/chignolin")
        run.positions[3][::10]         # every tenth frame of replica 3, [F, N, 3] Å
        run.log.groupby("replica").potential_kcal_mol.mean()
        run.trajectory(3)              # mdtraj.Trajectory
        run.xarray().positions.sel(replica=3).isel(time=-1)

    Raises:
        InputError: no such folder, or no run in it.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError("no such run folder", file=path)
    if not (path / "manifest.json").is_file():
        refuse_campaign(path)
        below = sorted(found.parent for k in (1, 2, 3) for found in path.glob("*/" * k + "manifest.json"))
        mean = f"; did you mean {' or '.join(str(b) for b in below[:3])}?" if below else ""
        raise InputError(f"holds no run: manifest.json, written with the first checkpoint, is missing{mean}", file=path)
    return Run(path)


class Run:
    """What a run has written so far; every access reads the files again. Make one with `open_run`.

    Attributes:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        m = self.manifest
        systems = ", ".join(f"{s['replicas']} x {s['name']} ({s['beads']} beads)" for s in m["systems"])
        return f"<Run {m['name']} in {self.folder}: {systems}, {m['status']} at step {m['step']} of {m['total_steps']}>"

    @property
    def manifest(self) -> dict[str, Any]:
        """manifest.json: versions, digests, timing and status ("running" also after a kill)."""
        return load_manifest(self.folder)

    @property
    def config(self) -> dict[str, Any]:
        """resolved.yaml, every setting of the run, as plain dicts and lists."""
        file = self.folder / "resolved.yaml"
        data = load_yaml(file).data
        if not isinstance(data, dict):
            raise InputError("is damaged: it has no keys", file=file)
        return data

    @cached_property
    def systems(self) -> dict[str, int]:
        """The beads of each molecule, by name."""
        return {s["name"]: s["beads"] for s in self.manifest["systems"]}

    @property
    def temperatures(self) -> FloatArray:
        """[R] K that replicas started at, as the run file has them; empty where it cannot be read."""
        from mdflash.config.load import load_run

        try:
            return np.array(load_run(self.folder).temperatures)
        except MdflashError:
            return np.zeros(0)

    @property
    def box(self) -> Box | None:
        """Edges of the periodic box, Å, as the run file has them; None: there is none, or it cannot be read."""
        from mdflash.config.load import load_run

        try:
            return load_run(self.folder).box
        except MdflashError:
            return None

    @property
    def biased(self) -> bool:
        """Whether biases, metadynamics or scaled terms act on its frames."""
        if not (self.folder / "colvars.csv").is_file():
            return False
        try:
            config = self.config
        except (MdflashError, OSError):
            return True
        exchange = config.get("exchange")
        scaled = exchange.get("scale") if isinstance(exchange, dict) else None
        return any(
            given not in (None, "none", [], {}) for given in (config.get("biases"), config.get("metadynamics"), scaled)
        )

    @property
    def weighted(self) -> bool:
        """Whether frames of one of its molecules have weights: those of a weighted ensemble, in walkers.csv."""
        return (self.folder / "walkers.csv").is_file()

    @property
    def annealed(self) -> bool:
        """Whether its temperatures follow a schedule."""
        try:
            dynamics = self.config.get("dynamics")
        except (MdflashError, OSError):
            return False
        return isinstance(dynamics, dict) and dynamics.get("annealing") not in (None, "none", [])

    @property
    def positions(self) -> Mapping[int, LazyPositions]:
        """By replica, its positions [F, N, 3] Å, which are read when they are indexed."""
        return _Positions(self)

    @property
    def log(self) -> pandas.DataFrame:
        """log.csv: step, time_ps, replica, system, state, target_K, energies (kcal/mol) and temperature (K).

        `run.log.groupby("state").temperature_K.mean()` is right with exchange too: a row at a step belongs to the state
        that its replica held before the attempt at that step. Files of mdflash 0.1 lack `state` and `target_K`; where
        the run has replica exchange, they are filled in from exchange.csv.
        """
        return self._with_states(self._csv("log.csv"))

    @property
    def exchange(self) -> pandas.DataFrame:
        """exchange.csv: step of the attempt, and the number of each replica's state from AFTER that step on.

        What was reported at a step (rows of log and colvars, frames) belongs to the state before the attempt at that
        step, so do not join on `step`: use the column `state` of log and colvars, or `states`.
        """
        return self._csv("exchange.csv", "this run has no replica exchange")

    @property
    def colvars(self) -> pandas.DataFrame:
        """colvars.csv: collective variables and bias energies of each replica, with state and target_K as in `log`."""
        return self._with_states(self._csv("colvars.csv", "this run has no biases and no `monitor:`"))

    @property
    def hills(self) -> pandas.DataFrame:
        """hills.csv: every hill of metadynamics, in order; centers and widths in the units of the variables."""
        return self._csv("hills.csv", "this run has no metadynamics")

    @property
    def walkers(self) -> pandas.DataFrame:
        """walkers.csv: every resampling of a weighted ensemble; `weight` also belongs to frames up to its step."""
        return self._csv("walkers.csv", "this run has no weighted ensemble")

    @property
    def windows(self) -> pandas.DataFrame:
        """What each replica ran under at the start: a row for each, with exchange or without.

            states = run.windows.drop(columns="replica").drop_duplicates(["system", "state"])
            run.colvars.merge(states, on=["system", "state"])   # each row with its center and force constant

        Columns replica, system, state, temperature_K, and for each bias NAME_center, NAME_width (in the unit of its
        column in colvars.csv) and NAME_force_constant (kcal/mol by that unit, squared where the bias is harmonic); for
        each scaled term scale_NAME. With exchange a row holds the parameters of its `state`, which the replicas trade.
        """
        pandas = require("pandas", "analysis", "Run.windows")
        manifest = self.manifest
        exchange = manifest.get("exchange")
        labels = None if exchange is None else read_exchange(self.folder / "exchange.csv").labels[0].tolist()
        replicas = {s["name"]: s["replicas"] for s in manifest["systems"]}
        with reading(self.folder / "resolved.yaml"):
            return pandas.DataFrame(windows(self.config, replicas, labels))

    def states(self, steps: npt.ArrayLike) -> pandas.DataFrame:
        """The state of what each replica reported at `steps`: a row for each step, a column for each replica.

            steps, _ = read_times(run.sources()[3].path)
            run.states(steps)[3]        # of the frames of replica 3

        Raises:
            InputError: the run has no replica exchange; its replicas keep their states.
        """
        pandas = require("pandas", "analysis", "Run.states")
        table = read_exchange(self.folder / "exchange.csv")
        wanted = np.asarray(steps, np.int64)
        return pandas.DataFrame(
            table.at(wanted), index=pandas.Index(wanted, name="step"), columns=list(table.replica_ids)
        )

    @property
    def events(self) -> pandas.DataFrame:
        """events.jsonl: what happened, when (UTC) and at which step."""
        pandas = require("pandas", "analysis", "Run.events")
        file = self.folder / "events.jsonl"
        frame = pandas.DataFrame(read_events(file), columns=None)
        with reading(file):
            return frame.assign(time=pandas.to_datetime(frame["time"])) if len(frame) else frame

    @property
    def topologies(self) -> dict[str, mdtraj.Topology]:
        """Each molecule as an mdtraj.Topology, by name."""
        import mdtraj

        names = list(self.systems)
        found = {}
        for name in names:
            file = topology_path(self.folder, name, names)
            with storage_errors(file):
                open_input(file).close()  # no pipe
            with reading(file):
                found[name] = mdtraj.load_topology(str(file))
        return found

    @property
    def topology(self) -> mdtraj.Topology:
        """The molecule as an mdtraj.Topology; `topologies` where there are several.

        Raises:
            InputError: the run has several molecules.
        """
        return self.topologies[self._one_system(None, "run.topologies")]

    def trajectory(self, replica: int = 0, stride: int = 1) -> mdtraj.Trajectory:
        """Every `stride`-th frame of one replica, in memory.

        Raises:
            InputError: no such replica, or no frame yet.
        """
        import mdtraj

        source = find_replica(self.folder, replica)
        frames = read_frames(source.path, replica, stride)
        lengths = None if frames.box is None else np.tile(frames.box, (len(frames), 1)) * NM_PER_ANGSTROM
        return mdtraj.Trajectory(
            (frames.positions * NM_PER_ANGSTROM).astype(np.float32),
            self.topologies[source.system],
            time=frames.times,
            unitcell_lengths=lengths,
            unitcell_angles=None if lengths is None else np.full_like(lengths, 90.0),
        )

    def xarray(self, system: str | None = None) -> xarray.Dataset:
        """The positions of all replicas of one molecule, [replica, time, bead, xyz] Å, with their coordinates.

        Frames are read when they are asked for; time is in ps.

        Raises:
            InputError: the run has several molecules and `system` names none of them, or it has no frame yet.
        """
        package = require("xarray", "analysis", "Run.xarray")
        name = self._one_system(system, "run.xarray")
        mine = [self.positions[s.replica] for s in self.sources() if s.system == name]
        variable = lazy_variable(mine, ("replica", "time", "bead", "xyz"), {"units": "angstrom"})
        frames = variable.sizes["time"]
        steps, times = (column[:frames] for column in read_times(mine[0].path))
        residues = [str(atom.residue) for atom in self.topologies[name].atoms]
        dataset: xarray.Dataset = package.Dataset(
            {"positions": variable},
            coords={
                "replica": [x.replica for x in mine],
                "time": ("time", times, {"units": "ps"}),
                "step": ("time", steps),
                "residue": ("bead", residues),
                "xyz": list("xyz"),
            },
            attrs={"run": str(self.folder), "system": name},
        )
        return dataset

    def analyze(
        self,
        reference: str | os.PathLike[str] | None = None,
        experiment: Any = None,
        against: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        topology: str | os.PathLike[str] | None = None,
    ) -> Any:
        """What the run has sampled so far, a `mdflash.analysis.analyze.Analysis`.

        `run.analyze().write()` makes the page of `mdflash analyze`.

        Args:
            reference: a structure file to compare with; default: the native structure of a Gō force field.
            experiment: what was measured, from `mdflash.analysis.load_experiment`.
            against: another ensemble: a run folder, a dataset folder, or trajectories.
            topology: the structure whose atoms those trajectories have; None: they hold beads.

        Raises:
            InputError: the run writes no trajectory, or what it is compared with is of another molecule.
            MissingExtraError: pandas is not installed.
        """
        from mdflash.analysis.against.ensemble import Reference
        from mdflash.analysis.analyze import analyze

        other = None
        if against is not None:
            several = [against] if isinstance(against, str | os.PathLike) else against
            other = Reference(tuple(map(Path, several)), None if topology is None else Path(topology))
        return analyze(self, None if reference is None else Path(reference), experiment=experiment, against=other)

    def sources(self) -> list[Source]:
        """For each replica, the file that holds its positions.

        Raises:
            InputError: the run writes no trajectory.
        """
        by_replica = {s.replica: s for s in reversed(trajectories(self.folder))}  # the most exact format last
        if not by_replica:
            raise no_trajectory(self.folder)
        return [by_replica[r] for r in sorted(by_replica)]

    def _one_system(self, name: str | None, call: str) -> str:
        names = list(self.systems)
        if name in names or (name is None and len(names) == 1):
            return name or names[0]
        found = "several molecules" if name is None else f"no molecule '{name}'"
        raise InputError(f"has {found}; it has {', '.join(names)}; use {call} with one of them", file=self.folder)

    def _with_states(self, rows: pandas.DataFrame) -> pandas.DataFrame:
        """`rows` with state and target_K, where a file of mdflash 0.1 lacks them and exchange.csv has them."""
        exchange = self.manifest.get("exchange")
        if STATE[-1] in rows.columns or exchange is None:
            return rows
        with reading(self.folder / "exchange.csv", "does not fit the rows of the other tables"):
            steps, at = np.unique(rows["step"].to_numpy(), return_inverse=True)
            held = self.states(steps)
            states = held.to_numpy()[at, held.columns.get_indexer(rows["replica"])]
            targets = np.array(exchange["temperatures_K"])[states]
        for k, (name, values) in enumerate(zip(STATE, (states, targets), strict=True)):
            rows.insert(len(PLACE) + k, name, values, allow_duplicates=True)
        return rows

    def _csv(self, name: str, without: str = "it is missing") -> pandas.DataFrame:
        """Every complete row."""
        pandas = require("pandas", "analysis", f"Run.{name.removesuffix('.csv')}")
        path = self.folder / name
        if not path.is_file():
            raise InputError(f"no such file: {without}", file=path)
        with storage_errors(path):
            data = read_input(path)
        with reading(path):
            return pandas.read_csv(io.BytesIO(data[: data.rfind(b"\n") + 1]))


class _Positions(Mapping[int, LazyPositions]):
    """By replica number."""

    def __init__(self, run: Run) -> None:
        self._systems = run.systems
        self._folder = run.folder
        self._sources = {s.replica: s for s in run.sources()}

    def __getitem__(self, replica: int) -> LazyPositions:
        if replica not in self._sources:
            find_replica(self._folder, replica)  # the error lists the replicas
        source = self._sources[replica]
        return LazyPositions(source.path, replica, self._systems[source.system])

    def __contains__(self, replica: object) -> bool:
        return replica in self._sources

    def __iter__(self) -> Iterator[int]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def __repr__(self) -> str:
        return f"<positions of {plural(len(self), 'replica')}, by number>"

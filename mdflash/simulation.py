"""Simulation: the Python front of the engine, made from molecules, a force field and a few settings."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from mdflash.config import rules
from mdflash.config.from_call import (
    Points,
    Quantities,
    Quantity,
    WithUnit,
    argument_error,
    as_argument,
    as_length,
    as_text,
    describe_run,
    steps_in,
)
from mdflash.config.molecules import StartFrames
from mdflash.core.quantity import plain_word, show_quantity
from mdflash.core.scale import other_unit
from mdflash.core.system import System
from mdflash.core.types import Device, FilterKind, FloatArray, Kernels, Precision
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.engine import Engine
from mdflash.engine.minimize import Minimized
from mdflash.errors import InputError
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.mapping.formats import bare_name, is_structure
from mdflash.potentials.base import Potential, SumPotential
from mdflash.potentials.bias.bias import Bias, biases_of
from mdflash.potentials.bias.grid_bias import GridBias, grid_biases_of
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.runs.prepare import assemble, read_molecule
from mdflash.runs.starts import start_frames
from mdflash.units import parse

PathLike: TypeAlias = str | os.PathLike[str]
Molecule: TypeAlias = System | PathLike
"""A System, a structure file, or the name of a molecule that came with the force field."""
ForceFieldLike: TypeAlias = ForceField | PathLike
"""A ForceField, its folder, or the name of a shipped one."""
Start: TypeAlias = Points | PathLike
"""Positions, or a trajectory file."""


class Simulation(Engine):
    """Replicas of one or several molecules under a force field.

        sim = Simulation("chignolin.pdb", "go-chignolin", replicas=8, temperatures="340 K", timestep="10 fs")
        sim.minimize()
        sim.run("10 ns")
        sim.replicas[3].positions  # [N, 3] Å

    The same settings give the same bits as `mdflash run` with a system.yaml. Quantities are text with a unit ("4 fs"),
    quantities of `openmm.unit` or pint, or numbers in Å, K, 1/ps; times need a unit.

    Args:
        systems: a molecule, or a list of them: a structure file (PDB, mmCIF, GRO, .safetensors), the name of a molecule
            that came with the force field, or a System.
        forcefield: a folder, the name of a shipped one, or a ForceField; or a list with one for each molecule.
        replicas: number of copies of each molecule; or a list with one number for each.
        temperatures: one temperature for all replicas, or one for each; default 300 K. Left out with `exchange`, whose
            ladder sets them. `temperature`, its name in a system.yaml, means the same.
        timestep: length of one step.
        friction: coupling to the bath, 1/ps; schemes without a bath ignore it.
        integrator: the name of a scheme, such as "langevin-baoab"; `mdflash.integrators.INTEGRATORS` lists them.
        start: start positions in Å: an array [N, 3] or [F, N, 3] (replica i starts from frame i, cycled), or a
            trajectory file; a list with one for each molecule (None: its own) where there are several.
            Default: the frames of the structure, or those stored with the force field.
        seed: seed of all random numbers, 0 to 4294967295; None draws one, recorded in `sim.seed`.
        exchange: replica exchange, the `exchange` section of a system.yaml:
            `{"temperatures": {"min": "300 K", "max": "450 K", "count": 8}, "interval": "2 ps"}`.
        environment: what surrounds the molecules, for force fields that depend on it:
            `{"temperature": "293.15 K", "ionic_strength": "0.15 M", "pH": 7.5}`. What is left out is the force field's;
            the temperature is that of the replicas where they share one.
        guard: what happens to an unstable replica: "stop", "freeze", "retry", or the `guards` section of a system.yaml.
        box: the three edges of a periodic box, or None.
        biases: restraints and umbrella windows, each as an entry of the `biases` section of a system.yaml, with its
            quantities as text: `{"name": "pull", "variable": "distance", "beads": [0, 9], "center": "8 angstrom",
            "force_constant": "2 kcal/mol/angstrom^2"}`; or any Potential, such as a FunctionBias.
        metadynamics: biases that walkers fill with hills, each as an entry of the `metadynamics` section of a
            system.yaml: `{"name": "fold", "variables": {"name": "q", "variable": "native_contacts", "width": 0.02},
            "height": "0.3 kcal/mol", "bias_factor": 10, "every": "1 ps"}`.
        monitor: collective variables without a bias, for `variables`, each as an entry of the `monitor` section of a
            system.yaml: `{"name": "q", "variable": "native_contacts"}`.
        network_every: steps between forces of networks; priors and biases act at every step.
        precision: arithmetic of networks, "fp32", "fp64" or "mixed16" (filter tables in 16 bits); positions are always
            float64.
        kernels: "auto", or "reference" for plain torch throughout.
        filters: how filters of networks are evaluated: "table", "exact" (plain torch, slow), "auto" (tables where
            they are exact enough), or "split" (on a GPU: tables for near pairs, products of matrices for all others).
        skin: margin of the neighbor list beyond the cutoff; changes speed, not results.
        remove_com_motion: keep each replica's center of mass at rest.
        device: "cpu", "cuda" (a GPU), or "auto": a GPU where there is one that has kernels for all of it, and a network
            to evaluate.
        threads: CPU threads of compiled loops, for the whole process from now on; None leaves the number as it is.

    Attributes:
        replicas: a `Replica` for each replica, by number.
        reporters: called in this order, each at the steps it asks for; append yours.
        notes: messages about how the input was read, and about kernels and precision.

    Raises:
        InputError: an argument or file is wrong; the message names it, what was found, what was expected, and the fix.
    """

    def __init__(
        self,
        systems: Molecule | Sequence[Molecule],
        forcefield: ForceFieldLike | Sequence[ForceFieldLike],
        *,
        replicas: int | Sequence[int] = 1,
        temperatures: Quantities | None = None,
        temperature: Quantities | None = None,
        timestep: WithUnit = "4 fs",
        friction: Quantity = "1 /ps",
        integrator: str = "langevin-middle",
        start: Start | Sequence[Start | None] | None = None,
        seed: int | None = None,
        exchange: Mapping[str, Any] | None = None,
        environment: Mapping[str, Any] | None = None,
        guard: str | Mapping[str, Any] = "stop",
        box: Quantities | None = None,
        biases: Sequence[Mapping[str, Any] | Potential] = (),
        metadynamics: Sequence[Mapping[str, Any]] = (),
        monitor: Sequence[Mapping[str, Any]] = (),
        network_every: int = 1,
        precision: Precision = "fp32",
        kernels: Kernels = "auto",
        filters: FilterKind = "auto",
        skin: Quantity = "2 angstrom",
        remove_com_motion: bool = False,
        device: Device | Literal["auto"] = "auto",
        threads: int | None = None,
    ) -> None:
        if temperature is not None and temperatures is not None:
            raise argument_error("temperature", "means the same as `temperatures`; give one of the two")
        temperatures = temperature if temperatures is None else temperatures
        traded = isinstance(exchange, Mapping) and ("biases" in exchange or "scale" in exchange)
        ladder = exchange is not None and not (traded and "temperatures" not in exchange)
        if ladder and temperatures is not None:
            raise argument_error("temperatures", "the ladder of `exchange` sets them; give one of the two")
        many = isinstance(systems, (list, tuple))
        given = systems if isinstance(systems, (list, tuple)) else [systems]
        if not given:
            raise argument_error("systems", "the list is empty; name at least one molecule, such as 'protein.pdb'")
        forcefields = _forcefields(forcefield, len(given))
        notes: list[str] = []
        molecules = [_molecule(what, ff, notes) for what, ff in zip(given, forcefields, strict=True)]
        described, potentials = _sorted_biases(biases)
        starts = _one_each(start, len(given), "start") if many else [start]
        config = describe_run(
            [system for system, _ in molecules],
            replicas,
            {
                "model": {"precision": precision, "kernels": kernels, "filters": filters},
                "dynamics": {
                    "integrator": integrator,
                    "timestep": timestep,
                    "friction": friction,
                    "temperature": "300 K" if temperatures is None and not ladder else temperatures,
                    "seed": seed,
                    "remove_com_motion": remove_com_motion,
                    "network_every": network_every,
                },
                "biases": described,
                "metadynamics": list(metadynamics),
                "monitor": list(monitor),
                "exchange": exchange,
                "environment": environment or {},
                "guards": {"nonfinite": guard} if isinstance(guard, str) else guard,
                "box": box,
                "neighbors": {"skin": skin},
                "hardware": {"device": device, "threads": threads},
            },
        )
        for sentence in rules.warnings(config):
            warnings.warn(sentence, stacklevel=2)
        framed = [
            (s, _frames(s, own, x, n, notes)) for (s, own), x, n in zip(molecules, starts, config.counts, strict=True)
        ]
        prepared = assemble(config, framed, forcefields, notes)
        potential = SumPotential([*prepared.potential.terms, *potentials])
        if threads is not None:
            set_threads(config.hardware.threads)
        try:
            super().__init__(
                prepared.layout, potential, prepared.state(), prepared.dynamics(), prepared.backend(),
                exchange=prepared.exchange(), guard=prepared.guard(),
            )  # fmt: skip
        except InputError as error:
            raise as_argument(error) from None
        self.notes = (*prepared.notes, *self.notes)
        self._forcefields = tuple(forcefields)
        self._biased = bool(biases or metadynamics)
        self._monitored = prepared.monitored
        if self.integrator.has_velocities:
            self.draw_velocities()

    def __repr__(self) -> str:
        step = show_quantity(self.integrator.timestep, "time", ("fs", "ps"))
        return f"<Simulation: {self.layout.describe()}, {self.integrator.name} {step}, at step {self.state.step}>"

    @cached_property
    def replicas(self) -> tuple[Replica, ...]:
        """The replicas: all of the first molecule, then all of the second, ..."""
        return tuple(Replica(self, r) for r in range(self.layout.n_replicas))

    @property
    def positions(self) -> npt.NDArray[Any]:
        """[R, N, 3] Å by replica, a live view that cannot be written to; `copy()` it to keep a frame.

        Where molecules differ in size, an array of R arrays [N, 3]. May be set from numbers in Å or from quantities.
        """
        replicas = self.layout.n_replicas
        if len({system.n_beads for system in self.layout.systems}) == 1:
            array = _read_only(self.state.positions.view(replicas, -1, 3))
        else:
            array = np.empty(replicas, object)
            array[:] = [replica.positions for replica in self.replicas]
            array.flags.writeable = False
        positions = array.view(Positions)
        positions.simulation = self
        return positions

    @positions.setter
    def positions(self, value: Any) -> None:
        rows = list(value)
        if len(rows) != len(self.replicas):
            raise InputError(
                f"positions: expected one [N, 3] in Å for each of the {len(self.replicas)} replicas, found {len(rows)}"
            )
        checked = [replica.checked(x, "positions", "Å") for replica, x in zip(self.replicas, rows, strict=True)]
        self.state.positions[:] = torch.cat(checked)
        self.moved()

    @property
    def step(self) -> int:
        """Steps done so far."""
        return self.state.step

    @property
    def energies(self) -> FloatArray:
        """[R] potential energies at the positions, kcal/mol; a live view that cannot be written to."""
        self.refresh()
        return _read_only(self.state.energy)

    def variables(self) -> dict[str, FloatArray]:
        """The variables of `biases`, `metadynamics` and `monitor` now, by name: [R] each; NaN: of another molecule.

        Å, radians, or plain numbers, as in colvars.csv.
        """
        measured: list[Bias | GridBias] = [
            *biases_of(self.potential),
            *self._monitored,
            *grid_biases_of(self.potential),
        ]
        packed = PackedBiases(measured, self.layout)
        values = packed.measure(self.state.positions.numpy())[0]
        names = [name for bias in packed.biases for name in bias.columns]
        return {name: values[:, k].copy() for k, name in enumerate(names)}

    def steps_in(self, time: WithUnit | int) -> int:
        """The number of steps in a time such as "10 ps".

        Raises:
            InputError: not a whole number of steps; the message names the nearest times that are.
        """
        return steps_in(time, self.integrator.timestep)

    def run(self, steps: WithUnit | int, should_stop: Callable[[], bool] = lambda: False) -> int:
        """Run for a number of steps (100_000) or a time ("10 ns"), calling reporters at the steps they ask for.

        Args:
            steps: number of steps, or a time.
            should_stop: asked between blocks (at least about every half second); True ends the run there.

        Returns:
            The number of steps done.

        Raises:
            InputError: not a whole number of steps, or an object in `reporters` that is not a reporter.
            UnstableError: a replica's energy is no longer finite, and the guard cannot recover it.
        """
        for reporter in self.reporters:
            if not (hasattr(reporter, "next_report") and hasattr(reporter, "report")):
                raise InputError(
                    f"sim.reporters holds a {type(reporter).__name__}, which lacks the methods next_report(step) and "
                    "report(simulation); in the place of OpenMM's reporters use mdflash.StateDataReporter and "
                    "mdflash.TrajectoryReporter"
                )
        return super().run(self.steps_in(steps), should_stop)

    def minimize(self, steps: int = 500, tolerance: Quantity = 1.0) -> Minimized:
        """Move every replica downhill, for at most `steps` steps or until no force exceeds `tolerance`.

        Args:
            steps: the largest number of steps.
            tolerance: a force, "1 kcal/mol/angstrom" or a number in that unit.
        """
        try:
            largest = parse(as_text(tolerance, "force"), "force")
        except ValueError as error:
            raise InputError(f"argument 'tolerance' of minimize: {error}") from None
        return super().minimize(steps, largest)

    def analyze(self, **asked: Any) -> Any:
        """What its TrajectoryReporter has written so far, as `open_run(folder).analyze(...)` has it of a run.

            sim.reporters.append(TrajectoryReporter("frames", sim.steps_in("10 ps")))
            sim.run("10 ns")
            sim.analyze().write()  # frames/analysis/report.html

        Args:
            asked: `reference`, `experiment`, `against`, `topology`, as of `Run.analyze`.

        Returns:
            A `mdflash.analysis.result.Analysis`. Nothing is reweighted: the frames have no energies.

        Raises:
            InputError: not one TrajectoryReporter, no frame yet, or replicas that exchange: only `mdflash run` writes
                which state a frame belongs to.
        """
        from mdflash.analysis.recorded import Recorded
        from mdflash.reporters import TrajectoryReporter

        writers = [r for r in self.reporters if isinstance(r, TrajectoryReporter)]
        if len(writers) != 1:
            raise InputError(
                f"sim.analyze() reads what a TrajectoryReporter wrote, and sim.reporters has {len(writers)} of them; "
                "write sim.reporters.append(mdflash.TrajectoryReporter('frames', sim.steps_in('10 ps'))) before sim.run"
            )
        if self.exchange is not None:
            raise InputError(
                "sim.analyze() does not know which state a frame of an exchange belongs to; write the same settings "
                "into a system.yaml, and use mdflash run and mdflash analyze"
            )
        about = {"step": self.step, "seed": self.seed, "device": str(self.state.positions.device)}
        kelvin = self.state.temperature.cpu().numpy().copy()
        folder, box = writers[0].folder, self.state.box
        run = Recorded(folder, self.layout, self._forcefields, kelvin, about, box, self._biased)
        return run.analyze(**asked)

    def refresh(self) -> None:
        """Evaluate energy and forces if positions have changed since the last evaluation."""
        if not self._current:
            self.evaluate()

    def moved(self) -> None:
        """Mark positions as changed: energy and forces are evaluated again before they are used."""
        self._current = False
        self.guard.forget()


class Replica:
    """One replica of a Simulation.

    Arrays are live views that cannot be written to; assign (`replica.positions = x`) to change them, `copy()` them to
    keep them.

    Attributes:
        number: its number in `sim.replicas`.
        system: its molecule.
    """

    def __init__(self, simulation: Simulation, number: int) -> None:
        layout = simulation.layout
        self.number, self.system = number, layout.systems[int(layout.system_of_replica[number])]
        self._simulation, self._rows = simulation, layout.rows(number)

    def __repr__(self) -> str:
        return f"<Replica {self.number}: {self.system.name} ({self.system.n_beads} beads), {self.temperature:g} K>"

    @property
    def positions(self) -> FloatArray:
        """[N, 3] Å. May be set from numbers in Å or from quantities."""
        return _read_only(self._simulation.state.positions[self._rows])

    @positions.setter
    def positions(self, value: Any) -> None:
        self._simulation.state.positions[self._rows] = self.checked(value, "positions", "Å")
        self._simulation.moved()

    @property
    def velocities(self) -> FloatArray:
        """[N, 3] Å/ps (those of the half step for langevin-middle). May be set."""
        return _read_only(self._simulation.state.velocities[self._rows])

    @velocities.setter
    def velocities(self, value: Any) -> None:
        self._simulation.state.velocities[self._rows] = self.checked(value, "velocities", "Å/ps")
        self._simulation.guard.forget()

    @property
    def forces(self) -> FloatArray:
        """[N, 3] kcal/mol/Å, at the positions."""
        self._simulation.refresh()
        return _read_only(self._simulation.state.forces[self._rows])

    @property
    def energy(self) -> float:
        """Potential energy at the positions, kcal/mol."""
        self._simulation.refresh()
        return float(self._simulation.state.energy[self.number])

    @property
    def kinetic_energy(self) -> float:
        """kcal/mol."""
        return float(self._simulation.kinetic_energy()[self.number])

    @property
    def temperature(self) -> float:
        """Temperature of its bath, K. May be set ("350 K"), save under replica exchange."""
        return float(self._simulation.state.temperature[self.number])

    @temperature.setter
    def temperature(self, value: Any) -> None:
        if self._simulation.exchange is not None:
            raise InputError("the temperatures of replicas that exchange belong to the ladder; they cannot be set")
        try:
            kelvin = parse(as_text(value, "temperature"), "temperature")
        except ValueError as error:
            raise InputError(f"replica {self.number}: temperature: {error}") from None
        if kelvin < 0:
            raise InputError(f"replica {self.number}: temperature: expected 0 K or more, found {kelvin:g} K")
        self._simulation.state.temperature[self.number] = kelvin
        self._simulation.guard.forget()

    def checked(self, value: Any, what: str, unit: str) -> torch.Tensor:
        """[N, 3] finite numbers, as positions or velocities are set.

        Raises:
            InputError: anything else.
        """
        try:
            x = as_length(value) if what == "positions" else np.asarray(value, np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"replica {self.number}: {what}: expected numbers in {unit}: {error}") from None
        if x.shape != (self.system.n_beads, 3):
            raise InputError(
                f"replica {self.number}: {what} must be [{self.system.n_beads}, 3] in {unit}, found {list(x.shape)}"
            )
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if len(bad):
            bead = self.system.bead_label(int(bad[0]))
            raise InputError(
                f"replica {self.number}: the {what} of {bead} are {x[bad[0]].tolist()}; numbers must be finite"
            )
        if what == "positions" and (wrong := other_unit(self.system, x[None])) is not None:
            raise InputError(f"replica {self.number}: {wrong.partition(': ')[2]}")
        return torch.tensor(x)


class Positions(np.ndarray[Any, Any]):
    """Positions that may be called for one more release, for in 0.1 `sim.positions(system)` was a method."""

    simulation: Simulation

    def __call__(self, system: int = 0) -> FloatArray:
        warnings.warn(
            "sim.positions is an array, [replicas, N, 3]: write sim.positions for sim.positions(); the call goes with "
            "the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return _read_only(self.simulation.layout.view(self.simulation.state.positions, system))


def _read_only(tensor: torch.Tensor) -> FloatArray:
    array: FloatArray = tensor.numpy()
    array.flags.writeable = False
    return array


def _one_each(value: Any, count: int, name: str) -> Sequence[Any]:
    """`value`, a list with one entry for each molecule, or None."""
    if value is None:
        return [None] * count
    if not isinstance(value, (list, tuple)) or len(value) != count:
        found = f"{len(value)} entries" if isinstance(value, (list, tuple)) else type(value).__name__
        raise argument_error(name, f"expected a list with one entry for each of the {count} molecules, found {found}")
    return value


def _forcefields(given: Any, count: int) -> list[ForceField]:
    """One for each molecule."""
    many = isinstance(given, (list, tuple))
    loaded: dict[str, ForceField] = {}
    found = []
    for item in _one_each(given, count, "forcefield") if many else [given] * count:
        if isinstance(item, (str, os.PathLike)):
            key = os.fspath(item)
            if key not in loaded:
                loaded[key] = load_forcefield(key)
            item = loaded[key]
        if not isinstance(item, ForceField):
            raise argument_error(
                "forcefield", f"expected a folder, a shipped name or a ForceField, found {type(item).__name__}"
            )
        found.append(item)
    return found


def _molecule(given: Any, ff: ForceField, notes: list[str]) -> tuple[System, FloatArray | None]:
    """A molecule and the start frames [F, N, 3] Å that are known for it."""
    if isinstance(given, System):
        known = [frames for system, frames in ff.systems if dataclasses.replace(system, name=given.name) == given]
        return given, known[0] if known else None
    if not isinstance(given, (str, os.PathLike)):
        raise argument_error("systems", f"expected a System, a structure file or a name, found {type(given).__name__}")
    path = Path(given).expanduser()
    if path.is_file() or path.suffix == ".safetensors" or is_structure(path):
        return read_molecule(path, ff.mapping, ff, plain_word(bare_name(path)), notes)
    names = [system.name for system, _ in ff.systems]
    if str(given) in names:
        return ff.system(str(given))
    raise argument_error(
        "systems",
        f"'{given}' is neither a structure file nor a molecule of the force field '{ff.name}', "
        f"which holds {', '.join(names) or 'none'}; write for example 'protein.pdb'",
    )


def _frames(system: System, own: FloatArray | None, start: Any, count: int, notes: list[str]) -> FloatArray:
    """[F, N, 3] Å, where a molecule starts."""
    if isinstance(start, (str, os.PathLike)):
        if not Path(start).is_file():
            raise argument_error("start", f"no such file: {start}")
        return start_frames(StartFrames.model_construct(file=Path(start), frame="each"), system, count, notes)
    if start is None:
        if own is None or not len(own):
            raise argument_error(
                "start", f"no positions are known for '{system.name}'; write `start=x`, x an array [N, 3] in Å"
            )
        return own
    try:
        x = as_length(start)
    except (TypeError, ValueError) as error:
        raise argument_error("start", f"expected positions in Å or a trajectory file: {error}") from None
    x = x[None] if x.ndim == 2 else x
    if x.ndim != 3 or x.shape[1:] != (system.n_beads, 3) or not len(x):
        n = system.n_beads
        raise argument_error("start", f"'{system.name}' needs [{n}, 3] or [F, {n}, 3] in Å, found {list(x.shape)}")
    return x


def _sorted_biases(
    biases: Sequence[Mapping[str, Any] | Potential],
) -> tuple[list[Mapping[str, Any]], list[Potential]]:
    """Those described as in a system.yaml, and those that are potentials."""
    if isinstance(biases, (Mapping, Potential)):
        raise argument_error("biases", "expected a list, found a single bias; write `biases=[...]`")
    for bias in biases:
        if not isinstance(bias, (Mapping, Potential)):
            raise argument_error("biases", f"expected dicts or potentials, found {type(bias).__name__} in the list")
    described = [bias for bias in biases if isinstance(bias, Mapping)]
    return described, [bias for bias in biases if isinstance(bias, Potential)]

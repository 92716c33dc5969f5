"""Simulation: the Python front of the engine, made from molecules, a force field and a few settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from mdflash.config.from_call import Quantities, Quantity, WithUnit, argument_error, as_argument, as_text, steps_in
from mdflash.core.quantity import show_quantity
from mdflash.core.types import Device, FilterKind, FloatArray, Precision, StepKernels
from mdflash.engine.engine import Engine
from mdflash.errors import InputError
from mdflash.replica import Positions, Replica, read_only
from mdflash.units import parse

if TYPE_CHECKING:
    from mdflash.engine.minimize import Minimized
    from mdflash.potentials.base import Potential
    from mdflash.potentials.bias.bias import Bias
    from mdflash.potentials.bias.grid_bias import GridBias
    from mdflash.runs.from_call import ForceFieldLike, Molecule, Start


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
        annealing: stages that move the temperature, each as an entry of `dynamics.annealing` of a system.yaml:
            `[{"to": "500 K", "length": "1 ns"}, {"to": "300 K", "length": "4 ns", "form": "geometric"}]`.
        exchange: replica exchange, the `exchange` section of a system.yaml:
            `{"temperatures": {"min": "300 K", "max": "450 K", "count": 8}, "interval": "2 ps"}`.
        environment: what surrounds the molecules, for force fields that depend on it:
            `{"temperature": "293.15 K", "ionic_strength": "0.15 M", "pH": 7.5}`. What is left out is the force field's;
            the temperature is that of the replicas where they share one.
        guard: what happens to an unstable replica: "stop", "freeze", "retry", or the `guards` section of a system.yaml
            (without `spread`).
        box: the three edges of a periodic box, or None.
        biases: restraints and umbrella windows, each as an entry of the `biases` section of a system.yaml, with its
            quantities as text: `{"name": "pull", "variable": "distance", "beads": [0, 9], "center": "8 angstrom",
            "force_constant": "2 kcal/mol/angstrom^2"}`; or any Potential, such as a FunctionBias.
        metadynamics: biases that walkers fill with hills, each as an entry of the `metadynamics` section of a
            system.yaml: `{"name": "fold", "variables": {"name": "q", "variable": "native_contacts", "width": 0.02},
            "height": "0.3 kcal/mol", "bias_factor": 10, "every": "1 ps"}`.
        weighted_ensemble: replicas as walkers that are split and merged along a variable, as the `weighted_ensemble`
            section of a system.yaml: `{"name": "q", "variable": "native_contacts", "bins": {"min": 0.2, "max": 0.9,
            "count": 15}, "target": {"max": 0.2}, "every": "10 ps"}`; see `Engine.ensemble`.
        monitor: collective variables without a bias, for `variables`, each as an entry of the `monitor` section of a
            system.yaml: `{"name": "q", "variable": "native_contacts"}`.
        network_every: steps between forces of networks; priors and biases act at every step.
        precision: arithmetic of networks, "fp32", "fp64" or "mixed16" (filter tables in 16 bits); on a GPU, of force
            fields without a network as well, "fp32" or "fp64"; positions are always float64.
        kernels: "auto", or "reference" for plain torch throughout.
        filters: how filters of networks are evaluated: "table", "exact" (plain torch, slow), "auto" (tables where
            they are exact enough), or "split" or "gathered" (on a GPU: tables for near pairs, products of
            matrices for all others).
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
        annealing: Sequence[Mapping[str, Any]] = (),
        exchange: Mapping[str, Any] | None = None,
        environment: Mapping[str, Any] | None = None,
        guard: str | Mapping[str, Any] = "stop",
        box: Quantities | None = None,
        biases: Sequence[Mapping[str, Any] | Potential] = (),
        metadynamics: Sequence[Mapping[str, Any]] = (),
        weighted_ensemble: Mapping[str, Any] | None = None,
        monitor: Sequence[Mapping[str, Any]] = (),
        network_every: int = 1,
        precision: Precision = "fp32",
        kernels: StepKernels = "auto",
        filters: FilterKind = "auto",
        skin: Quantity = "2 angstrom",
        remove_com_motion: bool = False,
        device: Device | Literal["auto"] = "auto",
        threads: int | None = None,
    ) -> None:
        from mdflash.engine.blocks.compiled import set_threads
        from mdflash.runs.from_call import prepare_call

        if temperature is not None and temperatures is not None:
            raise argument_error("temperature", "means the same as `temperatures`; give one of the two")
        temperatures = temperature if temperatures is None else temperatures
        traded = isinstance(exchange, Mapping) and ("biases" in exchange or "scale" in exchange)
        ladder = exchange is not None and not (traded and "temperatures" not in exchange)
        if ladder and temperatures is not None:
            raise argument_error("temperatures", "the ladder of `exchange` sets them; give one of the two")
        called = prepare_call(
            systems,
            forcefield,
            replicas,
            start,
            biases,
            {
                "model": {"precision": precision, "kernels": kernels, "filters": filters},
                "dynamics": {
                    "integrator": integrator,
                    "timestep": timestep,
                    "friction": friction,
                    "temperature": "300 K" if temperatures is None and not ladder else temperatures,
                    "annealing": annealing,
                    "seed": seed,
                    "remove_com_motion": remove_com_motion,
                    "network_every": network_every,
                },
                "metadynamics": list(metadynamics),
                "weighted_ensemble": weighted_ensemble,
                "monitor": list(monitor),
                "exchange": exchange,
                "environment": environment or {},
                "guards": {"nonfinite": guard} if isinstance(guard, str) else guard,
                "box": box,
                "neighbors": {"skin": skin},
                "hardware": {"device": device, "threads": threads},
            },
        )
        prepared = called.prepared
        if threads is not None:
            set_threads(prepared.config.hardware.threads)
        try:
            super().__init__(
                prepared.layout, called.potential, prepared.state(), prepared.dynamics(), prepared.backend(),
                annealing=prepared.annealing(), exchange=prepared.exchange(), ensemble=prepared.ensemble(),
                guard=prepared.guard(),
            )  # fmt: skip
        except InputError as error:
            raise as_argument(error) from None
        self.notes = (*prepared.notes, *self.notes)
        self._forcefields, self._config = called.forcefields, prepared.config
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
            array = read_only(self.state.positions.view(replicas, -1, 3))
        else:
            array = np.empty(replicas, object)
            array[:] = [replica.positions for replica in self.replicas]
            array.flags.writeable = False
        positions = array.view(Positions)
        positions.engine = self
        return positions

    @positions.setter
    def positions(self, value: Any) -> None:
        rows = list(value)
        if len(rows) != len(self.replicas):
            raise InputError(
                f"positions: expected one [N, 3] in Å for each of the {len(self.replicas)} replicas, found {len(rows)}"
            )
        checked = [replica.checked(x, "positions", "Å") for replica, x in zip(self.replicas, rows, strict=True)]
        self.state.positions.numpy()[:] = np.concatenate(checked)
        self.moved()

    @property
    def step(self) -> int:
        """Steps done so far."""
        return self.state.step

    @property
    def energies(self) -> FloatArray:
        """[R] potential energies at the positions, kcal/mol; a live view that cannot be written to."""
        self.refresh()
        return read_only(self.state.energy)

    def variables(self) -> dict[str, FloatArray]:
        """The variables of `biases`, `metadynamics` and `monitor` now, by name: [R] each; NaN: of another molecule.

        Å, radians, or plain numbers, as in colvars.csv.
        """
        from mdflash.potentials.bias.bias import biases_of
        from mdflash.potentials.bias.grid_bias import grid_biases_of
        from mdflash.potentials.bias.pack import PackedBiases

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
            InputError: not one TrajectoryReporter, no frame yet, replicas that exchange, or walkers: only `mdflash run`
                writes which state a frame belongs to, and what it weighs.
        """
        from mdflash.analysis.recorded import Recorded
        from mdflash.config.write import to_data
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
        if self.ensemble is not None:
            raise InputError(
                "sim.analyze() does not know the weights of walkers, which its frames need; write the same settings "
                "into a system.yaml, and use mdflash run and mdflash analyze"
            )
        about = {"step": self.step, "seed": self.seed, "device": str(self.state.positions.device)}
        kelvin = self.state.temperature.cpu().numpy().copy()
        folder, box = writers[0].folder, self.state.box
        dynamics = to_data(self._config)["dynamics"]
        run = Recorded(folder, self.layout, self._forcefields, kelvin, about, box, self._biased, dynamics)
        return run.analyze(**asked)

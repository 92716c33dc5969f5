"""system.yaml as typed, frozen models: every key, its default and one line about it.

The models are the single source of the checks, of `mdflash schema`, of the comments that `mdflash init`
writes and of resolved.yaml. Quantities are in internal units (Å, ps, K) once read; paths are absolute.
What several keys must agree on is in `rules.py`.
"""

from __future__ import annotations

import secrets
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from mdflash.config.biases import BiasEntry, VariableEntry
from mdflash.config.ensemble import WeightedEnsemble
from mdflash.config.exchange import Exchange
from mdflash.config.metadynamics import Metadynamics
from mdflash.config.molecules import BoxEdges, SystemEntry, read_systems
from mdflash.config.section import (
    MAX_REPLICAS,
    Folder,
    ForceFieldFolder,
    SchemaVersion,
    Section,
    as_entries,
    as_list,
)
from mdflash.core.quantity import (
    Concentration,
    Duration,
    Interval,
    Length,
    NoneWord,
    Quantity,
    Rate,
    RunLength,
    Span,
    Temperature,
    Timestep,
    Whole,
    Word,
    describe,
)
from mdflash.core.types import FilterKind, Precision, StepKernels
from mdflash.forcefields.environment import PH, TEMPERATURE
from mdflash.integrators import DEFAULT, SchemeName, described, without_friction
from mdflash.io.formats import WRITTEN, written_formats


def _read_temperatures(value: object) -> object:
    if value == []:
        raise ValueError("the list is empty; write `temperature: 300 K`, or one temperature for each replica")
    if isinstance(value, dict):
        raise ValueError(
            "a mapping is the form of a ladder, whose temperatures replicas exchange: write it as `temperatures:` "
            "under `exchange:`; without exchange, list a temperature for each replica: `temperature: [300 K, 320 K]`"
        )
    return None if value is None or value == "none" else as_list(value)


def _read_pH(value: object) -> object:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or PH.problem(float(value)) is not None:
        raise ValueError(f"expected a number from -2 to 16, found {describe(value)}; for example `pH: 7.5`")
    return float(value)


def _not_yet(**refused: str) -> BeforeValidator:
    """Refuses words that will mean something in a later version, with the reason."""

    def check(value: object) -> object:
        if isinstance(value, str) and value in refused:
            raise ValueError(f"'{value}' {refused[value]}")
        return value

    return BeforeValidator(check)


def _no_number(device: object) -> object:
    """Refuses `cuda:1`: a run file says what kind of device, and where it is started says which."""
    if isinstance(device, str) and (number := device.removeprefix("cuda:")) != device:
        raise ValueError(
            f"'{device}' names one GPU of a machine; write `device: cuda`, and start with "
            f"CUDA_VISIBLE_DEVICES={number} (of several ranks each takes its own)"
        )
    return device


_SOLVENT = Quantity("temperature", "293.15 K", ("K",), least=TEMPERATURE.least, most=TEMPERATURE.most)
Force = Annotated[float, Quantity("force", "5000 kcal/mol/angstrom", ("kcal/mol/angstrom",))]


_FORMATS = (*WRITTEN, "none")
if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal[_FORMATS]


def _describe_formats() -> str:
    groups = groupby(written_formats(), key=lambda format: format.holds)
    kinds = [f"{' | '.join(format.name for format in group)} (one file per {holds})" for holds, group in groups]
    return " | ".join([*kinds, "none"])


class Environment(Section):
    """What surrounds the molecules, for force fields that depend on it (`mdflash info` says which)."""

    temperature: Annotated[float, _SOLVENT] | None = Field(
        default=None,
        description="of the solvent; null: dynamics.temperature where it is one, else the force field's. Exchange does "
        "not change it",
        examples=["293.15 K"],
    )
    ionic_strength: Concentration | None = Field(
        default=None, description="salt; null: the force field's", examples=["0.15 M"]
    )
    pH: Annotated[float | None, BeforeValidator(_read_pH)] = Field(
        default=None, description="decides charges of histidines; null: the force field's", examples=[7.5]
    )


class Model(Section):
    """The force field, and the arithmetic that evaluates it."""

    forcefield: ForceFieldFolder | None = Field(
        default=None,
        description="folder relative to this file, or the name of a shipped one",
        examples=["my-forcefield"],
    )
    precision: Precision = Field(
        default="fp32",
        description="arithmetic of networks: fp32 | fp64 | mixed16 (tables in 16 bits, on a GPU features too); on a "
        "GPU, of force fields without a network as well: fp32 | fp64; positions are always fp64",
    )
    filters: FilterKind = Field(
        default="auto",
        description="of networks: table | exact (slow; plain torch on a CPU) | auto (tables where exact enough) | "
        "split | gathered (GPU: tables for near pairs, products of matrices for the others, in one part or two)",
    )
    kernels: Annotated[
        StepKernels,
        _not_yet(
            flash="is what auto takes; write `kernels: auto`",
            triton="is what a GPU runs (`hardware.device: cuda`); write `kernels: auto`",
        ),
    ] = Field(
        default="auto",
        description="auto (the fastest that fits) | reference (plain, slow, for comparison) | whole (GPU, molecules of "
        "at most 64 beads: one program runs all steps of a block)",
    )


class AnnealingStage(Section):
    """The temperature of every replica moves from what it is to another one; stages follow each other."""

    to: Temperature = Field(description="where it ends", examples=["500 K"])
    after: Annotated[float, Quantity("time", "100 ps", ("ps", "ns", "us", "fs"), zero=True)] = Field(
        default=0.0, description="time for which it holds before, after the last stage", examples=["100 ps"]
    )
    length: Duration = Field(description="how long it moves", examples=["1 ns"])
    every: Duration = Field(default=1.0, description="time between its steps", examples=["1 ps"])
    form: Literal["linear", "geometric"] = Field(
        default="linear", description="linear | geometric (equal ratios in equal times)"
    )


class Dynamics(Section):
    """How positions move."""

    integrator: SchemeName = Field(default=DEFAULT, description=described())
    timestep: Timestep = Field(default=0.004, description="one step", examples=["4 fs"])
    network_every: Annotated[int, Whole(1, 100)] = Field(
        default=1, description="steps between forces of networks; priors and biases act at every step"
    )
    friction: Rate = Field(
        default=1.0, description=f"coupling to the bath; ignored by {without_friction()}", examples=["1 /ps"]
    )
    temperature: Annotated[
        tuple[Temperature, ...] | None,
        BeforeValidator(_read_temperatures, json_schema_input_type=Temperature | list[Temperature] | None),
    ] = Field(
        default=None,
        description="one value, or a list with one for each replica; left out where exchange.temperatures sets them",
        examples=["300 K"],
    )
    annealing: Annotated[
        tuple[AnnealingStage, ...],
        BeforeValidator(as_entries, json_schema_input_type=AnnealingStage | list[AnnealingStage] | None),
    ] = Field(
        default=(),
        description="none, or stages in a row that move the temperature",
        examples=["[{to: 500 K, length: 1 ns}, {to: 300 K, length: 4 ns, form: geometric}]"],
    )
    length: RunLength | None = Field(
        default=None, description="simulated time of each replica (or steps)", examples=["100 ns"]
    )
    steps: Annotated[int, Whole(1, 2**53)] | None = Field(
        default=None, description="number of steps, instead of length", examples=[25_000_000]
    )
    minimize: Annotated[int, Whole(0, 10**9)] = Field(
        default=0, description="at most this many minimization steps before the dynamics; 0: none"
    )
    seed: Annotated[int, Whole(0, 2**32 - 1)] | None = Field(
        default=None,
        description="random seed, 0 to 4294967295; null draws one and records it in resolved.yaml",
    )
    remove_com_motion: StrictBool = Field(default=False, description="keep each replica's center of mass at rest")


class Replicas(Section):
    """Copies that run side by side."""

    count: Annotated[int, Whole(1, MAX_REPLICAS)] = Field(
        default=1, description="independent copies of each system, run as one batch"
    )


class Guards(Section):
    """What happens when a replica goes wrong."""

    nonfinite: Literal["stop", "freeze", "retry"] = Field(
        default="stop",
        description="stop | freeze (that replica; the others continue) | retry (with half the time step, then freeze)",
    )
    max_force: Annotated[Force | None, NoneWord] = Field(
        default=None,
        description="none, or a force above which a spike is noted in events.jsonl",
        examples=["5000 kcal/mol/angstrom"],
    )
    spread: Annotated[Annotated[float, Field(gt=0, strict=False)] | None, NoneWord] = Field(
        default=None,
        description="none, or times the spread of forces that 99 of 100 frames of its data have, which the committee "
        "of the force field may have in a frame",
        examples=[2],
    )
    beyond: Literal["note", "stop"] = Field(
        default="note", description="what is done about a larger spread: note (in events.jsonl) | stop"
    )


class Neighbors(Section):
    """The neighbor list; the cutoff comes from the force field."""

    skin: Length = Field(
        default=2.0,
        description="margin beyond the cutoff; changes speed, not results",
        examples=["2 angstrom"],
    )


class Trajectory(Section):
    """Frames."""

    format: FormatName = Field(default=WRITTEN[0], description=_describe_formats())
    interval: Duration = Field(default=10.0, description="time between frames", examples=["10 ps"])


class Log(Section):
    """Energies and temperatures."""

    interval: Duration = Field(default=10.0, description="time between rows of log.csv", examples=["10 ps"])


class Colvars(Section):
    """Collective variables; only of runs with biases or `monitor:`."""

    interval: Duration = Field(default=10.0, description="time between rows of colvars.csv", examples=["1 ps"])


class Checkpoint(Section):
    """What a killed run resumes from."""

    interval: Interval = Field(
        default=Span(300.0, "wall"),
        description="wall time (5 min, 1 h) or simulation time (100 ps)",
        examples=["5 min"],
    )
    keep: Annotated[int, Whole(1, 1000)] = Field(default=2, description="how many to keep")


class Output(Section):
    """The run folder."""

    folder: Folder | None = Field(
        default=None,
        description="default: runs/<name>, relative to where the command is given (a run that this file has beside it "
        "or above is resumed there); ./run: beside this file",
        examples=["runs/protein"],
    )
    trajectory: Trajectory = Trajectory()
    log: Log = Log()
    colvars: Colvars = Colvars()
    checkpoint: Checkpoint = Checkpoint()


class Hardware(Section):
    """Where it runs."""

    device: Annotated[Literal["auto", "cpu", "cuda"], BeforeValidator(_no_number)] = Field(
        default="auto", description="auto (a GPU, where there is one and a network to evaluate) | cpu | cuda"
    )
    threads: Annotated[int, Whole(1, 4096)] | None = Field(default=None, description="CPU threads; null: all cores")


class RunConfig(Section):
    """A whole run, as system.yaml describes it."""

    mdflash: SchemaVersion = Field(description="version of this file's schema", examples=[1])
    name: Word = Field(default="", description="names the run; default: the file's name")
    system: Annotated[
        tuple[SystemEntry, ...],
        BeforeValidator(read_systems, json_schema_input_type=SystemEntry | list[SystemEntry]),
    ] = Field(description="one molecule, or a list of them for a mixed batch", examples=["{structure: protein.pdb}"])
    box: BoxEdges = Field(
        default=None,
        description="none, or the edges of a periodic box: [60 angstrom, 60 angstrom, 60 angstrom]",
    )
    model: Model = Model()
    environment: Environment = Environment()
    dynamics: Dynamics = Field(examples=["{temperature: 300 K, length: 100 ns}"])
    replicas: Replicas = Replicas()
    exchange: Annotated[Exchange | None, NoneWord] = Field(
        default=None,
        description="none, or replica exchange of temperatures, umbrella windows or strengths of terms",
        examples=["{temperatures: {min: 300 K, max: 450 K, count: 16}}"],
    )
    biases: Annotated[
        tuple[BiasEntry, ...],
        BeforeValidator(as_entries, json_schema_input_type=BiasEntry | list[BiasEntry] | Literal["none"]),
    ] = Field(
        default=(),
        description="none, or a list of restraints and umbrella windows on collective variables",
        examples=["[{name: pull, variable: distance, beads: [0, 9], force_constant: 2 kcal/mol/angstrom^2}]"],
    )
    metadynamics: Annotated[
        tuple[Metadynamics, ...],
        BeforeValidator(as_entries, json_schema_input_type=Metadynamics | list[Metadynamics] | Literal["none"]),
    ] = Field(
        default=(),
        description="none, or a list of biases that walkers fill with hills along one to three variables",
        examples=["[{name: fold, variables: {name: q, variable: native_contacts, width: 0.02}}]"],
    )
    weighted_ensemble: Annotated[WeightedEnsemble | None, NoneWord] = Field(
        default=None,
        description="none, or a weighted ensemble: walkers that are split and merged along a variable, for rates",
        examples=["{name: q, variable: native_contacts, bins: {min: 0.2, max: 0.9, count: 15}, target: {max: 0.2}}"],
    )
    monitor: Annotated[
        tuple[VariableEntry, ...],
        BeforeValidator(as_entries, json_schema_input_type=VariableEntry | list[VariableEntry] | Literal["none"]),
    ] = Field(
        default=(),
        description="none, or a list of collective variables to record in colvars.csv, without a bias",
        examples=["[{name: q, variable: native_contacts}]"],
    )
    guards: Guards = Guards()
    neighbors: Neighbors = Neighbors()
    output: Output = Output()
    hardware: Hardware = Hardware()

    @property
    def counts(self) -> tuple[int, ...]:
        """Replicas of each system."""
        return tuple(s.replicas or self.replicas.count for s in self.system)

    @property
    def n_replicas(self) -> int:
        return sum(self.counts)

    @property
    def forcefields(self) -> tuple[Path, ...]:
        """The force field folder of each system; of many molecules that have their own, that of the first."""
        folders = [
            s.forcefield or self.model.forcefield or next((m.forcefield for m in s.molecules), None)
            for s in self.system
        ]
        return tuple(f for f in folders if f is not None)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperature of each replica at the start, K."""
        if self.exchange is not None and self.exchange.temperatures is not None:
            ladder = self.exchange.temperatures
            return ladder * (self.n_replicas // len(ladder))
        t = self.dynamics.temperature or ()
        return t * self.n_replicas if len(t) == 1 else t

    @property
    def folder(self) -> Path:
        """The run folder, absolute."""
        return self.output.folder or Path.cwd() / "runs" / self.name

    def steps_in(self, time: float) -> int:
        """The number of steps in `time` (ps), at least 1; 2**63 stands for more than can be counted."""
        ratio = time / self.dynamics.timestep
        return max(1, round(ratio)) if ratio < 2**63 else 2**63

    @property
    def total_steps(self) -> int:
        length, steps = self.dynamics.length, self.dynamics.steps
        return steps if steps is not None else self.steps_in(length or 0.0)

    @property
    def trajectory_every(self) -> int | None:
        """Steps between frames; None: no trajectory."""
        trajectory = self.output.trajectory
        return None if trajectory.format == "none" else self.steps_in(trajectory.interval)

    @property
    def log_every(self) -> int:
        """Steps between rows of the log."""
        return self.steps_in(self.output.log.interval)

    @property
    def colvars_every(self) -> int | None:
        """Steps between rows of colvars.csv; None: no variables, no such file."""
        some = self.n_biases or self.metadynamics or self.monitor
        return self.steps_in(self.output.colvars.interval) if some else None

    @property
    def n_biases(self) -> int:
        """Biases, those that scale a term included."""
        return len(self.biases) + (len(self.exchange.scale) if self.exchange is not None else 0)

    @property
    def exchange_states(self) -> tuple[float, ...]:
        """The temperature of each state of the ladder, K; empty without exchange."""
        if self.exchange is None or self.exchange.temperatures is not None:
            return () if self.exchange is None else self.exchange.temperatures or ()
        windows = max(
            *(b.windows for b in self.biases if b.name in self.exchange.biases),
            *map(len, self.exchange.scale.values()),
            0, 0,
        )  # fmt: skip
        return (self.dynamics.temperature or (0.0,))[:1] * windows

    @property
    def exchange_every(self) -> int | None:
        """Steps between exchange attempts; None: no exchange."""
        return None if self.exchange is None else self.steps_in(self.exchange.interval)

    @property
    def checkpoint_every(self) -> int | None:
        """Steps between checkpoints; None: the interval is a wall time."""
        span = self.output.checkpoint.interval
        return self.steps_in(span.value) if span.dimension == "time" else None

    @property
    def checkpoint_seconds(self) -> float | None:
        """Wall time between checkpoints, s; None: the interval is a simulation time."""
        span = self.output.checkpoint.interval
        return span.value if span.dimension == "wall" else None

    def with_seed(self) -> RunConfig:
        """This run with its seed drawn, if it has none yet."""
        if self.dynamics.seed is not None:
            return self
        return self.model_copy(update={"dynamics": self.dynamics.model_copy(update={"seed": secrets.randbits(32)})})


class TextDefaults(GenerateJsonSchema):
    """JSON schema with defaults as the YAML writes them ("4 fs"), not as they are kept."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        result = super().default_schema(schema)
        write = schema["schema"].get("serialization", {}).get("function")
        if write is not None and "default" in result:
            result["default"] = write(schema["default"])
        return result


def json_schema(section: type[Section] = RunConfig, title: str = "mdflash system.yaml") -> dict[str, Any]:
    """The JSON schema of system.yaml, or of another file or section, for editors."""
    schema = section.model_json_schema(schema_generator=TextDefaults)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": title}

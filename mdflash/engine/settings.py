"""What the steps of a run are, and how they are computed: two descriptions that are passed whole.

`Block` is what compiled loops see of `Dynamics`; an option of dynamics is a field of both.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from mdflash.core.state import State
from mdflash.core.types import FilterKind, FloatArray, Precision, StepKernels
from mdflash.errors import InputError
from mdflash.integrators.base import Integrator
from mdflash.integrators.respa import check_network_every
from mdflash.units import BOLTZMANN


class Block(NamedTuple):
    """A block of steps, as compiled loops see it."""

    first_step: int
    steps: int
    kT: FloatArray  # [R] kcal/mol
    box: FloatArray  # [3] Å; 0: not periodic
    seed: int
    skin: float  # Å
    network_every: int


@dataclass(frozen=True)
class Dynamics:
    """What a step is; the trajectory follows from it, the potential and the start.

    Attributes:
        integrator: the scheme, with its time step in ps.
        seed: seed of all random numbers, 0 to 2^32 - 1.
        skin: margin of the neighbor list beyond the cutoff, Å; changes speed, not results.
        remove_com_motion: remove each replica's center of mass velocity after every step.
        network_every: steps between forces of networks; priors and biases act at every step. See `integrators.respa`.

    Raises:
        InputError: a seed out of range, or `network_every` with a scheme that takes no impulses.
    """

    integrator: Integrator
    seed: int
    skin: float = 2.0
    remove_com_motion: bool = False
    network_every: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise InputError(f"the seed must be a whole number from 0 to {2**32 - 1}, found {self.seed}")
        check_network_every(self.integrator, self.network_every)

    @property
    def timestep(self) -> float:
        """Time step of the integrator, ps."""
        return self.integrator.timestep

    def block(self, state: State, steps: int, box: FloatArray) -> Block:
        """`steps` steps from a state, in a box [3] Å."""
        kT = BOLTZMANN * state.temperature.numpy()
        return Block(state.step, steps, kT, box, self.seed, self.skin, self.network_every)

    def finer(self, halvings: int, seed: int) -> Dynamics:
        """The same with each step cut in half `halvings` times, and another seed.

        With `network_every` above 1 networks act at the same times as before: an impulse is the share of the whole
        interval around it, and of the interval in which a state lies, that share has been applied already.
        """
        return dataclasses.replace(
            self,
            integrator=dataclasses.replace(self.integrator, timestep=self.timestep / 2**halvings),
            seed=seed,
            network_every=self.network_every << halvings if self.network_every > 1 else 1,
        )


@dataclass(frozen=True)
class Backend:
    """How forces are computed; all backends agree to the requested precision.

    Attributes:
        precision: arithmetic of networks ("fp32": every replica recentered first). "mixed16": fp32 with filter tables
            in 16 bits. State and priors are float64, but for priors on a GPU in a batch without networks: they are
            float64 with "fp64" alone.
        kernels: "auto"; "reference" for plain torch throughout; "whole", on a GPU: one program for each replica of a
            small molecule runs all steps of a block, where it can (`gpu.whole_fits.why_not_whole`).
        filters: how filters of networks are evaluated: "table"; "exact", in plain torch on a CPU; "auto": tables where
            they are exact enough; "split", on a GPU: tables for near pairs, products of matrices for all others;
            "gathered": as that, with products of gathered rows at middle distances.
        gpu: where the batch runs, from `core.gpu.find_gpu`; None: the CPU.
        gpu_must: whether a term without a GPU kernel is an error; else the batch runs on the CPU, and a note explains
            why.
    """

    precision: Precision = "fp64"
    kernels: StepKernels = "auto"
    filters: FilterKind = "auto"
    gpu: torch.device | None = None
    gpu_must: bool = True


def settings_of(
    dynamics: Dynamics | Integrator, backend: Backend | None, keywords: Mapping[str, Any]
) -> tuple[Dynamics, Backend]:
    """The settings of an engine, also where they are an integrator and keywords, as in 0.1.

    Raises:
        TypeError: keywords beside `Dynamics`, or unknown ones.
    """
    if isinstance(dynamics, Dynamics):
        if keywords:
            raise TypeError(f"Engine got an unexpected keyword argument '{next(iter(keywords))}'")
        return dynamics, backend or Backend()
    fields = {kind: {f.name for f in dataclasses.fields(kind)} for kind in (Dynamics, Backend)}
    unknown = keywords.keys() - fields[Dynamics] - fields[Backend]
    if unknown or backend is not None:
        raise TypeError(f"Engine got an unexpected keyword argument '{min(unknown, default='backend')}'")
    warnings.warn(
        "the settings of Engine are Dynamics(integrator, seed=...) and Backend(precision=...); "
        "an integrator with keywords goes with the next release",
        DeprecationWarning,
        stacklevel=3,
    )
    mine = {kind: {name: keywords[name] for name in keywords.keys() & names} for kind, names in fields.items()}
    return Dynamics(dynamics, **mine[Dynamics]), Backend(**mine[Backend])

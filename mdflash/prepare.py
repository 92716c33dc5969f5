"""From a validated run description to something that can run: molecules, start frames, potential, integrator.

Everything that can be wrong with the input is found here, before the run folder is touched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import torch

from mdflash.config.rules import warnings
from mdflash.config.schema import Dynamics, RunConfig, SystemEntry
from mdflash.engine import Engine
from mdflash.errors import InputError
from mdflash.exchange.replica_exchange import ReplicaExchange
from mdflash.forcefield import ForceField, load_forcefield
from mdflash.guards import Guard
from mdflash.integrators.base import Integrator
from mdflash.integrators.brownian import Brownian
from mdflash.integrators.langevin import LangevinBAOAB, LangevinMiddle
from mdflash.integrators.verlet import Verlet
from mdflash.io.frames import load_frames
from mdflash.mapping.structure import map_structure
from mdflash.potentials.base import SumPotential
from mdflash.potentials.build import build_potential
from mdflash.propagate.compiled import set_threads
from mdflash.state import Layout, State
from mdflash.system import FloatArray, System, load_system

INTEGRATORS: Final[Mapping[str, type[Integrator]]] = MappingProxyType(
    {scheme.name: scheme for scheme in (LangevinMiddle, LangevinBAOAB, Verlet, Brownian)}
)
"""Every scheme by its name in system.yaml."""


@dataclass(frozen=True)
class Prepared:
    """A run, ready to start at step 0.

    Attributes:
        config: what it was made from, seed included.
        layout: its batch.
        forcefields: one for each system of the layout.
        potential: the sum of their terms.
        start: [B, 3] Å, before minimisation.
        notes: sentences a person should read (what was skipped, cycled, assumed).
    """

    config: RunConfig
    layout: Layout
    forcefields: tuple[ForceField, ...]
    potential: SumPotential
    start: torch.Tensor
    notes: tuple[str, ...]

    def simulation(self) -> Engine:
        """A simulation at rest at the start frames, with the threads that the run asks for."""
        config = self.config
        if config.dynamics.seed is None:
            raise ValueError("the run has no seed yet; see RunConfig.with_seed")
        set_threads(config.hardware.threads)
        return Engine(
            self.layout,
            self.potential,
            State.at(self.layout, self.start, config.temperatures, config.box),
            make_integrator(config.dynamics),
            seed=config.dynamics.seed,
            skin=config.neighbors.skin,
            remove_com_motion=config.dynamics.remove_com_motion,
            precision=config.model.precision,
            kernels=config.model.kernels,
            exchange=make_exchange(config, self.layout),
            guard=Guard(self.layout, config.guards.nonfinite, config.guards.max_force),
        )


def make_exchange(config: RunConfig, layout: Layout) -> ReplicaExchange | None:
    """The exchange that a run asks for."""
    if config.exchange is None or config.exchange_every is None:
        return None
    return ReplicaExchange(layout, config.exchange.temperatures, config.exchange_every, config.exchange.scheme)


def make_integrator(dynamics: Dynamics) -> Integrator:
    """The scheme that a run asks for."""
    if dynamics.integrator == Verlet.name:
        return Verlet(dynamics.timestep)
    kind = INTEGRATORS[dynamics.integrator]
    return kind(dynamics.timestep, dynamics.friction)  # type: ignore[call-arg]


def prepare(config: RunConfig) -> Prepared:
    """Read everything a run needs.

    Raises:
        InputError: a structure, frame or force field is wrong or they do not fit; the text says which and how.
    """
    loaded = {folder: load_forcefield(folder) for folder in dict.fromkeys(config.forcefields)}
    forcefields = tuple(loaded[folder] for folder in config.forcefields)
    systems: list[System] = []
    starts: list[FloatArray] = []
    notes = list(warnings(config))
    for entry, forcefield, count in zip(config.system, forcefields, config.counts, strict=True):
        system, frames = _read_system(entry, forcefield, notes)
        systems.append(system)
        if len(frames) < count and len(frames) > 1:
            notes.append(
                f"{entry.name}: {len(frames)} start frames for {count} replicas; replica i starts from frame i, cycled"
            )
        starts.append(frames[np.arange(count) % len(frames)].reshape(-1, 3))
    layout = Layout(tuple(systems), config.counts)
    start = torch.from_numpy(np.concatenate(starts))
    State.at(layout, start, config.temperatures)  # refuses a NaN, naming replica and bead
    return Prepared(config, layout, forcefields, build_potential(forcefields, layout), start, tuple(notes))


def _read_system(entry: SystemEntry, ff: ForceField, notes: list[str]) -> tuple[System, FloatArray]:
    """The molecule of one entry, under its name, and its start frames [F, N, 3] Å."""
    frames: FloatArray | None
    if entry.structure.suffix == ".safetensors":
        system, frames = load_system(entry.structure)
    else:
        mapping = ff.mapping if entry.mapping == "from-forcefield" else entry.mapping
        system, frames, said = map_structure(entry.structure, mapping, ff, entry.name)
        notes.extend(f"{entry.name}: {sentence}" for sentence in said)
    if entry.start is not None:
        frames = load_frames(entry.start, system)
    if frames is None or not len(frames):
        raise InputError(
            "holds no start frames; name some with 'start', for example `start: frames.npy` ([F, N, 3] in Å)",
            file=entry.structure,
            key="system.start",
        )
    return dataclasses.replace(system, name=entry.name), frames

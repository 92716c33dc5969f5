"""From a validated run description to something that can run: molecules, start frames, potential, integrator.

Everything that can be wrong with the input is found here, before the run folder is touched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mdflash.config.rules import warnings
from mdflash.config.schema import Dynamics, RunConfig, SystemEntry
from mdflash.core.gpu import find_gpu, gpu_is_there
from mdflash.core.state import Layout, State
from mdflash.core.system import System, load_system
from mdflash.core.types import FloatArray
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.blocks.ranks import SharedPropagator, part, split, view
from mdflash.engine.distributed import Ranks
from mdflash.engine.engine import Engine
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.engine.guards import Guard
from mdflash.errors import InputError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import ForceField, load_forcefield
from mdflash.integrators import INTEGRATORS
from mdflash.integrators.base import Integrator
from mdflash.integrators.respa import resonance
from mdflash.integrators.timestep_check import coarse_step
from mdflash.io.frames import load_frames
from mdflash.mapping.structure import map_structure
from mdflash.potentials.base import SumPotential
from mdflash.potentials.bias.bias import Bias, biases_of
from mdflash.runs.biases import build_biases, build_scales


@dataclass(frozen=True)
class Prepared:
    """A run, ready to start at step 0.

    Attributes:
        config: what it was made from, seed included.
        layout: its batch.
        forcefields: one for each system of the layout.
        potential: the sum of their terms and of the biases.
        start: [B, 3] Å, before minimisation.
        notes: sentences a person should read (what was skipped, cycled, assumed).
    """

    config: RunConfig
    layout: Layout
    forcefields: tuple[ForceField, ...]
    potential: SumPotential
    start: torch.Tensor
    notes: tuple[str, ...]

    @property
    def biases(self) -> tuple[Bias, ...]:
        """Those among the potential's terms."""
        return biases_of(self.potential)

    def simulation(self, ranks: Ranks | None = None) -> Engine:
        """A simulation at rest at the start frames, with the threads that the run asks for.

        Its biases are its own: what becomes of their parameters does not show here, nor in other simulations.

        Args:
            ranks: who carries it together; default: this process alone.

        Raises:
            InputError: more ranks than replicas.
        """
        ranks = ranks or Ranks()
        set_threads(self.config.hardware.threads or ranks.threads)
        terms = [term.copy() if isinstance(term, Bias) else term for term in self.potential.terms]
        own = dataclasses.replace(self, potential=SumPotential(terms))
        arguments = own.arguments(ranks.local_rank)
        shared = None if ranks.size == 1 else own._share(ranks, arguments)
        return Engine(**arguments, shared=shared)

    def _share(self, ranks: Ranks, arguments: Mapping[str, Any]) -> SharedPropagator:
        """The propagator over many ranks, with an engine for the replicas of this one."""
        replicas = split(self.layout, ranks.size)[ranks.rank]
        layout, systems = part(self.layout, replicas)
        terms = [*build_potential([self.forcefields[s] for s in systems], layout).terms, *self.biases]
        own = {
            "layout": layout,
            "potential": SumPotential(terms),
            "state": view(arguments["state"], self.layout, replicas),
            "exchange": None,
            "guard": None,
        }
        return SharedPropagator(ranks, self.layout, Engine(**{**arguments, **own}))

    def arguments(self, local_rank: int = 0) -> dict[str, Any]:
        """The arguments of an Engine at rest at the start frames.

        Args:
            local_rank: the number of this process on its machine; chooses its GPU, where the run wants one.

        Raises:
            InputError: there is no GPU.
        """
        config = self.config
        if config.dynamics.seed is None:
            raise ValueError("the run has no seed yet; see RunConfig.with_seed")
        return {
            "layout": self.layout,
            "potential": self.potential,
            "state": State.at(self.layout, self.start, config.temperatures, config.box),
            "integrator": make_integrator(config.dynamics),
            "seed": config.dynamics.seed,
            "skin": config.neighbors.skin,
            "remove_com_motion": config.dynamics.remove_com_motion,
            "precision": config.model.precision,
            "kernels": config.model.kernels,
            "filters": config.model.filters,
            "network_every": config.dynamics.network_every,
            "gpu": self._gpu(local_rank),
            "gpu_must": config.hardware.device == "cuda",
            "exchange": make_exchange(config, self.layout, self.biases),
            "guard": Guard(self.layout, config.guards.nonfinite, config.guards.max_force),
        }

    def _gpu(self, local_rank: int) -> torch.device | None:
        """The GPU that the run asks for, or that would serve a network."""
        wanted, kernels = self.config.hardware.device, self.config.model.kernels
        networks = any(ff.networks for ff in self.forcefields)
        if wanted == "cuda" or (wanted == "auto" and networks and kernels == "auto" and gpu_is_there()):
            return find_gpu(local_rank)
        return None


def make_exchange(config: RunConfig, layout: Layout, biases: Sequence[Bias]) -> ReplicaExchange | None:
    """The exchange that a run asks for."""
    if config.exchange is None or config.exchange_every is None:
        return None
    traded = [bias for bias in biases if bias.name in config.exchange.traded]
    return ReplicaExchange(layout, config.exchange_states, config.exchange_every, config.exchange.scheme, traded)


def make_integrator(dynamics: Dynamics) -> Integrator:
    """The scheme that a run asks for."""
    return INTEGRATORS[dynamics.integrator].from_settings(dynamics.timestep, dynamics.friction)


def prepare(config: RunConfig) -> Prepared:
    """Read everything a run needs.

    Raises:
        InputError: a structure, frame or force field is wrong or they do not fit; the text says which and how.
    """
    loaded = {folder: load_forcefield(folder) for folder in dict.fromkeys(config.forcefields)}
    forcefields = tuple(loaded[folder] for folder in config.forcefields)
    notes: list[str] = []
    molecules = [_read_system(entry, ff, notes) for entry, ff in zip(config.system, forcefields, strict=True)]
    return assemble(config, molecules, forcefields, notes)


def assemble(
    config: RunConfig,
    molecules: Sequence[tuple[System, FloatArray]],
    forcefields: Sequence[ForceField],
    said: Sequence[str] = (),
) -> Prepared:
    """As `prepare`, from molecules with their start frames [F, N, 3] Å, and a force field for each.

    Args:
        config: its `system` entries give the counts; their files are not read.
        molecules: one for each entry.
        forcefields: one for each entry.
        said: notes about how the molecules were read.

    Raises:
        InputError: a start position that is not finite, or a force field that does not fit.
    """
    notes = [*warnings(config), *said]
    starts: list[FloatArray] = []
    for (system, frames), count in zip(molecules, config.counts, strict=True):
        if len(frames) < count and len(frames) > 1:
            notes.append(
                f"{system.name}: {len(frames)} start frames for {count} replicas; replica i starts from frame i, cycled"
            )
        starts.append(frames[np.arange(count) % len(frames)].reshape(-1, 3))
    layout = Layout(tuple(system for system, _ in molecules), config.counts)
    start = torch.from_numpy(np.concatenate(starts))
    State.at(layout, start, config.temperatures)  # refuses a NaN, naming replica and bead
    terms = build_potential(forcefields, layout).terms
    biases = build_biases(config, layout, [frames[0] for _, frames in molecules], forcefields)
    potential = SumPotential([*terms, *biases, *build_scales(config, layout, terms)])
    notes.extend(_impulses(config.dynamics, potential, layout, forcefields))
    coarse = coarse_step(potential.terms, layout, config.dynamics.timestep)
    if coarse is not None and INTEGRATORS[config.dynamics.integrator].has_velocities:
        notes.append(f"dynamics.timestep: {coarse}")
    return Prepared(config, layout, tuple(forcefields), potential, start, tuple(notes))


def _impulses(
    dynamics: Dynamics, potential: SumPotential, layout: Layout, forcefields: Sequence[ForceField]
) -> list[str]:
    """Notes on `network_every`."""
    if dynamics.network_every > 1 and not any(ff.networks for ff in forcefields):
        raise InputError(
            "no force field of this run has a network, so all of it acts at every step; write `network_every: 1`",
            key="dynamics.network_every",
        )
    said = resonance(potential.terms, layout, dynamics.timestep, dynamics.network_every)
    return [said] if said else []


def _read_system(entry: SystemEntry, ff: ForceField, notes: list[str]) -> tuple[System, FloatArray]:
    """The molecule of one entry, under its name, and its start frames [F, N, 3] Å."""
    mapping = ff.mapping if entry.mapping == "from-forcefield" else entry.mapping
    system, frames = read_molecule(entry.structure, mapping, ff, entry.name, notes)
    if entry.start is not None:
        frames = load_frames(entry.start, system)
    if frames is None or not len(frames):
        raise InputError(
            "holds no start frames; name some with 'start', for example `start: frames.npy` ([F, N, 3] in Å)",
            file=entry.structure,
            key="system.start",
        )
    return system, frames


def read_molecule(
    structure: Path, mapping: str, ff: ForceField, name: str, notes: list[str]
) -> tuple[System, FloatArray | None]:
    """The molecule of a structure file under `name`, and its frames [F, N, 3] Å; what is odd goes to `notes`."""
    if structure.suffix == ".safetensors":
        system, frames = load_system(structure)
        return dataclasses.replace(system, name=name), frames
    mapped = map_structure(structure, mapping, ff, name)
    notes.extend(f"{name}: {sentence}" for sentence in mapped.notes)
    return mapped.system, mapped.positions

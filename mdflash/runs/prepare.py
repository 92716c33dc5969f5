"""From a validated run description to something that can run: molecules, start frames, potential, integrator.

Everything that can be wrong with the input is found here, before the run folder is touched.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mdflash.config.molecules import SystemEntry
from mdflash.config.rules import warnings
from mdflash.config.schema import Dynamics, RunConfig
from mdflash.core.files import size_text
from mdflash.core.geometry import long_axis, whole
from mdflash.core.gpu import find_gpu, gpu_is_there
from mdflash.core.overlap import in_one_place
from mdflash.core.partition import by_rank
from mdflash.core.scale import other_unit
from mdflash.core.state import Layout, State
from mdflash.core.system import System
from mdflash.core.types import Box, FloatArray
from mdflash.engine import settings
from mdflash.engine.annealing import Stage
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.blocks.ranks import across_ranks
from mdflash.engine.choose import choose_propagator
from mdflash.engine.compression import FRICTION, Compression, compress
from mdflash.engine.distributed import Ranks
from mdflash.engine.engine import Engine
from mdflash.engine.ensemble.bins import Bins
from mdflash.engine.ensemble.ensemble import Target, WeightedEnsemble
from mdflash.engine.ensemble.resample import Scheme
from mdflash.engine.ensemble.revo import Revo
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.engine.guards import Guard
from mdflash.engine.protocols import Choose, Chosen
from mdflash.engine.settings import Backend
from mdflash.errors import InputError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.committee import Committee
from mdflash.forcefields.model import ForceField, oddities
from mdflash.integrators import INTEGRATORS
from mdflash.integrators.base import Integrator
from mdflash.integrators.respa import resonance
from mdflash.integrators.timestep_check import coarse_step, impossible_step, shortest_period
from mdflash.io.formats import written_format
from mdflash.io.topology import beyond_pdb
from mdflash.neighbors.verlet import check_box
from mdflash.potentials.base import Potential, SumPotential
from mdflash.potentials.bias.bias import Bias, biases_of
from mdflash.potentials.bias.grid_bias import GridBias, grid_biases_of
from mdflash.potentials.forms import NATIVE
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.runs.biases import build_biases, build_metadynamics, build_monitored, build_scales, build_walkers
from mdflash.runs.entries import read_entry
from mdflash.runs.environment import surround
from mdflash.runs.territory import committees_of


@dataclass(frozen=True)
class Prepared:
    """A run, ready to start at step 0.

    Attributes:
        config: what it was made from, seed included.
        layout: its batch.
        forcefields: one for each system of the layout.
        potential: the sum of their terms and of the biases.
        start: [B, 3] Å, before minimization.
        notes: messages for the user (what was skipped, cycled, assumed).
        monitored: variables that are recorded only, each as a bias without force that is no term of the potential.
        walkers: the variable of a weighted ensemble, likewise; None without one.
        compression: of the box, before step 0; None without one. The start is that in its larger box.
        committees: by the number of the system, where their spread is watched.
    """

    config: RunConfig
    layout: Layout
    forcefields: tuple[ForceField, ...]
    potential: SumPotential
    start: torch.Tensor
    notes: tuple[str, ...]
    monitored: tuple[Bias, ...] = ()
    walkers: Bias | None = None
    compression: Compression | None = None
    committees: Mapping[int, Committee] = field(default_factory=dict)

    @property
    def biases(self) -> tuple[Bias, ...]:
        """Those among the potential's terms."""
        return biases_of(self.potential)

    @property
    def grid_biases(self) -> tuple[GridBias, ...]:
        """Those on grids among the potential's terms."""
        return grid_biases_of(self.potential)

    def engine(self, ranks: Ranks | None = None, *, as_placed: bool = False) -> Engine:
        """An engine at rest at the start frames, with the threads that the run asks for.

        Its biases are its own: what becomes of their parameters does not show here, nor in other engines.

        Args:
            ranks: who runs it together; default: this process alone.
            as_placed: in the larger box that is compressed first, where there is one.

        Raises:
            InputError: more ranks than replicas, or there is no GPU.
        """
        ranks = ranks or Ranks()
        set_threads(self.config.hardware.threads or ranks.threads)
        terms = [term.copy() if isinstance(term, (Bias, GridBias)) else term for term in self.potential.terms]
        own = dataclasses.replace(self, potential=SumPotential(terms))
        choose = partial(choose_propagator, own.layout, own.potential) if ranks.size == 1 else own._across(ranks)
        larger = self.compression.start if as_placed and self.compression is not None else None
        engine = Engine(
            own.layout, own.potential, own.state(), own.dynamics(), own.backend(ranks.local_rank),
            annealing=own.annealing(), exchange=own.exchange(), ensemble=own.ensemble(),
            guard=own.guard(), choose=choose if larger is None else _first_in(larger, choose),
        )  # fmt: skip
        if larger is not None:
            engine.state.box = larger
        return engine

    def _across(self, ranks: Ranks) -> Choose:
        """Propagators over many ranks, with this one's share of the replicas."""
        parts = by_rank(self.layout, ranks.size)
        part = parts[ranks.rank]
        terms = [
            *build_potential([self.forcefields[s] for s in part.systems], part.layout).terms,
            *self.biases,
            *self.grid_biases,
        ]
        choose: Choose = partial(choose_propagator, part.layout, SumPotential(terms))
        if _networks(self.potential.terms) and not _networks(terms):
            choose = _beside_networks(choose)
        return across_ranks(ranks, parts, choose)

    def state(self) -> State:
        """At rest at the start frames, in the box of the run."""
        return State.at(self.layout, self.start, self.config.temperatures, self.config.box)

    def settle(self, engine: Engine, should_stop: Callable[[], bool], say: Callable[[str], None]) -> bool:
        """Bring an engine of this run from the start frames to step 0; False where it was stopped.

        Raises:
            UnstableError: a start frame has no finite energy.
        """
        config = self.config
        if self.compression is not None:
            entry = config.dynamics
            friction = max(entry.friction, FRICTION)
            dynamics = dataclasses.replace(
                self.dynamics(), integrator=INTEGRATORS[entry.integrator].from_settings(entry.timestep, friction)
            )
            if not compress(engine, self.compression, dynamics, should_stop, say):
                return False
        elif config.dynamics.minimize:
            engine.minimize(config.dynamics.minimize)
        engine.evaluate()
        engine.require_finite()
        if engine.integrator.has_velocities:
            engine.draw_velocities()
        return True

    def dynamics(self) -> settings.Dynamics:
        """What a step of the run is."""
        dynamics = self.config.dynamics
        if dynamics.seed is None:
            raise ValueError("the run has no seed yet; see RunConfig.with_seed")
        return settings.Dynamics(
            integrator=make_integrator(dynamics),
            seed=dynamics.seed,
            skin=self.config.neighbors.skin,
            remove_com_motion=dynamics.remove_com_motion,
            network_every=dynamics.network_every,
        )

    def backend(self, local_rank: int = 0) -> Backend:
        """How the run's forces are computed.

        Args:
            local_rank: the number of this process on its machine; chooses its GPU, where the run wants one.

        Raises:
            InputError: there is no GPU.
        """
        model, device = self.config.model, self.config.hardware.device
        networks = any(ff.networks for ff in self.forcefields)
        gpu = device == "cuda" or (device == "auto" and networks and model.kernels != "reference" and gpu_is_there())
        return Backend(
            precision=model.precision,
            kernels=model.kernels,
            filters=model.filters,
            gpu=find_gpu(local_rank) if gpu else None,
            gpu_must=device == "cuda",
        )

    def exchange(self) -> ReplicaExchange | None:
        """The exchange that the run asks for."""
        config = self.config
        if config.exchange is None or config.exchange_every is None:
            return None
        traded = [bias for bias in self.biases if bias.name in config.exchange.traded]
        return ReplicaExchange(
            self.layout, config.exchange_states, config.exchange_every, config.exchange.scheme, traded
        )

    def ensemble(self) -> WeightedEnsemble | None:
        """The weighted ensemble that the run asks for."""
        entry = self.config.weighted_ensemble
        if entry is None or self.walkers is None:
            return None
        scheme: Scheme = Bins(entry.bins)
        if entry.merge_distance is not None:
            scheme = Revo(entry.merge_distance, 2.0 * np.pi if self.walkers.variable.periodic else None)
        target = None if entry.target is None else Target(*entry.target)
        return WeightedEnsemble(self.layout, self.walkers, self.config.steps_in(entry.every), scheme, target)

    def annealing(self) -> tuple[Stage, ...]:
        """The schedule of temperatures that the run asks for."""
        found: list[Stage] = []
        for entry in self.config.dynamics.annealing:
            begin = (found[-1].stop if found else 0) + self._steps(entry.after)
            stop = begin + self._steps(entry.length)
            found.append(Stage(entry.to, begin, stop, self._steps(entry.every), entry.form))
        return tuple(found)

    def _steps(self, time: float) -> int:
        return round(time / self.config.dynamics.timestep)

    def guard(self) -> Guard:
        """The guard that the run asks for."""
        return Guard(self.layout, self.config.guards.nonfinite, self.config.guards.max_force)


_BYTES_PER_BEAD = 400
"""Of a batch, about: its state, the start frames, and what a checkpoint is made of."""


def _refuse_beyond_memory(config: RunConfig, beads: Sequence[int]) -> None:
    """Raise InputError where the replicas cannot fit the memory of this machine."""
    need = _BYTES_PER_BEAD * sum(n * count for n, count in zip(beads, config.counts, strict=True))
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > there:
        raise InputError(
            f"{sum(config.counts):,} replicas of {max(beads):,} beads take about {size_text(need)} of memory, and this "
            f"machine has {size_text(there)}; write a smaller number",
            key="replicas.count",
        )


def _first_in(larger: Box, choose: Choose) -> Choose:
    """Makes its first choice in a larger box, where the start frames do not overlap.

    The engine itself is made in the box of the run, which is that of its biases.
    """
    boxes = iter([larger])

    def chosen(state: State, dynamics: settings.Dynamics, backend: Backend) -> Chosen:
        box = next(boxes, None)
        if box is not None:
            state = state.copy()
            state.box = box
        return choose(state, dynamics, backend)

    return chosen


def _networks(terms: Sequence[Potential]) -> bool:
    return any(isinstance(term, SchNetPotential) for term in terms)


def _beside_networks(choose: Choose) -> Choose:
    """The choice of a share without a network, of a batch that has one: on a GPU too, its terms are float64."""

    def chosen(state: State, dynamics: settings.Dynamics, backend: Backend) -> Chosen:
        if backend.gpu is not None:
            backend = dataclasses.replace(backend, precision="fp64", filters="auto")
        return choose(state, dynamics, backend)

    return chosen


def make_integrator(dynamics: Dynamics) -> Integrator:
    """The scheme that a run asks for."""
    return INTEGRATORS[dynamics.integrator].from_settings(dynamics.timestep, dynamics.friction)


def prepare(config: RunConfig) -> Prepared:
    """Read everything a run needs.

    Raises:
        InputError: a structure, frame or force field is wrong or they do not fit; the message names it.
    """
    notes: list[str] = []
    loaded: dict[Path, ForceField] = {}
    entries = [read_entry(config, s, loaded, notes) for s in range(len(config.system))]
    prepared = assemble(config, [(e.system, e.frames) for e in entries], [e.forcefield for e in entries], notes)
    compression = entries[0].compression
    if compression is None:
        return prepared
    cutoff = prepared.potential.cutoff
    reach = cutoff + config.neighbors.skin if cutoff else 0.0
    check_box(compression.box, reach)  # kernels are first chosen in the larger box
    thin = compression.end[long_axis(compression.box)]
    if compression.end != compression.box and thin < 2 * reach:
        raise InputError(
            f"the box shrinks to {thin / 10:.3g} nm along its longest edge, less than twice cutoff + skin "
            f"({2 * reach / 10:.3g} nm), so beads would meet two images of another; make the slab thicker (more "
            "copies, or narrower short edges), or write `compress: null`",
            key="system.compress",
        )
    return dataclasses.replace(prepared, compression=compression)


def assemble(
    config: RunConfig,
    molecules: Sequence[tuple[System, FloatArray]],
    forcefields: Sequence[ForceField],
    notes: Sequence[str] = (),
) -> Prepared:
    """As `prepare`, from molecules with their start frames [F, N, 3] Å, and a force field for each.

    Args:
        config: its `system` entries give the counts; their files are not read.
        molecules: one for each entry.
        forcefields: one for each entry.
        notes: about how the molecules were read.

    Raises:
        InputError: a start position that is not finite or in another unit than Å, or a force field that does not fit.
    """
    notes = [*warnings(config), *_equal_times(config), *notes]
    config, forcefields = surround(config, forcefields, notes)
    _refuse_beyond_memory(config, [system.n_beads for system, _ in molecules])
    starts: list[FloatArray] = []
    first: list[FloatArray] = []
    for entry, (system, frames), count in zip(config.system, molecules, config.counts, strict=True):
        if len(frames) < count and len(frames) > 1:
            notes.append(
                f"{system.name}: {len(frames)} start frames for {count} replicas; replica i starts from frame i, cycled"
            )
        if (what := beyond_pdb(system)) is not None:
            notes.append(
                f"{system.name}: PDB files have no columns for {what}; topology.cif beside topology.pdb has it in full"
            )
        if config.box is not None and (joined := whole(frames, system.bonds, config.box)) is not frames:
            frames = joined
            notes.append(f"{system.name}: molecules that the box had split in start frames were made whole")
        if (what := other_unit(system, frames)) is not None:
            raise InputError(f"start frames of {system.name}: {what}", file=_source(entry))
        if (what := in_one_place(system, frames[:count])) is not None:
            raise InputError(
                f"start frames of {system.name}: {what}; every bead needs a place of its own",
                file=_source(entry),
            )
        first.append(frames[0])
        starts.append(frames[np.arange(count) % len(frames)].reshape(-1, 3))
    layout = Layout(tuple(system for system, _ in molecules), config.counts)
    start = torch.from_numpy(np.concatenate(starts))
    State.at(layout, start, config.temperatures)  # refuses a NaN, naming replica and bead
    terms = build_potential(forcefields, layout).terms
    if config.box is not None:
        notes.extend(_listed_across(terms, layout))
    biases = build_biases(config, layout, first, forcefields)
    monitored = build_monitored(config, layout, first, forcefields)
    grids = build_metadynamics(config, layout, first, forcefields)
    potential = SumPotential([*terms, *biases, *build_scales(config, layout, terms), *grids])
    notes.extend(_impulses(config.dynamics, potential, layout, forcefields))
    notes.extend(note for ff in dict.fromkeys(forcefields) for note in oddities(ff))
    period = shortest_period(potential.terms, layout, _largest_scales(config))
    impossible = impossible_step(make_integrator(config.dynamics), period, config.dynamics.friction)
    if impossible is not None and config.guards.nonfinite == "stop":
        raise InputError(impossible, key="dynamics.timestep")
    coarse = impossible or coarse_step(potential.terms, layout, config.dynamics.timestep)
    if coarse is not None and INTEGRATORS[config.dynamics.integrator].has_velocities:
        notes.append(f"dynamics.timestep: {coarse}")
    walkers = build_walkers(config, layout, first, forcefields)
    watched = config.guards.spread is not None
    committees = committees_of(layout, tuple(forcefields), config.box is not None) if watched else {}
    return Prepared(
        config, layout, tuple(forcefields), potential, start, tuple(notes), monitored, walkers, committees=committees
    )


def _listed_across(terms: Sequence[Potential], layout: Layout) -> list[str]:
    """Notes on native contacts that are listed between chains, in a periodic box."""
    found = []
    for term in terms:
        if not isinstance(term, PriorTerm) or term.form.name not in NATIVE:
            continue
        for system, (index, _) in zip(layout.systems, term.tables, strict=True):
            chain = system.chain_index[index]
            if (across := int((chain[:, 0] != chain[:, 1]).sum())) > 0:
                found.append(
                    f"{system.name}: {across} rows of '{term.name}' are between chains; they act on these two chains "
                    "as they lie, not on nearest images, so a chain that leaves through the box does not meet "
                    "them again there (`between_copies: contacts` acts on nearest images)"
                )
    return found


def _source(entry: SystemEntry) -> Path | None:
    """The file of the start frames."""
    return entry.structure if entry.start is None else entry.start.file


def _largest_scales(config: RunConfig) -> dict[str, float]:
    """By term that replicas exchange the strength of, the largest."""
    return {} if config.exchange is None else {term: max(scales) for term, scales in config.exchange.scale.items()}


def _equal_times(config: RunConfig) -> list[str]:
    """A note where the trajectory's format cannot tell the times of its last frames."""
    trajectory, every = config.output.trajectory, config.trajectory_every
    if every is None or not written_format(trajectory.format).float32_times:
        return []
    apart, end = every * config.dynamics.timestep, config.total_steps * config.dynamics.timestep
    if np.spacing(np.float32(end)) <= apart / 2:
        return []
    lost = apart * 2.0**22  # ps; from the power of two at or below it on
    return [
        f"output.trajectory.format: {trajectory.format} keeps times as float32: beyond {lost * 1e-6:.2g} µs, frames "
        f"{apart:g} ps apart have rounded or equal times there (the frames and their order are right); write "
        "`format: hdf5`, or count frames"
    ]


def _impulses(
    dynamics: Dynamics, potential: SumPotential, layout: Layout, forcefields: Sequence[ForceField]
) -> list[str]:
    """Notes on `network_every`."""
    if dynamics.network_every > 1 and not any(ff.networks for ff in forcefields):
        raise InputError(
            "no force field of this run has a network, so all of it acts at every step; write `network_every: 1`",
            key="dynamics.network_every",
        )
    note = resonance(potential.terms, layout, dynamics.timestep, dynamics.network_every)
    return [note] if note else []

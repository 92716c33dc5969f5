"""Engine: replicas carried through time in blocks, with reporters in between.

A block is the stretch of steps until the next reporter is due. Inside it nothing returns to Python where the potential
is compiled. How steps are grouped into blocks changes no bit of the result.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import numba
import numpy as np
import numpy.typing as npt
import torch

from mdflash.core.gpu import describe
from mdflash.core.state import Layout, State
from mdflash.engine.blocks.compiled import CompiledPriors, CompiledPropagator
from mdflash.engine.blocks.plain import PlainPropagator
from mdflash.engine.blocks.ranks import SharedPropagator
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.engine.guards import Guard, unstable
from mdflash.engine.minimize import Minimized, minimize
from mdflash.errors import GpuRefused, InputError, UnstableError
from mdflash.integrators.base import Integrator
from mdflash.integrators.cpu import kinetic_energies, maxwell_boltzmann, remove_com_motion
from mdflash.integrators.respa import check_network_every
from mdflash.potentials.base import Potential, SumPotential
from mdflash.potentials.bias.bias import biases_of
from mdflash.potentials.pack import pack
from mdflash.potentials.precision import Recentred
from mdflash.potentials.schnet.pack import Precision as Precision
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tabulated import FilterKind, FlashSchNet, take_networks
from mdflash.potentials.variables.images import check_images
from mdflash.units import BOLTZMANN

Kernels = Literal["auto", "reference"]

LONGEST_BLOCK = 0.5
"""Seconds after which a block ends anyway, so that signals and time limits are noticed."""


class Reporter(Protocol):
    """Something that wants to see the simulation now and then."""

    def next_report(self, step: int) -> int:
        """The first step after `step` at which `report` is due."""

    def report(self, simulation: Engine) -> None:
        """Look at the simulation; energy and forces belong to the positions."""


class Propagator(Protocol):
    """Carries a state through steps; see `propagate.compiled` and `propagate.plain`."""

    kernels: str

    def evaluate(self, state: State) -> None: ...

    def advance(self, state: State, steps: int) -> npt.NDArray[np.int64]: ...


class Engine:
    """A batch of replicas under a potential and an integrator.

    Args:
        layout: the systems and their replicas.
        potential: what acts on them; built-in terms are compiled, others take the plain loop with the same results.
        state: where they are; changed in place.
        integrator: the scheme, with its time step in ps.
        seed: of all random numbers, 0 to 2^32 - 1.
        skin: of the neighbour list, Å; changes speed, not results.
        remove_com_motion: take out each replica's centre of mass velocity after every step.
        precision: arithmetic of networks ("fp32": every replica recentred first); state and priors are float64.
            "mixed16": fp32 with filter tables in 16 bits.
        kernels: "auto", or "reference" for plain torch throughout.
        filters: of networks: "table"; "exact", in plain torch on a CPU; "auto": tables where they are exact enough.
        exchange: replica exchange, or None.
        guard: what happens to replicas that fail; default: they end the run.
        shared: carries the batch over many ranks; None: this process carries all of it.
        network_every: networks act at every so many steps, priors and biases at each; see `integrators.respa`.
        gpu: that carries the batch, from `gpu.find_gpu`; None: the CPU.
        gpu_must: raise where the GPU cannot carry it; else the CPU does, and a note says why.

    Attributes:
        reporters: asked in this order at every step they want.
        notes: sentences about what did not fit the fast kernels, and what a lower precision costs.
    """

    def __init__(
        self,
        layout: Layout,
        potential: Potential,
        state: State,
        integrator: Integrator,
        *,
        seed: int,
        skin: float = 2.0,
        remove_com_motion: bool = False,
        precision: Precision = "fp64",
        kernels: Kernels = "auto",
        filters: FilterKind = "auto",
        exchange: ReplicaExchange | None = None,
        guard: Guard | None = None,
        shared: SharedPropagator | None = None,
        network_every: int = 1,
        gpu: torch.device | None = None,
        gpu_must: bool = True,
    ) -> None:
        if not 0 <= seed < 2**32:
            raise InputError(f"the seed must be a whole number from 0 to {2**32 - 1}, found {seed}")
        self.layout, self.potential, self.state, self.integrator = layout, potential, state, integrator
        self.seed, self.skin, self.remove_com_motion = seed, skin, remove_com_motion
        self.exchange, self.guard = exchange, guard or Guard(layout)
        self.reporters: list[Reporter] = []
        check_network_every(integrator, network_every)
        if state.box is not None:
            for bias in biases_of(potential):
                for s in np.unique(layout.system_of_replica[bias.rows(layout) >= 0]):
                    check_images(bias.variable, layout.systems[s])
        self.network_every = network_every
        self.gpu: torch.device | None = gpu if shared is None else shared.own.gpu
        self._precision: Precision = precision
        self._kernels: Kernels = kernels
        self._filters: FilterKind = filters
        self.notes: tuple[str, ...] = () if shared is None else shared.own.notes
        self._shared = shared
        self.propagator: Propagator = shared or self._choose(precision, kernels, gpu_must)
        self._block = 16
        self._current = False

    def _choose(self, precision: Precision, kernels: Kernels, gpu_must: bool) -> Propagator:
        terms = self.potential.terms if isinstance(self.potential, SumPotential) else (self.potential,)
        if self.gpu is None:
            return self._choose_cpu(terms, precision, kernels)
        try:
            return self._choose_gpu(terms, precision, kernels)
        except GpuRefused as refused:
            if gpu_must:
                raise
            self.gpu = None
            propagator = self._choose_cpu(terms, precision, kernels)
            self.notes = (f"the CPU carries this: {refused.why}", *self.notes)
            return propagator

    def _choose_cpu(self, terms: Sequence[Potential], precision: Precision, kernels: Kernels) -> Propagator:
        common = (self.integrator, self.seed, self.skin, self.remove_com_motion, self.state.box)

        def lowered(terms: Sequence[Potential]) -> list[Potential]:
            """Networks in the precision asked for; all else keeps float64, and sees where the replica is."""
            return [Recentred(t, torch.float32) if precision != "fp64" and _is_network(t) else t for t in terms]

        def plain(terms: Sequence[Potential]) -> PlainPropagator:
            slow = [t for t in terms if self.network_every > 1 and _is_network(t)]
            fast = SumPotential([t for t in terms if t not in slow])
            networks = SumPotential(slow) if slow else None
            return PlainPropagator(self.layout, fast, *common, networks, self.network_every)

        if kernels == "reference":
            if precision == "mixed16" or self._filters == "table":
                what = "precision: mixed16" if precision == "mixed16" else "filters: table"
                raise InputError(f"`{what}` needs filter tables; the reference has none: write `kernels: auto`")
            return plain(lowered(terms))
        packed = pack(terms, self.layout)
        networks, rest, self.notes = take_networks(
            packed.rest, self.layout, precision, self.state.positions, self._filters
        )
        if not rest:
            packed = packed._replace(networks=networks, rest=())
            return CompiledPropagator(self.layout, packed, *common, self.network_every)
        compiled: list[Potential] = []
        if len(packed.rest) < len(terms):
            compiled.append(CompiledPriors(packed, self.state.box))
        if networks is not None:
            compiled.append(FlashSchNet(networks, self.state.box))
        return plain([*compiled, *lowered(rest)])

    def _choose_gpu(self, terms: Sequence[Potential], precision: Precision, kernels: Kernels) -> Propagator:
        from mdflash.engine.gpu.choose import on_gpu  # imports triton, which a CPU need not have

        assert self.gpu is not None
        if kernels == "reference":
            raise GpuRefused("the reference kernels run in plain torch on the CPU")
        propagator, self.notes = on_gpu(
            self.layout, terms, self.state, self.integrator, self.seed, self.skin, self.remove_com_motion,
            precision=precision, filters=self._filters, network_every=self.network_every, device=self.gpu,
        )  # fmt: skip
        return propagator

    @property
    def time(self) -> float:
        """Simulated time in ps."""
        return self.state.step * self.integrator.timestep

    def evaluate(self) -> None:
        """Bring energy and forces up to date with the positions (call it after changing them)."""
        self.propagator.evaluate(self.state)
        self._changed()

    def _changed(self) -> None:
        self._current = True
        self.guard.forget()

    def up_to_date(self) -> None:
        """Say that energy and forces of the state belong to its positions, as after restoring a checkpoint."""
        self._current = True

    def minimize(self, steps: int, tolerance: float = 1.0) -> Minimized:
        """Minimise the energy of every replica; see `minimize.minimize`."""
        result = minimize(self.layout, self.state, self.propagator.evaluate, steps, tolerance)
        self._changed()
        return result

    def draw_velocities(self) -> None:
        """Set Maxwell-Boltzmann velocities at each replica's temperature."""
        masses, v = self.layout.masses.numpy(), self.state.velocities.numpy()
        for r, replica in enumerate(self.layout.replica_ids):
            rows = self.layout.rows(r)
            kT = BOLTZMANN * float(self.state.temperature[r])
            v[rows] = maxwell_boltzmann(masses[rows], kT, self.seed, replica)
            if self.remove_com_motion:
                remove_com_motion(v[rows], masses[rows])
        self.guard.forget()

    def kinetic_energy(self) -> npt.NDArray[np.float64]:
        """[R] in kcal/mol, from the velocities as the integrator defines them (half-step ones for langevin-middle)."""
        out: npt.NDArray[np.float64] = kinetic_energies(
            self.state.velocities.numpy(), self.layout.masses.numpy(), self.layout.bead_offset
        )
        return out

    @property
    def device(self) -> str:
        """Where the batch is carried, in words: 'CPU, 8 threads', 'GPU 0, NVIDIA H100 80GB HBM3'."""
        threads = numba.get_num_threads()
        return f"CPU, {threads} thread{'s' if threads > 1 else ''}" if self.gpu is None else describe(self.gpu)

    @property
    def device_kind(self) -> str:
        """ "cpu" or "cuda": bits are the same on all of one kind."""
        return "cpu" if self.gpu is None else "cuda"

    def instantaneous_temperature(self) -> npt.NDArray[np.float64]:
        """[R] in K."""
        freedom = 3 * np.diff(self.layout.bead_offset) - (3 if self.remove_com_motion else 0)
        return np.asarray(2.0 * self.kinetic_energy() / (BOLTZMANN * np.maximum(freedom, 1)))

    def run(self, steps: int, should_stop: Callable[[], bool] = lambda: False) -> int:
        """Do `steps` steps, calling reporters when they are due.

        Args:
            steps: how many.
            should_stop: asked between blocks (at least about every half second); True ends the run there.

        Returns:
            The steps done.

        Raises:
            UnstableError: a replica's energy is no longer finite, and the guard does not help. Reporters have seen
                everything before that block.
        """
        if not self._current:
            self.evaluate()
        self.require_finite()
        self.guard.begin(self.state)
        begin, end = self.state.step, self.state.step + steps
        while self.state.step < end:
            if should_stop() and not self.guard.pending:
                break
            step = self.state.step
            boundary = self._next_boundary(step)
            target = min(boundary, end)
            block = min(target, step + self._block) - step
            started = time.perf_counter()
            failed = self._with_lost_beads(self.propagator.advance(self.state, block))
            # ranks must agree on the next block, so they go by the same clock
            self._adapt(block, self._shared.seconds if self._shared else time.perf_counter() - started)
            try:
                self.guard.after_block(self, failed)
                if self.state.step == target:
                    self.guard.settle(self)
            except UnstableError:
                self._current = False
                raise
            if self.state.step == boundary:
                self._at_boundary(step)
        return self.state.step - begin

    def _next_boundary(self, step: int) -> int:
        """The next step at which something is due; see `guards` for what hangs on it."""
        due = [self._next_report(r) for r in self.reporters]
        if self.exchange is not None:
            due.append(self.exchange.next_attempt(step))
        return min([*due, self.guard.next_boundary(step)])

    def _at_boundary(self, before: int) -> None:
        """What is due after the block that began at the step `before`: reports, then the exchange."""
        step = self.state.step
        for reporter in self.reporters:
            if reporter.next_report(before) == step:
                reporter.report(self)
        if self.exchange is not None and self.exchange.next_attempt(before) == step:
            self.exchange.attempt(self)
        self.guard.mark(self.state)

    def _next_report(self, reporter: Reporter) -> int:
        due = reporter.next_report(self.state.step)
        if due <= self.state.step:
            raise InputError(
                f"the reporter {type(reporter).__name__} asks for step {due} after step {self.state.step}: "
                f"next_report must return a later step than the one it is given"
            )
        return due

    def _with_lost_beads(self, failed: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """`failed`, and replicas with a position that is not finite: a free bead can get lost without any energy."""
        finite = torch.isfinite(self.state.positions).all(dim=1).numpy()
        lost = ~np.logical_and.reduceat(finite, self.layout.bead_offset[:-1])
        return np.where(lost & (failed < 0), self.state.step - 1, failed)

    def _adapt(self, block: int, seconds: float) -> None:
        if block == self._block and seconds < 0.5 * LONGEST_BLOCK:
            self._block *= 2
        elif seconds > LONGEST_BLOCK:
            self._block = max(1, int(block * LONGEST_BLOCK / seconds))

    def require_finite(self) -> None:
        """Raise UnstableError, naming replica, bead and term, where an energy or position is not finite."""
        failed = np.where(np.isfinite(self.state.energy.numpy()), -1, self.state.step)
        failed = self._with_lost_beads(failed)
        if (failed >= 0).any():
            raise unstable(self, failed)

    def sibling(self, state: State, halvings: int, seed: int) -> Engine:
        """The same simulation from another state, each step cut in half `halvings` times, with another seed.

        It has no reporters and no exchange. With `network_every` above 1 its networks act at the same times as before:
        an impulse is the share of the whole interval around it, and of the interval in which `state` lies, that share
        has been given already.
        """
        return Engine(
            self.layout,
            self.potential,
            state,
            dataclasses.replace(self.integrator, timestep=self.integrator.timestep / 2**halvings),
            seed=seed,
            skin=self.skin,
            remove_com_motion=self.remove_com_motion,
            precision=self._precision,
            kernels=self._kernels,
            filters=self._filters,
            network_every=self.network_every << halvings if self.network_every > 1 else 1,
            gpu=self.gpu,
            shared=self._shared and self._shared.sibling(state, halvings, seed),
        )


def _is_network(term: Potential) -> bool:
    """Whether `network_every` is about this term."""
    return isinstance(term.potential if isinstance(term, Recentred) else term, (SchNetPotential, FlashSchNet))

"""Engine: replicas advanced in blocks of steps, with reporters in between.

A block is the stretch of steps until the next report. Inside it nothing returns to Python where the potential
is compiled. How steps are grouped into blocks changes no bit of the result.

Torch takes longer to import than all of this package, so whoever only names the class does without: an engine imports
what it is made of when it is made.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from mdflash.core.plural import plural
from mdflash.core.types import Box, IntArray
from mdflash.errors import InputError, UnstableError
from mdflash.integrators.base import Integrator
from mdflash.units import BOLTZMANN

if TYPE_CHECKING:
    import torch

    from mdflash.core.state import Layout, State
    from mdflash.engine.annealing import Stage
    from mdflash.engine.ensemble.ensemble import WeightedEnsemble
    from mdflash.engine.exchange.replica_exchange import ReplicaExchange
    from mdflash.engine.guards import Guard
    from mdflash.engine.minimize import Minimized
    from mdflash.engine.protocols import Changing, Choose, Propagator
    from mdflash.engine.settings import Backend, Dynamics
    from mdflash.potentials.base import Potential
    from mdflash.potentials.bias.bias import Bias
    from mdflash.potentials.bias.grid_bias import GridBias

LONGEST_BLOCK = 0.5
"""Seconds after which a block ends anyway, so that signals and time limits are noticed."""


class Reporter(Protocol):
    """Something called at chosen steps."""

    def next_report(self, step: int) -> int:
        """The first step after `step` at which `report` is due."""

    def report(self, engine: Engine, /) -> None:
        """Report on the engine; its energy and forces are up to date."""


class Engine:
    """A batch of replicas under a potential and an integrator.

        Engine(layout, potential, state, Dynamics(LangevinMiddle(0.004), seed=1), Backend(precision="fp32"))

    Args:
        layout: the systems and their replicas.
        potential: energy and forces of the batch.
        state: positions and velocities of all replicas; changed in place.
        dynamics: what a step is; see `settings`. An integrator with the settings as keywords, as in 0.1, is accepted
            for one more release.
        backend: how forces are computed; default: on the CPU, in float64.
        exchange: replica exchange, or None.
        ensemble: the weighted ensemble, or None.
        guard: what happens to replicas that fail; default: they end the run.
        choose: chooses a propagator for a state, its dynamics and a backend, such as `across_ranks`; default:
            `choose_propagator`.
        annealing: stages of a schedule of temperatures, which begins at those of the state at step 0.

    Attributes:
        annealing: moves temperatures that have a schedule.
        reporters: called in this order, each at the steps it asks for.
        steering: moves biases that have a path.
        deposits: adds hills of metadynamics.
        notes: messages about terms without fast kernels, and about the cost of a lower precision.
    """

    def __init__(
        self,
        layout: Layout,
        potential: Potential,
        state: State,
        dynamics: Dynamics | Integrator,
        backend: Backend | None = None,
        *,
        exchange: ReplicaExchange | None = None,
        ensemble: WeightedEnsemble | None = None,
        guard: Guard | None = None,
        choose: Choose | None = None,
        annealing: Sequence[Stage] = (),
        **keywords: Any,
    ) -> None:
        from mdflash.engine.annealing import Annealing
        from mdflash.engine.choose import choose_propagator
        from mdflash.engine.deposits import Deposits
        from mdflash.engine.guards import Guard
        from mdflash.engine.settings import settings_of
        from mdflash.engine.steering import Steering
        from mdflash.potentials.bias.bias import biases_of
        from mdflash.potentials.bias.grid_bias import grid_biases_of
        from mdflash.potentials.variables.images import check_images

        self.layout, self.potential, self.state = layout, potential, state
        self.dynamics, self.backend = settings_of(dynamics, backend, keywords)
        self.exchange, self.ensemble, self.guard = exchange, ensemble, guard or Guard(layout)
        self.reporters: list[Reporter] = []
        self.annealing = Annealing(state.temperature.tolist(), annealing)
        self.steering, self.deposits = Steering(layout, potential), Deposits(layout, potential)
        acting: list[Bias | GridBias] = [*biases_of(potential), *grid_biases_of(potential)]
        for bias in acting:
            for s in np.unique(layout.system_of_replica[bias.rows(layout) >= 0]):
                for variable in bias.variables:
                    check_images(variable, layout.systems[s], state.box)
        self._choose = choose or partial(choose_propagator, layout, potential)
        self.propagator: Propagator
        self.propagator, self.notes = self._choose(state, self.dynamics, self.backend)
        # whatever else this engine chooses runs on the same kind of device
        self.backend = dataclasses.replace(self.backend, gpu=self.propagator.gpu, gpu_must=True)
        self._block = 16
        self._current = False

    @property
    def changing(self) -> tuple[Changing, ...]:
        """What changes temperatures, biases and walkers between blocks, in this order."""
        walkers = () if self.ensemble is None else (self.ensemble,)
        return (self.annealing, self.steering, self.deposits, *walkers)

    @property
    def integrator(self) -> Integrator:
        """The scheme, with its time step in ps."""
        return self.dynamics.integrator

    @property
    def seed(self) -> int:
        """Seed of all random numbers."""
        return self.dynamics.seed

    @property
    def gpu(self) -> torch.device | None:
        """The GPU that computes forces; None: the CPU does."""
        return self.propagator.gpu

    @property
    def frozen(self) -> npt.NDArray[np.bool_]:
        """[R] replicas that no longer move."""
        return self.guard.frozen

    def choose(self, state: State, dynamics: Dynamics) -> Propagator:
        """A propagator of the same batch from another state, under other dynamics."""
        return self._choose(state, dynamics, self.backend).propagator

    @property
    def time(self) -> float:
        """Simulated time in ps."""
        return self.state.step * self.dynamics.timestep

    def evaluate(self) -> None:
        """Evaluate energy and forces at the positions; call it after changing them."""
        self.propagator.evaluate(self.state)
        self._changed()

    def replaced(self, rows: IntArray) -> None:
        """Note that these replicas have been given other coordinates, which are sound."""
        self.guard.replaced(rows)

    def _changed(self) -> None:
        self._current = True
        self.guard.forget()
        if self.ensemble is not None and self.state.step == 0:
            self.ensemble.begin(self.state)

    def moved(self) -> None:
        """Mark positions as changed: energy and forces are evaluated again before they are used."""
        self._current = False
        self.guard.forget()

    def refresh(self) -> None:
        """Evaluate energy and forces if positions have changed since the last evaluation."""
        if not self._current:
            self.evaluate()

    def put(self, positions: torch.Tensor, box: Box | None) -> None:
        """Go on from other positions [B, 3] Å in another box; what was chosen for the earlier ones is chosen again.

        Raises:
            ForceFieldError: the filters of a network cannot be tabulated there.
        """
        self.state.positions.copy_(positions)
        self.state.box = box
        self.propagator, self.notes = self._choose(self.state, self.dynamics, self.backend)
        self.moved()

    def up_to_date(self) -> None:
        """Mark energy and forces of the state as up to date, as after restoring a checkpoint."""
        self._current = True

    def minimize(self, steps: int, tolerance: float = 1.0) -> Minimized:
        """Minimize the energy of every replica; see `minimize.minimize`."""
        from mdflash.engine.minimize import minimize

        result = minimize(self.layout, self.state, self.propagator.evaluate, steps, tolerance)
        self._changed()
        return result

    def draw_velocities(self) -> None:
        """Set Maxwell-Boltzmann velocities at each replica's temperature."""
        from mdflash.integrators.cpu import maxwell_boltzmann, remove_com_motion

        masses, v = self.layout.masses.numpy(), self.state.velocities.numpy()
        for r, replica in enumerate(self.layout.replica_ids):
            rows = self.layout.rows(r)
            kT = BOLTZMANN * float(self.state.temperature[r])
            v[rows] = maxwell_boltzmann(masses[rows], kT, self.dynamics.seed, replica)
            if self.dynamics.remove_com_motion:
                remove_com_motion(v[rows], masses[rows])
        self.guard.forget()

    def kinetic_energy(self) -> npt.NDArray[np.float64]:
        """[R] in kcal/mol, from the velocities as the integrator defines them (half-step ones for langevin-middle)."""
        from mdflash.integrators.cpu import kinetic_energies

        out: npt.NDArray[np.float64] = kinetic_energies(
            self.state.velocities.numpy(), self.layout.masses.numpy(), self.layout.bead_offset
        )
        return out

    @property
    def device(self) -> str:
        """Where the batch runs, in words: 'CPU, 8 threads', 'GPU 0, NVIDIA H100 80GB HBM3'."""
        import numba

        from mdflash.core.gpu import describe

        return f"CPU, {plural(numba.get_num_threads(), 'thread')}" if self.gpu is None else describe(self.gpu)

    @property
    def device_kind(self) -> str:
        """ "cpu" or "cuda"; results are bit-identical on devices of one kind."""
        return "cpu" if self.gpu is None else "cuda"

    def instantaneous_temperature(self) -> npt.NDArray[np.float64]:
        """[R] in K."""
        freedom = 3 * np.diff(self.layout.bead_offset) - (3 if self.dynamics.remove_com_motion else 0)
        return np.asarray(2.0 * self.kinetic_energy() / (BOLTZMANN * np.maximum(freedom, 1)))

    def run(self, steps: int, should_stop: Callable[[], bool] = lambda: False) -> int:
        """Run `steps` steps, calling reporters when they are due.

        Args:
            steps: number of steps.
            should_stop: asked between blocks (at least about every half second); True ends the run there.

        Returns:
            The number of steps done.

        Raises:
            UnstableError: a replica's energy is no longer finite, and the guard cannot recover it.
                Reporters have received everything before that block.
        """
        from mdflash.engine.blocks.ranks import RankPropagator

        self.refresh()
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
            seconds = time.perf_counter() - started
            if isinstance(self.propagator, RankPropagator):
                seconds = self.propagator.seconds  # ranks must agree on the next block
            self._adapt(block, seconds)
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
        """The next boundary; see `guards` for what depends on it."""
        due = [self._next_report(r) for r in self.reporters]
        if self.exchange is not None:
            due.append(self.exchange.next_attempt(step))
        due += [changing.next_change(step) for changing in self.changing]
        return min([*due, self.guard.next_boundary(step)])

    def _at_boundary(self, before: int) -> None:
        """Do what follows the block that began at the step `before`: reports, changes of biases and walkers, swaps."""
        step = self.state.step
        for reporter in self.reporters:
            if reporter.next_report(before) == step:
                reporter.report(self)
        due = [changing for changing in self.changing if changing.next_change(before) == step]
        for changing in due:
            changing.change(self)
        if any(changing.moves_forces for changing in due):
            self.propagator.evaluate(self.state)
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
        finite = np.isfinite(self.state.positions.numpy())
        if finite.all():  # at once: bead by bead takes longer than a step of a small batch
            return failed
        finite = finite.all(axis=1)
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
            from mdflash.engine.diagnosis import no_start

            raise no_start(self.layout, self.potential, self.state, failed)

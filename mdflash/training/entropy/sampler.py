"""Samples of a force field while it learns: replicas of every molecule at every temperature, in one batch.

Replicas go on from where they were. One that becomes unstable is left out of the samples of that renewal, is named, and
begins anew from a frame of the data.

With `windows: hold` replicas stay in the states of the frames, each in one (see `windows`).

With a ladder, a replica is K of them, one at each temperature, which exchange every `EXCHANGE`: what is at the lowest
temperature is a sample. A ladder is left out whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mdflash.core.state import Layout, State
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.engine.engine import Engine
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.engine.guards import Guard
from mdflash.engine.settings import Backend, Dynamics
from mdflash.errors import InputError, Interrupted, UnstableError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import ForceField
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.base import Potential, SumPotential
from mdflash.training.entropy.loss import Group
from mdflash.training.entropy.section import RelativeEntropy
from mdflash.training.entropy.windows import biases_of_states, spread

EXCHANGE = 1.0
"""ps between attempts to exchange."""


@dataclass(frozen=True, eq=False)
class Samples:
    """What a simulation gave.

    Attributes:
        positions: for each group [n, N, 3] Å, float32.
        ends: for each group [replicas, N, 3] Å, where its replicas were left; of each ladder by temperature.
        counts: for each group [states] how many samples are of each.
        left_out: replicas that became unstable, in words.
    """

    positions: tuple[Tensor, ...]
    ends: tuple[FloatArray, ...]
    counts: tuple[IntArray, ...]
    left_out: tuple[str, ...]


class Sampler:
    """Simulates.

    Args:
        systems: the molecules.
        groups: what is sampled.
        settings: of the recipe.
        gpu: where, or None for the CPU.

    Raises:
        InputError: fewer than two replicas for a group; a ladder that does not rise from the one temperature of all.
    """

    def __init__(
        self, systems: Sequence[System], groups: Sequence[Group], settings: RelativeEntropy, gpu: torch.device | None
    ) -> None:
        self.groups, self.settings = groups, settings
        each, more = divmod(settings.replicas, len(groups))
        if each < 2:
            raise InputError(
                f"{settings.replicas} replicas are too few for {len(groups)} groups (each molecule at each of its "
                f"temperatures), which take two each; write for example `replicas: {16 * len(groups)}`",
                key="relative_entropy.replicas",
            )
        self.counts = [each + (k < more) for k in range(len(groups))]
        self.states = [_states(g, n) for g, n in zip(groups, self.counts, strict=True)]
        self._ladder = _ladder(groups, settings.ladder)
        self.rungs = len(self._ladder) or 1
        of_molecule = [
            sum(n for n, g in zip(self.counts, groups, strict=True) if g.molecule == m) for m in range(len(systems))
        ]
        self._layout = Layout(tuple(systems), tuple(n * self.rungs for n in of_molecule))
        self._by_molecule = sorted(range(len(groups)), key=lambda k: groups[k].molecule)
        self._firsts = self._first_replicas()
        own = np.concatenate([np.full(self.counts[k], groups[k].kelvin) for k in self._by_molecule])
        self._kelvin = (np.tile(self._ladder, len(own)) if self._ladder else own).tolist()
        self._backend = Backend(precision="fp32", kernels=settings.kernels, gpu=gpu)
        self._integrator = LangevinMiddle(settings.timestep, settings.friction)

    def _first_replicas(self) -> list[int]:
        """The first replica of each group: replicas stand molecule by molecule, groups in any order."""
        found, first = [0] * len(self.groups), 0
        for k in self._by_molecule:
            found[k], first = first, first + self.counts[k] * self.rungs
        return found

    def starts(self) -> tuple[FloatArray, ...]:
        """For each group [replicas, N, 3] of all rungs: frames of the data, drawn by their weights."""
        rng = np.random.default_rng([self.settings.seed, _Purpose.STARTS])
        return tuple(
            g.training.draw_in(np.repeat(states, self.rungs), rng).numpy().astype(np.float64)
            for g, states in zip(self.groups, self.states, strict=True)
        )

    def simulate(
        self,
        ff: ForceField,
        starts: Sequence[FloatArray],
        renewal: int,
        settle: float,
        should_stop: Callable[[], bool] = lambda: False,
        told: Callable[[float], None] = lambda share: None,
    ) -> Samples:
        """Samples of `settings.length`, after `settle` ps.

        Args:
            ff: the force field.
            starts: for each group [replicas, N, 3] Å.
            renewal: number of this simulation, which decides its noise.
            settle: ps without samples.
            should_stop: asked at least about every half second.
            told: called with the share that is done, from time to time.

        Raises:
            Interrupted: was asked to stop.
            UnstableError: no replica of a group is left.
        """
        settings, layout = self.settings, self._layout
        rng = np.random.default_rng([settings.seed, _Purpose.SIMULATION, renewal])
        state = State.at(layout, np.concatenate([starts[k].reshape(-1, 3) for k in self._by_molecule]), self._kelvin)
        dynamics = Dynamics(self._integrator, seed=int(rng.integers(2**32)))
        guard, events = Guard(layout, "freeze"), list[str]()
        guard.listeners.append(lambda step, event, **said: events.append(_said(said)) if event == "freeze" else None)
        engine = Engine(
            layout, self._potential(ff), state, dynamics, self._backend, guard=guard, exchange=self._exchange(),
        )  # fmt: skip
        engine.draw_velocities()
        every = max(1, round(settings.every / settings.timestep))
        frames = max(1, round(settings.length / settings.every))
        found: list[list[FloatArray]] = []
        begin = max(1, round(settle / settings.timestep)) if settle else 0
        last = begin + every * frames
        while engine.state.step < last:
            step = engine.state.step
            steps = min(every, begin - step) if step < begin else every
            try:
                done = engine.run(steps, should_stop)
            except UnstableError as error:  # every one of them
                raise self._hopeless(str(error)) from None
            if done < steps:
                raise Interrupted("stopped while simulating; run the same command again to resume")
            if engine.state.step > begin:
                found.append(self._split(engine))
            told(engine.state.step / last)
        sampled, ends, counts = [], [], []
        for k, (group, count, first) in enumerate(zip(self.groups, self.counts, self._firsts, strict=True)):
            frozen = engine.frozen[first : first + count * self.rungs].reshape(count, self.rungs)
            lost = frozen.any(axis=1)
            if lost.all():
                name = layout.systems[group.molecule].name
                raise self._hopeless(f"every replica of {name} at {group.kelvin:g} K became unstable: {events[-1]}")
            moved = np.array([frame[k] for frame in found])[:, ~lost, 0]  # [frames, moving, N, 3]
            counts.append(len(found) * np.bincount(self.states[k][~lost], minlength=group.windows.states))
            sampled.append(torch.from_numpy(moved.reshape(-1, *moved.shape[2:]).astype(np.float32)))
            end = found[-1][k]
            if lost.any():
                order = self._order(engine, first, count)
                gone = np.take_along_axis(frozen, order, axis=1)
                states = np.repeat(self.states[k], self.rungs).reshape(gone.shape)
                end[gone] = group.training.draw_in(states[gone], rng).numpy()
            ends.append(end.reshape(-1, *end.shape[2:]))
        return Samples(tuple(sampled), tuple(ends), tuple(counts), tuple(events))

    def _potential(self, ff: ForceField) -> SumPotential:
        """The force field, and what holds replicas in windows."""
        layout = self._layout
        potential = build_potential([ff] * len(layout.systems), layout)
        biases = list[Potential]()
        for molecule in range(len(layout.systems)):
            replicas = [
                (group.windows, int(state))
                for group, states in ((self.groups[k], self.states[k]) for k in self._by_molecule)
                if group.molecule == molecule
                for state in np.repeat(states, self.rungs)
            ]
            biases += biases_of_states(layout, molecule, replicas)
        return SumPotential([*potential.terms, *biases]) if biases else potential

    def _hopeless(self, what: str) -> UnstableError:
        return UnstableError(
            f"{what}. While samples were renewed: lower relative_entropy.learning_rate (now "
            f"{self.settings.learning_rate:g}) or .timestep (now {1e3 * self.settings.timestep:g} fs)"
        )

    def _exchange(self) -> ReplicaExchange | None:
        if not self._ladder:
            return None
        return ReplicaExchange(self._layout, self._ladder, max(1, round(EXCHANGE / self.settings.timestep)))

    def _order(self, engine: Engine, first: int, count: int) -> IntArray:
        """[count, rungs] which replica of each ladder is at each temperature, for ladders from replica `first` on."""
        kelvin = engine.state.temperature.numpy()[first : first + count * self.rungs]
        return np.asarray(kelvin.reshape(count, self.rungs).argsort(axis=1, kind="stable"))

    def _split(self, engine: Engine) -> list[FloatArray]:
        """For each group [replicas, rungs, N, 3], each about its middle: they drift, and float32 should not care."""
        x = engine.state.positions.numpy()
        found, offset = [], self._layout.bead_offset
        for group, count, first in zip(self.groups, self.counts, self._firsts, strict=True):
            n, beads = count * self.rungs, self._layout.systems[group.molecule].n_beads
            bead = int(offset[first])
            part = x[bead : bead + n * beads].reshape(count, self.rungs, beads, 3)
            part = np.take_along_axis(part, self._order(engine, first, count)[:, :, None, None], axis=1)
            found.append(part - part.mean(axis=2, keepdims=True))
        return found


def _states(group: Group, replicas: int) -> IntArray:
    """[replicas] the state that each stays in.

    Raises:
        InputError: fewer replicas than windows.
    """
    used = int((group.shares > 0).sum())
    if replicas < used:
        raise InputError(
            f"{replicas} replicas are fewer than the {used} windows of the frames; write for example "
            f"`replicas: {4 * used}`, or `windows: weigh`",
            key="relative_entropy.replicas",
        )
    return spread(group.shares, replicas)


def _ladder(groups: Sequence[Group], above: Sequence[float]) -> tuple[float, ...]:
    """K, rising from the temperature of all groups; empty without a ladder.

    Raises:
        InputError: several temperatures, or they do not rise.
    """
    if not above:
        return ()
    if any(g.windows.restraints for g in groups):
        raise InputError(
            "replicas that are held in windows do not exchange; leave out the ladder, or write `windows: weigh`",
            key="relative_entropy.ladder",
        )
    key, own = "relative_entropy.ladder", sorted({g.kelvin for g in groups})
    if len(own) > 1:
        raise InputError(
            f"a ladder rises from one temperature, and data and targets have {', '.join(f'{t:g} K' for t in own)}; "
            f"write for example `data: {{temperature: {own[0]:g} K}}`, or leave the ladder out",
            key=key,
        )
    ladder = (own[0], *above)
    if not (np.diff(ladder) > 0).all():
        raise InputError(
            f"temperatures must rise from {own[0]:g} K, found {', '.join(f'{t:g} K' for t in above)}; write for "
            f"example `ladder: [{1.17 * own[0]:.0f} K, {1.37 * own[0]:.0f} K]`",
            key=key,
        )
    return ladder


class _Purpose:
    """What random numbers are for."""

    STARTS, SIMULATION = 1, 2


def _said(event: dict[str, object]) -> str:
    return f"replica {event['replica']} of {event['system']} at step {event['failed_step']}: {event['what']}"

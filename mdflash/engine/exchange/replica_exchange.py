"""Replica exchange over a ladder of states: replicas trade temperatures, parameters of biases, or both.

Coordinates stay with their replica. From T to T' its velocities are scaled by sqrt(T'/T), which takes one
Maxwell-Boltzmann distribution to the other: Sugita & Okamoto, Chem. Phys. Lett. 314, 141 (1999). Where the parameters
of a bias change hands (Hamiltonian exchange: Sugita, Kitao & Okamoto, J. Chem. Phys. 113, 6042 (2000)), energies and
forces are evaluated again. The strength of a term of the force field is such a parameter: `bias.term_energy`.

Attempts fall on the steps that are multiples of the interval, after that step's reports: frames and log rows of the
step belong to the labels from before the attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mdflash.core.state import Layout, State
from mdflash.core.types import FloatArray, IntArray
from mdflash.engine.exchange.permute import Scheme, permute
from mdflash.engine.protocols import Running
from mdflash.errors import InputError
from mdflash.potentials.bias.bias import COLUMNS, Bias
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.units import BOLTZMANN

Listener = Callable[[int, float, IntArray], None]
"""Called with (step, time in ps, labels [R]) after every attempt."""


@dataclass(frozen=True)
class Ladder:
    """Replicas of one system that exchange among themselves, one for each state.

    Attributes:
        number: keys its random numbers: the global number of its first replica, whatever else is in the batch.
        system: index of the system.
        first: its first replica (local number); the others follow.
    """

    number: int
    system: int
    first: int


class ReplicaExchange:
    """The exchange of a simulation: its ladders, and what has been counted so far.

    The labels themselves are not kept here: they follow from `State.temperature` and `Bias.parameters`.

    Args:
        layout: the batch; each system's replicas are cut into ladders in order.
        temperatures: [K] K, of each state; increasing, unless biases distinguish the states.
        every: steps between attempts.
        scheme: "neighbors" or "gibbs"; see `permute`.
        biases: the exchanged biases (of a batch with one system). Their first K replicas define the parameters of
            the states, and the replicas of every ladder must have them in this order.

    Attributes:
        ladders: who exchanges with whom.
        attempted, accepted: [systems, K, K] swaps by the labels of the pair, the lower first.
        round_trips: [R] how often a replica went from the lowest temperature to the highest and back.
        listeners: called after every attempt.

    Raises:
        InputError: fewer than two temperatures, not increasing, or a system whose replicas do not fill its ladders;
            states that are the same, or ladders whose biases differ.
    """

    def __init__(
        self,
        layout: Layout,
        temperatures: Sequence[float],
        every: int,
        scheme: Scheme = "neighbors",
        biases: Sequence[Bias] = (),
    ) -> None:
        self.layout, self.every, self.scheme = layout, every, scheme
        self.biases = tuple(biases)
        self.temperatures: FloatArray = np.array(temperatures, np.float64)
        k = len(self.temperatures)
        steps = np.diff(self.temperatures)
        if k < 2 or not (self.temperatures > 0).all() or not (biases or (steps > 0).all()):
            raise InputError(
                f"exchange needs two or more increasing temperatures above 0 K, found {list(map(float, temperatures))}",
                key="exchange.temperatures",
            )
        if every < 1:
            raise InputError(f"exchange needs at least 1 step between attempts, found {every}")
        for system, count in zip(layout.systems, layout.counts, strict=True):
            if count % k:
                raise InputError(
                    f"{count} replicas of {system.name} do not fill ladders of {k} temperatures; "
                    f"use a multiple of {k}, such as {count + k - count % k}"
                )
        first = layout.replica_offset
        self.ladders = tuple(
            Ladder(layout.replica_ids[r], s, r)
            for s, count in enumerate(layout.counts)
            for r in range(int(first[s]), int(first[s]) + count, k)
        )
        self._parameters = [bias.parameters[:k].copy() for bias in self.biases]  # [K, 3] of each
        self._packed = PackedBiases(self.biases, layout)
        self._check_states(k)
        self.attempted, self.accepted = np.zeros((2, len(layout.systems), k, k), np.int64)
        self.round_trips: IntArray = np.zeros(layout.n_replicas, np.int64)
        self._heading: npt.NDArray[np.int8] = np.zeros(
            layout.n_replicas, np.int8
        )  # 1: from the lowest, 2: from the top
        self.listeners: list[Listener] = []

    def _check_states(self, k: int) -> None:
        """The biases must distinguish the states, and be the same in every ladder."""
        if not self.biases:
            return
        if len(self.layout.systems) > 1:
            raise InputError(f"exchange of biases takes a batch of one system, found {self.layout.describe()}")
        for bias, parameters in zip(self.biases, self._parameters, strict=True):
            if not (bias.parameters.reshape(-1, k, 3) == parameters).all():
                raise InputError(
                    f"bias '{bias.name}': every ladder of {k} replicas must have the same parameters in the same order"
                )
        states = np.column_stack([self.temperatures, *self._parameters])
        if len(np.unique(states, axis=0)) < k:
            raise InputError(
                f"two of the {k} states are the same in temperature and all biases: give each its own", key="exchange"
            )

    @property
    def start_temperatures(self) -> FloatArray:
        """[R] replica k of each ladder at the k-th temperature."""
        return np.tile(self.temperatures, len(self.ladders))

    def next_attempt(self, step: int) -> int:
        """The first attempt after `step`."""
        return (step // self.every + 1) * self.every

    def labels(self, state: State) -> IntArray:
        """[R] the number of each replica's state.

        Raises:
            InputError: a replica is in none of the states.
        """
        t = state.temperature.numpy()
        same = t[:, None] == self.temperatures  # [R, K]
        for bias, parameters in zip(self.biases, self._parameters, strict=True):
            same &= (bias.parameters[:, None] == parameters).all(axis=2)
        labels: IntArray = same.argmax(axis=1)
        off = np.flatnonzero(~same.any(axis=1))
        if len(off):
            r = int(off[0])
            raise InputError(
                f"replica {self.layout.replica_ids[r]} is at {t[r]} K, which is not a temperature of the exchange "
                f"ladder{' with its biases' if self.biases else ''}; set State.temperature to "
                "ReplicaExchange.start_temperatures"
            )
        return labels

    def reduced(self, energy: FloatArray, labels: IntArray, values: FloatArray) -> FloatArray:
        """[K, R] the reduced energy of every state at the coordinates of every replica.

        Args:
            energy: [R] potential energies with the biases of each replica's own state, kcal/mol.
            labels: [R] those states.
            values: [R, biases] the variables of the exchanged biases.
        """
        total = np.broadcast_to(energy, (len(self.temperatures), len(energy)))
        for bias, parameters, q in zip(self.biases, self._parameters, values.T, strict=True):
            share = bias.energies(torch.from_numpy(q.copy()), torch.from_numpy(parameters)[:, None]).numpy()  # [K, R]
            total = total + (share - share[labels, np.arange(len(labels))])
        beta = 1.0 / (BOLTZMANN * self.temperatures)
        return np.asarray(beta[:, None] * total)

    def decide(
        self,
        energy: FloatArray,
        labels: IntArray,
        active: npt.NDArray[np.bool_],
        seed: int,
        step: int,
        values: FloatArray | None = None,
    ) -> tuple[IntArray, IntArray, IntArray]:
        """New labels [R], and the swaps attempted and accepted [systems, K, K]; changes nothing.

        Args:
            energy: [R] potential energies, kcal/mol.
            labels: [R] before.
            active: [R] replicas that take part.
            seed: seed of the run.
            step: step of the attempt, a multiple of the interval.
            values: variables of the exchanged biases, as for `reduced`; not needed without biases.
        """
        k = len(self.temperatures)
        reduced = self.reduced(energy, labels, np.zeros((len(energy), 0)) if values is None else values)
        new = labels.copy()
        counts = np.zeros((2, *self.attempted.shape), np.int64)
        for ladder in self.ladders:
            rows = slice(ladder.first, ladder.first + k)
            outcome = permute(
                reduced[:, rows],
                labels[rows],
                active[rows],
                self.scheme,
                seed=seed,
                ladder=ladder.number,
                step=step,
                attempt=step // self.every - 1,
            )
            new[rows] = outcome.labels
            counts[0, ladder.system] += outcome.attempted
            counts[1, ladder.system] += outcome.accepted
        return new, counts[0], counts[1]

    def attempt(self, engine: Running) -> None:
        """Exchange once, now: temperatures, velocities and biases change; energy and forces belong to the new ones."""
        state = engine.state
        before = self.labels(state)
        active = ~engine.frozen
        values = self._packed.measure(state.positions.numpy())[0] if self.biases else None
        after, attempted, accepted = self.decide(
            state.energy.numpy(), before, active, engine.dynamics.seed, state.step, values
        )
        self.attempted += attempted
        self.accepted += accepted
        self._visit(before)
        self._visit(after)
        faster = np.sqrt(self.temperatures[after] / self.temperatures[before])  # exactly 1 where nothing changes
        v = state.velocities.numpy()
        v *= np.repeat(faster, np.diff(self.layout.bead_offset))[:, None]
        state.temperature.numpy()[:] = self.temperatures[after]
        for bias, parameters in zip(self.biases, self._parameters, strict=True):
            bias.parameters[:] = parameters[after]
        if self.biases and (after != before).any():
            engine.propagator.evaluate(state)
        for listener in self.listeners:
            listener(state.step, engine.time, after)

    def _visit(self, labels: IntArray) -> None:
        top = labels == len(self.temperatures) - 1
        self._heading[top & (self._heading == 1)] = 2
        home = (labels == 0) & (self._heading == 2)
        self.round_trips[home] += 1
        self._heading[labels == 0] = 1

    def acceptance(self) -> dict[str, list[float | None]]:
        """By system, the share of accepted swaps between neighboring temperatures [K-1]; None: never tried."""
        found: dict[str, list[float | None]] = {}
        for s, system in enumerate(self.layout.systems):
            tried, done = (np.diagonal(counts[s], 1).tolist() for counts in (self.attempted, self.accepted))
            found[system.name] = [round(d / t, 4) if t else None for d, t in zip(done, tried, strict=True)]
        return found

    def summary(self) -> dict[str, Any]:
        """For manifest.json: the ladder, acceptance between neighbors, round trips by replica."""
        return {
            "temperatures_K": self.temperatures.tolist(),
            **self._bias_summary(),
            "scheme": self.scheme,
            "every_steps": self.every,
            "ladders": len(self.ladders),
            "acceptance": self.acceptance(),
            "round_trips": self.round_trips.tolist(),
        }

    def _bias_summary(self) -> dict[str, Any]:
        pairs = zip(self.biases, self._parameters, strict=True)
        states = {bias.name: dict(zip(COLUMNS, p.T.tolist(), strict=True)) for bias, p in pairs}
        return {"biases": states} if states else {}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint must hold to continue the counts."""
        return {
            "exchange_attempted": self.attempted,
            "exchange_accepted": self.accepted,
            "exchange_round_trips": self.round_trips,
            "exchange_heading": self._heading,
            **{f"exchange_bias_{bias.name}": bias.parameters for bias in self.biases},
        }

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue the counts from a checkpoint's arrays."""
        for name, array in self.arrays().items():
            array[...] = arrays[name]

"""How well replicas walk a ladder of states: acceptance, round trips, and how fast states mix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdflash.core.types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Walk:
    """The exchange of one molecule.

    Attributes:
        steps: [A] of the start and every attempt.
        labels: [A, R] the state of each replica from after that step on.
        states: K.
        moved: [K - 1] how often two replicas with neighboring states had swapped after an attempt, over attempts.
        round_trips: [R] from the lowest state to the highest and back.
        eigenvalue: the second of the transition matrix between attempts; 1 where nothing moves.
        transition: [K, K] of that matrix, made symmetric.
    """

    steps: IntArray
    labels: IntArray
    states: int
    moved: FloatArray
    round_trips: IntArray
    eigenvalue: float
    transition: FloatArray

    @property
    def mixing_attempts(self) -> float:
        """Attempts after which a replica has forgotten its state: -1 / ln(eigenvalue)."""
        if self.eigenvalue <= 0.0:
            return 0.0
        return float("inf") if self.eigenvalue >= 1.0 else float(-1.0 / np.log(self.eigenvalue))


def walk(steps: IntArray, labels: IntArray, states: int) -> Walk:
    """Measure a walk from labels [A, R] after the attempts at `steps` [A], whose first row is the start."""
    counts = np.zeros((states, states))
    for a, b in zip(labels[:-1].T, labels[1:].T, strict=True):
        counts += np.bincount(a * states + b, minlength=states * states).reshape(states, states)
    attempts = max(len(labels) - 1, 1)
    ladders = max(labels.shape[1] // states, 1)
    up = np.diagonal(counts, 1) / (attempts * ladders)
    matrix = transition_matrix(counts)
    return Walk(steps, labels, states, up, round_trips(labels, states), second_eigenvalue(matrix), matrix)


def transition_matrix(counts: FloatArray) -> FloatArray:
    """[K, K] rows that add up to 1, from transition counts made symmetric; states never left stay."""
    both = counts + counts.T
    rows = both.sum(axis=1, keepdims=True)
    matrix = np.divide(both, rows, out=np.zeros_like(both), where=rows > 0)
    empty = rows[:, 0] == 0
    matrix[empty, empty] = 1.0
    return np.asarray(matrix)


def second_eigenvalue(matrix: FloatArray) -> float:
    """Of a transition matrix: how slow its slowest mode decays, as in YANK's health report."""
    if len(matrix) < 2:
        return 0.0
    return float(np.sort(np.linalg.eigvals(matrix).real)[-2])


def round_trips(labels: IntArray, states: int) -> IntArray:
    """[R] how often each replica went from state 0 to the last one and back, from labels [A, R]."""
    found = []
    for column in labels.T:
        ends = column[(column == 0) | (column == states - 1)]
        turns = ends[np.flatnonzero(np.diff(ends, prepend=-1))]
        if len(turns) and turns[0] != 0:
            turns = turns[1:]
        found.append(max(len(turns) - 1, 0) // 2)
    return np.array(found, np.int64)

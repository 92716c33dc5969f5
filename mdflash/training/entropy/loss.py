"""The relative entropy of frames and a force field, and its gradient by the weights.

For a molecule at a temperature, with frames of known weights and samples of the force field U,

    S = beta <U>_frames - beta A,      dS/dw = beta (<dU/dw>_frames - <dU/dw>_samples)

A is the free energy of the force field. M. S. Shell, J. Chem. Phys. 129, 144108 (2008); S. Thaler, M. Stupp and J.
Zavadlav, J. Chem. Phys. 157, 244103 (2022).

A frame's likelihood has both its place and the noisy force there, -ln p = beta (U - A) + |F - F*|^2 / (2 sigma^2), so
the force loss L (the mean square of a component) has the weight 3N / (2 sigma^2) beside S, and nothing is to choose.
Molecules and temperatures count by their share of the frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mdflash.core.types import FloatArray, IntArray
from mdflash.training.entropy.windows import FREE, Windows
from mdflash.training.forces import Forces
from mdflash.units import kT

CHUNK = 2048
"""Frames whose energies are evaluated together."""


@dataclass(frozen=True, eq=False)
class Known:
    """Frames of one molecule at one temperature, of which weights are known.

    Attributes:
        positions: [F, N, 3] Å, float32.
        weights: [F], with the sum 1.
        state: [F] of each frame (see `windows`); None: of the free molecule.
    """

    positions: Tensor
    weights: FloatArray
    state: IntArray | None = None

    @property
    def effective(self) -> float:
        """How many frames of equal weights say as much."""
        return float(1.0 / (self.weights**2).sum())

    def shares(self, states: int) -> FloatArray:
        """[states] of the frames."""
        if self.state is None:
            return np.asarray(np.eye(1, states)[0])
        return np.bincount(self.state, self.weights, states).astype(np.float64)

    def draw(self, count: int, rng: np.random.Generator) -> Tensor:
        """[count, N, 3] frames, each as often as its weight has it."""
        return self.positions[torch.from_numpy(systematic(self.weights, count, rng))]

    def draw_in(self, states: IntArray, rng: np.random.Generator) -> Tensor:
        """[len(states), N, 3] frames of these states."""
        if self.state is None:
            return self.draw(len(states), rng)
        chosen = np.zeros(len(states), np.int64)
        for state in np.unique(states):
            mine, here = np.flatnonzero(states == state), self.state == state
            chosen[mine] = systematic(np.where(here, self.weights, 0.0), len(mine), rng)
        return self.positions[torch.from_numpy(chosen)]


@dataclass(frozen=True, eq=False)
class Group:
    """A molecule at a temperature.

    Attributes:
        molecule: its number.
        kelvin: the temperature.
        share: of the frames of all groups.
        training, held_out: its frames.
        windows: the states that frames and replicas are in.
    """

    molecule: int
    kelvin: float
    share: float
    training: Known
    held_out: Known
    windows: Windows = FREE

    @property
    def shares(self) -> FloatArray:
        """[states] of the frames to learn from."""
        return self.training.shares(self.windows.states)

    @property
    def kT(self) -> float:
        """kcal/mol."""
        return kT(self.kelvin)


def add_gradient(forces: Forces, molecule: int, positions: Tensor, slopes: Tensor) -> None:
    """Add to the weights' .grad that of sum_i slope_i U(x_i), at positions [M, N, 3], with slopes [M]."""
    energies = forces.energies(molecule, positions)
    (slopes.to(energies) @ energies).backward()  # type: ignore[no-untyped-call]


def slopes_of(group: Group, frames: FloatArray, samples: FloatArray) -> Tensor:
    """[frames + samples] dS/dU of each: weights of both sum to 1."""
    return torch.from_numpy(group.share / group.kT * np.concatenate([frames, -samples]))


def energies_of(forces: Forces, molecule: int, positions: Tensor, device: torch.device) -> FloatArray:
    """[M] kcal/mol of the network at positions [M, N, 3], as numbers."""
    with torch.no_grad():
        parts = [
            forces.energies(molecule, positions[k : k + CHUNK].to(device)).double().cpu()
            for k in range(0, len(positions), CHUNK)
        ]
    return np.asarray(torch.cat(parts).numpy())


def systematic(weights: FloatArray, count: int, rng: np.random.Generator) -> IntArray:
    """[count] numbers of entries, each as often as its weight has it, or one more or less.

    Evenly spaced points on the sum of weights: the least noise that drawing can have.
    """
    edges = np.cumsum(weights)
    points = (np.arange(count) + rng.random()) / count * edges[-1]
    return np.asarray(np.minimum(np.searchsorted(edges, points, side="right"), len(weights) - 1))

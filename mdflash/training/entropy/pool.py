"""Samples of the last renewals, used together: multistate reweighting to whatever the weights are now.

Renewal g drew n_gk samples in state k (see `windows`; without windows there is one) with energies U_g + V_k. At other
weights, with energies U, the samples of all renewals count in state k as

    w_i  ~  exp(-beta (U + V_k)) / sum_gl n_gl exp(beta (A_gl - U_g - V_l))         A_k = -kT ln sum_i of the right side

all at x_i. M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008). A_gk are free energies against the free
molecule of the start, where they are 0; that of the oldest renewal is kept from before, so the chain reaches back to
the start however far that is. What `weigh` says is A_k less that of state k at the start.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mdflash.core.mbar import log_mixture, mbar
from mdflash.core.types import FloatArray, IntArray


@dataclass(eq=False)
class Pool:
    """Samples of one group.

    Attributes:
        kT: kcal/mol.
        keep: renewals that are kept.
        positions: [M, N, 3] Å, float32: renewal by renewal, the oldest first.
        counts: [renewals, states] samples.
        energies: [renewals, M] kcal/mol of every sample with the weights of every renewal.
        held: [states, M] kcal/mol of every sample in every window.
        free: [renewals, states] A_gk, kcal/mol.
        origin: [states] A_k of the start, kcal/mol.
    """

    kT: float
    keep: int
    positions: Tensor = field(default_factory=lambda: torch.zeros((0, 0, 3)))
    counts: IntArray = field(default_factory=lambda: np.zeros((0, 1), np.int64))
    energies: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    held: FloatArray = field(default_factory=lambda: np.zeros((1, 0)))
    free: FloatArray = field(default_factory=lambda: np.zeros((0, 1)))
    origin: FloatArray = field(default_factory=lambda: np.zeros(1))
    _mixture: FloatArray | None = None

    def weigh(self, now: FloatArray, shares: FloatArray | None = None) -> tuple[FloatArray, float]:
        """Weights [M] of the samples with energies `now` [M], of sum 1, and the free energy A, kcal/mol.

        Args:
            now: kcal/mol, without windows.
            shares: [states] of sum 1: samples as if drawn from all states with these shares, and the mean of A_k from
                the start; None: of the free molecule.
        """
        if self._mixture is None:
            self._mixture = self._log_mixture(slice(None), slice(None))
        return self._weigh(now, self.held, self._mixture, shares)

    def effective(self, now: FloatArray, shares: FloatArray | None = None) -> float:
        """How many samples of equal weights say as much as all these with energies `now` [M], in newest renewals.

        One renewal is what the newest alone is worth with the weights that it was drawn with: all of its samples, or
        fewer where these are to stand for states that they were not drawn in.
        """
        newest = slice(len(self.positions) - int(self.counts[-1].sum()), None)
        mixture = self._log_mixture(slice(-1, None), newest)
        alone = self._weigh(self.energies[-1, newest], self.held[:, newest], mixture, shares)[0]
        return float(np.square(alone).sum() / np.square(self.weigh(now, shares)[0]).sum())

    def add(
        self,
        positions: Tensor,
        old: FloatArray,
        now: FloatArray,
        held: FloatArray | None = None,
        counts: IntArray | None = None,
    ) -> None:
        """Take the samples of a renewal, and let go of the oldest one where there are too many.

        Args:
            positions: [n, N, 3] Å.
            old: [renewals, n] kcal/mol with the weights of the renewals that are here.
            now: [M + n] kcal/mol of all samples with the weights that these were drawn with.
            held: [states, n] kcal/mol in windows; None: there are none.
            counts: [states] how many of them were drawn in each state; None: there is one state.
        """
        held = np.zeros((1, len(positions))) if held is None else held
        counts = np.array([len(positions)]) if counts is None else counts
        if not len(self.counts):
            self.positions, self.counts, self.held = positions, counts[None], held
            self.energies, self.free = now[None], np.zeros((1, len(counts)))
        else:
            free = self.weigh(now[: len(self.positions)])[1]
            self.positions = torch.cat([self.positions, positions])
            self.energies = np.concatenate([np.concatenate([self.energies, old], axis=1), now[None]])
            self.held = np.concatenate([self.held, held], axis=1)
            self.counts = np.concatenate([self.counts, counts[None]])
            self.free = np.concatenate([self.free, (free + self.free[-1] - self.free[-1, 0])[None]])
        reduced = ((self.energies[:, None] + self.held) / self.kT).reshape(-1, len(self.positions))
        solved = mbar(reduced, self.counts.ravel().astype(np.float64), self.free.ravel() / self.kT)
        self.free = self.free[0, 0] + self.kT * solved.reshape(self.counts.shape)
        if len(self.counts) == 1:
            self.origin = self.free[0]
        if len(self.counts) > self.keep:
            gone = self.counts[0].sum()
            self.positions, self.counts, self.held = self.positions[gone:], self.counts[1:], self.held[:, gone:]
            self.energies, self.free = self.energies[1:, gone:], self.free[1:]
        self._mixture = None

    def _weigh(
        self, now: FloatArray, held: FloatArray, mixture: FloatArray, shares: FloatArray | None
    ) -> tuple[FloatArray, float]:
        if shares is None:
            shares = np.eye(1, len(held))[0]
        total, free = np.zeros(len(now)), 0.0
        for state in np.flatnonzero(shares):
            log_w = -(now + held[state]) / self.kT - mixture
            top = log_w.max()
            w = np.exp(log_w - top)
            total += shares[state] * (w / w.sum())
            free += shares[state] * float(-self.kT * (top + np.log(w.sum())) - self.origin[state])
        return total, free

    def _log_mixture(self, renewals: slice, samples: slice) -> FloatArray:
        """[M] ln sum_gk n_gk exp(beta (A_gk - U_g - V_k)) of some renewals, at some samples."""
        energies, held = self.energies[renewals, samples], self.held[:, samples]
        reduced = ((energies[:, None] + held) / self.kT).reshape(-1, held.shape[1])
        counts, free = self.counts[renewals].ravel(), self.free[renewals].ravel()
        return log_mixture(reduced, counts.astype(np.float64), free / self.kT)

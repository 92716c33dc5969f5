"""Samples of the last renewals, used together: multistate reweighting to whatever the weights are now.

Renewal g drew n_gk samples with energies U_g in state k, which adds V_k: the ensemble itself (k = 0, V_0 = 0) or a
window (see `windows`). At other weights, with energies U, the samples of all renewals count in state k as

    w_i  ~  exp(-beta (U + V_k)(x_i)) / sum_gl n_gl exp(beta (A_gl - (U_g + V_l)(x_i)))

and A_k = -kT ln sum_i of the right side. M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008). A_gk are
free energies against the ensemble of the start, where it is 0; that of the oldest renewal is kept from before, so the
chain reaches back to the start however far that is.
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
        counts: [renewals, K] samples of each renewal in each state.
        energies: [renewals, M] kcal/mol of every sample with the weights of every renewal.
        free: [renewals, K] A_gk, kcal/mol.
        bias: [K, M] V_k of every sample, kcal/mol.
        begun: [K] A_k at the start, kcal/mol.
    """

    kT: float
    keep: int
    positions: Tensor = field(default_factory=lambda: torch.zeros((0, 0, 3)))
    counts: IntArray = field(default_factory=lambda: np.zeros((0, 1), np.int64))
    energies: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    free: FloatArray = field(default_factory=lambda: np.zeros((0, 1)))
    bias: FloatArray = field(default_factory=lambda: np.zeros((1, 0)))
    begun: FloatArray = field(default_factory=lambda: np.zeros(1))
    _mixture: FloatArray | None = None

    def weigh_all(self, now: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weights [K, M] of the samples in each state, with energies `now` [M], of sum 1; and A_k [K], kcal/mol."""
        if self._mixture is None:
            self._mixture = log_mixture(
                self._reduced(), self.counts.ravel().astype(np.float64), self.free.ravel() / self.kT
            )
        log_w = -(now + self.bias) / self.kT - self._mixture
        top = log_w.max(axis=1)
        w = np.exp(log_w - top[:, None])
        total = w.sum(axis=1)
        return w / total[:, None], -self.kT * (top + np.log(total))

    def weigh(self, now: FloatArray) -> tuple[FloatArray, float]:
        """Weights [M] of the samples in the ensemble, with energies `now` [M], of sum 1; and its A, kcal/mol."""
        w, free = self.weigh_all(now)
        return w[0], float(free[0])

    def mixed(self, now: FloatArray, shares: FloatArray) -> FloatArray:
        """[M] weights in all states together, by their shares [K]."""
        return np.asarray(shares @ self.weigh_all(now)[0])

    def effective(self, now: FloatArray) -> float:
        """How many samples of equal weights say as much as all these with energies `now` [M], in newest renewals.

        In the state that has the fewest.
        """
        newest = self.counts[-1]
        effective = 1.0 / np.square(self.weigh_all(now)[0]).sum(axis=1)
        return float((effective[newest > 0] / newest[newest > 0]).min())

    def add(self, positions: Tensor, old: FloatArray, now: FloatArray, state: IntArray, bias: FloatArray) -> None:
        """Take the samples of a renewal, and let go of the oldest one where there are too many.

        Args:
            positions: [n, N, 3] Å.
            old: [renewals, n] kcal/mol with the weights of the renewals that are here.
            now: [M + n] kcal/mol of all samples with the weights that these were drawn with.
            state: [n] the state that each was drawn in.
            bias: [K, n] kcal/mol that each state adds.
        """
        counts = np.bincount(state, minlength=len(bias))[None].astype(np.int64)
        first = not len(self.counts)
        if first:
            self.positions, self.counts, self.energies, self.bias = positions, counts, now[None], bias
            guess = np.zeros((1, len(bias)))
            self.free = guess
        else:
            guess = self.weigh_all(now[: len(self.positions)])[1][None]
            self.positions = torch.cat([self.positions, positions])
            self.energies = np.concatenate([np.concatenate([self.energies, old], axis=1), now[None]])
            self.bias = np.concatenate([self.bias, bias], axis=1)
            self.counts, self.free = np.concatenate([self.counts, counts]), np.concatenate([self.free, guess])
        n, reduced = self.counts.ravel().astype(np.float64), self._reduced()
        solved = mbar(reduced, n, self.free.ravel() / self.kT)
        self.free = (self.free[0, 0] + self.kT * solved).reshape(self.counts.shape)
        if first:
            self.begun = self.free[0]
        if len(self.counts) > self.keep:
            gone = int(self.counts[0].sum())
            self.positions, self.counts, self.bias = self.positions[gone:], self.counts[1:], self.bias[:, gone:]
            self.energies, self.free = self.energies[1:, gone:], self.free[1:]
        self._mixture = None

    def _reduced(self) -> FloatArray:
        """[renewals x K, M] energies of all states in kT."""
        total = self.energies[:, None] + self.bias
        return np.asarray(total.reshape(-1, total.shape[-1]) / self.kT)

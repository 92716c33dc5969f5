"""Samples of the last renewals, used together: multistate reweighting to whatever the weights are now.

Renewal g drew n_g samples with energies U_g. At other weights, with energies U, the samples of all renewals count as

    w_i  ~  exp(-beta U(x_i)) / sum_g n_g exp(beta (A_g - U_g(x_i)))         A = -kT ln sum_i of the right side

M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008). A_g are free energies against the start, where they
are 0; that of the oldest renewal is kept from before, so the chain reaches back to the start however far that is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from mdflash.core.mbar import log_mixture, mbar
from mdflash.core.types import FloatArray


@dataclass(eq=False)
class Pool:
    """Samples of one group.

    Attributes:
        kT: kcal/mol.
        keep: renewals that are kept.
        positions: [M, N, 3] Å, float32: renewal by renewal, the oldest first.
        counts: samples of each renewal.
        energies: [renewals, M] kcal/mol of every sample with the weights of every renewal.
        free: [renewals] A_g, kcal/mol.
    """

    kT: float
    keep: int
    positions: Tensor = field(default_factory=lambda: torch.zeros((0, 0, 3)))
    counts: tuple[int, ...] = ()
    energies: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    free: FloatArray = field(default_factory=lambda: np.zeros(0))

    def weigh(self, now: FloatArray) -> tuple[FloatArray, float]:
        """Weights [M] of the samples with energies `now` [M], of sum 1, and the free energy A, kcal/mol."""
        log_w = -now / self.kT - self._log_mixture()
        top = log_w.max()
        w = np.exp(log_w - top)
        return w / w.sum(), float(-self.kT * (top + np.log(w.sum())))

    def effective(self, now: FloatArray) -> float:
        """How many samples of equal weights say as much as all these with energies `now` [M], in newest renewals."""
        return float(1.0 / np.square(self.weigh(now)[0]).sum() / self.counts[-1])

    def add(self, positions: Tensor, old: FloatArray, now: FloatArray) -> None:
        """Take the samples of a renewal, and let go of the oldest one where there are too many.

        Args:
            positions: [n, N, 3] Å.
            old: [renewals, n] kcal/mol with the weights of the renewals that are here.
            now: [M + n] kcal/mol of all samples with the weights that these were drawn with.
        """
        if not self.counts:
            self.positions, self.counts = positions, (len(positions),)
            self.energies, self.free = now[None], np.zeros(1)
            return
        free = self.weigh(now[: len(self.positions)])[1]
        self.positions = torch.cat([self.positions, positions])
        self.energies = np.concatenate([np.concatenate([self.energies, old], axis=1), now[None]])
        self.counts, self.free = (*self.counts, len(positions)), np.append(self.free, free)
        solved = mbar(self.energies / self.kT, np.array(self.counts, np.float64), self.free / self.kT)
        self.free = self.free[0] + self.kT * solved
        if len(self.counts) > self.keep:
            gone = self.counts[0]
            self.positions, self.counts = self.positions[gone:], self.counts[1:]
            self.energies, self.free = self.energies[1:, gone:], self.free[1:]

    def _log_mixture(self) -> FloatArray:
        """[M] ln sum_g n_g exp(beta (A_g - U_g))."""
        return log_mixture(self.energies / self.kT, np.array(self.counts, np.float64), self.free / self.kT)

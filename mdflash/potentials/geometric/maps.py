"""The compiled twin of `mixing`: a doubly stochastic matrix from the logits of one bead, and the way back."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np

from mdflash.kernels import njit
from mdflash.potentials.geometric.mixing import MOST_PERMUTED

IDENTITY, PERMUTATION, SINKHORN = 0, 1, 2

_ORDERS = [np.array(list(permutations(range(n)))) for n in range(1, MOST_PERMUTED + 1)]
ORDER = np.concatenate([np.pad(o, ((0, 0), (0, MOST_PERMUTED - o.shape[1]))) for o in _ORDERS]).astype(np.int64)
ORDER_START = np.concatenate(([0], np.cumsum([len(o) for o in _ORDERS]))).astype(np.int64)
"""Permutation p of n streams is ORDER[ORDER_START[n - 1] + p], in the order of `mixing.permutation_matrices`."""


@njit(cache=True)
def _softmax(a):
    """In place."""
    most = a[0]
    for k in range(1, a.shape[0]):
        most = max(most, a[k])
    norm = 0.0
    for k in range(a.shape[0]):
        a[k] = math.exp(a[k] - most)
        norm += a[k]
    for k in range(a.shape[0]):
        a[k] /= norm


@njit(cache=True, error_model="numpy")
def _sinkhorn(n, iterations, logits, steps):
    """steps [2 iterations + 1, n n]: exp of the logits, then every matrix on the way."""
    most = logits[0]
    for k in range(1, n * n):
        most = max(most, logits[k])
    for k in range(n * n):
        steps[0, k] = math.exp(logits[k] - most)
    for t in range(2 * iterations):
        stride, other = (n, 1) if t % 2 == 0 else (1, n)  # columns, then rows
        for b in range(n):
            norm = 0.0
            for a in range(n):
                norm += steps[t, a * stride + b * other]
            for a in range(n):
                steps[t + 1, a * stride + b * other] = steps[t, a * stride + b * other] / norm


@njit(cache=True, error_model="numpy")
def mixing(kind, n, iterations, logits, mix, steps):
    """mix [n n] from the logits, which become the weights of the permutations where these mix."""
    if kind == PERMUTATION:
        _softmax(logits)
        mix[:] = 0.0
        for p in range(logits.shape[0]):
            for a in range(n):
                mix[a * n + ORDER[ORDER_START[n - 1] + p, a]] += logits[p]
    elif kind == SINKHORN:
        _sinkhorn(n, iterations, logits, steps)
        mix[:] = steps[2 * iterations]
    else:
        for k in range(n * n):
            mix[k] = 1.0 if k % (n + 1) == 0 else 0.0


@njit(cache=True, error_model="numpy")
def mix_gradient(kind, n, iterations, logits, g_mix, g_logits, steps):
    """g_logits from g_mix [n n], which it spoils; `logits` as `mixing` left them."""
    if kind == PERMUTATION:
        mean = 0.0
        for p in range(logits.shape[0]):
            g = 0.0
            for a in range(n):
                g += g_mix[a * n + ORDER[ORDER_START[n - 1] + p, a]]
            g_logits[p] = g
            mean += logits[p] * g
        for p in range(logits.shape[0]):
            g_logits[p] = logits[p] * (g_logits[p] - mean)
    elif kind == SINKHORN:
        _sinkhorn(n, iterations, logits, steps)
        for t in range(2 * iterations - 1, -1, -1):
            stride, other = (n, 1) if t % 2 == 0 else (1, n)
            for b in range(n):
                norm, along = 0.0, 0.0
                for a in range(n):
                    k = a * stride + b * other
                    norm += steps[t, k]
                    along += g_mix[k] * steps[t + 1, k]
                for a in range(n):
                    k = a * stride + b * other
                    g_mix[k] = (g_mix[k] - along) / norm
        for k in range(n * n):
            g_logits[k] = g_mix[k] * steps[0, k]

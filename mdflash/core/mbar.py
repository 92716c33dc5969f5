"""Averages and free energies at any state from samples of all of them: MBAR.

Shirts & Chodera, J. Chem. Phys. 129, 124105 (2008). K states, N samples; `reduced` [K, N] is the reduced energy of
every state at every sample (no unit). pymbar computes the same free energies (tests compare). This solver is Newton's
method on the convex function of f alone, so that a bootstrap can solve it a hundred times in seconds.
"""

from __future__ import annotations

import numpy as np

from mdflash.core.types import FloatArray


def _log_sum(x: FloatArray, axis: int) -> FloatArray:
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    return np.asarray(np.log(np.exp(x - top).sum(axis=axis)) + np.squeeze(top, axis))


def log_mixture(reduced: FloatArray, counts: FloatArray, free: FloatArray) -> FloatArray:
    """[N] log of sum over k of N_k exp(f_k - u_k), the denominator of every MBAR weight."""
    used = counts > 0
    return _log_sum(np.log(counts[used])[:, None] + free[used][:, None] - reduced[used], axis=0)


def mbar(
    reduced: FloatArray, counts: FloatArray, guess: FloatArray | None = None, times: FloatArray | None = None
) -> FloatArray:
    """[K] free energies in kT, the first 0.

    Args:
        reduced: [K, N].
        counts: [K] samples of each state; may be 0 for some.
        guess: [K] to start from.
        times: [N] how often each sample counts (a bootstrap); `counts` then counts by it too.
    """
    k = len(counts)
    free = np.zeros(k) if guess is None else guess - guess[0]
    used = np.flatnonzero(counts > 0)
    u, n, f = reduced[used], counts[used], free[used].copy()
    c = np.ones(u.shape[1]) if times is None else times
    log_n = np.log(n)[:, None]

    def value(x: FloatArray) -> float:
        return float(c @ _log_sum(log_n + x[:, None] - u, axis=0) - n @ x)

    now = value(f)
    for _ in range(500):
        log_d = _log_sum(log_n + f[:, None] - u, axis=0)
        w = np.exp(log_n + f[:, None] - u - log_d)  # [K, N] the share of each state in each sample
        total = (w * c).sum(axis=1)
        gradient = total - n
        if np.abs(gradient).max() < 1e-9 * n.sum():
            break
        hessian = np.diag(total) - (w * c) @ w.T
        step = -np.linalg.lstsq(hessian, gradient, rcond=1e-14)[0]
        step -= step[0]
        size = 1.0
        while size > 1e-3 and not (new := value(f + size * step)) <= now + 1e-12 * abs(now):
            size *= 0.5
        if size <= 1e-3:  # poor overlap: a step of the self-consistent iteration always goes down
            step = -_log_sum(np.log(np.maximum(c, 1e-300)) - u - log_d, axis=1) - f
            step, size = step - step[0], 1.0
            new = value(f + step)
        f = f + size * step
        if np.abs(size * step).max() < 1e-11:
            break
        now = new
    free[used] = f
    empty = np.flatnonzero(counts <= 0)
    if len(empty):
        log_d = log_mixture(reduced, counts, free)
        free[empty] = -_log_sum(np.log(np.maximum(c, 1e-300)) - reduced[empty] - log_d, axis=1)
    return np.asarray(free - free[0])


def weights(target: FloatArray, mixture: FloatArray, times: FloatArray | None = None) -> FloatArray:
    """[N] normalized weights of the samples at a state with reduced energies `target` [N]."""
    log_w = -target - mixture
    w = np.exp(log_w - log_w.max())
    if times is not None:
        w = w * times
    return np.asarray(w / w.sum())


def overlap_matrix(reduced: FloatArray, counts: FloatArray, free: FloatArray) -> FloatArray:
    """[K, K] the chance that a sample of state i could be one of state j: Klimovich, Shirts & Mobley (2015).

    J. Comput.-Aided Mol. Des. 29, 397. Neighbors below 0.03 do not overlap enough.
    """
    w = np.exp(free[:, None] - reduced - log_mixture(reduced, counts, free))
    return np.asarray(counts * (w @ w.T))

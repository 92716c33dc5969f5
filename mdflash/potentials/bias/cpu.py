"""The compiled twins of collective variables and biases: values, exact gradients, forces of one replica.

Definitions and sources are in `variables.py`; the arithmetic here is the same, in float64 and in a fixed order.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.compiled.jit import njit, prange
from mdflash.potentials.priors.cpu import Table, add_term

DISTANCE, ANGLE, DIHEDRAL, POSITION, RMSD, GYRATION, CONTACTS, ENERGY = range(8)
HARMONIC, LINEAR = range(2)

SWEEPS: Final = 30
"""Jacobi sweeps at most; a 4 x 4 matrix is diagonal to the last bit after five or six."""


class Biases(NamedTuple):
    """All biases of a batch, as flat arrays: n biases with M beads in all.

    Attributes:
        row: [systems + 1] system s owns the biases row[s]:row[s + 1].
        kind: [n] the variable.
        form: [n] HARMONIC (with a flat bottom) or LINEAR.
        member: [n, 5] group k of bias b owns the beads member[b, k]:member[b, k + 1]; unused groups are empty.
        beads: [M] counted within the molecule; of CONTACTS, the two of each contact follow each other.
        weight: [M] share of each bead in its group; of CONTACTS, the native distance in Å.
        reference: [M, 3] Å; of RMSD, centred.
        shape: [n, 2] of CONTACTS: beta in 1/Å, and lambda.
        term_beads, term_code, term_parameters: of ENERGY, as in `priors.cpu.Table`, beads [M, 4].
        term_row: [4 n + 1] the rows of the k-th coordinate of bias b are term_row[4 b + k]:term_row[4 b + k + 1].
        parameters: [R, n, 3] force constant, center and width, for each replica.
    """

    row: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    form: npt.NDArray[np.int64]
    member: npt.NDArray[np.int64]
    beads: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    reference: npt.NDArray[np.float64]
    shape: npt.NDArray[np.float64]
    term_beads: npt.NDArray[np.int32]
    term_code: npt.NDArray[np.int8]
    term_parameters: npt.NDArray[np.float64]
    term_row: npt.NDArray[np.int64]
    parameters: npt.NDArray[np.float64]


@njit(cache=True, error_model="numpy")
def _centers(biases, b, x):
    """[4, 3] weighted centres of the groups of a bias."""
    center = np.zeros((4, 3))
    for k in range(4):
        for m in range(biases.member[b, k], biases.member[b, k + 1]):
            for d in range(3):
                center[k, d] += biases.weight[m] * x[biases.beads[m], d]
    return center


@njit(cache=True, error_model="numpy")
def _spread(biases, b, slope, g):
    """From dq/d(centre) [4, 3] to dq/dx of each listed bead."""
    first = biases.member[b, 0]
    for k in range(4):
        for m in range(biases.member[b, k], biases.member[b, k + 1]):
            for d in range(3):
                g[m - first, d] = biases.weight[m] * slope[k, d]


@njit(cache=True, error_model="numpy")
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(cache=True, error_model="numpy")
def _between(a, b, out):
    """out = b - a; returns its length. (Loops over components compile many times faster than array expressions.)"""
    for d in range(3):
        out[d] = b[d] - a[d]
    return math.sqrt(_dot(out, out))


@njit(cache=True, error_model="numpy")
def _cross(a, b, out):
    """out = a x b; returns its length."""
    out[0] = a[1] * b[2] - a[2] * b[1]
    out[1] = a[2] * b[0] - a[0] * b[2]
    out[2] = a[0] * b[1] - a[1] * b[0]
    return math.sqrt(_dot(out, out))


@njit(cache=True, error_model="numpy")
def _distance(c, slope):
    r = _between(c[0], c[1], slope[1])
    for d in range(3):
        slope[1, d] /= r if r > 0.0 else 1.0
        slope[0, d] = -slope[1, d]
    return r


@njit(cache=True, error_model="numpy")
def _angle(c, slope):
    w = np.empty((3, 3))
    la, lb = _between(c[1], c[0], w[0]), _between(c[1], c[2], w[1])
    sine, cosine = _cross(w[0], w[1], w[2]) / (la * lb), _dot(w[0], w[1]) / (la * lb)
    if sine > 0.0:
        for d in range(3):
            a, b = w[0, d] / la, w[1, d] / lb
            slope[0, d] = (cosine * a - b) / (la * sine)
            slope[2, d] = (cosine * b - a) / (lb * sine)
            slope[1, d] = -(slope[0, d] + slope[2, d])
    return math.atan2(sine, cosine)


@njit(cache=True, error_model="numpy")
def _dihedral(c, slope):
    """With the gradient of Blondel & Karplus, J. Comput. Chem. 17, 1132 (1996)."""
    w = np.empty((5, 3))
    b1, b2, b3, n1, n2 = w[0], w[1], w[2], w[3], w[4]
    _between(c[0], c[1], b1)
    length = _between(c[1], c[2], b2)
    _between(c[2], c[3], b3)
    first, last = _cross(b1, b2, n1), _cross(b2, b3, n2)
    s12, s32 = _dot(b1, b2) / (length * length), _dot(b3, b2) / (length * length)
    for d in range(3):
        slope[0, d] = -length / (first * first) * n1[d]
        slope[3, d] = length / (last * last) * n2[d]
        shift = s12 * slope[0, d] - s32 * slope[3, d]
        slope[1, d] = -slope[0, d] - shift
        slope[2, d] = shift - slope[3, d]
    return math.atan2(length * _dot(b1, n2), _dot(n1, n2))


@njit(cache=True, error_model="numpy")
def _divide(g, by):
    """g /= by, or 0 where the variable is at its kink."""
    for m in range(g.shape[0]):
        for d in range(3):
            g[m, d] /= by if by > 0.0 else 1.0


@njit(cache=True, error_model="numpy")
def _position(biases, first, last, x, g):
    total = 0.0
    for m in range(first, last):
        for d in range(3):
            away = x[biases.beads[m], d] - biases.reference[m, d]
            g[m - first, d] = away
            total += away * away
    q = math.sqrt(total)
    _divide(g, q)
    return q


@njit(cache=True, error_model="numpy")
def _largest_eigenvector(a):
    """Of a symmetric [4, 4] matrix, by cyclic Jacobi rotations; destroys it. Golub & Van Loan, section 8.5."""
    v = np.zeros((4, 4))
    for k in range(4):
        v[k, k] = 1.0
    for _ in range(SWEEPS):
        off = 0.0
        for p in range(3):
            for q in range(p + 1, 4):
                off += abs(a[p, q])
        if off == 0.0:
            break
        for p in range(3):
            for q in range(p + 1, 4):
                if a[p, q] == 0.0:
                    continue
                theta = 0.5 * (a[q, q] - a[p, p]) / a[p, q]
                t = 1.0 / (abs(theta) + math.sqrt(theta * theta + 1.0))
                if theta < 0.0:
                    t = -t
                c = 1.0 / math.sqrt(t * t + 1.0)
                s = t * c
                for k in range(4):
                    a[k, p], a[k, q] = c * a[k, p] - s * a[k, q], s * a[k, p] + c * a[k, q]
                for k in range(4):
                    a[p, k], a[q, k] = c * a[p, k] - s * a[q, k], s * a[p, k] + c * a[q, k]
                for k in range(4):
                    v[k, p], v[k, q] = c * v[k, p] - s * v[k, q], s * v[k, p] + c * v[k, q]
                a[p, q] = a[q, p] = 0.0
    best = 0
    for k in range(1, 4):
        if a[k, k] > a[best, best]:
            best = k
    return v[0, best], v[1, best], v[2, best], v[3, best]


@njit(cache=True, error_model="numpy")
def _superposition(s):
    """[3, 3] the rotation that takes the reference to the beads, from s = sum of reference_a x_b.

    Horn, J. Opt. Soc. Am. A 4, 629 (1987): the unit quaternion is the eigenvector of the largest eigenvalue.
    """
    a = np.empty((4, 4))
    a[0, 0] = s[0, 0] + s[1, 1] + s[2, 2]
    a[1, 1] = s[0, 0] - s[1, 1] - s[2, 2]
    a[2, 2] = -s[0, 0] + s[1, 1] - s[2, 2]
    a[3, 3] = -s[0, 0] - s[1, 1] + s[2, 2]
    a[0, 1] = a[1, 0] = s[1, 2] - s[2, 1]
    a[0, 2] = a[2, 0] = s[2, 0] - s[0, 2]
    a[0, 3] = a[3, 0] = s[0, 1] - s[1, 0]
    a[1, 2] = a[2, 1] = s[0, 1] + s[1, 0]
    a[1, 3] = a[3, 1] = s[2, 0] + s[0, 2]
    a[2, 3] = a[3, 2] = s[1, 2] + s[2, 1]
    w, i, j, k = _largest_eigenvector(a)
    turn = np.empty((3, 3))
    turn[0, 0] = w * w + i * i - j * j - k * k
    turn[1, 1] = w * w - i * i + j * j - k * k
    turn[2, 2] = w * w - i * i - j * j + k * k
    turn[0, 1], turn[1, 0] = 2.0 * (i * j - w * k), 2.0 * (i * j + w * k)
    turn[0, 2], turn[2, 0] = 2.0 * (i * k + w * j), 2.0 * (i * k - w * j)
    turn[1, 2], turn[2, 1] = 2.0 * (j * k - w * i), 2.0 * (j * k + w * i)
    return turn


@njit(cache=True, error_model="numpy")
def _rmsd(biases, b, first, last, x, g):
    """From the residuals behind the superposition: the difference of two sums would lose small values."""
    center = _centers(biases, b, x)[0]
    s = np.zeros((3, 3))
    for m in range(first, last):
        for d in range(3):
            for e in range(3):
                s[d, e] += biases.reference[m, d] * (x[biases.beads[m], e] - center[e])
    turn = _superposition(s)
    total = 0.0
    for m in range(first, last):
        for d in range(3):
            away = x[biases.beads[m], d] - center[d] - _dot(turn[d], biases.reference[m])
            g[m - first, d] = away
            total += away * away
    n = last - first
    q = math.sqrt(total / n)
    _divide(g, n * q)
    return q


@njit(cache=True, error_model="numpy")
def _gyration(biases, b, first, last, x, g):
    center = _centers(biases, b, x)[0]
    total = 0.0
    for m in range(first, last):
        for d in range(3):
            away = x[biases.beads[m], d] - center[d]
            g[m - first, d] = biases.weight[m] * away
            total += biases.weight[m] * away * away
    q = math.sqrt(total)
    _divide(g, q)
    return q


@njit(cache=True, error_model="numpy")
def _contacts(biases, b, first, last, x, g):
    beta, stretch = biases.shape[b, 0], biases.shape[b, 1]
    n = (last - first) // 2
    total = 0.0
    for m in range(first, last, 2):
        r = _between(x[biases.beads[m]], x[biases.beads[m + 1]], g[m + 1 - first])
        share = 1.0 / (1.0 + math.exp(beta * (r - stretch * biases.weight[m])))
        total += share
        slope = -beta * share * (1.0 - share) / n
        for d in range(3):
            g[m + 1 - first, d] *= slope / r if r > 0.0 else 0.0
            g[m - first, d] = -g[m + 1 - first, d]
    return total / n


@njit(cache=True, error_model="numpy")
def _energy(biases, b, x, g):
    g[:] = 0.0
    table = Table(biases.term_beads, biases.term_code, biases.term_parameters, biases.term_row)
    energy = add_term(table, 4 * b, x, g)
    for i in range(g.shape[0]):
        for d in range(3):
            g[i, d] = -g[i, d]
    return energy


@njit(cache=True, error_model="numpy")
def value_gradient(biases, b, x, g):
    """The variable of bias b at x [N, 3]; overwrites g [beads of b, 3] with its gradient."""
    kind = biases.kind[b]
    first, last = biases.member[b, 0], biases.member[b, 4]
    if kind == POSITION:
        return _position(biases, first, last, x, g)
    if kind == RMSD:
        return _rmsd(biases, b, first, last, x, g)
    if kind == GYRATION:
        return _gyration(biases, b, first, last, x, g)
    if kind == CONTACTS:
        return _contacts(biases, b, first, last, x, g)
    if kind == ENERGY:
        return _energy(biases, b, x, g)
    center, slope = _centers(biases, b, x), np.zeros((4, 3))
    if kind == DISTANCE:
        q = _distance(center, slope)
    elif kind == ANGLE:
        q = _angle(center, slope)
    else:
        q = _dihedral(center, slope)
    _spread(biases, b, slope, g)
    return q


@njit(cache=True, error_model="numpy")
def energy_slope(form, periodic, q, force_constant, center, width):
    """u(q) and du/dq; see `bias.FORMS`."""
    d = q - center
    if periodic:
        d -= 2.0 * math.pi * np.rint(d / (2.0 * math.pi))
    if form == LINEAR:
        return force_constant * d, force_constant
    over = max(abs(d) - width, 0.0)
    slope = force_constant * over
    return 0.5 * slope * over, slope if d > 0.0 else -slope


@njit(cache=True, error_model="numpy")
def add_biases(biases, system, replica, x, f):
    """Add the forces of every bias of one replica to f [N, 3]; returns the energy in kcal/mol."""
    energy = 0.0
    for b in range(biases.row[system], biases.row[system + 1]):
        first, last = biases.member[b, 0], biases.member[b, 4]
        g = np.empty((last - first, 3))
        q = value_gradient(biases, b, x, g)
        p = biases.parameters[replica, b]
        u, slope = energy_slope(biases.form[b], biases.kind[b] == DIHEDRAL, q, p[0], p[1], p[2])
        energy += u
        for m in range(first, last):
            for d in range(3):
                f[biases.beads[m], d] -= slope * g[m - first, d]
    return energy


@njit(cache=True, parallel=True, nogil=True)
def measure(biases, system, bead_offset, x, value, energy):
    """Overwrite value and energy [R, n] with every variable and bias energy; NaN for those of other systems."""
    for r in prange(value.shape[0]):
        value[r] = np.nan
        energy[r] = np.nan
        for b in range(biases.row[system[r]], biases.row[system[r] + 1]):
            g = np.empty((biases.member[b, 4] - biases.member[b, 0], 3))
            q = value_gradient(biases, b, x[bead_offset[r] : bead_offset[r + 1]], g)
            p = biases.parameters[r, b]
            value[r, b] = q
            energy[r, b] = energy_slope(biases.form[b], biases.kind[b] == DIHEDRAL, q, p[0], p[1], p[2])[0]

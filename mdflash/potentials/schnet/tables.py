"""Filters as tables: W(d), a function of one number, on a uniform grid with cubic Hermite interpolation.

For each interaction block, v(d) = W(d) as in `network.py`, its envelope included. At the knots d_k = k h, h = rc / K,
value and slope are exact (float64). Between d_k and d_k+1, with t = (d - d_k) / h:

    v(d) = v_k + t (s_k + t (c_k + t e_k))
    s_k = h v'(d_k)    c_k = 3 (v_k+1 - v_k) - 2 s_k - s_k+1    e_k = (s_k+1 - s_k - 2 c_k) / 3

which is the Hermite cubic. The table holds v, s and c of every knot. c is computed in float64 and rounded once: the
difference of two values that were rounded to float32 would cost 1e-5 of the forces.

The error falls as h^3 in the forces. K is the first power of two that keeps it below a tolerance, measured against the
exact filters, both in float64, on conformations. These are random chains with the distances that the force field's
priors allow (`Distances`), a compact one and a coil, whose smaller forces show errors more: below these distances
filters were never trained, and are often a hundred times steeper. Beads that come nearer nevertheless are covered, too:
on a chain with the shortest distances of any protein model the error is at most `BEYOND` times the tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import ForceFieldError
from mdflash.potentials.schnet.arrays import RANGES
from mdflash.potentials.schnet.network import SchNet

FEWEST, MOST = 256, 65536
"""Intervals that are tried."""
SAMPLE_BEADS: Final = 64
"""The error is measured on at most so many beads around the middle of a molecule."""
BEYOND: Final = 100.0
"""How many times the tolerance the error may be where beads are nearer than the priors let them come."""

SIZED_BY: Final = 2
"""The rule that K follows, for checkpoints: another one gives other last bits. 1, in 0.1: the error on `SHORTEST`."""

Filters = Callable[[int, Tensor], Tensor]
"""(block, distances [P]) -> [P, F]."""


class Approximate(Protocol):
    """What stands for a network's own filters."""

    def filters(self, block: int, d: Tensor) -> Tensor:
        """W(d): distances [P] -> [P, F], differentiable in d."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A conformation to measure errors on.

    Attributes:
        positions: [N, 3] Å.
        types: [N] row of each bead in the embedding.
        excluded: [E, 2] pairs i < j that exchange no messages.
    """

    positions: FloatArray
    types: IntArray
    excluded: IntArray

    def core(self) -> Sample:
        """The `SAMPLE_BEADS` beads nearest to the middle bead."""
        x = self.positions
        if len(x) <= SAMPLE_BEADS:
            return self
        middle = np.argmin(np.linalg.norm(x - x.mean(axis=0), axis=1))
        keep = np.sort(np.argsort(np.linalg.norm(x - x[middle], axis=1), kind="stable")[:SAMPLE_BEADS])
        new = np.full(len(x), -1)
        new[keep] = np.arange(len(keep))
        excluded = new[self.excluded]
        return Sample(x[keep], self.types[keep], excluded[(excluded >= 0).all(axis=1)])


class Distances(NamedTuple):
    """How near to each other the beads of a force field come.

    Attributes:
        bonds: [M, 2] Å; the shortest and the longest that each kind of bond gets.
        contact: Å; beads without a bond are at least so far apart.
    """

    bonds: FloatArray
    contact: float


SHORTEST: Final = Distances(np.array([[1.45, 1.45]]), 2.2)
"""Of any protein model: with them a chain is as dense as a protein in five beads a residue."""


PULL: Final = 0.3
"""Toward the middle of a chain, for each Å from there, beside a normal deviate: as compact as a protein."""


def random_sample(
    network: SchNet, distances: Distances = SHORTEST, seed: int = 0, beads: int = 64, pull: float = PULL
) -> Sample:
    """A random chain of random bead types; beads without a bond are `contact` apart where there is room."""
    rng, lengths = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    x = np.zeros((1, 3))
    while len(x) < beads:
        length = lengths.uniform(*distances.bonds[lengths.integers(len(distances.bonds))])
        step = rng.normal(size=(64, 3)) - pull * (x[-1] - x.mean(axis=0))
        tries = x[-1] + length * step / np.linalg.norm(step, axis=1, keepdims=True)
        room = np.linalg.norm(tries[:, None] - x[:-1], axis=2).min(axis=1, initial=np.inf)
        free = room > distances.contact
        x = np.concatenate([x, tries[[np.argmax(free) if free.any() else room.argmax()]]])
    return Sample(x, rng.integers(network.hyper.types, size=beads), np.zeros((0, 2), np.int64))


def samples_of(network: SchNet, distances: Distances | None) -> tuple[Sample, ...]:
    """What the tables of a network are made for: a compact chain and a coil; nothing where distances are not known."""
    return () if distances is None else tuple(random_sample(network, distances, pull=pull) for pull in (PULL, 0.0))


@dataclass(frozen=True, eq=False)
class FilterTables:
    """The tables of all blocks of one network.

    Attributes:
        rows: [blocks, K + 1, 3, F] v, s and c at each knot.
        cutoff: rc, Å.
        force_error: measured error of the forces by the tables alone, relative to their rms.
    """

    rows: FloatArray
    cutoff: float
    force_error: float = math.nan

    @property
    def intervals(self) -> int:
        """K."""
        return int(self.rows.shape[1]) - 1

    def sixteen_bits(self) -> tuple[npt.NDArray[np.int16], FloatArray]:
        """The rows as int16 [blocks, K + 1, 3, F], and what one of them counts, [blocks, RANGES + 1, 3, F].

        Every channel of v, s and c has a scale for each range of K / RANGES knots (the last knot is alone in its own):
        at distances that beads never come to, filters are often many times larger than where they matter. The slope
        is continuous as before; the value has steps of a 65,000th of the largest in its range at the knots.
        """
        part = self._ranges()
        scales = np.stack([np.abs(self.rows[:, part == k]).max(axis=1) for k in range(RANGES + 1)], axis=1) / 32767.0
        scales[scales == 0.0] = 1.0
        return np.rint(self.rows / scales[:, part]).astype(np.int16), scales

    def rounded(self) -> FilterTables:
        """These tables as they are in 16 bits; no error measured."""
        whole, scales = self.sixteen_bits()
        return FilterTables(whole * scales[:, self._ranges()], self.cutoff)

    def _ranges(self) -> IntArray:
        """[K + 1] the range of each knot."""
        return np.arange(self.intervals + 1) // (self.intervals // RANGES)

    def filters(self, block: int, d: Tensor) -> Tensor:
        """W(d) by interpolation: distances [P] -> [P, F], differentiable in d."""
        u = d * (self.intervals / self.cutoff)
        k = u.detach().long().clamp(0, self.intervals - 1)
        t = (u - k)[:, None]
        rows = torch.from_numpy(self.rows[block])
        v, s, c = rows[k].unbind(1)
        e = (rows[k + 1, 1] - s - 2.0 * c) / 3.0
        return v + t * (s + t * (c + t * e))


def filter_values(network: SchNet, block: int, d: FloatArray) -> tuple[FloatArray, FloatArray]:
    """W(d) [P, F] and dW/dd [P, F] of a float64 network, exact."""
    with torch.enable_grad():
        x = torch.from_numpy(d).requires_grad_()
        value = exact_filters(network)(block, x)  # [P, F]
        # W of row p depends on x_p alone, so sum_p dW_pf/dx_p u_pf is linear in u, and its gradient by u is dW/dx
        u = torch.zeros_like(value, requires_grad=True)
        (mixed,) = torch.autograd.grad(value, x, u, create_graph=True)
        (slope,) = torch.autograd.grad(mixed.sum(), u)
    return value.detach().numpy(), slope.numpy()


def exact_filters(network: SchNet) -> Filters:
    """The network's own filters."""
    return lambda block, d: network.blocks[block].filters(d, network.basis(d))  # type: ignore[operator]


def tabulate(network: SchNet, intervals: int, end: float | None = None) -> FilterTables:
    """Tables with K = `intervals`, up to `end` Å (None: the network's cutoff); no error measured."""
    network = in_double(network)
    rc = network.hyper.cutoff if end is None else end
    knots = np.linspace(0.0, rc, intervals + 1)
    rows = np.zeros((len(network.blocks), intervals + 1, 3, network.hyper.filters))
    for b in range(len(network.blocks)):
        value, slope = filter_values(network, b, knots)
        rows[b, :, 0], rows[b, :, 1] = value, slope * (rc / intervals)
        s = rows[b, :, 1]
        rows[b, :-1, 2] = 3.0 * np.diff(value, axis=0) - 2.0 * s[:-1] - s[1:]
    return FilterTables(rows, rc)


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Small matrices gain nothing from torch's threads, and lose a lot where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@on_one_thread()
def filter_tables(network: SchNet, tolerance: float, samples: Sequence[Sample] = ()) -> FilterTables:
    """The smallest tables whose force error on every one of `samples` is at most `tolerance`.

    Args:
        network: in any precision; evaluated in float64.
        tolerance: of the forces, relative to their rms; `BEYOND` times as much on `random_sample(network)`.
        samples: from `samples_of`, or nothing: `random_sample(network)` alone. Made from the force field alone, so that
            every bit of a run depends on nothing else.

    Raises:
        ForceFieldError: no grid up to `MOST` intervals is fine enough; the message states what was reached.
    """
    network = in_double(network)
    nearest = random_sample(network)
    limits = [(s.core(), tolerance) for s in samples] + [(nearest, BEYOND * tolerance if samples else tolerance)]
    exact = [sample_forces(network, exact_filters(network), s) for s, _ in limits]
    # on milder samples 256 would leave no margin for frames whose forces nearly cancel, and gain no speed
    intervals = 2 * FEWEST if samples else FEWEST
    while True:
        tables = tabulate(network, intervals)
        errors = [
            relative_error(sample_forces(network, tables.filters, s), f)
            for (s, _), f in zip(limits, exact, strict=True)
        ]
        excess = max(error / limit for error, (_, limit) in zip(errors, limits, strict=True))
        if excess <= 1.0:
            return FilterTables(tables.rows, tables.cutoff, max(errors[: len(samples)] or errors))
        # h^3, and for the last step what was hoped for is tried before it is refused
        wanted = intervals * 2 ** max(1, math.ceil(math.log2(excess) / 3.0 - 0.2))
        if not all(map(math.isfinite, errors)) or intervals == MOST:
            kinks = network.hyper.activation == "relu"
            why = "; their slopes jump wherever relu sets in, and a cubic is off there on any grid" if kinks else ""
            raise ForceFieldError(
                f"the filters of this SchNet cannot be tabulated: with {intervals} intervals over "
                f"{tables.cutoff:g} Å the forces are still off by {max(errors):.1e} of their rms, and {tolerance:.1e} "
                f"is asked for (activation '{network.hyper.activation}', filter_envelope "
                f"'{network.hyper.filter_envelope}'{why}); write `filters: exact` for its own filters, in plain torch"
            )
        intervals = min(wanted, MOST)


@on_one_thread()
def force_error(network: SchNet, tables: Approximate, sample: Sample) -> float:
    """Error of the forces by the tables alone (or what else stands for the filters), relative to their rms."""
    network, sample = in_double(network), sample.core()
    exact = sample_forces(network, exact_filters(network), sample)
    return relative_error(sample_forces(network, tables.filters, sample), exact)


@on_one_thread()
def exact_forces(network: SchNet, sample: Sample) -> FloatArray:
    """Forces [N, 3] of a network with its own filters in float64, kcal/mol/Å."""
    network = in_double(network)
    return sample_forces(network, exact_filters(network), sample)


def relative_error(found: FloatArray, expected: FloatArray) -> float:
    """Root mean square error over root mean square; 0 where nothing is expected and nothing found."""
    scale = float(np.sqrt((expected**2).mean()))
    error = float(np.sqrt(((found - expected) ** 2).mean()))
    return error / scale if scale > 0.0 else error


def in_double(network: SchNet) -> SchNet:
    """The network in float64; itself if it is."""
    if network.embedding.dtype == torch.float64:
        return network
    copy = SchNet(network.hyper).to(torch.float64)
    copy.load_state_dict(network.state_dict())
    return copy.requires_grad_(False)


def sample_forces(network: SchNet, filters: Filters, sample: Sample) -> FloatArray:
    """Forces [N, 3] of `network` with `filters` in place of its own, kcal/mol/Å."""
    x = torch.from_numpy(np.ascontiguousarray(sample.positions, np.float64)).requires_grad_()
    n = len(x)
    i, j = torch.triu_indices(n, n, offset=1)
    near = torch.linalg.vector_norm((x[j] - x[i]).detach(), dim=-1) < network.hyper.cutoff
    if len(sample.excluded):
        near &= ~torch.isin(i * n + j, torch.from_numpy(sample.excluded[:, 0] * n + sample.excluded[:, 1]))
    i, j = i[near], j[near]
    d = torch.linalg.vector_norm(x[j] - x[i], dim=-1)
    types = torch.from_numpy(np.array(sample.types))
    energy = network.energies([filters(b, d) for b in range(len(network.blocks))], types, i, j).sum()
    if not energy.requires_grad:
        return np.zeros((n, 3))
    (gradient,) = torch.autograd.grad(energy, x)
    return -gradient.numpy()

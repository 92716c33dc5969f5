"""Filters in parts: tables for near pairs, and a few cosines for all others, which are products of matrices.

Trained filters are rough at short distances and smooth beyond some 6 Å. From `start` on, for every block

    W_f(d) = sum_k C_kf cos(k theta(d))        k = 0 .. rank - 1

so that messages S = U h with U_k,ij = cos(k theta_ij), and both products of the backward sweep, run on tensor cores
(`triton/far.py`). theta maps distances from `start` to the cutoff onto angles, with a little room at either end:

    cos theta = (1 - MARGIN) (1 - 2 (s(d) - s(start)) / (s(rc) - s(start)))    s(d) = -exp(-decay d) / decay, or d

It is kept as a cubic Hermite table, whose derivative is theta'(d) exactly: so forces are the gradient of the energy,
whatever the table's own error. C comes from least squares on values and slopes of the exact filters, in float64. At
both ends value and slope are the exact ones: nothing jumps at `start` or at the cutoff.

`start`, `rank` and `decay` are chosen by the error of the forces on the distances of the force field, as the tables
are. All of it follows from the force field alone.

Between the tables and the far field there may be a middle field: cosines of a map of its own, which reaches from its
start to the far field's. At half the length, as many cosines go much nearer; but middle pairs are few for a bead, so
their rows are gathered (`triton/gathered.py`). What that gains: studies/2026-12-near-field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from mdflash.core.types import FloatArray
from mdflash.errors import ForceFieldError
from mdflash.potentials.schnet.network import SchNet
from mdflash.potentials.schnet.tables import (
    BEYOND,
    FEWEST,
    MOST,
    Filters,
    FilterTables,
    Sample,
    exact_filters,
    filter_values,
    in_double,
    on_one_thread,
    random_sample,
    relative_error,
    sample_forces,
    tabulate,
)

RANKS: Final = (16, 32)
"""Numbers of cosines that are tried: what the tiles of the kernels hold."""
DECAYS: Final = (0.0, 0.1, 0.2, 0.3)
"""1/Å; the decays that are tried."""
PLACES: Final = 64
"""`start` is a whole multiple of the cutoff over this."""
NEAREST: Final = 8
FARTHEST: Final = 48
"""The first and the last multiple that are tried: with fewer far pairs nothing is gained."""
MARGIN: Final = 0.02
"""theta' is infinite where cos theta is 1 or -1."""
ANGLES: Final = 1024
"""Intervals of theta's table."""
FINE: Final = 4096
"""Intervals of the tables that stand for exact filters while `start` is looked for."""
NEAR_COST: Final = 7.0
"""A pair in the tables costs as much as so many in 16 cosines, counted in instructions; not measured on a GPU yet."""
MIDDLE: Final = 32
"""Cosines of a middle field; by the same count, 16 and 64 cost more."""


@dataclass(frozen=True, eq=False)
class FarField:
    """The cosines of all blocks of one network, far or in the middle.

    Attributes:
        start, cutoff: the distances between which they hold, Å.
        angles: [ANGLES, 4] v, s, c, e of theta / 2 pi, as in `tables`: v + t (s + t (c + t e)).
        coefficients: [blocks, rank, F] C.
        decay: of the map, 1/Å.
    """

    start: float
    cutoff: float
    angles: FloatArray
    coefficients: FloatArray
    decay: float

    @property
    def rank(self) -> int:
        """Cosines of a filter."""
        return int(self.coefficients.shape[1])

    def turns(self, d: Tensor) -> Tensor:
        """theta / 2 pi at distances [P] from `start` to `cutoff`; differentiable in d."""
        u = (d - self.start) * (len(self.angles) / (self.cutoff - self.start))
        k = u.detach().long().clamp(0, len(self.angles) - 1)
        t = u - k
        v, s, c, e = torch.from_numpy(self.angles)[k].unbind(1)
        return v + t * (s + t * (c + t * e))

    def filters(self, block: int, d: Tensor) -> Tensor:
        """W(d): distances [P] from `start` to `cutoff` -> [P, F], differentiable in d."""
        k = torch.arange(self.rank, dtype=torch.float64)
        return torch.cos(2.0 * torch.pi * k * self.turns(d)[:, None]) @ torch.from_numpy(self.coefficients[block])


@dataclass(frozen=True, eq=False)
class SplitFilters:
    """Filters of all blocks: tables from 0 on, cosines from `far.start` to the cutoff, and others in the middle.

    Attributes:
        near: tables whose cutoff is the start of the first of `fields`.
        far: the cosines.
        scales: [blocks, 2] powers of two that bring features h and gradients dE/dm to about 1, for 16 bits.
        force_error: measured error of the forces by both parts in float64, relative to their rms.
        near_fraction: how many of all pairs within the cutoff are in the tables, on the sample.
        middle: cosines that end where those of `far` begin, or none.
    """

    near: FilterTables
    far: FarField
    scales: FloatArray
    force_error: float
    near_fraction: float
    middle: FarField | None = None

    @property
    def fields(self) -> tuple[FarField, ...]:
        """All cosines, each from the end of those before it."""
        return (self.far,) if self.middle is None else (self.middle, self.far)

    def describe(self) -> str:
        """One line for logs."""
        cosines = ", ".join(f"from {field.start:.2f} Å on {field.rank} cosines" for field in self.fields)
        return (
            f"filters are tables of {self.near.intervals} intervals, {cosines}; all put the forces off by "
            f"{self.force_error:.1e} of their rms"
        )

    def filters(self, block: int, d: Tensor) -> Tensor:
        """W(d): distances [P] -> [P, F], differentiable in d."""
        return _joined(self.near.filters, *self.fields)(block, d)


def _joined(near: Filters, *fields: FarField) -> Filters:
    """Filters that are `near` below the start of the first field, and from there on those of the fields."""

    def filters(block: int, d: Tensor) -> Tensor:
        # each part sees only distances that it holds for
        w = near(block, d.clamp(max=fields[0].start))
        for field in fields:
            of_field = field.filters(block, d.clamp(field.start, field.cutoff))
            w = torch.where((d < field.start)[:, None], w, of_field)
        return w

    return filters


@on_one_thread()
def fit_far_field(
    network: SchNet, start: float, rank: int, decays: Sequence[float] = DECAYS, stop: float | None = None
) -> FarField:
    """The best cosines from `start` on; see the module.

    Args:
        network: in float64.
        start: Å, below the cutoff.
        rank: number of cosines.
        decays: of the map of distances, 1/Å; the one is taken whose slopes are nearest to the exact ones.
        stop: Å, where they end; None: at the cutoff.
    """
    cutoff = network.hyper.cutoff if stop is None else stop
    inner = 0.5 - 0.5 * np.cos(np.pi * (np.arange(8 * rank) + 0.5) / (8 * rank))
    d = start + (cutoff - start) * np.concatenate(([0.0], inner, [1.0 - 1e-12]))
    values = [filter_values(network, b, d) for b in range(len(network.blocks))]
    exact = [(torch.from_numpy(w), torch.from_numpy(dw)) for w, dw in values]
    x = torch.from_numpy(d)
    return min((_fit(start, cutoff, rank, decay, x, exact) for decay in decays), key=lambda found: found[1])[0]


def _fit(
    start: float, cutoff: float, rank: int, decay: float, d: Tensor, exact: Sequence[tuple[Tensor, Tensor]]
) -> tuple[FarField, float]:
    """The far field from values and slopes at d [P] of every block, and the largest rms error of a block's slopes."""
    zero = np.zeros((len(exact), rank, exact[0][0].shape[1]))
    far = FarField(start, cutoff, _angles(start, cutoff, decay), zero, decay)
    x = d.clone().requires_grad_()
    turns = far.turns(x)
    (slope,) = torch.autograd.grad(turns.sum(), x)
    k, angle = 2.0 * np.pi * torch.arange(rank, dtype=torch.float64), turns.detach()[:, None]
    value_of, slope_of = torch.cos(k * angle), -k * torch.sin(k * angle) * slope[:, None]
    length, weight = (cutoff - start) / rank, torch.gradient(d)[0].sqrt()[1:-1, None]
    ends = torch.cat([value_of[[0, -1]], slope_of[[0, -1]]])  # [4, rank]: what must hold exactly
    q, r = torch.linalg.qr(ends.T, mode="complete")
    own, free = q[:, :4], q[:, 4:]
    matrix = torch.cat([weight * value_of[1:-1], weight * length * slope_of[1:-1]])
    basis, triangle = torch.linalg.qr(matrix @ free)
    worst = 0.0
    for b, (w, dw) in enumerate(exact):
        held = own @ torch.linalg.solve(r[:4].T, torch.cat([w[[0, -1]], dw[[0, -1]]]))
        wanted = torch.cat([weight * w[1:-1], weight * length * dw[1:-1]])
        left = basis.T @ (wanted - matrix @ held)
        c = held + free @ torch.linalg.solve_triangular(triangle, left, upper=True)
        far.coefficients[b] = c.numpy()
        worst = max(worst, float((slope_of @ c - dw).square().mean().sqrt()))
    return far, worst


def _angles(start: float, cutoff: float, decay: float) -> FloatArray:
    """[ANGLES, 4] theta / 2 pi as cubics, from exact values and slopes at the knots."""
    step = (cutoff - start) / ANGLES
    d = start + step * np.arange(ANGLES + 1)
    s, slope = (d, np.ones_like(d)) if decay == 0.0 else (-np.exp(-decay * d) / decay, np.exp(-decay * d))
    cosine = (1.0 - MARGIN) * (1.0 - 2.0 * (s - s[0]) / (s[-1] - s[0]))
    v = np.arccos(cosine) / (2.0 * np.pi)
    s = 2.0 * (1.0 - MARGIN) * slope / (s[-1] - s[0]) / np.sqrt(1.0 - cosine**2) * step / (2.0 * np.pi)
    c = 3.0 * np.diff(v) - 2.0 * s[:-1] - s[1:]
    return np.stack([v[:-1], s[:-1], c, (s[1:] - s[:-1] - 2.0 * c) / 3.0], axis=1)


@on_one_thread()
def split_filters(
    network: SchNet, tolerance: float, samples: Sequence[Sample] = (), ranks: Sequence[int] = RANKS, middle: int = 0
) -> SplitFilters:
    """The cheapest split whose force error on every one of `samples` is at most `tolerance`.

    Half of it is for the far field, a quarter for a middle field, and the tables are as fine as the rest asks for.

    Args:
        network: in any precision; evaluated in float64.
        tolerance: of the forces, relative to their rms; `BEYOND` times as much on `random_sample(network)`.
        samples: from `samples_of`, or nothing: `random_sample(network)` alone.
        ranks: numbers of cosines that are tried.
        middle: cosines of a middle field; 0, or where it would gain nothing: none.

    Raises:
        ForceFieldError: too few pairs are far where the error allows it; the message states what was reached.
    """
    network = in_double(network)
    nearest = random_sample(network)
    limits = [(s.core(), tolerance) for s in samples] + [(nearest, BEYOND * tolerance if samples else tolerance)]
    exact = [sample_forces(network, exact_filters(network), s) for s, _ in limits]

    def excess(filters: Filters) -> float:
        """How many times more than allowed the forces are off."""
        return max(
            relative_error(sample_forces(network, filters, s), f) / limit
            for (s, limit), f in zip(limits, exact, strict=True)
        )

    fine = tabulate(network, FINE).filters
    sample = limits[0][0]
    starts = [far for rank in ranks if (far := _nearest_start(network, rank, fine, excess)) is not None]
    found: list[tuple[FarField, ...]] = [(far,) for far in starts]
    if middle:
        for far in starts:
            if (between := _nearest_start(network, middle, fine, excess, far)) is not None:
                found.append((between, far))
    if not found:
        raise ForceFieldError(
            f"the filters of this SchNet are not smooth enough for `filters: split`: with {ranks[-1]} cosines from "
            f"{FARTHEST / PLACES * network.hyper.cutoff:.3g} Å on, the forces are off by more than {tolerance:.0e} of "
            "their rms; write `filters: table`"
        )
    fields = min(found, key=lambda f: _cost(sample, f))
    far, first = fields[-1], fields[0].start
    intervals = FEWEST
    while excess(_joined((near := tabulate(network, intervals, first)).filters, *fields)) > 1.0:
        intervals *= 2
        if intervals > MOST:
            raise ForceFieldError(
                f"the filters of this SchNet cannot be tabulated: with {MOST} intervals over {first:.3g} Å the "
                f"forces are still off by more than {tolerance:.0e} of their rms; write `filters: exact`"
            )
    scales, between = operand_scales(network, [s for s, _ in limits]), fields[0] if len(fields) > 1 else None
    split = SplitFilters(near, far, scales, 0.0, _fraction(sample, 0.0, first, far.cutoff), between)
    errors = [
        relative_error(sample_forces(network, split.filters, s), f) for (s, _), f in zip(limits, exact, strict=True)
    ]
    return replace(split, force_error=max(errors[: len(samples)] or errors))


def _nearest_start(
    network: SchNet, rank: int, near: Filters, excess: Callable[[Filters], float], beyond: FarField | None = None
) -> FarField | None:
    """The far field with the smallest start that keeps half of what is allowed; None if the largest does not.

    The middle field before `beyond`, with which it keeps three quarters.
    """
    cutoff, stop = network.hyper.cutoff, None if beyond is None else beyond.start
    after, limit = ((), 0.5) if beyond is None else ((beyond,), 0.75)
    best, low, high = None, NEAREST, FARTHEST if stop is None else round(PLACES * stop / cutoff) - 1
    place = high
    while True:
        far = fit_far_field(network, cutoff * place / PLACES, rank, stop=stop)
        if excess(_joined(near, far, *after)) <= limit:
            best, high = far, place
        else:
            low = place + 1
        if low >= high or best is None:
            return best
        place = (low + high) // 2


def _cost(sample: Sample, fields: Sequence[FarField]) -> float:
    """Of a sweep over all pairs of the sample, in products of 16 cosines for every pair."""
    far = fields[-1]
    tables = NEAR_COST * _fraction(sample, 0.0, fields[0].start, far.cutoff)
    gathered = sum(_fraction(sample, f.start, f.cutoff, far.cutoff) * f.rank / RANKS[0] for f in fields[:-1])
    return tables + gathered + far.rank / RANKS[0]


def _fraction(sample: Sample, start: float, stop: float, cutoff: float) -> float:
    """How many of the pairs within the cutoff are between two distances."""
    x = sample.positions
    d = np.linalg.norm(x[:, None] - x, axis=2)[np.triu_indices(len(x), 1)]
    return float(((d >= start) & (d < stop)).sum() / max(1, (d < cutoff).sum()))


def operand_scales(network: SchNet, samples: Sequence[Sample]) -> FloatArray:
    """[blocks, 2] powers of two that bring features h and gradients dE/dm of a float64 network to an rms of about 1."""
    squares = np.zeros((2, len(network.blocks), 2))  # sums, counts: of h and of dE/dm
    handles = []
    for b, block in enumerate(network.blocks):

        def add(of: int, x: Tensor, b: int = b) -> None:
            squares[:, b, of] += float(x.detach().square().sum()), x.numel()

        def keep(module: object, inputs: tuple[Tensor, ...], output: Tensor, add: Callable[..., None] = add) -> None:
            add(0, output)

        def follow(module: object, inputs: tuple[Tensor, ...], add: Callable[..., None] = add) -> None:
            inputs[0].register_hook(lambda gradient: add(1, gradient))  # type: ignore[no-untyped-call]

        handles += [block.input.register_forward_hook(keep), block.update[0].register_forward_pre_hook(follow)]  # type: ignore[union-attr, index]
    for sample in samples:
        sample_forces(network, exact_filters(network), sample)
    for handle in handles:
        handle.remove()
    rms = np.sqrt(squares[0] / np.maximum(squares[1], 1.0))
    return np.where(rms > 0.0, np.exp2(-np.round(np.log2(np.where(rms > 0.0, rms, 1.0)))), 1.0)

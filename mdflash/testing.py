"""Conformance kit: does a potential keep the contract of `mdflash.potentials.base.Potential`?

Any potential, ours or yours, can be run through it:

    import torch
    from mdflash.core.state import Layout
    from mdflash.testing import check_potential

    def test_my_potential():
        layout = Layout((system,), (3,))                       # three replicas of one molecule
        positions = torch.randn(layout.n_beads, 3).double() * 5  # or real frames, [B, 3] in Å
        check_potential(MyPotential(), layout, positions)

A kernel in lower precision is compared with what it must not differ from:

        check_potential(fast, layout, positions, budget=BUDGETS["fp32"], reference=exact)

Checks, each raising AssertionError with the numbers:

| name                 | what must hold                                                            |
|----------------------|---------------------------------------------------------------------------|
| finite_differences   | forces are the negative gradient of the energy                            |
| translation          | moving a replica changes nothing                                          |
| rotation             | turning a replica turns its forces                                        |
| permutation          | replicas in another order give the same bits in that order                |
| replica_independence | alone, or beside other conformations: the same bits                       |
| no_neighbors         | beads far apart: finite energy, no force (potentials with a cutoff)       |
| all_neighbors        | every pair within the cutoff: finite, and still the negative gradient     |
| at_the_cutoff        | a pair at exactly the cutoff does not interact                            |
| reference            | energy and forces of the reference, at the positions and with all neighbors |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.base import EnergyForces, Potential


@dataclass(frozen=True)
class Budget:
    """How far a potential may be off.

    Attributes:
        step: Å that beads are moved for finite differences.
        gradient: finite differences against forces, relative to what a random direction sees on average.
        symmetry: change of the forces (relative to their rms) and of the energy (relative to its size, at least
            1 kcal/mol) when a replica is moved or turned.
        force, energy: the same measures, against the reference.
    """

    step: float
    gradient: float
    symmetry: float
    force: float
    energy: float


BUDGETS: Final[Mapping[str, Budget]] = MappingProxyType(
    {
        "fp64": Budget(step=2e-5, gradient=1e-6, symmetry=1e-9, force=1e-6, energy=1e-6),
        "fp32": Budget(step=5e-3, gradient=5e-3, symmetry=2e-5, force=1e-5, energy=1e-5),
        "mixed16": Budget(step=2e-2, gradient=5e-2, symmetry=4e-3, force=2e-3, energy=2e-3),
    }
)
"""By precision of the arithmetic. The reference potentials in float64 keep far below the first."""


@dataclass(frozen=True)
class _Case:
    potential: Potential
    layout: Layout
    positions: Tensor  # [B, 3] float64
    budget: Budget
    reference: Potential | None
    seed: int

    @property
    def cutoff(self) -> float | None:
        """The cutoff of the potential; or of the reference, where the potential finds its neighbors itself."""
        if self.potential.cutoff is None and self.reference is not None:
            return self.reference.cutoff
        return self.potential.cutoff

    def random(self, *shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(self.seed))

    def at(self, positions: Tensor, layout: Layout | None = None, potential: Potential | None = None) -> EnergyForces:
        potential, layout = potential or self.potential, layout or self.layout
        pairs = None if potential.cutoff is None else all_pairs(positions, layout, potential.cutoff)
        energy, forces = potential.energy_and_forces(positions, layout, pairs)
        assert energy.shape == (layout.n_replicas,), f"energy must be [{layout.n_replicas}], found {list(energy.shape)}"
        assert forces.shape == positions.shape, f"forces must be {list(positions.shape)}, found {list(forces.shape)}"
        return EnergyForces(energy.double(), forces.double())

    def finite(self, what: str, result: EnergyForces) -> EnergyForces:
        for r in range(len(result.energy)):
            assert torch.isfinite(result.energy[r]), f"{what}: the energy of replica {r} is {result.energy[r].item()}"
        bad = torch.nonzero(~torch.isfinite(result.forces).all(dim=1)).flatten()
        assert not len(bad), f"{what}: the force on bead {bad[0].item()} is {result.forces[bad[0]].tolist()}"
        return result


def check_potential(
    potential: Potential,
    layout: Layout,
    positions: Tensor,
    *,
    budget: Budget = BUDGETS["fp64"],
    reference: Potential | None = None,
    skip: tuple[str, ...] = (),
    seed: int = 0,
) -> dict[str, float]:
    """Run every check of the module's table; returns the largest error that each one found.

    Args:
        potential: evaluated on float64 positions and, where it has a cutoff, a list of exactly the pairs within it.
        layout: at least one replica of each system; three or more make the checks of independence worth something.
        positions: [B, 3] Å, sensible conformations, all different.
        budget: allowed errors, see `BUDGETS`.
        reference: what energies and forces must be.
        skip: names of checks that do not apply (give the reason where you skip one).
        seed: seed of the random directions, shifts and rotations.

    Raises:
        AssertionError: a check failed; the message has the numbers.
    """
    unknown = set(skip) - set(_CHECKS)
    assert not unknown, f"no such check: {', '.join(sorted(unknown))}; there are {', '.join(_CHECKS)}"
    case = _Case(potential, layout, positions.double(), budget, reference, seed)
    return {name: check(case) for name, check in _CHECKS.items() if name not in skip}


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def _each(layout: Layout, of: Callable[[int, Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply `of(replica, rows)` to every replica's rows."""
    return torch.cat([of(r, x[layout.rows(r)]) for r in range(layout.n_replicas)])


def _differ(what: str, found: EnergyForces, expected: EnergyForces, force: float, energy: float) -> float:
    """Compare; returns the relative error of the forces."""
    scale = _rms(expected.forces)
    error = _rms(found.forces - expected.forces) / scale if scale > 0.0 else _rms(found.forces)
    assert error <= force, f"{what}: forces differ by {error:.2e} of their rms ({scale:.3g}), allowed {force:.0e}"
    for r, (e, wanted) in enumerate(zip(found.energy.tolist(), expected.energy.tolist(), strict=True)):
        off = abs(e - wanted) / max(1.0, abs(wanted))
        assert off <= energy, (
            f"{what}: replica {r} has energy {e!r}, expected {wanted!r} ({off:.2e}, allowed {energy:.0e})"
        )
    return error


def _same_bits(what: str, found: EnergyForces, expected: EnergyForces) -> float:
    off = (found.energy - expected.energy).abs().max()
    assert torch.equal(found.energy, expected.energy), f"{what}: energies must have the same bits, differ by {off:.2e}"
    off = (found.forces - expected.forces).abs().max()
    assert torch.equal(found.forces, expected.forces), f"{what}: forces must have the same bits, differ by {off:.2e}"
    return 0.0


def _gradient_error(case: _Case, what: str, x: Tensor) -> float:
    forces = case.finite(what, case.at(x)).forces
    worst = 0.0
    for direction in case.random(4, *x.shape):
        up2, up, down, down2 = (case.at(x + k * case.budget.step * direction).energy for k in (2, 1, -1, -2))
        slope = (8.0 * (up - down) - (up2 - down2)) / (12.0 * case.budget.step)  # [R], five-point rule
        for r in range(case.layout.n_replicas):
            rows = case.layout.rows(r)
            f, d = forces[rows], direction[rows]
            expected = -float((f * d).sum())
            scale = float(f.norm() * d.norm()) / f.numel() ** 0.5
            error = abs(float(slope[r]) - expected) / scale if scale > 0.0 else abs(float(slope[r]))
            assert error <= case.budget.gradient, (
                f"{what}: replica {r}: the energy changes by {slope[r]:.9g} kcal/mol/Å along a random direction, the "
                f"forces predict {expected:.9g} (error {error:.2e}, allowed {case.budget.gradient:.0e})"
            )
            worst = max(worst, error)
    return worst


def _finite_differences(case: _Case) -> float:
    return _gradient_error(case, "finite_differences", case.positions)


def _translation(case: _Case) -> float:
    shifts = 30.0 * case.random(case.layout.n_replicas, 3)
    moved = _each(case.layout, lambda r, x: x + shifts[r], case.positions)
    allowed = case.budget.symmetry
    return _differ("translation", case.at(moved), case.at(case.positions), allowed, allowed)


def _rotation(case: _Case) -> float:
    turns = torch.linalg.qr(case.random(case.layout.n_replicas, 3, 3)).Q
    turns = turns * torch.linalg.det(turns)[:, None, None]  # proper ones: a torsion's sign distinguishes mirror images

    def turn(r: int, x: Tensor) -> Tensor:
        turned: Tensor = x @ turns[r].T
        return turned

    energy, forces = case.at(case.positions)
    expected = EnergyForces(energy, _each(case.layout, turn, forces))
    found = case.at(_each(case.layout, turn, case.positions))
    return _differ("rotation", found, expected, case.budget.symmetry, case.budget.symmetry)


def _permutation(case: _Case) -> float:
    layout = case.layout
    order = [
        r
        for s in range(len(layout.systems))
        for r in reversed(range(int(layout.replica_offset[s]), int(layout.replica_offset[s + 1])))
    ]
    rows = torch.cat([torch.arange(layout.rows(r).start, layout.rows(r).stop) for r in order])
    energy, forces = case.at(case.positions)
    return _same_bits("permutation", case.at(case.positions[rows]), EnergyForces(energy[order], forces[rows]))


def _replica_independence(case: _Case) -> float:
    layout = case.layout
    energy, forces = case.at(case.positions)
    few = Layout(layout.systems, (1,) * len(layout.systems))
    for turn in range(max(layout.counts)):
        chosen = [int(layout.replica_offset[s]) + turn % count for s, count in enumerate(layout.counts)]
        rows = torch.cat([torch.arange(layout.rows(r).start, layout.rows(r).stop) for r in chosen])
        expected = EnergyForces(energy[chosen], forces[rows])
        _same_bits("replica_independence: alone", case.at(case.positions[rows], few), expected)
    kept = layout.n_replicas // 2
    noise = 0.3 * case.random(*case.positions.shape)
    noise[layout.rows(kept)] = 0.0
    beside = case.at(case.positions + noise)
    own = EnergyForces(energy[[kept]], forces[layout.rows(kept)])
    return _same_bits(
        "replica_independence: beside others",
        EnergyForces(beside.energy[[kept]], beside.forces[layout.rows(kept)]),
        own,
    )


def _line(case: _Case, cutoff: float) -> Tensor:
    """Beads in a line, no two within the cutoff."""
    return _each(
        case.layout,
        lambda r, x: torch.arange(len(x), dtype=torch.float64)[:, None] * torch.tensor([1.5 * cutoff, 0.0, 0.0]),
        case.positions,
    )


def _no_neighbors(case: _Case) -> float:
    if case.cutoff is None:
        return 0.0
    forces = case.finite("no_neighbors", case.at(_line(case, case.cutoff))).forces
    largest = float(forces.abs().max())
    assert largest == 0.0, f"no_neighbors: a bead without neighbors feels {largest:.3g} kcal/mol/Å"
    return 0.0


def _crowded(case: _Case) -> Tensor:
    """The conformations, shrunk until every pair is within the cutoff."""
    cutoff = case.cutoff
    assert cutoff is not None

    def shrink(r: int, x: Tensor) -> Tensor:
        x = x - x.mean(dim=0)
        widest = float(torch.cdist(x, x).max()) if len(x) > 1 else 0.0
        return x * min(1.0, 0.95 * cutoff / widest) if widest > 0.0 else x

    return _each(case.layout, shrink, case.positions)


def _all_neighbors(case: _Case) -> float:
    if case.cutoff is None:
        return 0.0
    return _gradient_error(case, "all_neighbors", _crowded(case))


def _at_the_cutoff(case: _Case) -> float:
    cutoff = case.cutoff
    if cutoff is None:
        return 0.0
    apart = _line(case, cutoff)

    def meet(r: int, x: Tensor) -> Tensor:
        x = x.clone()
        if len(x) > 1:  # the ends, which no exclusion joins
            x[0], x[-1] = 0.0, torch.tensor([0.0, cutoff, 0.0])
        return x

    expected = case.at(apart)
    found = case.finite("at_the_cutoff", case.at(_each(case.layout, meet, apart)))
    largest = 0.0
    for r in range(case.layout.n_replicas):
        off = abs(float(found.energy[r] - expected.energy[r])) / max(1.0, abs(float(expected.energy[r])))
        assert off <= case.budget.energy, (
            f"at_the_cutoff: replica {r} has energy {found.energy[r]:.9g} with a pair at exactly the cutoff, and "
            f"{expected.energy[r]:.9g} without it"
        )
        largest = max(largest, off)
    return largest


def _reference(case: _Case) -> float:
    if case.reference is None:
        return 0.0
    places = {"at the positions": case.positions}
    if case.cutoff is not None:
        places["with all neighbors"] = _crowded(case)
    return max(
        _differ(
            f"reference, {where}",
            case.finite(where, case.at(x)),
            case.at(x, potential=case.reference),
            case.budget.force,
            case.budget.energy,
        )
        for where, x in places.items()
    )


_CHECKS: Final[Mapping[str, Callable[[_Case], float]]] = MappingProxyType(
    {
        "finite_differences": _finite_differences,
        "translation": _translation,
        "rotation": _rotation,
        "permutation": _permutation,
        "replica_independence": _replica_independence,
        "no_neighbors": _no_neighbors,
        "all_neighbors": _all_neighbors,
        "at_the_cutoff": _at_the_cutoff,
        "reference": _reference,
    }
)

"""The public conformance kit: right potentials pass, wrong ones are caught."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.potentials.precision import Recentered
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tabulated import FlashSchNet
from mdflash.testing import BUDGETS, check_potential
from tests.potentials.random_forms import LISTED, batch
from tests.potentials.random_schnet import random_batch, random_schnet
from tests.potentials.test_compiled import compiled


@pytest.mark.parametrize("form", LISTED)
def test_priors_conform(form: str) -> None:
    """The reference of each form, and its compiled twin against it."""
    layout, potential, x = batch(form, 5)
    # shifted impropers jump where the angle wraps: no gradient there, by their definition
    check_potential(potential.terms[0], layout, x)
    check_potential(compiled(potential, layout), layout, x, reference=potential)


def test_reference_schnet_conforms() -> None:
    layout, potential, x = random_batch([random_schnet(1), None], (14, 6), (3, 2), 1, excluded_bonds=2)
    found = check_potential(potential, layout, x)
    assert found["finite_differences"] > 0.0
    lowered = Recentered(potential, torch.float32)
    check_potential(lowered, layout, x, budget=BUDGETS["fp32"], reference=potential)


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_flash_schnet_conforms(precision: str) -> None:
    layout, potential, x = random_batch([random_schnet(2), None, random_schnet(3, blocks=1)], (14, 6, 21), (3, 2, 1), 2)
    flash = FlashSchNet.of(potential, layout, precision)  # type: ignore[arg-type]
    check_potential(flash, layout, x, budget=BUDGETS[precision], reference=potential)


class _Wrong(Potential):
    """A potential spoilt in one way."""

    def __init__(self, right: SchNetPotential) -> None:
        self.right = right
        self.name, self.cutoff = "wrong", right.cutoff

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        energy, forces = self.right.energy_and_forces(positions, layout, pairs)
        return self.spoil(positions, layout, energy, forces)

    def spoil(self, x: Tensor, layout: Layout, energy: Tensor, forces: Tensor) -> EnergyForces:
        raise NotImplementedError


class _Forces(_Wrong):
    def spoil(self, x: Tensor, layout: Layout, energy: Tensor, forces: Tensor) -> EnergyForces:
        return EnergyForces(energy, forces * 1.0001)


class _Place(_Wrong):
    def spoil(self, x: Tensor, layout: Layout, energy: Tensor, forces: Tensor) -> EnergyForces:
        pull = torch.zeros_like(forces)
        pull[:, 0] = -1.0
        own = torch.stack([x[layout.rows(r), 0].sum() for r in range(layout.n_replicas)])
        return EnergyForces(energy + own, forces + pull)


class _Neighbors(_Wrong):
    def spoil(self, x: Tensor, layout: Layout, energy: Tensor, forces: Tensor) -> EnergyForces:
        return EnergyForces(energy + 1e-13 * energy.sum(), forces)


class _Empty(_Wrong):
    def spoil(self, x: Tensor, layout: Layout, energy: Tensor, forces: Tensor) -> EnergyForces:
        return EnergyForces(energy, forces / (forces.abs().sum() > 0))


class _DroppedEnvelope(SchNetPotential):
    """Forces without the derivative of the envelope, as in the kernels that came with the FlashSchNet paper."""

    def _one(self, *args):  # type: ignore[no-untyped-def]
        import mdflash.potentials.schnet.network as network

        whole = network.cosine_envelope
        network.cosine_envelope = lambda d, lower, upper: whole(d.detach(), lower, upper)
        try:
            return super()._one(*args)
        finally:
            network.cosine_envelope = whole


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (_Forces, "finite_differences"),
        (_Place, "translation"),
        (_Neighbors, "permutation|replica_independence"),
        (_Empty, "no_neighbors"),
    ],
)
def test_wrong_potentials_are_caught(wrong: type[_Wrong], check: str) -> None:
    layout, potential, x = random_batch([random_schnet(4)], (12,), (3,), 4)
    with pytest.raises(AssertionError, match=check):
        check_potential(wrong(potential), layout, x)


def test_the_cutoff_s_derivative_is_missed() -> None:
    layout, potential, x = random_batch([random_schnet(4)], (12,), (3,), 4)
    wrong = _DroppedEnvelope("wrong", potential.networks, [t.numpy() for t in potential.types], potential.excluded)
    with pytest.raises(AssertionError, match="finite_differences: replica 0: the energy changes by"):
        check_potential(wrong, layout, x)


def test_a_reference_that_differs_is_named() -> None:
    layout, potential, x = random_batch([random_schnet(4)], (12,), (3,), 4)
    other = SchNetPotential("other", [random_schnet(5)], [potential.types[0].numpy()], potential.excluded)
    with pytest.raises(AssertionError, match=r"reference, at the positions: forces differ by .* of their rms"):
        check_potential(potential, layout, x, reference=other)

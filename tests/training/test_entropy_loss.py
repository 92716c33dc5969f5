"""The gradient of the relative entropy, where every integral is exact; and samples of several renewals together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import chdtri, ndtri

from mdflash.potentials.schnet.network import Hyperparameters, SchNet
from mdflash.training.convolution import Pairs
from mdflash.training.entropy.loss import Group, Known, add_gradient, slopes_of, systematic
from mdflash.training.entropy.pool import Pool
from mdflash.training.forces import FlashForces, Forces, PlainForces, Topology
from mdflash.training.split import temperatures
from mdflash.units import kT
from tests.helpers import evenly

KELVIN = 300.0
THERMAL = kT(KELVIN)


def _trimer() -> tuple[torch.Tensor, np.ndarray]:
    """Places of three beads [M, 3, 3] that span all their shapes, and the volume of shapes around each [M]."""
    nodes, weights = np.polynomial.legendre.leggauss(18)
    a, cosine = 3.8 + 1.2 * nodes, 0.95 * nodes
    first, second, turn = (x.ravel() for x in np.meshgrid(a, a, cosine, indexing="ij"))
    volume = np.multiply.outer(np.multiply.outer(weights, weights), weights).ravel() * first**2 * second**2
    x = np.zeros((len(first), 3, 3))
    x[:, 0, 0] = first
    x[:, 2, 0], x[:, 2, 1] = second * turn, second * np.sqrt(1.0 - turn**2)
    return torch.from_numpy(x), volume


def _springs(x: torch.Tensor) -> np.ndarray:
    """[M] kcal/mol, the priors."""
    first, second = (torch.linalg.vector_norm(x[:, k] - x[:, 1], dim=-1).numpy() for k in (0, 2))
    return np.asarray(1.5 * ((first - 3.8) ** 2 + (second - 3.9) ** 2))


def _network(kernels: str) -> tuple[SchNet, Forces]:
    torch.manual_seed(5)
    hyper = Hyperparameters(9.0, 3, features=6, filters=6, blocks=2, basis_size=8, filter_hidden=(6,), output=(6, 3))
    model = SchNet(hyper).double()
    first, second = torch.triu_indices(3, 3, 1)
    topology = Topology(torch.arange(3), Pairs(first, second, 3))
    if kernels == "plain":
        return model, PlainForces(model, [topology])
    return model, FlashForces(model, [topology], 0.0, np.inf)


@pytest.mark.parametrize("kernels", ["plain", "compiled"])
def test_the_gradient_is_that_of_the_exact_relative_entropy(kernels: str) -> None:
    """With quadrature points for samples, drawn with other weights than those of now."""
    x, volume = _trimer()
    model, forces = _network(kernels)
    exact = PlainForces(model, forces.topologies)  # type: ignore[attr-defined]
    rng = np.random.default_rng()
    target = np.exp(-_springs(x) / THERMAL + np.sin(x[:, 0, 0].numpy() + x[:, 2, 1].numpy())) * volume
    target /= target.sum()

    def energies() -> np.ndarray:
        with torch.no_grad():
            return np.asarray(exact.energies(0, x).numpy())

    def entropy() -> float:
        """-<ln p> of the target, by quadrature; but for a constant the relative entropy."""
        u = (_springs(x) + energies()) / THERMAL
        return float(target @ u + np.log((volume * np.exp(-u)).sum()))

    drawn = np.exp(-(_springs(x) + energies()) / THERMAL) * volume
    drawn_with = energies() + THERMAL * np.log(drawn / drawn.sum())  # points do not come equally often
    parameters = list(model.parameters())
    with torch.no_grad():
        for p in parameters:
            p += 0.1 * torch.from_numpy(rng.standard_normal(p.shape))
    pool = Pool(THERMAL, 4)
    pool.add(x, np.zeros((0, 0)), drawn_with)
    weights, _ = pool.weigh(energies())
    group = Group(0, KELVIN, 1.0, Known(x, target), Known(x, target))
    for p in parameters:
        p.grad = torch.zeros_like(p)
    add_gradient(forces, 0, torch.cat([x, x]), slopes_of(group, target, weights))

    step = 3e-5
    for _ in range(3):
        along = [torch.from_numpy(rng.standard_normal(p.shape)) for p in parameters]
        found = sum(float((p.grad * d).sum()) for p, d in zip(parameters, along, strict=True) if p.grad is not None)
        ends = []
        for sign in (1.0, -2.0, 1.0):
            with torch.no_grad():
                for p, d in zip(parameters, along, strict=True):
                    p += sign * step * d
            ends.append(entropy())
        scale = sum(float((p.grad**2).sum()) for p in parameters if p.grad is not None) ** 0.5
        assert found == pytest.approx((ends[0] - ends[1]) / (2.0 * step), rel=1e-4, abs=1e-4 * scale)


def test_renewals_together_know_free_energies_and_averages() -> None:
    """Springs whose constant changes from renewal to renewal: A = kT/2 ln k, and <x²> = kT/k."""
    rng = np.random.default_rng()
    pool = Pool(THERMAL, keep=3)
    constants = [1.0, 1.5, 2.2, 3.0, 4.0]
    x = torch.zeros((0, 1, 3))
    for g, k in enumerate(constants):
        away = (THERMAL / k * chdtri(3.0, evenly(4000, rng))) ** 0.5
        where = rng.normal(size=(4000, 3))
        where *= (away / np.linalg.norm(where, axis=1))[:, None]
        new = torch.from_numpy(where[:, None].astype(np.float32))

        def energy(k: float, x: torch.Tensor) -> np.ndarray:
            return 0.5 * k * x.double().square().sum(dim=(1, 2)).numpy()

        here = constants[max(0, g - 3) : g]
        now = np.concatenate([energy(k, pool.positions), energy(k, new)]) if g else energy(k, new)
        assert len(here) == len(pool.counts)
        pool.add(new, np.array([energy(h, new) for h in here]), now)
        x = pool.positions
        assert 0.99 < pool.effective(energy(k, x)) <= len(pool.counts)
    assert len(pool.counts) == 3
    weights, free = pool.weigh(energy(5.0, x))
    assert free == pytest.approx(1.5 * THERMAL * np.log(5.0), abs=0.01 * THERMAL)
    assert weights @ x.double().square().sum(dim=(1, 2)).numpy() == pytest.approx(3.0 * THERMAL / 5.0, rel=0.01)
    one = Pool(THERMAL, 3)
    one.add(new, np.zeros((0, 0)), energy(4.0, new))
    assert one.effective(energy(4.0, new)) == pytest.approx(1.0)
    assert one.effective(energy(8.0, new)) == pytest.approx((4.0 * 12.0 / 64.0) ** 1.5, rel=0.01)


def test_windows_know_the_free_molecule_and_each_other() -> None:
    """Springs k x²/2, held by K (x_0 - c)²/2 in all states but the first, in which there are no samples."""
    rng = np.random.default_rng()
    pool = Pool(THERMAL, keep=2)
    stiff, centers = 3.0, np.array([-1.0, 0.1, 1.2]) + rng.uniform(-0.2, 0.2, 3)
    counts, shares = np.array([0, 3000, 4000, 2000]), np.array([0.1, 0.2, 0.4, 0.3])

    def energy(k: float, x: torch.Tensor) -> np.ndarray:
        return 0.5 * k * x.double().square().sum(dim=(1, 2)).numpy()

    def held(x: torch.Tensor) -> np.ndarray:
        away = x[:, 0, 0].double().numpy() - centers[:, None]
        return np.concatenate([np.zeros((1, len(x))), 0.5 * stiff * away**2])

    def exact(k: float) -> np.ndarray:
        """A of each state, against the free spring with k = 1."""
        along = 0.5 * THERMAL * np.log(k + stiff) + 0.5 * k * stiff / (k + stiff) * centers**2
        return THERMAL * np.log(k) + np.array([0.5 * THERMAL * np.log(k), *along])

    constants = [1.0, 1.4, 1.9]
    for g, k in enumerate(constants):
        parts = []
        for n, c in zip(counts[1:], centers, strict=True):
            where = ndtri(np.stack([rng.permutation(evenly(n, rng)) for _ in range(3)], axis=1)) * (THERMAL / k) ** 0.5
            where[:, 0] = where[:, 0] * (k / (k + stiff)) ** 0.5 + stiff * c / (k + stiff)
            parts.append(where)
        new = torch.from_numpy(np.concatenate(parts)[:, None].astype(np.float32))
        here = constants[max(0, g - 2) : g]
        now = np.concatenate([energy(k, pool.positions), energy(k, new)]) if g else energy(k, new)
        pool.add(new, np.array([energy(h, new) for h in here]), now, held(new), counts)
        assert pool.effective(energy(k, pool.positions), shares) == pytest.approx(min(g + 1, 2), abs=0.35)
    x, k = pool.positions, 2.3
    weights, free = pool.weigh(energy(k, x))
    assert free == pytest.approx(exact(k)[0], abs=0.05 * THERMAL)
    assert weights @ x.double().square().sum(dim=(1, 2)).numpy() == pytest.approx(3.0 * THERMAL / k, rel=0.08)
    weights, free = pool.weigh(energy(k, x), shares)
    assert free == pytest.approx(shares @ (exact(k) - exact(1.0)), abs=0.05 * THERMAL)
    mean = np.array([0.0, *(stiff * centers / (k + stiff))])
    assert weights @ x[:, 0, 0].double().numpy() == pytest.approx(shares @ mean, abs=0.02)


def test_frames_are_drawn_as_often_as_their_weights_have_it() -> None:
    rng = np.random.default_rng()
    weights = rng.random(50) ** 3
    weights /= weights.sum()
    count = np.bincount(systematic(weights, 400, rng), minlength=50)
    assert count.sum() == 400 and (np.abs(count - 400 * weights) < 1.0 + 1e-9).all()


def test_temperatures_within_one_kelvin_are_one() -> None:
    assert temperatures(np.array([300.0, 320.4, 300.5, 320.0], np.float32)) == pytest.approx([300.0, 320.0])

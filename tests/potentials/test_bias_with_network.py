"""Biases beside a network: the compiled block against the plain loop, bit by bit."""

from __future__ import annotations

import numpy as np
import torch

from mdflash.core.state import Layout, State
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Dynamics
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.base import Potential, SumPotential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.variables.distance import Distance
from mdflash.potentials.variables.radius_of_gyration import RadiusOfGyration
from tests.helpers import Rest, same_bits, walk
from tests.potentials.random_schnet import random_batch, random_schnet


def biased(layout: Layout, schnet: Potential, x: torch.Tensor, *extra: Potential) -> Engine:
    system = layout.systems[0]
    ends = Bias("ends", Distance(system, 0, 11), layout, [1.0, 2.0, 3.0], [5.0, 6.0, 7.0])
    size = Bias("size", RadiusOfGyration(system, range(12)), layout, 5.0, 4.0)
    state = State.at(layout, x, 300.0)
    sim = Engine(layout, SumPotential([schnet, ends, size, *extra]), state, Dynamics(LangevinMiddle(0.004), seed=3))
    sim.draw_velocities()
    return sim


def test_the_same_bits_in_the_compiled_and_the_plain_loop() -> None:
    layout, schnet, _ = random_batch([random_schnet(8)], (12,), (3,), 8)
    rng = np.random.default_rng(4)
    x = torch.from_numpy(np.concatenate([walk(12, rng) for _ in range(3)]))
    compiled, plain, cut = biased(layout, schnet, x), biased(layout, schnet, x, Rest()), biased(layout, schnet, x)
    for sim in (compiled, plain):
        sim.run(20)
    for steps in (1, 12, 7):
        cut.run(steps)
    assert (compiled.propagator.kernels, plain.propagator.kernels) == ("compiled", "python")
    assert all(same_bits(compiled, other, r, r) for other in (plain, cut) for r in range(3))
    without = Engine(
        layout, schnet, State.at(layout, compiled.state.positions, 300.0), Dynamics(LangevinMiddle(0.004), seed=3)
    )
    without.evaluate()
    shares = sum(t.energy_and_forces(compiled.state.positions, layout, None).energy for t in terms(compiled))
    np.testing.assert_allclose(compiled.state.energy - without.state.energy, torch.as_tensor(shares), rtol=1e-9)


def terms(simulation: Engine) -> list[Bias]:
    assert isinstance(simulation.potential, SumPotential)
    return [term for term in simulation.potential.terms if isinstance(term, Bias)]

"""Biases that move: exact work, Jarzynski's average, the same bits in any blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from mdflash.analysis.pulling import jarzynski
from mdflash.core.state import Layout
from mdflash.engine.engine import Engine
from mdflash.engine.guards import Guard
from mdflash.errors import InputError
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.bias.bias import CENTER, FORCE_CONSTANT, Bias
from mdflash.potentials.variables.distance import Distance
from tests.helpers import go_helix, helix, same_bits, simulate
from tests.umbrella import KT, TEMPERATURE, contact

SYSTEM, GO = go_helix(10, epsilon=0.4)


def pull(ids: tuple[int, ...], **options: Any) -> Engine:
    layout = Layout((SYSTEM,), (len(ids),), ids)
    bias = Bias("pull", Distance(SYSTEM, 0, 9), layout, 1.0, 13.0)
    end = bias.parameters.copy()
    end[:, CENTER], end[:, FORCE_CONSTANT] = 25.0, 3.0
    bias.move(end, 100, 400, 20)
    return simulate(layout, [GO], np.tile(helix(10), (len(ids), 1)), extra=[bias], **options)


def test_the_path_and_its_work() -> None:
    """Parameters move in equal steps; the work is the sum of the changes of energy at coordinates that stand still."""
    engine = pull((0, 1, 2))
    (bias,) = engine.steering.biases
    seen, total = [], np.zeros(3)
    for step in range(20, 520, 20):
        before = bias.parameters.copy()
        engine.run(20)
        x = engine.state.positions.numpy().reshape(3, 10, 3)
        r = np.linalg.norm(x[:, 9] - x[:, 0], axis=1)
        energy = [0.5 * p[:, FORCE_CONSTANT] * (r - p[:, CENTER]) ** 2 for p in (before, bias.parameters)]
        total += energy[1] - energy[0]
        seen.append(bias.parameters[0, CENTER])
        assert step == engine.state.step
    np.testing.assert_allclose(seen, np.clip(13.0 + 12.0 * (np.arange(20, 520, 20) - 100) / 300, 13.0, 25.0))
    np.testing.assert_allclose(engine.steering.work[0], total, rtol=1e-12)
    assert (bias.parameters == bias.path.end).all()  # type: ignore[union-attr]


def test_the_same_bits() -> None:
    whole, chunks, alone = pull((0, 1, 2)), pull((0, 1, 2)), pull((2,))
    whole.run(500)
    for steps in (7, 113, 200, 180):
        chunks.run(steps)
    alone.run(500)
    assert all(same_bits(whole, chunks, r, r) for r in range(3)) and same_bits(whole, alone, 2, 0)
    assert np.array_equal(whole.steering.work, chunks.steering.work)
    assert whole.steering.work[0, 2] == alone.steering.work[0, 0]
    again = pull((0, 1, 2))
    again.steering.restore(whole.steering.arrays(), 260)
    assert again.steering.biases[0].parameters[0, CENTER] == pytest.approx(13.0 + 12.0 * 160 / 300)


def test_a_frozen_replica_has_no_work() -> None:
    engine = pull((0, 1), guard=Guard(Layout((SYSTEM,), (2,)), "freeze"))
    engine.run(10)
    engine.state.velocities[engine.layout.rows(0)] = np.nan
    engine.run(400)
    assert np.isnan(engine.steering.work[0, 0]) and np.isfinite(engine.steering.work[0, 1])


def test_jarzynski_is_the_exact_free_energy() -> None:
    """64 replicas pulled across a barrier, against the integral of the exact ensembles: within 0.3 kcal/mol."""
    well, k, first, last = contact(), 5.0, 6.0, 11.0
    layout = Layout((well.system,), (64,))
    bias = Bias("pull", well.variable, layout, k, first)
    end = bias.parameters.copy()
    end[:, CENTER] = last
    bias.move(end, 1_000, 11_000, 20)
    start = np.tile(well.start(first), (64, 1))
    engine = simulate(layout, [well.forcefield], start, LangevinMiddle(0.01, 8.0), TEMPERATURE, extra=[bias], seed=1)
    engine.run(11_000)

    def free(center: float) -> float:
        def weight(r: float) -> float:
            return float(np.exp(-(well.free_energy(np.array(r)) + 0.5 * k * (r - center) ** 2) / KT))

        return -KT * np.log(quad(weight, 4.0, 16.0, points=[center, 6.0], limit=200)[0])

    assert engine.steering.biases[0].parameters[0, CENTER] == last
    found = float(jarzynski(engine.steering.work[0][:, None], KT)[0])
    assert abs(found - (free(last) - free(first))) < 0.3
    assert engine.steering.work.mean() > found


def test_wrong_paths_are_refused() -> None:
    layout = Layout((SYSTEM,), (1,))
    bias = Bias("pull", Distance(SYSTEM, 0, 9), layout, 1.0, 13.0)
    with pytest.raises(InputError, match="from step 100 to step 410, which must be multiples of 20"):
        bias.move(bias.parameters, 100, 410, 20)

"""What priors keep between blocks changes no bit; replicas are shared among threads whole, and once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.engine.blocks import compiled
from mdflash.engine.blocks.threads import ranges
from mdflash.engine.engine import Engine
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.variables.distance import Distance
from tests.helpers import go_helix, helix, simulate

SYSTEM, GO = go_helix(10, epsilon=0.4)
REPLICAS = 5


def pulled(constants: np.ndarray, positions: np.ndarray | None = None) -> Engine:
    """Replicas whose ends are held together by springs."""
    layout = Layout((SYSTEM,), (REPLICAS,))
    bias = Bias("ends", Distance(SYSTEM, 0, 9), layout, force_constant=constants.tolist(), center=8.0)
    start = np.tile(helix(10), (REPLICAS, 1)) if positions is None else positions
    return simulate(layout, [GO], start, extra=[bias], seed=11)


@pytest.mark.parametrize("keep", [0, 256])
def test_evaluated_again_it_is_what_a_new_run_evaluates(monkeypatch: pytest.MonkeyPatch, keep: int) -> None:
    """After a block with the biases changed, some replicas moved, one of them out of reach of its list."""
    monkeypatch.setattr(compiled, "KEPT", keep)
    rng = np.random.default_rng()
    before, after = rng.uniform(0.1, 3.0, (2, REPLICAS))
    engine = pulled(before)
    engine.run(int(rng.integers(1, 40)))
    (bias,) = [term for term in engine.potential.terms if isinstance(term, Bias)]  # type: ignore[attr-defined]
    for size in (0.0, 1e-9, 3.0):
        bias.parameters[:, 0] = after = after[::-1]
        moved = engine.layout.rows(int(rng.integers(REPLICAS)))
        engine.state.positions.numpy()[moved] += size * rng.normal(size=(10, 3))
        engine.evaluate()
        other = pulled(after, engine.state.positions.numpy().copy())
        other.evaluate()
        assert torch.equal(engine.state.energy, other.state.energy)
        assert torch.equal(engine.state.forces, other.state.forces)


def test_a_position_that_is_not_finite_spoils_its_replica_alone() -> None:
    """Also where forces at the last positions are known."""
    engine = pulled(np.ones(REPLICAS))
    engine.run(3)
    energy = engine.state.energy.clone()
    for _ in range(2):
        engine.state.positions[12, 1] = np.nan
        engine.evaluate()
        assert np.flatnonzero(~np.isfinite(engine.state.energy.numpy())).tolist() == [1]
    rest = [0, 2, 3, 4]
    assert torch.equal(engine.state.energy[rest], energy[rest])


@pytest.mark.parametrize("threads", [2, 3, 16])
@pytest.mark.parametrize("count", [2, 3, 64, 1001])
def test_ranges_are_all_replicas_once_and_shorter_to_the_end(threads: int, count: int) -> None:
    """The last one is a single replica, so no thread waits for more."""
    found = list(ranges(count, threads))
    assert [r for first, last in found for r in range(first, last)] == list(range(count))
    sizes = [last - first for first, last in found]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1
    assert sizes[0] <= max(1, -(-count // (2 * threads)))

"""What a block of steps takes of memory it gives back, though compiled loops count few references."""

from __future__ import annotations

import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from mdflash.core.state import Layout
from mdflash.forcefields.model import Term
from tests.helpers import beads, simulate, toy, volume_term, walk


def held() -> int:
    """Arrays that numba has made and not freed."""
    stats = rtsys.get_allocation_stats()
    return int(stats.mi_alloc - stats.mi_free)


@pytest.mark.parametrize("replicas", [1, 3])
def test_steps_give_back_the_arrays_that_they_make(replicas: int) -> None:
    """Pairs one by one and by eight, with lists that are built again."""
    columns = {"epsilon": np.array([0.2]), "sigma": np.array([5.0]), "lambda": np.array([0.5])}
    sticky = Term("sticky", "ashbaugh_hatch", "neighbors", np.array([[0, 0]]), columns, 12.0)
    layout = Layout((beads("chain", 20, bonds=False),), (replicas,))
    x = np.concatenate([walk(20, np.random.default_rng(r)) for r in range(replicas)])
    engine = simulate(layout, [toy(volume_term(1, 8.0), sticky)], 1.5 * x, skin=0.5)
    engine.run(50)
    _nrt_python.memsys_enable_stats()
    before = held()
    engine.run(50)
    made = rtsys.get_allocation_stats().mi_alloc
    engine.run(50)
    assert held() == before
    assert rtsys.get_allocation_stats().mi_alloc > made

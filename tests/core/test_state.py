"""A state's arrays are declared once; all that happens to a state happens to every array."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mdflash.core.partition import by_memory, by_rank
from mdflash.core.state import Layout, State, per_bead, per_replica
from mdflash.engine.blocks.ranks import RankPropagator
from mdflash.engine.distributed import Ranks
from mdflash.engine.guards import Guard
from mdflash.io.checkpoint import load_checkpoint, save_checkpoint
from tests.helpers import beads


@dataclass(kw_only=True)
class Extended(State):
    """What adding an array takes: its declaration, and nothing else."""

    spin: Tensor = field(metadata=per_bead(2))
    work: Tensor = field(metadata=per_replica())
    pressure: Tensor = field(metadata=per_replica(result=False))


def layout() -> Layout:
    return Layout((beads("a", 3), beads("b", 5)), (3, 2))


@pytest.fixture
def state() -> Extended:
    """Every number different from all others."""
    made = Extended.empty(layout())
    rng = np.random.default_rng(1)
    for array in made.arrays().values():
        array.copy_(torch.from_numpy(rng.normal(size=tuple(array.shape))))
    made.step = 12
    return made


def same(a: State, b: State) -> bool:
    return a.step == b.step and all(torch.equal(x, getattr(b, name)) for name, x in a.arrays().items())


def test_arrays_have_the_shapes_they_are_declared_with(state: Extended) -> None:
    shapes = {name: tuple(array.shape) for name, array in state.arrays().items()}
    vectors = dict.fromkeys(("positions", "velocities", "forces"), (19, 3))
    assert shapes == vectors | {"energy": (5,), "temperature": (5,), "spin": (19, 2), "work": (5,), "pressure": (5,)}
    assert set(state.names()) - set(state.results()) == {"temperature", "pressure"}
    started = Extended.at(layout(), np.zeros((19, 3)), 300.0)
    assert started.spin.shape == (19, 2) and bool(started.forces.isnan().all())


def test_a_copy_has_memory_of_its_own(state: Extended) -> None:
    copy = state.copy()
    assert same(copy, state)
    for array in copy.arrays().values():
        array += 1.0
    assert not any(torch.equal(x, getattr(state, name)) for name, x in copy.arrays().items())
    where = copy.spin.data_ptr()
    copy.assign(state)
    assert same(copy, state) and copy.spin.data_ptr() == where


def test_ranks_see_the_whole_state_through_their_part(state: Extended) -> None:
    for part in by_rank(layout(), 3):
        mine = part.take(state)
        assert mine.spin.shape == (part.layout.n_beads, 2) and mine.work.shape == (part.layout.n_replicas,)
        mine.spin += 1.0
        assert torch.equal(state.spin[part.rows.bead], mine.spin)


def test_ranks_send_every_result(state: Extended) -> None:
    class Still:
        """Does what a rank far away might: changes the results of its part."""

        kernels, gpu = "none", None

        def evaluate(self, own: State) -> None:
            for name in own.results():
                getattr(own, name).neg_()

        def advance(self, own: State, steps: int) -> np.ndarray:
            self.evaluate(own)
            return np.full(len(own.energy), -1)

    class Mirrored(Ranks):
        """Two ranks; the other one sends the same numbers."""

        size = 2

        def share(self, step: int, own: Tensor, everyone: list[Tensor]) -> None:  # type: ignore[override]
            for each in everyone:
                each.copy_(own)

    batch = Layout((beads("a", 3),), (2,))
    pair = Extended.empty(batch)
    for k, array in enumerate(pair.arrays().values()):
        array.copy_(torch.arange(array.numel()).view(array.shape) + 100.0 * k + 1.0)
    before = pair.copy()
    RankPropagator(Mirrored(), by_rank(batch, 2), Still()).advance(pair, 3)
    assert pair.step == before.step + 3
    for name in pair.names():
        first, second = getattr(pair, name).chunk(2)
        sent = name in pair.results()
        assert torch.equal(first, -getattr(before, name).chunk(2)[0] if sent else getattr(before, name).chunk(2)[0])
        assert torch.equal(second, first if sent else getattr(before, name).chunk(2)[1])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_of_a_memory_bring_results_home(state: Extended, count: int) -> None:
    before, parts = state.copy(), by_memory(layout(), count)
    assert sorted(r for part in parts for r in part.replicas) == list(range(5))
    arrived = [part.take(state) for part in parts]
    for own in arrived:
        for array in own.arrays().values():
            array.neg_()
    assert same(state, before)  # they were copies
    for part, own in zip(parts, arrived, strict=True):
        part.put(state, own)
    for name, array in state.arrays().items():
        expected = -getattr(before, name) if name in state.results() else getattr(before, name)
        assert torch.equal(array, expected), name


def test_flattened_results_come_back(state: Extended) -> None:
    other = Extended.empty(layout())
    flat = state.flatten()
    assert len(flat) == state.n_numbers(layout())
    other.unflatten(flat)
    for name in state.results():
        assert torch.equal(getattr(other, name), getattr(state, name)), name


def test_a_checkpoint_holds_every_array(state: Extended, tmp_path: Path) -> None:
    guard = Guard(layout(), "retry")
    guard.mark(state)
    anchor = state.copy()
    state.spin += 1.0
    arrays = {name: array.numpy() for name, array in state.arrays().items()}
    save_checkpoint(tmp_path, arrays | guard.arrays(), {"step": state.step})
    found = load_checkpoint(tmp_path)
    assert found is not None
    restored = Extended.empty(layout())
    restored.load({name: found.arrays[name] for name in restored.names()})
    restored.step = found.header["step"]
    assert same(restored, state)
    again = Guard(layout(), "retry")
    again.restore(found.arrays, restored)
    assert np.array_equal(again.arrays()["anchor_spin"], anchor.spin.numpy())


def test_the_arrays_of_a_checkpoint_are_those_of_0_1() -> None:
    assert State.names() == ("positions", "velocities", "forces", "energy", "temperature")
    assert State.results() == ("positions", "velocities", "forces", "energy")

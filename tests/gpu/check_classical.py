"""Whole steps of force fields without a network against the CPU loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout, State
from mdflash.core.types import Box
from mdflash.engine.blocks.compiled import CompiledPropagator
from mdflash.engine.gpu.loop import CudaPropagator
from mdflash.engine.settings import Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.mapping.chain import chain_of
from mdflash.mapping.many import Copies, fill_box
from mdflash.potentials.pack import pack
from tests.gpu.batches import DEVICE


@pytest.mark.parametrize("box", [None, (90.0, 91.0, 200.0)], ids=["open", "slab"])
def test_steps_of_a_model_for_any_sequence(box: Box | None) -> None:
    """Two proteins in one batch, or two copies in a slab: charges act up to another cutoff, among themselves."""
    ff = load_forcefield("calvados2")
    one, x = chain_of("MKDGRE", ff, "one")
    if box is None:
        two, y = chain_of("EKSY", ff, "two")
        layout, fields = Layout((one, two), (1, 2)), [ff, ff]
        positions = np.concatenate([x[0], y[0], y[0] + 50.0])
    else:
        filled = fill_box([Copies(ff, one, 2)], box, 1, slab=True)
        layout, fields, positions = Layout((filled.system,), (1,)), [filled.forcefield], filled.frames[0] - 500.0
    terms = build_potential(fields, layout).terms
    dynamics = Dynamics(LangevinMiddle(0.01, 0.01), 7, 1.0)

    def start() -> State:
        return State.at(layout, torch.from_numpy(positions), 300.0, box)

    cpu, expected = CompiledPropagator(layout, pack(terms, layout), dynamics, box), start()
    cpu.evaluate(expected)
    cpu.advance(expected, 2)
    for precision, near in (("fp64", 1e-10), ("fp32", 1e-5)):
        gpu = CudaPropagator(layout, terms, dynamics, box, tables={}, precision=precision, device=DEVICE)  # type: ignore[arg-type]
        state = start()
        gpu.evaluate(state)
        gpu.advance(state, 2)
        assert gpu.forces._pairs.layers == 2
        for name in ("positions", "velocities", "forces", "energy"):
            torch.testing.assert_close(getattr(state, name), getattr(expected, name), rtol=near, atol=near)
        assert not torch.equal(state.forces, expected.forces) or precision == "fp64"

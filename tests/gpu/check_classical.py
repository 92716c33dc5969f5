"""Whole steps of force fields without a network against the CPU loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mdflash.core.gpu import find_gpu
from mdflash.core.state import Layout, State
from mdflash.core.types import Box, Precision
from mdflash.engine.blocks.compiled import CompiledPropagator
from mdflash.engine.choose import choose_propagator
from mdflash.engine.gpu import choose as on_gpu
from mdflash.engine.gpu.loop import CudaPropagator
from mdflash.engine.settings import Backend, Dynamics
from mdflash.errors import InputError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.mapping.chain import chain_of
from mdflash.mapping.many import Copies, fill_box
from mdflash.potentials.base import EnergyForces
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


def test_a_run_says_what_its_arithmetic_costs_and_does_not_begin_where_forces_are_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ff = load_forcefield("calvados2")
    system, x = chain_of("MKDE", ff, "one")
    layout = Layout((system,), (1,))
    potential, state = build_potential([ff], layout), State.at(layout, torch.from_numpy(x[0]), 300.0)

    def choose(precision: Precision) -> tuple[str, ...]:
        backend = Backend(precision=precision, gpu=find_gpu(), gpu_must=True)
        return choose_propagator(layout, potential, state, Dynamics(LangevinMiddle(0.01, 0.01), 7), backend).notes

    for precision, word in (("fp32", "float32"), ("fp64", "float64")):
        (note,) = choose(precision)  # type: ignore[arg-type]
        assert note.startswith(f"forces are computed in {word}: near the start frames they are off by ")
    compiled = on_gpu.CompiledPriors

    class Other(compiled):  # type: ignore[valid-type, misc]
        def energy_and_forces(self, *arguments: Any) -> EnergyForces:
            energy, forces = super().energy_and_forces(*arguments)
            return EnergyForces(energy, 1.01 * forces)

    monkeypatch.setattr(on_gpu, "CompiledPriors", Other)
    with pytest.raises(InputError, match=r"off by 9.9e-03 of their rms, and fp32 allows 1e-05: .*; write `precision: "):
        choose("fp32")

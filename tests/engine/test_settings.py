"""Dynamics and Backend: what they refuse, and how an engine gets them."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from mdflash import Backend, Dynamics, Engine, LangevinMiddle, Layout, State, build_potential
from mdflash.engine import choose as choosing
from mdflash.engine.protocols import Chosen
from mdflash.errors import GpuRefused, InputError
from mdflash.integrators.brownian import Brownian
from tests.helpers import go_helix, helix, same_bits


def parts() -> tuple[Layout, object, State]:
    system, ff = go_helix(6)
    layout = Layout((system,), (2,))
    return layout, build_potential([ff], layout), State.at(layout, np.tile(helix(6), (2, 1)), 300.0)


def test_what_cannot_be_is_refused_at_once() -> None:
    for seed in (-1, 2**32):
        with pytest.raises(InputError, match="the seed must be a whole number from 0 to 4294967295"):
            Dynamics(LangevinMiddle(0.004), seed)
    with pytest.raises(InputError, match="must be 1 or more, found 0"):
        Dynamics(LangevinMiddle(0.004), 1, network_every=0)
    with pytest.raises(InputError, match="no velocities to take impulses"):
        Dynamics(Brownian(0.001, 50.0), 1, network_every=2)


def test_finer_steps_take_the_same_time() -> None:
    dynamics = Dynamics(LangevinMiddle(0.008, 2.0), 1, skin=1.5, remove_com_motion=True, network_every=3)
    fine = dynamics.finer(2, seed=5)
    assert (fine.timestep, fine.seed, fine.network_every) == (0.002, 5, 12)
    assert fine.network_every * fine.timestep == dynamics.network_every * dynamics.timestep
    assert dataclasses.replace(fine, integrator=dynamics.integrator, seed=1, network_every=3) == dynamics
    assert dataclasses.replace(dynamics, network_every=1).finer(2, 5).network_every == 1


def test_keywords_of_0_1_still_do() -> None:
    with pytest.warns(DeprecationWarning, match=r"Dynamics\(integrator, seed=...\)"):
        old = Engine(*parts(), LangevinMiddle(0.004), seed=3, skin=1.0, precision="fp32")  # type: ignore[arg-type]
    new = Engine(*parts(), Dynamics(LangevinMiddle(0.004), seed=3, skin=1.0), Backend(precision="fp32"))  # type: ignore[arg-type]
    assert (old.dynamics, old.backend) == (new.dynamics, new.backend)
    for engine in (old, new):
        engine.draw_velocities()
        engine.run(5)
    assert same_bits(old, new, 0, 0) and same_bits(old, new, 1, 1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'sead'"):
        Engine(*parts(), LangevinMiddle(0.004), sead=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'precision'"):
        Engine(*parts(), Dynamics(LangevinMiddle(0.004), seed=3), precision="fp32")  # type: ignore[arg-type]


def test_where_the_gpu_refuses_the_cpu_runs_everything() -> None:
    """Also what is retried later, from states that a GPU might accept."""
    layout, potential, state = parts()
    gpus = []

    def choose(state: State, dynamics: Dynamics, backend: Backend) -> Chosen:
        gpus.append(backend.gpu)
        return choosing._on_cpu(layout, potential.terms, state, dynamics, backend)  # type: ignore[attr-defined]

    engine = Engine(
        layout, potential, state, Dynamics(LangevinMiddle(0.004), 1), Backend(gpu=torch.device("cuda", 0)),
        choose=choose,
    )  # type: ignore[arg-type]  # fmt: skip
    assert engine.gpu is None and engine.device_kind == "cpu"
    engine.choose(state, engine.dynamics.finer(1, 2))
    assert gpus == [torch.device("cuda", 0), None]


def test_a_refusal_is_a_note_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = pytest.importorskip("mdflash.engine.gpu.choose")
    layout, potential, state = parts()

    def refuse(*_: object) -> Chosen:
        raise GpuRefused("it is too small")

    monkeypatch.setattr(gpu, "choose_on_gpu", refuse)
    choose = partial(choosing.choose_propagator, layout, potential, state, Dynamics(LangevinMiddle(0.004), 1))  # type: ignore[arg-type]
    propagator, notes = choose(Backend(gpu=torch.device("cuda", 0), gpu_must=False))
    assert propagator.kernels == "compiled" and "it is too small" in notes[0]
    with pytest.raises(GpuRefused):
        choose(Backend(gpu=torch.device("cuda", 0)))

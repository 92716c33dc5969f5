"""Every force field and system that ships: forces are the gradient of the energy, and a run keeps its temperature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mdflash import Backend, Dynamics, Engine, LangevinMiddle, Layout, State, build_potential, load_forcefield
from mdflash.config.load import load_run, locate
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.forcefields.model import ForceField
from mdflash.forcefields.shipped import find_shipped, shipped_names
from mdflash.mapping.chain import chain_of
from mdflash.runs.execute import execute


def any_chain(ff: ForceField, rng: np.random.Generator) -> tuple[System, FloatArray]:
    """For a force field that holds for any sequence: one, drawn, that has every amino acid."""
    return chain_of("".join(rng.permutation(list("ACDEFGHIKLMNPQRSTVWYGSRDE"))), ff, "any")


@pytest.mark.parametrize("name", shipped_names("forcefields"))
def test_forces_are_the_gradient_of_the_energy(name: str) -> None:
    """In float64, along random directions, at shipped start frames slightly shaken."""
    ff = load_forcefield(find_shipped("forcefields", name))
    rng = np.random.default_rng(len(name))
    system, frames = ff.system() if ff.systems else any_chain(ff, rng)
    x = frames[0] + rng.normal(0.0, 0.02, frames[0].shape)
    step = 1e-4 * rng.normal(size=(6, *x.shape))
    moved = np.concatenate([[x], x + step, x - step])
    layout = Layout((system,), (len(moved),))
    state = State.at(layout, torch.from_numpy(moved.reshape(-1, 3)), 0.0)
    potential = build_potential([ff], layout)
    Engine(layout, potential, state, Dynamics(LangevinMiddle(0.004, 1.0), seed=1), Backend(precision="fp64")).evaluate()
    forces = layout.view(state.forces, 0)[0].numpy()
    slopes = (state.energy[1:7] - state.energy[7:]).numpy() / 2.0
    np.testing.assert_allclose(slopes, -(forces * step).sum(axis=(1, 2)), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", shipped_names("systems"))
def test_a_ready_system_runs_and_keeps_its_temperature(name: str, tmp_path: Path) -> None:
    source = locate(name)
    folder = tmp_path / "run"
    replicas = 1 if name == "teacher-1enh" else 8  # the large one is enough alone
    quick = ["output.log.interval=0.4 ps", "dynamics.steps=4000", f"output.folder={folder}"]
    config = load_run(source, [f"replicas.count={replicas}", *quick])
    execute(config, source)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    log = np.genfromtxt(folder / "log.csv", delimiter=",", names=True)
    late = log[log["step"] > 1000]
    assert np.isfinite(late["potential_kcal_mol"]).all()
    asked = np.asarray(config.dynamics.temperature).mean()
    assert abs(late["temperature_K"].mean() / asked - 1.0) < 0.1

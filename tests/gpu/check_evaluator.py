"""What OpenMM, ASE and TorchSim get from the GPU kernels."""

from __future__ import annotations

import numpy as np
import torch

from mdflash.engine.evaluator import Evaluator, GpuEvaluator
from mdflash.forcefields.forcefield import load_forcefield
from tests.gpu.batches import reference


def test_two_replicas_and_a_box_that_changes() -> None:
    ff = load_forcefield("go-chignolin")
    system, frames = ff.system()
    assert frames is not None
    evaluator = Evaluator(ff, system, 2, "fp64")
    backend = GpuEvaluator(evaluator, "fp64")
    x = np.concatenate([frames[0], frames[0]]) + np.random.default_rng(17).normal(scale=0.2, size=(20, 3))
    energy, forces = np.empty(2), np.empty((20, 3))
    for box in (None, (60.0, 61.0, 62.0), None):
        backend(x, box, energy, forces)
        expected = reference(evaluator.layout, evaluator.potential, torch.from_numpy(x), box)
        np.testing.assert_allclose(energy, expected.energy.numpy(), rtol=1e-12)
        np.testing.assert_allclose(forces, expected.forces.numpy(), rtol=0, atol=1e-10)
    backend(np.full_like(x, np.nan), None, energy, forces)
    assert np.isnan(energy).all()

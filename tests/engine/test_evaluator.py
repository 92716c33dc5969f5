"""Evaluations for other engines, beside the reference potentials."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from mdflash import Simulation
from mdflash.core.system import System
from mdflash.core.types import Box
from mdflash.engine.evaluator import Evaluator
from mdflash.errors import InputError, UnstableError
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.schnet.cpu import evaluate_alone
from tests.helpers import beads, toy, volume_term


def fluid(terms: int) -> tuple[System, ForceField]:
    """80 beads; with a second neighbour-list term the compiled kernels are of no use."""
    volumes = [
        dataclasses.replace(volume_term(2, 7.0 + k, np.array([1.0, 1.5, 2.0]), 5.0), name=f"volume{k}")
        for k in range(terms)
    ]
    return beads("fluid", 80, bonds=False, types="AB"), toy(*volumes, types="AB")


@pytest.mark.parametrize("terms", [1, 2], ids=["compiled", "plain"])
@pytest.mark.parametrize("replicas", [1, 3])
def test_beads_that_wander_in_boxes_that_change(terms: int, replicas: int) -> None:
    """The kept lists grow, are built again where needed, and belong to one box."""
    system, ff = fluid(terms)
    evaluator = Evaluator(ff, system, replicas, "fp64")
    rng = np.random.default_rng([3, terms, replicas])
    boxes: list[Box | None] = [None, None, (20.0, 21.0, 22.0), (20.0, 21.0, 22.0), (24.0, 24.0, 24.0), None]
    x = rng.uniform(0.0, 30.0, (80 * replicas, 3))
    for box in boxes:
        for move in (0.0, 0.3, 0.3, 3.0):
            x = 0.97 * x + rng.normal(scale=move, size=x.shape)  # ever denser
            energy, forces = evaluator(x, box)
            positions = torch.from_numpy(x)
            pairs = all_pairs(positions, evaluator.layout, 8.0, box)
            expected = evaluator.potential.energy_and_forces(positions, evaluator.layout, pairs)
            np.testing.assert_allclose(energy, expected.energy.numpy(), rtol=1e-10)
            np.testing.assert_allclose(
                forces, expected.forces.numpy(), rtol=0, atol=1e-9 * float(expected.forces.abs().max())
            )


@pytest.mark.parametrize("terms", [1, 2], ids=["compiled", "plain"])
def test_errors(terms: int) -> None:
    system, ff = fluid(terms)
    evaluator = Evaluator(ff, system, 2)
    x = np.random.default_rng(4).uniform(0.0, 30.0, (160, 3))
    with pytest.raises(InputError, match=r"2 x fluid \(80 beads\) need positions \[160, 3\], found \[80, 3\]"):
        evaluator(x[:80])
    broken = x.copy()
    broken[100, 1] = np.inf
    for _ in range(2):  # before and after it has begun
        with pytest.raises(UnstableError, match=r"replica 1 \(fluid\) .*ALA 21 CA \(bead 20\) has no finite position"):
            evaluator(broken)
        evaluator(x)
    with pytest.raises(InputError, match="too small"):
        evaluator(x, (9.0, 30.0, 30.0))
    broken = x.copy()
    broken[90] = broken[91]
    with pytest.raises(UnstableError, match=r"replica 1 \(fluid\) .*term 'volume[01]'"):
        evaluator(broken)


@pytest.mark.parametrize("replicas", [1, 3])
def test_the_code_of_the_network_is_that_of_a_run(replicas: int) -> None:
    """So an evaluation by another program compiles little after any run of the force field."""
    ff = load_forcefield("chignolin-ca")
    system, frames = ff.system()
    assert frames is not None
    Simulation(system, ff, replicas=2, seed=1).run(1)
    before = set(evaluate_alone.overloads)
    Evaluator(ff, system, replicas, "fp32")(np.tile(frames[0], (replicas, 1)))
    assert before and set(evaluate_alone.overloads) == before

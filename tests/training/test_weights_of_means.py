"""Frames whose forces are means count by their errors; others as before."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.engine.distributed import Ranks
from mdflash.errors import InputError
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.sampling.dataset import create_dataset
from mdflash.sampling.means import MeanForce
from mdflash.sampling.trajectory import TrajectoryWriter
from mdflash.training.forces import Batch, FlashForces, Forces, PlainForces
from mdflash.training.frames import load_frames
from mdflash.training.means import weights_of_means
from mdflash.training.priors import fit_priors
from mdflash.training.recipe import Priors, load_recipe
from mdflash.training.run import make_trainer, prepare_training
from tests.helpers import go_helix, helix, simulate
from tests.training.datasets import write_recipe
from tests.training.networks import loss_gradient, small_network

BEADS = 7


def write_means(folder: Path, errors: np.ndarray, rng: np.random.Generator) -> None:
    """Frames of a Gō helix, near its fold, whose forces have errors [F] of that size."""
    system, ff = go_helix(BEADS, "helix")
    layout = Layout((system,), (1,))
    create_dataset(folder, {"helix": (system, helix(BEADS)[None])}, "ca", {})
    with TrajectoryWriter(
        folder / "helix" / "000.h5", BEADS, seed=1, aggregation="basic", means=True, chosen=True
    ) as writer:
        for k, size in enumerate(errors):
            x = helix(BEADS) + rng.normal(0, 0.02, (BEADS, 3))
            engine = simulate(layout, [ff], x[None], LangevinMiddle(0.004, 20.0), temperature=[300.0], seed=1)
            engine.evaluate()
            mean = layout.view(engine.state.forces, 0).numpy()[0] + rng.normal(0, size, (BEADS, 3))
            means = MeanForce(mean, np.full((BEADS, 3), size), np.ones(BEADS))
            writer.append(x, mean, 300.0, 1.0 + k, means=means)


def test_frames_with_small_errors_count_more_and_the_others_as_before(dataset: Path, tmp_path: Path) -> None:
    errors = np.random.default_rng().permutation(np.linspace(0.1, 4.0, 40))
    write_means(tmp_path / "means", errors, np.random.default_rng(1))
    recipe = write_recipe(tmp_path / "recipe.yaml", dataset, data={"dataset": [str(dataset), str(tmp_path / "means")]})
    prepared = prepare_training(load_recipe(recipe))
    (molecule,) = prepared.data.molecules
    assert any("40 of 640 frames are mean forces with standard errors of 0.1 to 4" in n for n in prepared.data.notes)
    found = weights_of_means([molecule])
    assert found is not None and molecule.force_error is not None
    w, means = found[0].numpy(), np.isfinite(molecule.force_error)
    assert means.sum() == 40 and (w[~means] == 1).all()
    learned = means & ~molecule.validation
    assert 0 < learned.sum() < 40 and w[learned].mean() == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(molecule.force_error[means], errors, rtol=1e-5)
    floor = np.median(molecule.force_error[learned] ** 2)
    assert np.ptp(w[means] * (errors**2 + floor)) < 1e-3 * floor  # one constant for all
    assert w[means].max() < 2.0 * np.median(w[learned]) * 1.05
    trainer = make_trainer(prepared, Ranks())
    batches = trainer.training.batches(np.arange(len(trainer.training)))
    assert batches[0].weights is not None
    np.testing.assert_array_equal(batches[0].weights.numpy(), w[~molecule.validation])
    assert trainer.validation.batches(np.arange(3))[0].weights is None

    alone = prepare_training(load_recipe(write_recipe(tmp_path / "alone.yaml", dataset)))
    assert weights_of_means(alone.data.molecules) is None
    decoys = prepare_training(load_recipe(recipe, ["data.decoys={share: 0.1}", f"folder={tmp_path / 'decoys'}"]))
    training = make_trainer(decoys, Ranks()).training
    (batch,) = training.batches(np.arange(len(training)))
    assert batch.weights is not None and len(batch.weights) > (~molecule.validation).sum()
    assert (batch.weights[(~molecule.validation).sum() :] == 1).all()


def test_errors_belong_to_the_data(dataset: Path, tmp_path: Path) -> None:
    digests = []
    for size in (0.5, 0.6):
        write_means(tmp_path / "means", np.full(4, size), np.random.default_rng(1))
        digests.append(load_frames([tmp_path / "means"], 0.3).digest)
    assert digests[0] != digests[1]
    with pytest.raises(InputError, match=r"no weight \(mbar\)"):
        load_frames([dataset, tmp_path / "means"], 0.3, weights="mbar")
    with pytest.raises(InputError, match=r"no frames of free ones to fit priors to.*priors\.forcefield"):
        fit_priors(load_frames([tmp_path / "means"], 0.3).molecules, Priors(key="beads"), "ca", "x")


def gradient(forces: Forces, batches: list[Batch], components: int) -> torch.Tensor:
    model = forces.model  # type: ignore[attr-defined]
    model.zero_grad()
    forces.backward(batches, components)
    return loss_gradient(model)


@pytest.mark.parametrize("kind", ["plain", "flash"])
def test_the_gradient_is_the_weighted_sum_of_those_of_the_frames(kind: str) -> None:
    model, topologies, batches = small_network(23)
    forces = PlainForces(model, topologies) if kind == "plain" else FlashForces(model, topologies, 0.0, 30.0)
    components = sum(b.forces.numel() for b in batches)
    weights = [2.0 * torch.rand(len(b.positions), dtype=torch.float64) for b in batches]
    weighed = [dataclasses.replace(b, weights=w) for b, w in zip(batches, weights, strict=True)]
    expected = torch.zeros_like(loss_gradient(model))
    for batch, w in zip(batches, weights, strict=True):
        for k in range(len(w)):
            one = Batch(batch.molecule, batch.positions[k : k + 1], batch.forces[k : k + 1])
            expected += w[k] * gradient(forces, [one], components)
    assert (gradient(forces, weighed, components) - expected).norm() < 1e-9 * expected.norm()
    ones = [dataclasses.replace(b, weights=torch.ones_like(w)) for b, w in zip(batches, weights, strict=True)]
    assert torch.equal(gradient(forces, ones, components), gradient(forces, batches, components))

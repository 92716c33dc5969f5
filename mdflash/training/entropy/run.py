"""From a recipe with `relative_entropy:` to a force field folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import mdflash
from mdflash.core.gpu import find_gpu
from mdflash.errors import InputError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.training.entropy.loop import EntropyTrainer
from mdflash.training.entropy.material import Material
from mdflash.training.entropy.measured import measured_targets
from mdflash.training.entropy.profiles import make_profiles
from mdflash.training.entropy.sampler import Sampler
from mdflash.training.entropy.targets import make_targets, molecule_of, with_target_groups
from mdflash.training.learned_terms import with_steps
from mdflash.training.recipe import Optimization
from mdflash.training.run import (
    TERMS,
    PreparedTraining,
    frame_set,
    identity,
    make_forces,
    with_its_interactions,
)


def make_entropy_trainer(prepared: PreparedTraining) -> EntropyTrainer:
    """The trainer of a prepared training, at its start or where its folder left off.

    Raises:
        InputError: the folder holds another training; what does not fit the data.
    """
    settings = prepared.recipe.relative_entropy
    assert settings is not None and prepared.weighed is not None
    gpu = find_gpu(0, "relative_entropy.device") if settings.device == "cuda" else None
    device = torch.device("cpu") if gpu is None else gpu
    entries, molecules = prepared.recipe.targets, prepared.data.molecules
    names = [m.system.name for m in molecules]
    wanted = [(molecule_of(entry, names, i), entry.temperature) for i, entry in enumerate(entries)]
    wanted += [(measured.molecule, measured.kelvin) for measured in prepared.measurements]
    groups = with_target_groups(prepared.weighed.groups, wanted)
    loss = Optimization(device=settings.device, kernels=settings.kernels)
    forces, parameters = make_forces(prepared, loss, device)

    def forcefield(weights: Mapping[str, Tensor]) -> ForceField:
        return with_weights(prepared, weights)

    systems = [with_its_interactions(m.system, prepared.priors) for m in prepared.data.molecules]
    material = Material(
        forces, parameters, forcefield, groups, frame_set(prepared, False, device), frame_set(prepared, True, device),
        Sampler(systems, groups, settings, gpu),
        make_profiles(settings, prepared.weighed, prepared.priors), device,
        (*make_targets(entries, molecules, groups, prepared.priors), *measured_targets(prepared.measurements, groups)),
    )  # fmt: skip
    return EntropyTrainer(material, settings, prepared.recipe.output, identity(prepared))


def with_weights(prepared: PreparedTraining, weights: Mapping[str, Tensor]) -> ForceField:
    """The force field of a training with these weights of its network, and steps of its terms if they learn."""
    network, learned, priors = prepared.network, dict(weights), prepared.priors
    if (steps := learned.pop(TERMS, None)) is not None:
        priors = with_steps(priors, steps)
    all_weights = {name: np.asarray(value, np.float32) for name, value in network.weights.items()}
    all_weights |= {name: value.detach().cpu().numpy().copy() for name, value in learned.items()}
    return replace(priors, networks=(replace(network, weights=all_weights),))


def learned_forcefield(prepared: PreparedTraining, trainer: EntropyTrainer) -> ForceField:
    """The force field that was learned, and where it came from."""
    p, data = trainer.progress, prepared.data
    provenance: dict[str, Any] = {
        "method": "relative entropy",
        "mdflash": mdflash.__version__,
        "start": prepared.start,
        "data": {
            "sha256": data.digest,
            "training_frames": data.count(False),
            "validation_frames": data.count(True),
            "temperatures_K": sorted({round(g.kelvin, 1) for g in trainer.material.groups}),
        },
        **_achieved(trainer),
        "force_variance_(kcal/mol/angstrom)^2": p.variance,
        "best_update": p.best_update,
        "updates": p.update,
        "renewals": p.renewals,
        "recipe": prepared.recipe.essence(),
    }
    learned = with_weights(prepared, trainer.best)
    return replace(learned, provenance={**prepared.priors.provenance, **provenance})


def _achieved(trainer: EntropyTrainer) -> dict[str, Any]:
    """What was learned, from the row of the log that it was chosen by."""
    row = trainer.best_row()
    found: dict[str, Any] = {"held_out_relative_entropy_nats": row["held_out_entropy"]}
    if trainer.material.targets:
        found["price_nats"] = row["price"]
        found["targets"] = {t.name: t.described(row[t.name]) for t in trainer.material.targets}
    return found


def train_entropy(
    prepared: PreparedTraining,
    ranks: int = 1,
    report: Callable[[EntropyTrainer], None] = lambda trainer: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Path, EntropyTrainer]:
    """Train, or resume a training, and write the force field to `recipe.output`/forcefield.

    Args:
        prepared: from `prepare_training`, of a recipe with `relative_entropy`.
        ranks: processes that were started together.
        report, should_stop: see `EntropyTrainer.run`.

    Returns:
        the force field folder and the trainer.

    Raises:
        Interrupted: was asked to stop; the state is saved.
        UnstableError: an energy is not finite.
        InputError: the folder holds another training, or several processes were started.
    """
    if ranks > 1:
        raise InputError(
            f"relative entropy runs in one process, with all its threads, and {ranks} were started; start it without "
            "torchrun",
            key="relative_entropy",
        )
    trainer = make_entropy_trainer(prepared)
    trainer.run(report, should_stop)
    folder = prepared.recipe.output / "forcefield"
    save_forcefield(folder, learned_forcefield(prepared, trainer))
    return folder, trainer

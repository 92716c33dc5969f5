"""From a recipe to a force field folder: read, fit priors, train, write."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch.nn import Parameter

import mdflash
from mdflash.core.gpu import find_gpu
from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.engine.distributed import Ranks
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.build import build_potential, network_exclusions, network_types
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.forcefields.model import ForceField, Network
from mdflash.forcefields.networks import load_schnet, schnet_weights
from mdflash.mapping.interactions import with_interactions
from mdflash.potentials.schnet.network import SchNet
from mdflash.training import convolution
from mdflash.training.contacts import ContactWeight
from mdflash.training.convolution import Pairs
from mdflash.training.decoys import make_decoys
from mdflash.training.entropy.measured import Measurement, load_measurements
from mdflash.training.entropy.weighed import Weighed, weigh
from mdflash.training.forces import FlashForces, Forces, PlainForces, Topology
from mdflash.training.frames import MoleculeFrames, TrainingData, load_frames, prior_forces
from mdflash.training.graphs import GraphedForces
from mdflash.training.learned_terms import LearnedTerms
from mdflash.training.learned_torsions import LearnedTorsions, with_coefficients
from mdflash.training.means import weights_of_means
from mdflash.training.priors import Samples, fit_priors
from mdflash.training.recipe import Optimization, Recipe
from mdflash.training.state import read_identity
from mdflash.training.torsions import TorsionWeight
from mdflash.training.trainer import FrameSet, Trainer
from mdflash.training.weights import FrameWeights, load_weighted

NETWORK = "schnet"

TORSIONS = "torsions"
"""The coefficients of `LearnedTorsions` among the parameters."""

TERMS = "terms"
"""The steps of `LearnedTerms` among the parameters."""


@dataclass(frozen=True, eq=False)
class PreparedTraining:
    """A training that was checked and can start.

    Attributes:
        recipe: what it was made from.
        data: its frames.
        priors: the force field without the network.
        network: where training begins.
        start: the digest of the force field it begins from; empty for a new one.
        fits: what the priors were fitted to; empty for priors from a folder.
        targets: for each molecule [F, N, 3], forces less those of the priors, kcal/mol/Å.
        energies: for each molecule [F], energies less those of the priors, kcal/mol; None without `energy_weight`.
        weights: for each molecule those of its frames at all temperatures; empty where the recipe asks for none.
        weighed: what `relative_entropy` learns from; None without it.
        measurements: of the recipe's experiments.
    """

    recipe: Recipe
    data: TrainingData
    priors: ForceField
    network: Network
    start: str
    fits: tuple[Samples, ...]
    targets: tuple[torch.Tensor, ...]
    energies: tuple[torch.Tensor, ...] | None = None
    weights: tuple[FrameWeights, ...] = ()
    weighed: Weighed | None = None
    measurements: tuple[Measurement, ...] = ()

    def loss_without_network(self) -> float:
        """The validation loss of the priors alone, (kcal/mol/Å)^2."""
        held = [t[torch.from_numpy(m.validation)] for t, m in zip(self.targets, self.data.molecules, strict=True)]
        squares = sum(float(t.double().square().sum()) for t in held)
        return squares / sum(t.numel() for t in held)


def read_priors(recipe: Recipe) -> tuple[TrainingData, ForceField, tuple[Samples, ...]]:
    """The frames of a recipe, its priors (fitted, or those of a folder), and what they were fitted to.

    Raises:
        InputError, ForceFieldError: whatever is wrong with recipe or data.
    """
    said = recipe.data
    kelvin = said.temperature if recipe.relative_entropy is None else None  # which weighs frames of all of them
    data = load_frames(said.dataset, said.validation, said.mapping, kelvin, said.windows, recipe.weights)
    if recipe.start is not None:
        ff = _given(recipe.start, data, recipe.name)
        if len(ff.networks) != 1:
            message = f"has {len(ff.networks)} networks; `start:` takes a force field with one"
            raise ForceFieldError(message, file=recipe.start, key="start")
        return data, replace(ff, networks=()), ()
    if recipe.priors.forcefield is None:
        return data, *fit_priors(data.molecules, recipe.priors, data.mapping, recipe.name)
    ff = _given(recipe.priors.forcefield, data, recipe.name)
    if ff.networks:
        message = "has a network already; priors are terms alone (to train that network further: `start:`)"
        raise ForceFieldError(message, file=recipe.priors.forcefield, key="priors.forcefield")
    return data, ff, ()


def prepare_training(recipe: Recipe) -> PreparedTraining:
    """Read and check everything a training needs, fit the priors and evaluate their forces.

    Raises:
        InputError, ForceFieldError: whatever is wrong with recipe or data.
    """
    data, priors, fits = read_priors(recipe)
    weighed, measurements = None, tuple[Measurement, ...]()
    if recipe.relative_entropy is not None:
        weighed = weigh(recipe.data, data, recipe.relative_entropy.windows == "hold")
        measurements = load_measurements(recipe.experiments, data.molecules, [g.kelvin for g in weighed.groups])
        data = data if recipe.data.temperature is None else data.at(recipe.data.temperature)
    if recipe.start is None:
        network, start = new_network(recipe, priors), ""
    else:
        ff = load_forcefield(recipe.start)
        network, start = ff.networks[0], ff.digest
    if recipe.training.energy_weight:
        _need_energies(recipe, data)
    targets, energies = [], []
    for molecule in data.molecules:
        forces, energy = prior_forces(priors, with_its_interactions(molecule.system, priors), molecule.positions)
        targets.append(torch.from_numpy(molecule.forces - forces))
        if recipe.training.energy_weight and molecule.energies is not None:
            energies.append(torch.from_numpy((molecule.energies - energy).astype(np.float32)))
    unweighted = recipe.data.weights is None or weighed is not None
    weights = () if unweighted else load_weighted(recipe.data)[1]
    return PreparedTraining(
        recipe, data, priors, network, start, fits, tuple(targets), tuple(energies) or None, weights, weighed,
        measurements,
    )  # fmt: skip


def _need_energies(recipe: Recipe, data: TrainingData) -> None:
    """Whether an `energy_weight` has something to weigh.

    Raises:
        InputError: frames without energies, or decoys, whose energy nobody knows.
    """
    key = "training.energy_weight"
    without = [m.system.name for m in data.molecules if m.energies is None]
    if without:
        raise InputError(
            f"not every trajectory of '{without[0]}' has energies (dataset /energy): they are known where a "
            "coarse-grained model made the data, not from all atoms; leave this weight out",
            key=key,
        )
    if recipe.data.decoys is not None:
        raise InputError("decoys (data.decoys) have no energies; leave out one of the two", key=key)


def with_its_interactions(system: System, priors: ForceField) -> System:
    """The molecule as the priors know it: what they are keyed by types for is listed there."""
    return next((own for own, _ in priors.systems if own.name == system.name), system)


def _given(folder: Path, data: TrainingData, name: str) -> ForceField:
    """The force field of a folder, for the molecules of the data."""
    ff = load_forcefield(folder)
    if ff.mapping != data.mapping:
        raise ForceFieldError(
            f"is for the mapping '{ff.mapping}', but the data is mapped by '{data.mapping}'; "
            "use another force field, or map the data the same way",
            file=folder,
        )
    systems = tuple((with_interactions(m.system), m.start) for m in data.molecules)
    build_potential([ff] * len(systems), Layout(tuple(s for s, _ in systems), (1,) * len(systems)))  # does it fit?
    return replace(ff, name=name, systems=systems)


def new_network(recipe: Recipe, priors: ForceField) -> Network:
    """Random weights, but for the last layer's: training starts from the priors."""
    hyper = recipe.hyperparameters(max(t.index for t in priors.bead_types) + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        model = SchNet(hyper)
    with torch.no_grad():
        model.get_parameter(f"output.{len(model.output) - 1}.weight").zero_()
    return Network(NETWORK, "schnet", hyper.to_dict(), schnet_weights(model))


def make_trainer(prepared: PreparedTraining, ranks: Ranks) -> Trainer:
    """The trainer of a prepared training, at its start or where its folder left off.

    Raises:
        InputError: the folder holds another training.
    """
    recipe, settings = prepared.recipe, prepared.recipe.training
    gpu = settings.device == "cuda"
    device = find_gpu(ranks.local_rank, "training.device") if gpu else torch.device("cpu")
    training, held_out = _training_set(prepared, device), frame_set(prepared, True, device)
    said = own_identity(prepared)
    forces, parameters = make_forces(prepared, settings, device, (training, held_out))
    return Trainer(parameters, forces, training, held_out, settings, recipe.output, said, ranks)


def make_forces(
    prepared: PreparedTraining, settings: Optimization, device: torch.device, frames: Sequence[FrameSet] = ()
) -> tuple[Forces, dict[str, Parameter]]:
    """What evaluates the network of a training, and its parameters by name.

    Args:
        prepared: the training.
        settings: of the loss and of kernels.
        device: where.
        frames: all that will be met; none: any frame may be.
    """
    data, ff, network = prepared.data, prepared.priors, prepared.network
    if device.type == "cuda":
        torch.cuda.set_device(device)  # where Triton launches
    entropy = prepared.recipe.relative_entropy
    learned: LearnedTorsions | LearnedTerms | None = None
    if settings.learn_torsions:
        learned = LearnedTorsions(ff).to(device)
    elif entropy is not None and entropy.priors == "learn":
        learned = LearnedTerms(ff, "relative_entropy.priors").to(device)
    topologies = []
    for molecule in data.molecules:
        system = with_its_interactions(molecule.system, ff)
        allowed = np.triu(np.ones((system.n_beads, system.n_beads), bool), 1)
        allowed[tuple(network_exclusions(network, system).T)] = False
        first, second = (torch.from_numpy(side).to(device) for side in np.nonzero(allowed))
        types = torch.from_numpy(network_types(ff, network, system)).to(device)
        own = None if learned is None else learned.of(system)
        weights = _weights(settings, molecule, device)
        pairs = Pairs(first, second, system.n_beads)
        topologies.append(Topology(types, pairs, weights, own, settings.energy_weight))
    model = load_schnet(network).requires_grad_(True).to(device, torch.float32)
    forces: Forces = PlainForces(model, topologies)
    if settings.kernels == "auto":
        reach = _distance_range(frames, topologies) if frames else (0.0, math.inf)
        forces = FlashForces(model, topologies, *reach, _convolution(settings.device == "cuda"))
        forces = GraphedForces(forces) if device.type == "cuda" else forces
    parameters = dict(model.named_parameters())
    if isinstance(learned, LearnedTorsions):
        parameters[TORSIONS] = learned.coefficients
    elif learned is not None:
        parameters[TERMS] = learned.steps
    return forces, parameters


def _weights(
    settings: Optimization, molecule: MoleculeFrames, device: torch.device
) -> tuple[TorsionWeight | ContactWeight, ...]:
    """What a molecule's loss has beside the plain squares."""
    found: list[TorsionWeight | ContactWeight] = []
    if settings.torsion_weight:
        found.append(TorsionWeight(molecule.system, settings.torsion_weight, device))
    if settings.contact_weight:
        native = None if molecule.start is None else molecule.start[0]
        found.append(ContactWeight(molecule.system, native, settings.contact_weight, device))
    return tuple(found)


def _convolution(gpu: bool) -> ModuleType:
    """The kernels of training; triton is imported only where it is needed."""
    if gpu:
        from mdflash.training import triton

        return triton
    return convolution


def frame_set(prepared: PreparedTraining, held_out: bool, device: torch.device) -> FrameSet:
    """The frames to learn from, or those held out."""
    parts = [torch.from_numpy(molecule.validation == held_out) for molecule in prepared.data.molecules]
    positions = [torch.from_numpy(m.positions)[part] for m, part in zip(prepared.data.molecules, parts, strict=True)]
    targets = [target[part] for target, part in zip(prepared.targets, parts, strict=True)]
    if prepared.energies is None:
        return FrameSet(positions, targets, device)
    return FrameSet(positions, targets, device, [e[part] for e, part in zip(prepared.energies, parts, strict=True)])


def _training_set(prepared: PreparedTraining, device: torch.device) -> FrameSet:
    """The frames to learn from, decoys among them."""
    frames, recipe, molecules = frame_set(prepared, False, device), prepared.recipe, prepared.data.molecules
    if (weights := weights_of_means(molecules)) is not None:
        weights = tuple(w[torch.from_numpy(~m.validation)] for w, m in zip(weights, molecules, strict=True))
        energies = None if prepared.energies is None else [e for e in frames.energies if e is not None]
        frames = FrameSet(frames.positions, frames.forces, device, energies, weights)
    if recipe.data.decoys is None:
        return frames
    positions, targets = [], []
    for k, (x, target) in enumerate(zip(frames.positions, frames.forces, strict=True)):
        decoys = torch.from_numpy(make_decoys(x.numpy(), recipe.data.decoys, recipe.training.seed + k))
        positions.append(torch.cat([x, decoys]))
        targets.append(torch.cat([target, torch.zeros_like(decoys)]))
    if weights is not None:
        weights = tuple(torch.cat([w, w.new_ones(len(x) - len(w))]) for w, x in zip(weights, positions, strict=True))
    return FrameSet(positions, targets, device, weights=weights)


def identity(prepared: PreparedTraining) -> str:
    """SHA-256 over everything that decides the result."""
    said = [prepared.recipe.essence(), prepared.priors.digest, prepared.data.digest]
    if prepared.start:
        said.append(prepared.start)
    said += [measured.digest for measured in prepared.measurements]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def own_identity(prepared: PreparedTraining) -> str:
    """As `identity`; or that of the training in the folder, if it is the same but for fewer epochs.

    Raises:
        InputError: the folder's state is damaged.
    """
    now, state = identity(prepared), prepared.recipe.output / "state.safetensors"
    if not state.is_file() or prepared.recipe.relative_entropy is not None:
        return now
    before, done = read_identity(state)
    training = prepared.recipe.training
    for epochs in range(training.epochs, 0, -1) if done <= training.epochs else ():
        fewer = prepared.recipe.model_copy(update={"training": training.model_copy(update={"epochs": epochs})})
        if identity(replace(prepared, recipe=fewer)) == before:
            return before
    return now


def remarks(prepared: PreparedTraining) -> list[str]:
    """What of the recipe may surprise, for people."""
    if prepared.weighed is not None:
        return [*prepared.data.notes, *prepared.weighed.notes]
    training, decoys = prepared.recipe.training, prepared.recipe.data.decoys
    frames = prepared.data.count(False) * (1.0 if decoys is None else 1.0 + decoys.share)
    steps = training.epochs * math.ceil(frames / training.batch)
    found = [*prepared.data.notes, *(note for weights in prepared.weights for note in weights.notes)]
    if training.warmup >= steps:
        found.append(
            f"training.warmup is {training.warmup} steps and the whole training about {steps}: the learning rate never "
            f"reaches {training.learning_rate:g}; write for example `warmup: {steps // 10}`"
        )
    if own_identity(prepared) != identity(prepared):
        found.append(
            "the training in the folder goes on, for more epochs than it was started with. "
            + (
                "`schedule: cosine` depends on their number, so the learning rate rises to where the longer schedule "
                "has it, and the result is not that of a training which had so many epochs from the start"
                if training.schedule == "cosine"
                else "The result is that of a training which had so many epochs from the start"
            )
        )
    return found


def _distance_range(sets: Sequence[FrameSet], topologies: Sequence[Topology]) -> tuple[float, float]:
    nearest, farthest = np.inf, 0.0
    for positions, topology in ((x, t) for own in sets for x, t in zip(own.positions, topologies, strict=True)):
        first, second = topology.pairs.first.cpu(), topology.pairs.second.cpu()  # frames are there
        for begin in range(0, len(positions), 1024):
            x = positions[begin : begin + 1024]
            r = torch.linalg.vector_norm(x[:, second] - x[:, first], dim=-1)
            nearest, farthest = min(nearest, float(r.min())), max(farthest, float(r.max()))
    return nearest, farthest


def trained_forcefield(prepared: PreparedTraining, trainer: Trainer) -> ForceField:
    """The force field with the best weights, and where it came from."""
    recipe, data, priors, p = prepared.recipe, prepared.data, prepared.priors, trainer.progress
    best = dict(trainer.best)
    if TORSIONS in best:
        priors = with_coefficients(priors, best.pop(TORSIONS))
    weights = {name: np.asarray(value, np.float32) for name, value in prepared.network.weights.items()}
    weights |= {name: value.cpu().numpy() for name, value in best.items()}
    network = replace(prepared.network, name=NETWORK, weights=weights)
    provenance: dict[str, Any] = {
        "method": "force matching",
        "mdflash": mdflash.__version__,
        "data": {
            "sha256": data.digest,
            "training_frames": data.count(False),
            "validation_frames": data.count(True),
            "temperatures_K": sorted({round(float(t), 1) for m in data.molecules for t in np.unique(m.temperature)}),
        },
        "loss_unit": "(kcal/mol/angstrom)^2 per component",
        "validation_loss": p.best,
        "validation_loss_without_network": prepared.loss_without_network(),
        "best_epoch": p.best_epoch,
        "epochs": p.epoch,
        "steps": p.step,
        "recipe": recipe.essence(),
        **({"start": prepared.start} if prepared.start else {}),
        **(
            {"epochs_raised": True} if p.identity != identity(prepared) and recipe.training.schedule == "cosine" else {}
        ),
    }
    return replace(priors, networks=(network,), provenance={**priors.provenance, **provenance})


def train(
    prepared: PreparedTraining,
    ranks: Ranks | None = None,
    report: Callable[[Trainer], None] = lambda trainer: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Path, Trainer]:
    """Train, or resume a training, and write the force field to `recipe.output`/forcefield.

    Args:
        prepared: from `prepare_training`.
        ranks: this process among others; None: alone.
        report: called after every step.
        should_stop: asked after every step.

    Returns:
        the force field folder and the trainer.

    Raises:
        Interrupted: was asked to stop; the state is saved.
        UnstableError: the loss is not finite.
        InputError: the folder holds another training.
    """
    ranks = ranks or Ranks()
    trainer = make_trainer(prepared, ranks)
    trainer.run(report, should_stop)
    folder = prepared.recipe.output / "forcefield"
    if ranks.rank == 0:
        save_forcefield(folder, trained_forcefield(prepared, trainer))
    return folder, trainer

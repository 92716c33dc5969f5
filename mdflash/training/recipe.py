"""recipe.yaml of a training: every key, its default and one line about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_type_hints

from pydantic import BeforeValidator, Field, StrictBool, ValidationError, create_model

from mdflash.config.biases import BiasEntry
from mdflash.config.explain import explain
from mdflash.config.load import input_error
from mdflash.config.overrides import apply_overrides
from mdflash.config.rules import Problem
from mdflash.config.section import (
    DatasetFolder,
    ExistingFile,
    Folder,
    ForceFieldFolder,
    SchemaVersion,
    Section,
    as_entries,
    as_list,
)
from mdflash.core.quantity import Length, NoneWord, Temperature, Whole, Word, plain_word
from mdflash.core.types import Device, Kernels
from mdflash.core.yamlfile import MOST_OF_A_PLAN, load_yaml
from mdflash.errors import InputError
from mdflash.potentials.backbones.backbone import Backbone
from mdflash.potentials.schnet.network import Hyperparameters
from mdflash.training.entropy.section import RelativeEntropy
from mdflash.training.entropy.target_section import TargetEntry

Positive = Annotated[float, Field(gt=0, strict=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Decoys(Section):
    """Noised frames on which the network is trained to output zero, so that it does not create spurious minima."""

    share: Annotated[float, Field(gt=0, le=1)] = Field(default=0.1, description="decoys per training frame")
    noise: Length = Field(default=0.4, description="on each coordinate of each bead", examples=["0.4 angstrom"])


class Data(Section):
    """Which frames are used."""

    dataset: Annotated[tuple[DatasetFolder, ...], BeforeValidator(as_list)] = Field(
        description="dataset folder, or a list of them, relative to this file", examples=["my-data"]
    )
    mapping: Word | None = Field(default=None, description="what the data must be mapped by; null: whatever it is")
    temperature: Temperature | None = Field(
        default=None, description="only frames of this temperature (within 1 K); null: all", examples=["300 K"]
    )
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.1, description="share of each molecule's trajectories that is held out"
    )
    weights: Word | None = Field(
        default=None,
        description="of each frame at the temperature: mbar (over all windows and temperatures) | equal | "
        "a column of the trajectories; null: mbar where `relative_entropy` needs them (forces alone do not)",
        examples=["mbar"],
    )
    windows: Annotated[tuple[BiasEntry, ...], BeforeValidator(as_entries)] = Field(
        default=(),
        description="of datasets that do not store them: biases as in system.yaml, which the held trajectories of a "
        "molecule (`system:`) take in turn",
        examples=[
            "[{name: fold, variable: rmsd, center: {min: 1 angstrom, max: 7 angstrom, count: 13}, "
            "force_constant: 5 kcal/mol/angstrom^2}]"
        ],
    )
    decoys: Decoys | None = Field(
        default=None, description="frames with noise, on which the network's force is trained to zero; null: none",
        examples=["{share: 0.1, noise: 0.4 angstrom}"],
    )  # fmt: skip


class Priors(Section):
    """Terms that hold where there is no data: fitted by Boltzmann inversion, or those of a force field."""

    forcefield: ForceFieldFolder | None = Field(
        default=None, description="use the terms of this force field folder, fit nothing", examples=["my-priors"]
    )
    key: Literal["types", "beads"] = Field(
        default="types", description="types (one row for each combination of bead types) | beads (one molecule only)"
    )
    temperature: Temperature | None = Field(
        default=None, description="frames of this temperature are inverted; null: the lowest", examples=["300 K"]
    )
    bonds: Literal["harmonic", "none"] = Field(default="harmonic", description="harmonic | none")
    angles: Literal["harmonic", "restricted", "none"] = Field(
        default="harmonic", description="harmonic | restricted (quartic in the cosine, for wide angles) | none"
    )
    dihedrals: Literal["fourier", "none"] = Field(default="fourier", description="fourier | none")
    degree: Annotated[int, Whole(1, 12)] = Field(default=3, description="of the Fourier series")
    impropers: Literal["fourier", "none"] = Field(
        default="fourier", description="fourier (keeps the chirality of centers with three neighbors) | none"
    )
    repulsion: Literal["excluded_volume", "none"] = Field(
        default="excluded_volume", description="excluded_volume (from closest approaches) | none"
    )
    exclude_bonds: Annotated[int, Whole(0, 10)] = Field(
        default=3, description="pairs at most this many bonds apart do not repel"
    )


class NetworkSize(Section):
    """The SchNet."""

    cutoff: Length = Field(default=10.0, description="pairs nearer than this interact", examples=["10 angstrom"])
    features: Annotated[int, Whole(1, 1024)] = Field(default=128, description="channels of a bead and of a filter")
    blocks: Annotated[int, Whole(1, 256)] = Field(
        default=3, description="interaction blocks; many are best joined by a `backbone:`"
    )
    basis: Literal["expnormal", "gaussian"] = Field(default="expnormal", description="expnormal | gaussian")
    basis_size: Annotated[int, Whole(2, 1024)] = Field(default=64, description="radial functions")
    envelope: Literal["cosine", "quintic"] = Field(
        default="cosine", description="how filters end at the cutoff: cosine | quintic (forces without a kink there)"
    )
    activation: str = Field(default="tanh", description="tanh | silu | shifted_softplus | ...")
    exclude_bonds: Annotated[int, Whole(0, 10)] = Field(
        default=0, description="pairs at most this many bonds apart exchange no messages"
    )

    def hyperparameters(self, types: int, backbone: Backbone | None = None) -> Hyperparameters:
        """Of a network for that many bead types, its blocks joined by `backbone`."""
        n = self.features
        return Hyperparameters(
            cutoff=self.cutoff, types=types, features=n, filters=n, blocks=self.blocks, basis=self.basis,
            basis_size=self.basis_size, basis_envelope=self.envelope, filter_envelope=self.envelope,
            filter_hidden=(n,), output=(n, max(n // 2, 1)), activation=self.activation,
            exclude_bonds=self.exclude_bonds, backbone=backbone,
        )  # fmt: skip


class _BackboneSection(Section):
    """How the blocks are joined; the keys of `backbone:` in forcefield.yaml."""

    def backbone(self) -> Backbone:
        """As a network takes it.

        Raises:
            ForceFieldError: options that do not go together.
        """
        return Backbone(**self.model_dump())


if TYPE_CHECKING:
    BackboneRule: TypeAlias = _BackboneSection
else:
    _TYPES = get_type_hints(Backbone, include_extras=True)
    BackboneRule = create_model(
        "BackboneRule",
        __base__=_BackboneSection,
        __doc__=_BackboneSection.__doc__,
        **{option.name: (_TYPES[option.name], option.default) for option in dataclasses.fields(Backbone)},
    )


class Optimization(Section):
    """How the weights are found."""

    epochs: Annotated[int, Whole(1, 10**6)] = Field(default=50, description="passes over the data, at most")
    batch: Annotated[int, Whole(1, 10**6)] = Field(default=256, description="frames of a step, over all ranks")
    optimizer: Literal["adam", "soap"] = Field(
        default="adam",
        description="adam | soap (Adam in the eigenbasis of the gradients; takes a larger learning rate)",
    )
    torsion_weight: Annotated[float, Field(ge=0, strict=False)] = Field(
        default=0.0,
        description="of residuals along rotations about bonds, against a force component's; 0: plain squares",
        examples=[20],
    )
    contact_weight: Annotated[float, Field(ge=0, strict=False)] = Field(
        default=0.0,
        description="of residuals along the ways on which native contacts form, against a force component's; 0: none",
        examples=[200],
    )
    energy_weight: Annotated[float, Field(ge=0, strict=False)] = Field(
        default=0.0,
        description="1/Å², of squared errors of energies, against a force component's, for data that has them; 0: none",
        examples=[0.01],
    )
    learn_torsions: StrictBool = Field(
        default=False,
        description="dihedrals and impropers of the priors learn too; "
        "a distance-only network cannot distinguish mirror images",
    )
    learning_rate: Positive = Field(default=1e-3, description="the largest", examples=[1e-3])
    schedule: Literal["cosine", "plateau", "constant"] = Field(
        default="cosine", description="cosine (to a hundredth) | plateau (halved when validation stalls) | constant"
    )
    warmup: Annotated[int, Whole(0, 10**9)] = Field(default=100, description="steps of linear rise of the rate")
    weight_decay: Annotated[float, Field(ge=0)] = Field(default=0.0, description="decoupled, as AdamW's")
    clip: Annotated[Positive | None, NoneWord] = Field(
        default=10.0, description="none, or the norm of the gradient of all weights above which it is scaled down"
    )
    ema: Share = Field(default=0.999, description="share of the running mean of the weights that a step keeps; 0: none")
    patience: Annotated[Annotated[int, Whole(1, 10**6)] | None, NoneWord] = Field(
        default=10, description="none, or epochs without a better validation loss before training stops"
    )
    seed: Annotated[int, Whole(0, 2**32 - 1)] = Field(default=1, description="of weights and of the order of frames")
    kernels: Kernels = Field(
        default="auto", description="auto (compiled: numba on the CPU, Triton on a GPU) | reference (plain torch)"
    )
    device: Device = Field(default="cpu", description="cpu | cuda (each rank uses its own GPU)")
    tensorboard: StrictBool = Field(default=False, description="write TensorBoard events beside log.csv")


class Recipe(Section):
    """A whole training."""

    mdflash: SchemaVersion = Field(description="version of this file's schema", examples=[1])
    name: Word = Field(default="", description="names the force field; default: the file's name")
    data: Data = Field(examples=["{dataset: my-data}"])
    start: ForceFieldFolder | None = Field(
        default=None,
        description="continue from the priors and the network of this force field; null: new ones",
        examples=["runs/train-protein/forcefield"],
    )
    priors: Priors = Priors()
    network: NetworkSize = NetworkSize()
    backbone: BackboneRule | None = Field(
        default=None, description="how blocks are joined; null: x + block(x)", examples=["{rule: prenorm}"]
    )
    training: Optimization = Optimization()
    relative_entropy: RelativeEntropy | None = Field(
        default=None,
        description="instead of `training`: from forces and from where the frames are, going on from `start`; "
        "null: force matching",
    )
    targets: Annotated[tuple[TargetEntry, ...], BeforeValidator(as_entries)] = Field(
        default=(),
        description="averages and populations that the force field shall have, beside `relative_entropy`",
        examples=[
            "[{name: folded, variable: native_contacts, above: 0.5, population: 0.64, error: 0.02, temperature: 320 K}]"
        ],
    )
    experiments: Annotated[tuple[ExistingFile, ...], BeforeValidator(as_list)] = Field(
        default=(),
        description="files of measurements (SAXS, FRET, Rg, Rh, as for `mdflash analyze --experiment`) that the force "
        "field shall agree with, beside `relative_entropy`",
        examples=["[measured.yaml]"],
    )
    folder: Folder | None = Field(
        default=None, description="folder of all results; default: runs/train-<name>, relative to the current folder"
    )

    @property
    def output(self) -> Path:
        """The output folder, absolute."""
        return self.folder or Path.cwd() / "runs" / f"train-{self.name}"

    @property
    def aims(self) -> bool:
        """Whether there are averages to reach."""
        return bool(self.targets or self.experiments)

    @property
    def weights(self) -> str | None:
        """What frames are weighed by; None where nothing needs to know."""
        return self.data.weights or (None if self.relative_entropy is None else "mbar")

    def hyperparameters(self, types: int) -> Hyperparameters:
        """Of the network, for that many bead types.

        Raises:
            InputError: a choice that does not exist, or choices that do not go together.
        """
        return self.network.hyperparameters(types, None if self.backbone is None else self.backbone.backbone())

    def essence(self) -> dict[str, Any]:
        """What decides the result, as JSON can hold it: not where files lie."""
        said = self.model_dump(
            mode="json",
            exclude={"folder": True, "start": True, "experiments": True, "data": {"dataset"}, "priors": {"forcefield"}},
        )
        if self.start is not None:
            del said["priors"], said["network"]  # its own
        if self.backbone is None:
            del said["backbone"]  # such a training may have begun before there were backbones
        if not self.targets:
            del said["targets"]
        if not self.data.windows:
            del said["data"]["windows"]
        if self.data.weights is None:
            del said["data"]["weights"]
        for key in ("torsion_weight", "contact_weight", "energy_weight"):
            if said["training"][key] == 0:
                del said["training"][key]  # nor weights
        if not self.training.learn_torsions:
            del said["training"]["learn_torsions"]
        if self.relative_entropy is None:
            del said["relative_entropy"]  # nor this section
        else:
            del said["training"]
            if not self.relative_entropy.ladder:
                del said["relative_entropy"]["ladder"]  # nor ladders
        return said


def load_recipe(file: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        file: the recipe.
        overrides: "training.epochs=100", each replaces what the file has.

    Raises:
        InputError: anything wrong, with file, line and key (or the override as given).
    """
    document = load_yaml(file, MOST_OF_A_PLAN)
    data, given = apply_overrides({} if document.data is None else document.data, overrides)
    try:
        recipe = Recipe.model_validate(data, context={"folder": file.parent.absolute(), "cwd": Path.cwd()})
    except ValidationError as error:
        raise input_error(explain(error, data, Recipe), document, given) from None
    if recipe.start is not None and (said := recipe.model_fields_set & {"priors", "network", "backbone"}):
        message = f"{recipe.start} has priors and a network, from which `start` continues; leave this section out"
        raise input_error([Problem((key,), message) for key in sorted(said)], document, given)
    sections = [key for key in ("targets", "experiments") if getattr(recipe, key)]
    if sections and recipe.relative_entropy is None:
        message = "are learned by simulating; add `start:` and `relative_entropy: {}`, or leave this section out"
        raise input_error([Problem((key,), message) for key in sections], document, given)
    if recipe.relative_entropy is not None:
        problems = list(_misplaced(recipe))
        if problems:
            raise input_error(problems, document, given)
    for key, part in (("network", recipe.network), ("backbone", recipe)):
        try:
            part.hyperparameters(1)
        except InputError as error:
            raise input_error([Problem((key,), error.message)], document, given) from None
    return recipe if recipe.name else recipe.model_copy(update={"name": plain_word(file.stem)})


def _misplaced(recipe: Recipe) -> Iterator[Problem]:
    """What does not go with `relative_entropy:`."""
    if recipe.start is None:
        message = "goes on from a force field; add for example `start: runs/train-protein/forcefield`"
        yield Problem(("relative_entropy",), message)
    if "training" in recipe.model_fields_set:
        message = "is of force matching, and `relative_entropy` has settings of its own; leave one of the two out"
        yield Problem(("training",), message)
    if recipe.relative_entropy is not None and recipe.relative_entropy.hold == "start" and not recipe.aims:
        message = "without targets nothing would be learned; add `targets:` or `experiments:`, or write `hold: data`"
        yield Problem(("relative_entropy", "hold"), message)
    if recipe.data.decoys is not None:
        message = "are of force matching: samples of the force field do their work here; leave this line out"
        yield Problem(("data", "decoys"), message)

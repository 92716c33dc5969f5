"""The frames that relative entropy learns from: each molecule at each temperature, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from mdflash.errors import InputError
from mdflash.training.entropy.loss import Group, Known
from mdflash.training.entropy.windows import windows_of
from mdflash.training.frames import MoleculeFrames, TrainingData
from mdflash.training.recipe import Data
from mdflash.training.split import SAME_TEMPERATURE
from mdflash.training.weights import FEWEST, FrameWeights, frame_weights, weigh_all


@dataclass(frozen=True, eq=False)
class Weighed:
    """The frames of a recipe, at all of its temperatures.

    Attributes:
        molecules: with their frames.
        weights: for each molecule those of its frames at each temperature.
        groups: what is learned from.
    """

    molecules: tuple[MoleculeFrames, ...]
    weights: tuple[tuple[FrameWeights, ...], ...]
    groups: tuple[Group, ...]

    @property
    def notes(self) -> list[str]:
        """Messages for the user."""
        found = [note for weights in self.weights for known in weights for note in known.notes]
        for group in self.groups:
            if group.held_out.effective < FEWEST:
                found.append(
                    f"'{self.molecules[group.molecule].system.name}': {group.held_out.effective:.3g} effective frames "
                    f"are held out at {group.kelvin:g} K, and fewer than {FEWEST:g} hardly tell when to stop; sample "
                    "longer, or hold out a larger share (data.validation)"
                )
        return found


def weigh(section: Data, data: TrainingData, hold: bool = False) -> Weighed:
    """The weights of the frames of a training.

    Args:
        section: of its recipe.
        data: its frames.
        hold: whether frames of windows are compared with samples of the same windows, so that all count alike.

    Raises:
        InputError: frames that cannot be weighed, or too few.
    """
    weights = weigh_all(section, data)
    if not hold:
        return Weighed(data.molecules, weights, groups_of(data.molecules, weights))
    alike = [
        [frame_weights(m, w.temperature, "equal") for w in own] for m, own in zip(data.molecules, weights, strict=True)
    ]
    groups = groups_of(data.molecules, alike)
    return Weighed(data.molecules, weights, tuple(_with_windows(g, data.molecules[g.molecule]) for g in groups))


def _with_windows(group: Group, molecule: MoleculeFrames) -> Group:
    """The group with the state that each of its frames was sampled in."""
    windows, state = windows_of(molecule, molecule.system)
    here = np.abs(molecule.temperature.astype(np.float64) - group.kelvin) <= SAME_TEMPERATURE
    training, held_out = (
        replace(known, state=state[here & (molecule.validation == held)])
        for known, held in ((group.training, False), (group.held_out, True))
    )
    return replace(group, training=training, held_out=held_out, windows=windows)


def groups_of(molecules: Sequence[MoleculeFrames], weights: Sequence[Sequence[FrameWeights]]) -> tuple[Group, ...]:
    """The groups of a training: each molecule at each of its temperatures.

    Args:
        molecules: with their frames, of which some are held out.
        weights: for each molecule those of its frames at each temperature.

    Raises:
        InputError: a group with too few frames to hold some out, or to learn from.
    """
    found = []
    for number, (molecule, at_temperatures) in enumerate(zip(molecules, weights, strict=True)):
        for known in at_temperatures:
            training, held_out = (_part(molecule, known, held) for held in (False, True))
            if training.effective < FEWEST <= known.effective:
                raise InputError(
                    f"'{molecule.system.name}' has {training.effective:.3g} effective frames to learn from at "
                    f"{known.temperature:g} K (those not held out, from {molecule.files[0].parent}), and fewer than "
                    f"{FEWEST:g} say nothing of a distribution; sample longer, hold out a smaller share "
                    "(data.validation), or leave this temperature out (data.temperature)",
                    key="data.dataset",
                )
            here = np.abs(molecule.temperature - known.temperature) <= SAME_TEMPERATURE
            found.append(Group(number, known.temperature, float(here.sum()), training, held_out))
    total = sum(group.share for group in found)
    return tuple(replace(group, share=group.share / total) for group in found)


def _part(molecule: MoleculeFrames, known: FrameWeights, held_out: bool) -> Known:
    """The frames with weights that are held out, or the others."""
    chosen = (known.values > 0.0) & (molecule.validation == held_out)
    if not chosen.any():
        raise InputError(
            f"molecule '{molecule.system.name}' has {(known.values > 0.0).sum()} frames at {known.temperature:g} K, "
            "too few to hold some out; sample more, or leave this temperature out with data.temperature",
            key="data.validation",
        )
    return Known(torch.from_numpy(molecule.positions[chosen]), known.of(chosen))

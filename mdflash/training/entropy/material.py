"""What a training by relative entropy works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from mdflash.forcefields.model import ForceField
from mdflash.training.entropy.loss import Group
from mdflash.training.entropy.profiles import Profile
from mdflash.training.entropy.sampler import Sampler
from mdflash.training.entropy.targets import Target
from mdflash.training.forces import Forces
from mdflash.training.trainer import FrameSet


@dataclass(frozen=True, eq=False)
class Material:
    """What a training by relative entropy works with.

    Attributes:
        forces: evaluates the network, with `parameters`.
        parameters: trained in place, by name.
        forcefield: the force field with given parameters.
        groups: where the frames are.
        training, held_out: forces of frames, less those of the priors.
        sampler: simulates.
        profiles: free energies to look at.
        device: of the parameters.
        targets: averages that it shall have.
    """

    forces: Forces
    parameters: Mapping[str, Parameter]
    forcefield: Callable[[Mapping[str, Tensor]], ForceField]
    groups: tuple[Group, ...]
    training: FrameSet
    held_out: FrameSet
    sampler: Sampler
    profiles: tuple[Profile, ...]
    device: torch.device
    targets: tuple[Target, ...] = ()

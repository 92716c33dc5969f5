"""The network of a force field as a module, and back."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import torch

from mdflash.core.ranges import LARGEST
from mdflash.errors import ForceFieldError
from mdflash.forcefields.forcefield import Network
from mdflash.potentials.schnet.network import Hyperparameters, SchNet


def load_schnet(network: Network) -> SchNet:
    """The module that a force field's network describes, weights in their stored precision.

    Raises:
        ForceFieldError: a weight is missing, unknown, of another shape or not finite; the message names it.
    """
    hyper = Hyperparameters.from_dict(network.hyperparameters)
    _check_size(network, hyper)
    model = SchNet(hyper)
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    for key, shape in expected.items():
        if key not in network.weights:
            raise ForceFieldError(f"network '{network.name}' lacks the weight '{key}' {list(shape)}")
        weight = network.weights[key]
        if weight.shape != shape:
            raise ForceFieldError(
                f"network '{network.name}': weight '{key}' must have shape {list(shape)}, "
                f"found {list(weight.shape)}; its hyper-parameters and weights do not belong together"
            )
        _check_numbers(network, key)
    unknown = sorted(set(network.weights) - set(expected))
    if unknown:
        raise ForceFieldError(f"network '{network.name}' has the unknown weight '{unknown[0]}'")
    state = {key: torch.from_numpy(np.array(network.weights[key])) for key in expected}
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False)


def _check_size(network: Network, hyper: Hyperparameters) -> None:
    """Before memory is taken: whether the weights are those of as large a network."""
    expected = (hyper.types, hyper.features)
    found = network.weights["embedding"].shape if "embedding" in network.weights else ()
    if found != expected:
        raise ForceFieldError(
            f"network '{network.name}': weight 'embedding' must have shape {list(expected)}, found {list(found)}; its "
            "hyper-parameters and weights do not belong together"
        )
    blocks = 1 + max((int(key.split(".")[1]) for key in network.weights if re.match(r"blocks\.\d+\.", key)), default=-1)
    wanted = 1 if hyper.backbone is not None and hyper.backbone.tied else hyper.blocks
    if blocks != wanted:
        raise ForceFieldError(
            f"network '{network.name}' has weights of {blocks} blocks, but its hyper-parameters ask for {wanted}"
        )


def _check_numbers(network: Network, key: str) -> None:
    weight = network.weights[key]
    if weight.dtype not in (np.float32, np.float64):
        raise ForceFieldError(
            f"network '{network.name}': weight '{key}' must hold float32 or float64 numbers, found {weight.dtype}"
        )
    if not (np.isfinite(weight).all() and (np.abs(weight) < LARGEST).all()):
        raise ForceFieldError(f"network '{network.name}': weight '{key}' must hold finite numbers below {LARGEST:g}")


def schnet_weights(model: SchNet) -> dict[str, npt.NDArray[np.floating]]:
    """The weights of a module, as `Network.weights` keeps them."""
    return {key: value.detach().cpu().numpy() for key, value in model.state_dict().items()}

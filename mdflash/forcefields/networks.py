"""The network of a force field as a module, and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from mdflash.errors import ForceFieldError
from mdflash.forcefields.forcefield import Network
from mdflash.potentials.schnet.network import Hyperparameters, SchNet


def load_schnet(network: Network) -> SchNet:
    """The module that a force field's network describes, weights in their stored precision.

    Raises:
        ForceFieldError: a weight is missing, unknown, of another shape or not finite; the message names it.
    """
    model = SchNet(Hyperparameters.from_dict(network.hyperparameters))
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
        if not np.isfinite(weight).all():
            raise ForceFieldError(f"network '{network.name}': weight '{key}' is not finite everywhere")
    unknown = sorted(set(network.weights) - set(expected))
    if unknown:
        raise ForceFieldError(f"network '{network.name}' has the unknown weight '{unknown[0]}'")
    state = {key: torch.from_numpy(np.array(network.weights[key])) for key in expected}
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False)


def schnet_weights(model: SchNet) -> dict[str, npt.NDArray[np.floating]]:
    """The weights of a module, as `Network.weights` keeps them."""
    return {key: value.detach().cpu().numpy() for key, value in model.state_dict().items()}

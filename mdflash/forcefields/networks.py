"""The network of a force field as a module, and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from mdflash.core.ranges import LARGEST
from mdflash.errors import ForceFieldError
from mdflash.forcefields.model import Network
from mdflash.potentials.schnet.network import Hyperparameters, SchNet


def load_schnet(network: Network) -> SchNet:
    """The module that a force field's network describes, weights in their stored precision.

    Raises:
        ForceFieldError: a weight is missing, unknown, of another shape or not finite; the message names it.
    """
    hyper = Hyperparameters.from_dict(network.hyperparameters)
    expected = _shapes(network, hyper)
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
    model = SchNet(hyper)
    state = {key: torch.from_numpy(np.array(network.weights[key])) for key in expected}
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False)


def _shapes(network: Network, hyper: Hyperparameters) -> dict[str, tuple[int, ...]]:
    """What the weights of a network must be; found without making them, for what is said of sizes may be nonsense."""
    blocks = len({key.split(".")[1] for key in network.weights if key.startswith("blocks.")})
    tied = hyper.backbone is not None and hyper.backbone.tied
    if blocks != (1 if tied else hyper.blocks):
        raise ForceFieldError(
            f"network '{network.name}' has weights of {blocks} blocks, but `blocks: {hyper.blocks}`; its "
            "hyper-parameters and weights do not belong together",
            key="blocks",
        )
    try:
        with torch.device("meta"):
            return {key: tuple(value.shape) for key, value in SchNet(hyper).state_dict().items()}
    except (RuntimeError, TypeError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise ForceFieldError(f"network '{network.name}': its hyper-parameters make no network: {reason}") from None


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

"""mlcg's SchNet -> a network of a force field."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mdflash.errors import ForceFieldError
from mdflash.forcefields.model import Network
from mdflash.importers.mlcg_objects import Model, child, children, tensor
from mdflash.importers.unpickle import Inert

NETWORKS = ("SchNet", "StandardSchNet")
_ACTIVATIONS = {
    "Tanh": "tanh", "SiLU": "silu", "ReLU": "relu", "ELU": "elu", "GELU": "gelu", "Sigmoid": "sigmoid",
    "Softplus": "softplus", "ShiftedSoftplus": "shifted_softplus",
}  # fmt: skip
_DEFAULTS: dict[str, dict[str, object]] = {
    "ELU": {"alpha": 1.0},
    "GELU": {"approximate": "none"},
    "Softplus": {"beta": 1, "threshold": 20},
}
_ENVELOPES = {"CosineCutoff": "cosine", "IdentityCutoff": "none"}


class _Reader:
    """Reads one SchNet; every complaint names the model and its file."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.weights: dict[str, npt.NDArray[Any]] = {}
        self.activations: set[str] = set()

    def fail(self, message: str) -> ForceFieldError:
        return ForceFieldError(f"the network '{self.model.name}' {message}", file=self.model.file)

    def need(self, module: Inert, *path: str) -> Inert:
        found = child(module, *path)
        if found is None:
            raise self.fail(f"has no '{'.'.join(path)}' in its {module.name}; a file of another version of mlcg?")
        return found

    def array(self, module: Inert, name: str) -> npt.NDArray[Any]:
        found = tensor(module, name)
        if not isinstance(found, np.ndarray):
            raise self.fail(f"has no weight '{name}' in its {module.name}")
        return found

    def linear(self, module: Inert, key: str, bias: bool | None) -> npt.NDArray[Any]:
        """Take a Linear as `key`; with `bias` None it may have one or not."""
        if module.name != "Linear":
            raise self.fail(f"has a {module.kind} where a Linear is expected ({key})")
        weight = self.weights[f"{key}.weight"] = self.array(module, "weight")
        found = tensor(module, "bias")
        if bias is not None and bias != (found is not None):
            raise self.fail(f"has a layer {key} {'without' if bias else 'with'} bias, unlike mdflash's SchNet")
        if isinstance(found, np.ndarray):
            self.weights[f"{key}.bias"] = found
        return weight

    def activation(self, module: Inert) -> None:
        if module.name not in _ACTIVATIONS:
            raise self.fail(f"has the activation {module.kind}; known: {', '.join(_ACTIVATIONS)}")
        for option, default in _DEFAULTS.get(module.name, {}).items():
            if module.state.get(option, default) != default:
                raise self.fail(
                    f"has the activation {module.name} with {option}={module.state[option]}; only {default} is known"
                )
        self.activations.add(_ACTIVATIONS[module.name])

    def mlp(self, module: Inert, key: str) -> tuple[list[int], bool]:
        """Take an MLP; its hidden widths, and whether its last layer has a bias."""
        layers = [m for _, m in children(self.need(module, "layers"))]
        linears, between = layers[::2], layers[1::2]
        if not linears or len(linears) != len(between) + 1:
            raise self.fail(f"has a {key} network that is not Linear layers with activations between them")
        for m in between:
            self.activation(m)
        widths = [len(self.linear(m, f"{key}.{k}", None if m is linears[-1] else True)) for k, m in enumerate(linears)]
        return widths[:-1], f"{key}.{len(linears) - 1}.bias" in self.weights

    def envelope(self, module: Inert) -> tuple[str, float, float]:
        """Kind, lower and upper end of a cutoff function."""
        if module.name not in _ENVELOPES:
            raise self.fail(f"has the cutoff function {module.kind}; known: {', '.join(_ENVELOPES)}")
        lower, upper = float(module.state["cutoff_lower"]), float(module.state["cutoff_upper"])
        if not 0 <= lower < upper < np.inf:
            raise self.fail(f"has a cutoff from {lower} to {upper} Å; a finite one is needed")
        return _ENVELOPES[module.name], lower, upper

    def basis(self, module: Inert) -> dict[str, Any]:
        cutoff = module.state.get("cutoff")
        kind, lower, upper = self.envelope(cutoff if isinstance(cutoff, Inert) else self.need(module, "cutoff"))
        hyper: dict[str, Any] = {"cutoff": upper, "lower": lower, "basis_envelope": kind}
        if module.name == "GaussianBasis":
            centers = self.array(module, "offset")
            gamma = np.broadcast_to(-self.array(module, "coeff"), centers.shape).copy()
            hyper["basis"] = "gaussian"
        elif module.name == "SpacedExpBasis":
            centers = self.array(module, "means")
            gamma = 1.0 / self.array(module, "betas").astype(np.float64)
            hyper["basis"] = "gaussian"
        elif module.name in ("ExpNormalBasis", "ExtendedExpNormalBasis"):
            centers, gamma = self.array(module, "means"), self.array(module, "betas")
            hyper["basis"] = "expnormal"
            hyper["basis_alpha"] = float(module.state["alpha"])
            hyper["basis_lower"] = float(module.state.get("internal_cutoff_lower", lower))
        else:
            raise self.fail(
                f"has the radial basis {module.kind}; known: ExpNormalBasis, ExtendedExpNormalBasis, "
                "GaussianBasis, SpacedExpBasis"
            )
        self.weights |= {"basis.centers": centers, "basis.gamma": gamma}
        return hyper | {"basis_size": len(centers)}

    def block(self, module: Inert, b: int) -> dict[str, Any]:
        conv = self.need(module, "conv")
        if conv.state.get("aggr", "add") not in ("add", "sum"):
            raise self.fail(f"aggregates messages by '{conv.state['aggr']}'; only 'add' is known")
        key = f"blocks.{b}"
        hidden, bias = self.mlp(self.need(conv, "filter_network"), f"{key}.filter")
        filters = len(self.linear(self.need(conv, "lin1"), f"{key}.input", False))
        features = len(self.linear(self.need(conv, "lin2"), f"{key}.update.0", True))
        self.activation(self.need(module, "activation"))
        self.linear(self.need(module, "lin"), f"{key}.update.1", True)
        kind, lower, upper = self.envelope(self.need(conv, "cutoff"))
        return {
            "features": features, "filters": filters, "filter_hidden": tuple(hidden), "filter_bias": bias,
            "filter_envelope": kind, "lower": lower, "filter_cutoff": upper,
        }  # fmt: skip

    def network(self) -> Network:
        from mdflash.potentials.schnet.network import Hyperparameters

        module = self.model.module
        hyper = self.basis(self.need(module, "rbf_layer"))
        self.weights["embedding"] = self.array(self.need(module, "embedding_layer"), "weight")
        blocks = [self.block(m, b) for b, (_, m) in enumerate(children(self.need(module, "interaction_blocks")))]
        if not blocks or any(block != blocks[0] for block in blocks):
            raise self.fail("has interaction blocks of different sizes, or none")
        if blocks[0]["filter_envelope"] == "cosine" == hyper["basis_envelope"] and blocks[0]["lower"] != hyper["lower"]:
            raise self.fail("has a filter cutoff and a basis cutoff with different lower ends")
        if blocks[0]["filter_envelope"] == "cosine":
            hyper["lower"] = blocks[0]["lower"]
        hidden, bias = self.mlp(self.need(module, "output_network"), "output")
        if len(self.activations) != 1:
            raise self.fail(f"mixes the activations {', '.join(sorted(self.activations))}; one for all is known")
        hyper = blocks[0] | hyper | {
            "types": len(self.weights["embedding"]), "blocks": len(blocks), "output": tuple(hidden),
            "output_bias": bias, "activation": self.activations.pop(),
        }  # fmt: skip
        if hyper["filter_cutoff"] == hyper["cutoff"]:
            del hyper["filter_cutoff"]
        return Network(self.model.name, "schnet", Hyperparameters(**hyper).to_dict(), self.weights)


def schnet_network(model: Model) -> Network:
    """A SchNet as hyper-parameters and weights, each number exactly as in the file.

    Raises:
        ForceFieldError: a layer, radial basis, cutoff or activation that mdflash's SchNet does not have.
    """
    return _Reader(model).network()

"""Classes with mlcg's names, layouts and equations, to write checkpoints as mlcg does.

They live in `sys.modules` only inside `installed()`, so that reading happens without them, as for a user who has
no mlcg. The equations are written here a second time, plainly, as the expected numbers.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

_REGISTRY: dict[str, dict[str, type]] = {}


def _in(module: str):
    def put(cls: type) -> type:
        cls.__module__, cls.__qualname__ = module, cls.__name__
        _REGISTRY.setdefault(module, {})[cls.__name__] = cls
        return cls

    return put


@contextmanager
def installed() -> Iterator[None]:
    """The classes importable under mlcg's module names."""
    names = {".".join(m.split(".")[: k + 1]) for m in _REGISTRY for k in range(m.count(".") + 1)}
    made = {name: types.ModuleType(name) for name in sorted(names)}
    for module, classes in _REGISTRY.items():
        made[module].__dict__.update(classes)
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def save(file: Path, thing: object) -> Path:
    with installed():
        torch.save(thing, file)
    return file


@_in("mlcg.nn.cutoff")
class CosineCutoff(nn.Module):
    def __init__(self, lower: float, upper: float) -> None:
        super().__init__()
        self.cutoff_lower, self.cutoff_upper = lower, upper

    def forward(self, d: Tensor) -> Tensor:
        low, high = self.cutoff_lower, self.cutoff_upper
        if low > 0:
            c = 0.5 * torch.cos(math.pi * (2 * (d - low) / (high - low) + 1)) + 0.5
            return torch.where((d < high) & (d > low), c, torch.zeros_like(d))
        return torch.where(d < high, 0.5 * torch.cos(math.pi * d / high) + 0.5, torch.zeros_like(d))


@_in("mlcg.nn.cutoff")
class IdentityCutoff(CosineCutoff):
    def forward(self, d: Tensor) -> Tensor:
        return torch.ones_like(d)


@_in("mlcg.nn.radial_basis.gaussian")
class GaussianBasis(nn.Module):
    def __init__(self, cutoff: nn.Module, num_rbf: int) -> None:
        super().__init__()
        self.cutoff, self.num_rbf = cutoff, num_rbf
        offset = torch.linspace(cutoff.cutoff_lower, cutoff.cutoff_upper, num_rbf)
        self.register_buffer("offset", offset)
        self.register_buffer("coeff", -0.5 / (offset[1] - offset[0]) ** 2)

    def forward(self, d: Tensor) -> Tensor:
        d = d[:, None]
        return torch.exp(self.coeff * (d - self.offset) ** 2) * self.cutoff(d)


@_in("mlcg.nn.radial_basis.exp_normal")
class ExpNormalBasis(nn.Module):
    def __init__(self, cutoff: nn.Module, num_rbf: int) -> None:
        super().__init__()
        self.cutoff, self.num_rbf = cutoff, num_rbf
        self.alpha = 5.0 / (cutoff.cutoff_upper - cutoff.cutoff_lower)
        self.means = nn.Parameter(torch.linspace(0.01, 1, num_rbf))
        self.betas = nn.Parameter(torch.full((num_rbf,), 0.3 * num_rbf**2))

    def forward(self, d: Tensor) -> Tensor:
        d = d[:, None]
        s = torch.exp(self.alpha * (-d + self.cutoff.cutoff_lower))
        return self.cutoff(d) * torch.exp(-self.betas * (s - self.means) ** 2)


@_in("mlcg.nn.radial_basis.exp_spaced")
class SpacedExpBasis(nn.Module):
    def __init__(self, cutoff: nn.Module, num_rbf: int) -> None:
        super().__init__()
        self.cutoff, self.num_rbf = cutoff, num_rbf
        self.register_buffer("means", torch.linspace(0, cutoff.cutoff_upper, num_rbf))
        self.register_buffer("betas", torch.linspace(0.5, 2, num_rbf))

    def forward(self, d: Tensor) -> Tensor:
        d = d[:, None]
        return self.cutoff(d) * torch.exp(-((d - self.means) ** 2) / self.betas)


@_in("mlcg.nn.radial_basis.regularized_basis")
class RegularizedBasis(GaussianBasis):
    pass


@_in("mlcg.nn.mlp")
class MLP(nn.Module):
    def __init__(self, widths: list[int], activation: nn.Module, last_bias: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in pairwise(widths[:-1]):
            layers += [nn.Linear(a, b), activation]
        layers.append(nn.Linear(widths[-2], widths[-1], bias=last_bias))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@_in("mlcg.nn.schnet")
class CFConv(nn.Module):
    def __init__(self, filter_network: nn.Module, cutoff: nn.Module, h: int, f: int) -> None:
        super().__init__()
        self.aggr = "add"
        self.lin1, self.lin2 = nn.Linear(h, f, bias=False), nn.Linear(f, h)
        self.filter_network, self.cutoff = filter_network, cutoff

    def forward(self, x: Tensor, edges: Tensor, d: Tensor, e: Tensor) -> Tensor:
        w = self.filter_network(e) * self.cutoff(d)[:, None]
        y = self.lin1(x)
        return self.lin2(torch.zeros_like(y).index_add(0, edges[1], y[edges[0]] * w))


@_in("mlcg.nn.schnet")
class InteractionBlock(nn.Module):
    def __init__(self, conv: nn.Module, h: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv, self.activation, self.lin = conv, activation, nn.Linear(h, h)

    def forward(self, x: Tensor, edges: Tensor, d: Tensor, e: Tensor) -> Tensor:
        return self.lin(self.activation(self.conv(x, edges, d, e)))


@_in("mlcg.nn.schnet")
class StandardSchNet(nn.Module):
    def __init__(
        self,
        rbf: nn.Module,
        cutoff: nn.Module,
        output: list[int],
        h: int,
        f: int,
        types: int,
        blocks: int,
        activation: nn.Module,
        filter_hidden: tuple[int, ...] | None = None,
        last_bias: bool = False,
    ) -> None:
        super().__init__()
        hidden = (f,) if filter_hidden is None else filter_hidden
        self.embedding_layer = nn.Embedding(types, h)
        self.rbf_layer = rbf
        self.max_num_neighbors, self.self_interaction = 1000, False
        self.interaction_blocks = nn.Sequential(
            *(
                InteractionBlock(
                    CFConv(MLP([rbf.num_rbf, *hidden, f], activation, last_bias), cutoff, h, f), h, activation
                )
                for _ in range(blocks)
            )
        )
        self.output_network = MLP([h, *output, 1], activation, last_bias)

    def energy(self, positions: Tensor, types: Tensor) -> Tensor:
        """All ordered pairs nearer than the cutoff, one molecule."""
        d = (positions[:, None] - positions[None]).square().sum(-1)
        d = torch.where(d > 0, d, torch.ones_like(d)).sqrt()
        near = (d < self.rbf_layer.cutoff.cutoff_upper) & ~torch.eye(len(types), dtype=torch.bool)
        edges = near.nonzero().T
        d = d[near]
        e = self.rbf_layer(d)
        x = self.embedding_layer(types)
        for block in self.interaction_blocks:
            x = x + block(x, edges, d, e)
        return self.output_network(x).sum()


class _Prior(nn.Module):
    def __init__(self, name: str, keys: list[tuple[int, ...]], **buffers: Tensor) -> None:
        super().__init__()
        self.name, self.order, self.allowed_interaction_keys = name, len(keys[0]), keys
        for key, value in buffers.items():
            self.register_buffer(key, value)


def prior(kind: str, module: str = "mlcg.nn.prior") -> type[_Prior]:
    """A prior class of mlcg, by name; its equations are those of the functional forms."""
    if kind not in _REGISTRY.get(module, {}):
        _in(module)(type(kind, (_Prior,), {}))
    return _REGISTRY[module][kind]


@_in("mlcg.nn.gradients")
class GradientsOut(nn.Module):
    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name, self.targets = model, name, ["forces"]


@_in("mlcg.nn.gradients")
class SumOut(nn.Module):
    def __init__(self, models: nn.ModuleDict) -> None:
        super().__init__()
        self.models, self.targets = models, ["energy", "forces"]


@_in("torch_geometric.data.storage")
class GlobalStorage:
    def __init__(self, mapping: dict[str, object]) -> None:
        self._mapping = mapping


@_in("mlcg.data.atomic_data")
class AtomicData:
    def __init__(
        self, positions: Tensor, types: list[int], masses: float = 12 / 418.4, **lists: list[list[int]]
    ) -> None:
        self._store = GlobalStorage(
            {
                "pos": positions,
                "atom_types": torch.tensor(types),
                "masses": torch.full((len(types),), 12 / 418.4, dtype=torch.float64),
                "n_atoms": torch.tensor([len(types)]),
                "neighbor_list": {
                    name: {"tag": name, "order": len(rows[0]), "index_mapping": torch.tensor(rows).T}
                    for name, rows in lists.items()
                },
            }
        )

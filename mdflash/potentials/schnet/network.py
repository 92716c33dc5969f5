"""SchNet as a plain torch module: trainable, and the truth that fast kernels are compared with.

Schütt et al., J. Chem. Phys. 148, 241722 (2018), in the form of CGSchNet (Husic et al., J. Chem. Phys. 153,
194101 (2020)) and its mlcg implementation. Bead i has features x_i [H]; a pair at distance d exchanges
messages through a filter W(d) [F]:

    x_i  = E[type_i]
    e_n  = C_b(d) exp(-gamma_n (s(d) - mu_n)^2)              n = 1..R, radial basis
           s(d) = d                              gaussian
           s(d) = exp(-alpha (d - lo))           expnormal
    for each block:
      W(d) = C_f(d) A_L act(... act(A_1 e + a_1) ...)        filter network
      m_i  = sum_j (B x_j) * W(d_ij)                         elementwise product
      x_i += U_2 act(U_1 m_i + u_1) + u_2
    energy_i = O_K act(... act(O_1 x_i + o_1) ...)

    C(d) = (1 + cos(pi d / rc)) / 2 for d < rc, else 0       cosine envelope (1 everywhere: "none")
           1 - 10 u^3 + 15 u^4 - 6 u^5, u = d / rc           quintic envelope: forces without a kink at the cutoff

The sum over blocks above is SchNet's own; a `backbone` joins them by another rule, see `potentials.backbones`.

| symbol   | state_dict name               | shape      |
|----------|-------------------------------|------------|
| E        | embedding                     | [types, H] |
| mu, gamma | basis.centers, basis.gamma   | [R]        |
| A_l, a_l | blocks.B.filter.L.weight, bias | [F, R], [F, F], ... |
| B        | blocks.B.input.weight         | [F, H]     |
| U_1, u_1 | blocks.B.update.0.weight, bias | [H, F]    |
| U_2, u_2 | blocks.B.update.1.weight, bias | [H, H]    |
| O_k, o_k | output.K.weight, bias         | [.., H] ... [1, ..] |

The filter depends on the distance alone, so each pair is evaluated once and serves both directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdflash import units
from mdflash.errors import ForceFieldError
from mdflash.potentials.backbones.backbone import Backbone, ResidualStack

ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = MappingProxyType(
    {
        "tanh": torch.tanh,
        "silu": functional.silu,
        "relu": functional.relu,
        "elu": functional.elu,
        "gelu": functional.gelu,
        "sigmoid": torch.sigmoid,
        "softplus": functional.softplus,
        "shifted_softplus": lambda x: functional.softplus(x) - math.log(2.0),
    }
)
"""Nonlinearities by their name in forcefield.yaml; their kernels are numbered in `compiled.activations`."""
ENVELOPES: Final = ("cosine", "quintic", "none")
_MOST: Final = MappingProxyType({"cutoff": 1000, "types": 1_000_000, "blocks": 256})
"""By size: more than any network has."""


@dataclass(frozen=True)
class Hyperparameters:
    """Sizes and choices of a SchNet.

    Attributes:
        cutoff: rc, Å; pairs at d >= rc do not interact.
        types: rows of the embedding.
        features: H.
        filters: F.
        blocks: interaction blocks, >= 1.
        basis: "expnormal" or "gaussian".
        basis_size: R.
        basis_envelope, filter_envelope: C_b and C_f, "cosine", "quintic" or "none".
        lower: where the cosine envelopes start, Å; above 0 they rise from it and fall to rc.
        basis_lower: lo of the expnormal basis, Å.
        basis_alpha: alpha of the expnormal basis, 1/Å; None: 5 / (rc - lo).
        filter_cutoff: where C_f ends, Å; None: rc.
        filter_hidden: widths of the filter network between R and F.
        output: widths of the output network between H and 1.
        filter_bias, output_bias: whether the last layers of the two have a bias.
        activation: a key of `ACTIVATIONS`.
        exclude_bonds: pairs at most this many bonds apart exchange no messages.
        exclude_interactions: pairs within a row of these `System.interactions` exchange no messages.
        backbone: how blocks are joined; None: x + block(x).
    """

    cutoff: float
    types: int
    features: int = 128
    filters: int = 128
    blocks: int = 4
    basis: str = "expnormal"
    basis_size: int = 64
    basis_envelope: str = "cosine"
    filter_envelope: str = "cosine"
    lower: float = 0.0
    basis_lower: float = 0.0
    basis_alpha: float | None = None
    filter_cutoff: float | None = None
    filter_hidden: tuple[int, ...] = (128,)
    output: tuple[int, ...] = (128, 64)
    filter_bias: bool = False
    output_bias: bool = False
    activation: str = "tanh"
    exclude_bonds: int = 0
    exclude_interactions: tuple[str, ...] = ()
    backbone: Backbone | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("basis", self.basis, ("expnormal", "gaussian")),
            ("basis_envelope", self.basis_envelope, ENVELOPES),
            ("filter_envelope", self.filter_envelope, ENVELOPES),
            ("activation", self.activation, tuple(ACTIVATIONS)),
        ):
            if value not in known:
                raise ForceFieldError(f"SchNet: unknown {name} {value!r}; known: {', '.join(known)}")
        for name in ("cutoff", "types", "features", "filters", "blocks", "basis_size"):
            value, least, most = getattr(self, name), 2 if name == "basis_size" else 0, _MOST.get(name, 100_000)
            if not (least <= value <= most and value > 0):
                span = f"from {least} to {most}" if least else f"more than 0 and at most {most}"
                raise ForceFieldError(f"SchNet: {name} must be {span}, found {value!r}", key=name)
        for name in ("filter_hidden", "output"):
            if not all(0 < width <= 100_000 for width in getattr(self, name)):
                raise ForceFieldError(f"SchNet: widths of {name} must be from 1 to 100000", key=name)
        if not (0 <= self.lower < self.cutoff and 0 <= self.basis_lower < self.cutoff):
            raise ForceFieldError(
                f"SchNet: lower and basis_lower must be from 0 to below the cutoff, {self.cutoff:g} Å"
            )
        if self.filter_cutoff is not None and not self.lower < self.filter_cutoff <= 1000:
            raise ForceFieldError(f"SchNet: the filters end above {self.lower:g} Å, found {self.filter_cutoff:g} Å")
        if not 0 <= self.exclude_bonds <= 1000:
            raise ForceFieldError(f"SchNet: exclude_bonds must be from 0 to 1000, found {self.exclude_bonds}")
        if not 0 < self.alpha < 1e6:
            raise ForceFieldError(f"SchNet: basis_alpha must be more than 0 /Å, found {self.alpha:g}")
        if self.lower > 0 and "quintic" in (self.basis_envelope, self.filter_envelope):
            raise ForceFieldError(f"SchNet: the quintic envelope starts at 0, found `lower: {self.lower:g} angstrom`")

    @property
    def alpha(self) -> float:
        """1/Å."""
        return 5.0 / (self.cutoff - self.basis_lower) if self.basis_alpha is None else self.basis_alpha

    def to_dict(self) -> dict[str, Any]:
        """As it stands in forcefield.yaml: lengths with their unit, defaults without meaning left out."""
        data: dict[str, Any] = {}
        for key, value in asdict(self).items():
            if value is None or (key.startswith("exclude_") and not value):
                continue
            if key in _LENGTHS:
                value = f"{float(value)!r} angstrom"
            if key == "backbone" and self.backbone is not None:
                value = self.backbone.to_dict()
            data[key] = list(value) if isinstance(value, tuple) else value
        return data

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Hyperparameters:
        """The inverse of `to_dict`.

        Raises:
            ForceFieldError: an unknown or missing key, or a value that does not fit; the message names it.
        """
        known = {f.name: f for f in fields(Hyperparameters)}
        values: dict[str, Any] = {}
        for key, value in data.items():
            if key not in known:
                raise ForceFieldError(f"SchNet: unknown hyper-parameter '{key}'; known: {', '.join(known)}", key=key)
            try:
                values[key] = _read(key, value, str(known[key].type))
            except (TypeError, ValueError) as error:
                raise ForceFieldError(f"SchNet: hyper-parameter '{key}': {error}", key=key) from None
        for key in ("cutoff", "types"):
            if key not in values:
                raise ForceFieldError(f"SchNet: the hyper-parameter '{key}' is missing", key=key)
        return Hyperparameters(**values)


_LENGTHS: Final = frozenset({"cutoff", "lower", "basis_lower", "filter_cutoff"})


def _read(key: str, value: object, kind: str) -> object:
    """One value of forcefield.yaml, checked against the annotation of its field."""
    if key in _LENGTHS:
        return units.parse(value, "length")
    if key == "backbone":
        return Backbone.from_dict(value)
    if kind.startswith("tuple"):
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"expected a list, found {value!r}")
        item = "str" if "str" in kind else "int"
        return tuple(_read("", v, item) for v in value)
    wanted: dict[str, type | tuple[type, ...]] = {"int": int, "bool": bool, "str": str}
    expected = wanted.get(kind, (int, float))
    if not isinstance(value, expected) or (isinstance(value, bool) and kind != "bool"):
        raise ValueError(f"expected {'a number' if kind not in wanted else kind}, found {value!r}")
    return value


def cosine_envelope(d: Tensor, lower: float, upper: float) -> Tensor:
    """C(d): 1 at d = 0 and 0 from d = upper on; with lower > 0, rises from there and falls to upper."""
    if lower > 0:
        c = 0.5 * (torch.cos(math.pi * (2 * (d - lower) / (upper - lower) + 1.0)) + 1.0)
        return c * (d < upper) * (d > lower)
    return 0.5 * (torch.cos(d * math.pi / upper) + 1.0) * (d < upper)


def quintic_envelope(d: Tensor, upper: float) -> Tensor:
    """1 at d = 0, 0 from d = upper on, with two continuous derivatives (DimeNet's polynomial has the same aim)."""
    u = d / upper
    return (1.0 + u**3 * (-10.0 + u * (15.0 - 6.0 * u))) * (d < upper)


def envelope(kind: str, d: Tensor, lower: float, upper: float) -> Tensor | float:
    """C(d) by its name; 1 for "none"."""
    if kind == "none":
        return 1.0
    return quintic_envelope(d, upper) if kind == "quintic" else cosine_envelope(d, lower, upper)


class RadialBasis(nn.Module):
    """e(d): distances [P] -> [P, R]."""

    centers: Tensor
    gamma: Tensor

    def __init__(self, hyper: Hyperparameters) -> None:
        super().__init__()
        self.hyper = hyper
        if hyper.basis == "gaussian":
            centers = torch.linspace(hyper.lower, hyper.cutoff, hyper.basis_size)
            gamma = (0.5 / (centers[1] - centers[0]) ** 2).repeat(hyper.basis_size)
        else:
            start = math.exp(hyper.basis_lower - hyper.cutoff)
            centers = torch.linspace(start, 1.0, hyper.basis_size)
            gamma = torch.full((hyper.basis_size,), (2.0 / hyper.basis_size * (1.0 - start)) ** -2)
        self.register_buffer("centers", centers)
        self.register_buffer("gamma", gamma)

    def forward(self, d: Tensor) -> Tensor:
        hyper = self.hyper
        d = d[:, None]
        s = d if hyper.basis == "gaussian" else torch.exp(-hyper.alpha * (d - hyper.basis_lower))
        e = torch.exp(-self.gamma * (s - self.centers) ** 2)
        return e * envelope(hyper.basis_envelope, d, hyper.lower, hyper.cutoff)


def chain(layers: nn.ModuleList, activation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Linear layers with the activation between them."""
    for k, layer in enumerate(layers):
        x = layer(activation(x) if k else x)
    return x


def _linears(widths: tuple[int, ...], last_bias: bool) -> nn.ModuleList:
    layers = [nn.Linear(a, b) for a, b in pairwise(widths[:-1])]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=last_bias))
    return nn.ModuleList(layers)


class Block(nn.Module):
    """One interaction block: what it adds to the features."""

    def __init__(self, hyper: Hyperparameters) -> None:
        super().__init__()
        h, f = hyper.features, hyper.filters
        self.hyper = hyper
        self.filter = _linears((hyper.basis_size, *hyper.filter_hidden, f), hyper.filter_bias)
        self.input = nn.Linear(h, f, bias=False)
        self.update = nn.ModuleList([nn.Linear(f, h), nn.Linear(h, h)])

    def filters(self, d: Tensor, e: Tensor) -> Tensor:
        """W(d): distances [P] and their basis [P, R] -> [P, F]."""
        hyper = self.hyper
        w = chain(self.filter, ACTIVATIONS[hyper.activation], e)
        return w * envelope(hyper.filter_envelope, d[:, None], hyper.lower, hyper.filter_cutoff or hyper.cutoff)

    def forward(self, x: Tensor, w: Tensor, first: Tensor, second: Tensor) -> Tensor:
        y = self.input(x)
        m = torch.zeros_like(y).index_add(0, first, y[second] * w).index_add(0, second, y[first] * w)
        return chain(self.update, ACTIVATIONS[self.hyper.activation], m)


class SchNet(nn.Module):
    """The network; see the module's equations."""

    def __init__(self, hyper: Hyperparameters) -> None:
        super().__init__()
        self.hyper = hyper
        self.embedding = nn.Parameter(torch.randn(hyper.types, hyper.features))
        self.basis = RadialBasis(hyper)
        tied = hyper.backbone is not None and hyper.backbone.tied
        self.blocks = nn.ModuleList(Block(hyper) for _ in range(1 if tied else hyper.blocks))
        if hyper.backbone is None:
            self.residual = None
        else:
            self.residual = ResidualStack(hyper.backbone, hyper.features, hyper.blocks)
        self.output = _linears((hyper.features, *hyper.output, 1), hyper.output_bias)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, displacements: Tensor, types: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Energy of each bead.

        Args:
            displacements: [P, 3] x_second - x_first (nearest image), Å, all shorter than the cutoff.
            types: [B] embedding row of each bead.
            first, second: [P] the two beads of each pair; each pair once.

        Returns:
            [B] kcal/mol.
        """
        d = torch.linalg.vector_norm(displacements, dim=-1)
        e = self.basis(d)
        filters = [block.filters(d, e) for block in self.blocks]  # type: ignore[operator]
        return self.energies(filters, types, first, second)

    def energies(self, filters: Sequence[Tensor], types: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """As `forward`, from the filters [P, F] of each block; tied blocks have one."""
        x = self.embedding[types]
        if self.residual is None:
            for block, w in zip(self.blocks, filters, strict=True):
                x = x + block(x, w, first, second)
        else:
            own = len(self.blocks)
            x = self.residual(x, lambda depth, c: self.blocks[depth % own](c, filters[depth % own], first, second))
        return chain(self.output, ACTIVATIONS[self.hyper.activation], x)[:, 0]

"""How the blocks of a network are joined, as a recipe or forcefield.yaml writes it, and the stack made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import torch
from torch import Tensor, nn

from mdflash.errors import ForceFieldError
from mdflash.potentials.backbones.combined import Geometric
from mdflash.potentials.backbones.deep_delta import DeepDelta
from mdflash.potentials.backbones.hyper_connections import HyperConnection, Mixing, StreamMaps
from mdflash.potentials.backbones.mixing import MOST_PERMUTED
from mdflash.potentials.backbones.residual import Connection, Plain, PreNorm, rms_norm
from mdflash.potentials.backbones.transformer import ManifoldGeometric

START_BETA: Final[Mapping[str, float]] = {"delta": 1.0, "geometric": 0.1, "mgt": 1.0}
"""Where beta starts, by rule: as its authors have it, and near 0 for `geometric`."""
STREAMED: Final = ("hyper", "delta", "geometric")
MIXED: Final = ("hyper", "geometric")
RULES: Final = ("plain", "prenorm", "hyper", "delta", "geometric", "mgt")


@dataclass(frozen=True)
class Backbone:
    """The residual rule of a network, and its options.

    Attributes:
        rule: "plain", "prenorm", "hyper" (mHC), "delta" (DDL), "geometric" (both) or "mgt".
        streams: n, residual streams; more than 1 for hyper, delta and geometric.
        mixing: "permutation" (exact, up to 4 streams), "sinkhorn" or "identity"; for hyper and geometric.
        sinkhorn_iterations: rounds of "sinkhorn".
        branch_scale: "one", or "depth": a learned factor on each block that starts at 1 / sqrt(blocks).
        beta: where beta starts, in (0, 2); None: the rule's own.
        epsilon: where the softness of the erased direction starts, in units of a message.
        forget: where alpha of "mgt" starts.
        tied: all blocks share one set of weights (the rule's own maps stay apart).
        accumulate: the output reads a learned sum of the features behind every block; at first only the last counts.

    Raises:
        ForceFieldError: options that do not go together.
    """

    rule: str = "prenorm"
    streams: int = 1
    mixing: Mixing = "permutation"
    sinkhorn_iterations: int = 20
    branch_scale: str = "depth"
    beta: float | None = None
    epsilon: float = 1.0
    forget: float = 0.1
    tied: bool = False
    accumulate: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("rule", self.rule, RULES),
            ("mixing", self.mixing, ("permutation", "sinkhorn", "identity")),
            ("branch_scale", self.branch_scale, ("one", "depth")),
        ):
            if value not in known:
                raise ForceFieldError(f"backbone: unknown {name} {value!r}; known: {', '.join(known)}")
        if self.streams < 1 or (self.streams > 1 and self.rule not in STREAMED):
            raise ForceFieldError(
                f"backbone: {self.streams} streams for the rule '{self.rule}'; {', '.join(STREAMED)} take 1 or more, "
                "the others exactly 1"
            )
        if self.mixing == "permutation" and self.rule in MIXED and self.streams > MOST_PERMUTED:
            raise ForceFieldError(
                f"backbone: mixing 'permutation' lists all orders of at most {MOST_PERMUTED} streams, found "
                f"{self.streams}; write `mixing: sinkhorn`"
            )
        if self.beta is not None and not 0.0 < self.beta < 2.0:
            raise ForceFieldError(f"backbone: beta starts between 0 and 2, found {self.beta:g}; write `beta: 0.1`")
        if not self.epsilon > 0.0 or self.sinkhorn_iterations < 1:
            raise ForceFieldError("backbone: epsilon and sinkhorn_iterations must be more than 0")

    def to_dict(self) -> dict[str, Any]:
        """As it stands in forcefield.yaml: the rule, and what differs from the defaults."""
        default = Backbone(rule=self.rule)
        return {key: value for key, value in asdict(self).items() if key == "rule" or value != getattr(default, key)}

    @staticmethod
    def from_dict(data: object) -> Backbone:
        """The inverse of `to_dict`.

        Raises:
            ForceFieldError: not a mapping, an unknown key or a value of the wrong kind; the text names it.
        """
        if not isinstance(data, Mapping):
            raise ForceFieldError(f"backbone: expected keys such as `rule: geometric`, found {data!r}")
        known = {f.name: f for f in fields(Backbone)}
        for key, value in data.items():
            if key not in known:
                raise ForceFieldError(f"backbone: unknown key '{key}'; known: {', '.join(known)}")
            kind = type(known[key].default) if known[key].default is not None else float
            fits = isinstance(value, (int, float) if kind is float else kind)
            if not fits or isinstance(value, bool) is not (kind is bool):
                raise ForceFieldError(f"backbone: '{key}' takes a {kind.__name__}, found {value!r}")
        return Backbone(**data)

    def connection(self, features: int, depth: int) -> Connection:
        """The rule at one of `depth` blocks."""
        scale = depth**-0.5 if self.branch_scale == "depth" else None
        beta = self.beta if self.beta is not None else START_BETA.get(self.rule, 1.0)
        if self.rule == "plain":
            return Plain(scale)
        if self.rule == "prenorm":
            return PreNorm(scale)
        if self.rule == "delta":
            return DeepDelta(self.streams, features, beta, self.epsilon, scale)
        if self.rule == "mgt":
            return ManifoldGeometric(features, beta, self.forget, scale)
        maps = StreamMaps(self.streams, features, self.mixing, self.sinkhorn_iterations)
        if self.rule == "hyper":
            return HyperConnection(maps, scale)
        return Geometric(maps, features, beta, self.epsilon, scale)


class ResidualStack(nn.Module):
    """The blocks of a network, joined by a rule: features in front of the first -> features behind the last."""

    def __init__(self, backbone: Backbone, features: int, depth: int) -> None:
        super().__init__()
        n = backbone.streams
        self.backbone = backbone
        self.connections = nn.ModuleList(backbone.connection(features, depth) for _ in range(depth))
        # Streams that begin alike and are averaged in the end would stay alike: mixing would do nothing.
        self.expand = nn.Parameter(torch.linspace(0.5, 1.5, n)) if n > 1 else None
        self.collapse = nn.Parameter(torch.full((n,), 1.0 / n)) if n > 1 else None
        self.share = nn.Parameter(torch.eye(depth)[-1].clone()) if backbone.accumulate else None

    def forward(self, x: Tensor, branch: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Carry features through all blocks.

        Args:
            x: [B, H].
            branch: what block l says to features [B, H].

        Returns:
            [B, H].
        """
        state = self.split(x)
        total = torch.zeros_like(state) if self.share is not None else None
        for depth, connection in enumerate(self.connections):
            state = connection(state, lambda c, depth=depth: branch(depth, c))
            if total is not None and self.share is not None:
                total = total + self.share[depth] * state
        return self.merge(state if total is None else total)

    def split(self, x: Tensor) -> Tensor:
        """Features [B, H] as the state [B, n, H] in front of the first block."""
        return x[:, None, :] if self.expand is None else self.expand[:, None] * x[:, None, :]

    def merge(self, state: Tensor) -> Tensor:
        """What the output network reads of a state [B, n, H]."""
        x = state[:, 0] if self.collapse is None else torch.einsum("n,bnh->bh", self.collapse, state)
        return x if self.backbone.rule == "plain" else rms_norm(x)

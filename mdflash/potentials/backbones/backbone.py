"""How the blocks of a network are joined, as a recipe or forcefield.yaml writes it, and the stack made of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal, cast, get_args

import torch
from pydantic import Field, StrictBool
from torch import Tensor, nn

from mdflash.core.quantity import Whole
from mdflash.errors import ForceFieldError
from mdflash.potentials.backbones import RULES, RuleName, described, mixed, streamed
from mdflash.potentials.backbones.mixing import MOST_PERMUTED
from mdflash.potentials.backbones.parts import Mixing, rms_norm
from mdflash.potentials.backbones.residual import Connection

BranchScaling = Literal["one", "depth"]
MOST_STREAMS, MOST_ROUNDS = 16, 1000


@dataclass(frozen=True)
class Backbone:
    """The residual rule of a network, and its options; a recipe has the same keys, bounds and descriptions.

    Raises:
        ForceFieldError: options that do not go together.
    """

    rule: Annotated[RuleName, Field(description=described())] = "prenorm"
    streams: Annotated[
        int, Whole(1, MOST_STREAMS), Field(description=f"residual streams; more than 1 for {', '.join(streamed())}")
    ] = 1
    mixing: Annotated[
        Mixing, Field(description=f"of the streams of {', '.join(mixed())}: permutation | sinkhorn | identity")
    ] = "permutation"
    sinkhorn_iterations: Annotated[int, Whole(1, MOST_ROUNDS), Field(description="rounds of `mixing: sinkhorn`")] = 20
    branch_scale: Annotated[
        BranchScaling, Field(description="one | depth (a learned factor on each block that starts at 1 / sqrt(blocks))")
    ] = "depth"
    beta: Annotated[
        Annotated[float, Field(gt=0, lt=2, strict=False)] | None,
        Field(description="where beta starts, between 0 and 2; null: the rule's own"),
    ] = None
    epsilon: Annotated[
        float,
        Field(gt=0, strict=False, description="softness of the erased direction at first, in units of a message"),
    ] = 1.0
    forget: Annotated[float, Field(description="where alpha of mgt starts")] = 0.1
    tied: Annotated[StrictBool, Field(description="all blocks share one set of weights")] = False
    accumulate: Annotated[
        StrictBool, Field(description="the output reads a learned sum of the features behind every block")
    ] = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("rule", self.rule, tuple(RULES)),
            ("mixing", self.mixing, get_args(Mixing)),
            ("branch_scale", self.branch_scale, get_args(BranchScaling)),
        ):
            if value not in known:
                raise ForceFieldError(f"backbone: unknown {name} {value!r}; known: {', '.join(known)}")
        rule = RULES[self.rule]
        if self.streams > MOST_STREAMS or self.sinkhorn_iterations > MOST_ROUNDS:
            raise ForceFieldError(
                f"backbone: at most {MOST_STREAMS} streams and {MOST_ROUNDS} sinkhorn_iterations, found {self.streams} "
                f"and {self.sinkhorn_iterations}"
            )
        if self.streams < 1 or (self.streams > 1 and not rule.streamed):
            raise ForceFieldError(
                f"backbone: {self.streams} streams for the rule '{self.rule}'; {', '.join(streamed())} take 1 or more, "
                "the others exactly 1"
            )
        if self.mixing == "permutation" and rule.mixed and self.streams > MOST_PERMUTED:
            raise ForceFieldError(
                f"backbone: mixing 'permutation' lists all orders of at most {MOST_PERMUTED} streams, found "
                f"{self.streams}; write `mixing: sinkhorn`"
            )
        if self.beta is not None and not 0.0 < self.beta < 2.0:
            raise ForceFieldError(f"backbone: beta starts between 0 and 2, found {self.beta:g}; write `beta: 0.1`")
        if not 0.0 < self.epsilon < math.inf or not math.isfinite(self.forget) or self.sinkhorn_iterations < 1:
            raise ForceFieldError(
                "backbone: epsilon and sinkhorn_iterations must be more than 0, and forget a finite number"
            )

    def to_dict(self) -> dict[str, Any]:
        """As it stands in forcefield.yaml: the rule, and what differs from the defaults."""
        default = Backbone(rule=self.rule)
        return {key: value for key, value in asdict(self).items() if key == "rule" or value != getattr(default, key)}

    @staticmethod
    def from_dict(data: object) -> Backbone:
        """The inverse of `to_dict`.

        Raises:
            ForceFieldError: not a mapping, an unknown key or a value of the wrong kind; the message names it.
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
        return RULES[self.rule].build(self, features, depth**-0.5 if self.branch_scale == "depth" else None)

    @property
    def first_beta(self) -> float:
        """Where beta starts."""
        return RULES[self.rule].start_beta if self.beta is None else self.beta


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
        """Pass features through all blocks.

        Args:
            x: [B, H].
            branch: the message of block l to features [B, H].

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

    @property
    def has_twin(self) -> bool:
        """Whether its rule has parts that kernels know."""
        return all(cast(Connection, connection).parts() is not None for connection in self.connections)

    def split(self, x: Tensor) -> Tensor:
        """Features [B, H] as the state [B, n, H] in front of the first block."""
        return x[:, None, :] if self.expand is None else self.expand[:, None] * x[:, None, :]

    def merge(self, state: Tensor) -> Tensor:
        """What the output network reads of a state [B, n, H]."""
        x = state[:, 0] if self.collapse is None else torch.einsum("n,bnh->bh", self.collapse, state)
        return rms_norm(x) if RULES[self.backbone.rule].normed else x

"""What a block adds to the features: the contract of a residual rule, the plain rule, and the pre-normalized one.

Every rule is a `Connection`: it reads from the state of the residual streams, lets the interaction block work on that,
and writes back. Its `forward` in plain torch is the truth, and all that it needs to run anywhere. A rule that says by
`parts` what it is made of runs in compiled kernels on the CPU (`cpu.py`) and on a GPU (`fused.py`) as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mdflash.potentials.backbones.backbone import Backbone
    from mdflash.potentials.backbones.delta import Gate, SoftDirection
    from mdflash.potentials.backbones.hyper_connections import StreamMaps

Branch = Callable[[Tensor], Tensor]
"""An interaction block: features [B, H] -> its message to each bead [B, H]."""

RMS_EPSILON = 1e-6


def rms_norm(x: Tensor) -> Tensor:
    """x / rms(x) over the last axis (Zhang & Sennrich 2019), with no learned gain: linear layers follow."""
    return x / torch.sqrt((x**2).mean(dim=-1, keepdim=True) + RMS_EPSILON)


class BranchScale(nn.Module):
    """gamma, a learned factor on the message of a block. Without a start value it is 1 and not learned."""

    def __init__(self, start: float | None) -> None:
        super().__init__()
        self.gamma = None if start is None else nn.Parameter(torch.tensor(start))

    def forward(self, message: Tensor) -> Tensor:
        return message if self.gamma is None else self.gamma * message


class Parts(NamedTuple):
    """A rule as the kernels know it; parts that it has not are None.

    u = sum_s r_s X_s,  c = u / rms(u)     (c = u where the rule is not `normed`)
    o = F(c),  o <- sigmoid(P c) o          with `project`
    X'_s = (M X)_s + gamma w_s o            r, w, M from `maps`; without, r = 1/n, w = 1, M = 1
    X' <- X' - beta (M X k) k^T             with `direction`, k = o / sqrt(|o|^2 + epsilon^2)
    X' <- X' + gamma beta (V c) k^T         with `value`, and w = 0
    X' = (1 - alpha beta) X + gamma beta o  with `forget`: alpha

    Attributes:
        scale: gamma.
        maps: r, w and M.
        gate: beta.
        direction: epsilon; needs `gate`.
        value: V; needs `direction`, and no `maps`.
        project: P.
        forget: alpha; needs `gate` and one stream, and no `maps`.
    """

    scale: BranchScale
    maps: StreamMaps | None = None
    gate: Gate | None = None
    direction: SoftDirection | None = None
    value: nn.Linear | None = None
    project: nn.Linear | None = None
    forget: Tensor | None = None


class Connection(nn.Module, ABC):
    """One residual rule at one depth.

    Attributes:
        name: how forcefield.yaml and a recipe call it.
        about: a word or two in help texts, or "".
        streamed: whether it takes more than one stream.
        mixed: whether its streams are mixed as the option `mixing` says.
        normed: whether a block reads c = rms_norm(u), and the output network the same of the state.
        start_beta: where beta starts.
    """

    name: ClassVar[str]
    about: ClassVar[str] = ""
    streamed: ClassVar[bool] = False
    mixed: ClassVar[bool] = False
    normed: ClassVar[bool] = True
    start_beta: ClassVar[float] = 1.0

    @classmethod
    @abstractmethod
    def build(cls, options: Backbone, features: int, scale: float | None) -> Connection:
        """The rule over `features` channels; `scale` is where gamma starts, None for 1."""

    @abstractmethod
    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        """The state [B, n, H] behind a block, from that in front of it; n streams."""

    def parts(self) -> Parts | None:
        """What the rule is made of; None: it runs in plain torch only."""
        return None


class Plain(Connection):
    """x + gamma F(x): SchNet's own."""

    name = "plain"
    normed = False

    def __init__(self, scale: float | None) -> None:
        super().__init__()
        self.scale = BranchScale(scale)

    @classmethod
    def build(cls, options: Backbone, features: int, scale: float | None) -> Plain:
        return cls(scale)

    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        message: Tensor = self.scale(branch(state[:, 0]))
        return state + message[:, None]

    def parts(self) -> Parts:
        return Parts(self.scale)


class PreNorm(Connection):
    """x + gamma F(rms_norm(x))."""

    name = "prenorm"

    def __init__(self, scale: float | None) -> None:
        super().__init__()
        self.scale = BranchScale(scale)

    @classmethod
    def build(cls, options: Backbone, features: int, scale: float | None) -> PreNorm:
        return cls(scale)

    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        message: Tensor = self.scale(branch(rms_norm(state[:, 0])))
        return state + message[:, None]

    def parts(self) -> Parts:
        return Parts(self.scale)

"""What a block adds to the features: the contract of a residual rule, the plain rule, and the pre-normalized one.

Every rule is a `Connection`: it reads from the state of the residual streams, lets the interaction block work on that,
and writes back. Its `forward` in plain torch is the truth, and all that it needs to run anywhere. A rule that says by
`parts` what it is made of runs in compiled kernels on the CPU (`cpu.py`) and on a GPU (`fused.py`) as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol

from torch import Tensor, nn

from mdflash.potentials.backbones.parts import BranchScale, Mixing, Parts, rms_norm

Branch = Callable[[Tensor], Tensor]
"""An interaction block: features [B, H] -> its message to each bead [B, H]."""


class Options(Protocol):
    """What rules read of the options of a backbone; see `backbone.Backbone` for their meaning."""

    @property
    def streams(self) -> int: ...

    @property
    def mixing(self) -> Mixing: ...

    @property
    def sinkhorn_iterations(self) -> int: ...

    @property
    def epsilon(self) -> float: ...

    @property
    def forget(self) -> float: ...

    @property
    def first_beta(self) -> float: ...


class Connection(nn.Module, ABC):
    """One residual rule at one depth.

    Attributes:
        name: how forcefield.yaml and a recipe call it.
        about: a word or two in help texts, or "".
        streamed: whether it takes more than one stream.
        mixed: whether its streams are mixed by the option `mixing`.
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
    def build(cls, options: Options, features: int, scale: float | None) -> Connection:
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
    def build(cls, options: Options, features: int, scale: float | None) -> Plain:
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
    def build(cls, options: Options, features: int, scale: float | None) -> PreNorm:
        return cls(scale)

    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        message: Tensor = self.scale(branch(rms_norm(state[:, 0])))
        return state + message[:, None]

    def parts(self) -> Parts:
        return Parts(self.scale)

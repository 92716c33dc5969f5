"""The residual rules that join the blocks of a network. `__all__` is the only list: checks, help and tests follow."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from mdflash.potentials.backbones.combined import Geometric
from mdflash.potentials.backbones.deep_delta import DeepDelta
from mdflash.potentials.backbones.hyper_connections import HyperConnection
from mdflash.potentials.backbones.residual import Connection, Plain, PreNorm
from mdflash.potentials.backbones.transformer import ManifoldGeometric

__all__ = [
    "Plain",
    "PreNorm",
    "HyperConnection",
    "DeepDelta",
    "Geometric",
    "ManifoldGeometric",
]

RULES: Final[Mapping[str, type[Connection]]] = MappingProxyType(
    {rule.name: rule for rule in map(globals().__getitem__, __all__)}
)
"""Every rule by its name in forcefield.yaml."""

if TYPE_CHECKING:
    RuleName: TypeAlias = str
else:
    RuleName = Literal[tuple(RULES)]
"""The name of a rule, for the schema of a recipe."""


def described() -> str:
    """All rules in a line of help."""
    return " | ".join(f"{rule.name} ({rule.about})" if rule.about else rule.name for rule in RULES.values())


def streamed() -> list[str]:
    """Rules that take more than one stream."""
    return [rule.name for rule in RULES.values() if rule.streamed]


def mixed() -> list[str]:
    """Rules whose streams are mixed by the option `mixing`."""
    return [rule.name for rule in RULES.values() if rule.mixed]

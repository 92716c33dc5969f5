"""The list of mixing rules: how a parameter of a term follows from properties of bead types and from the environment.

A rule stands in forcefield.yaml in the place of a column: `sigma: {rule: mean, of: sigma}`. Its value is a matrix
[K, K] over kinds of beads. `RULES` is the list; the reader, the writer and docs/user/own-force-field.md follow it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np

from mdflash.core.types import FloatArray
from mdflash.forcefields.environment import (
    BJERRUM,
    COULOMB,
    NUMBER_DENSITY,
    Environment,
    inverse_debye_length,
    permittivity,
)

Takes = Literal["number", "positive", "property", "permittivity"]
"""What an option is: a number, one above 0, the name of a property, one above 0 or the name of a solvent."""
Options = Mapping[str, Any]
Value = Callable[[Options, Callable[[str], FloatArray], Environment], Any]


@dataclass(frozen=True, eq=False)
class MixingRule:
    """One way to make the parameter of a pair.

    Attributes:
        name: as it stands in forcefield.yaml.
        equation: the parameter of a pair i, j as a line of text.
        takes: its options, each with what it is.
        defaults: of options that may be left out.
        value: (options, property by name as [K], environment) -> a number, or a matrix that broadcasts to [K, K].
        listed: whether it holds for listed beads (bonds) too, where there is nothing to mix.
        needs: the fields of the environment that it reads.
    """

    name: str
    equation: str
    takes: Mapping[str, Takes]
    value: Value
    defaults: Mapping[str, float] = field(default_factory=dict)
    listed: bool = False
    needs: Callable[[Options], frozenset[str]] = lambda options: frozenset()


@dataclass(frozen=True, eq=False)
class Mix:
    """A rule with its options, in the place of a column of parameters.

    Attributes:
        rule: a key of `RULES`.
        options: of the rule, defaults included.
    """

    rule: str
    options: Options

    def describe(self) -> str:
        """As one line: the rule, and those of its options that are not the default."""
        defaults = RULES[self.rule].defaults
        given = [value for option, value in self.options.items() if defaults.get(option) != value]
        return f"{self.rule}({', '.join(v if isinstance(v, str) else f'{v:g}' for v in given)})"

    def matrix(self, properties: Callable[[str], FloatArray], kinds: int, environment: Environment) -> FloatArray:
        """[K, K] the parameter of every pair of kinds of beads."""
        value = RULES[self.rule].value(self.options, properties, environment)
        matrix: FloatArray = np.empty((kinds, kinds))
        matrix[:] = value
        return matrix

    @property
    def properties(self) -> tuple[str, ...]:
        """The properties of bead types that it reads."""
        return tuple(str(self.options[o]) for o, kind in RULES[self.rule].takes.items() if kind == "property")

    @property
    def needs(self) -> frozenset[str]:
        """The fields of the environment that it reads."""
        return RULES[self.rule].needs(self.options)


def _mean(options: Options, properties: Callable[[str], FloatArray], environment: Environment) -> FloatArray:
    x = properties(options["of"])
    mean: FloatArray = (x[:, None] + x[None]) / 2.0
    return float(options["times"]) * mean + float(options["plus"])


def _geometric(options: Options, properties: Callable[[str], FloatArray], environment: Environment) -> FloatArray:
    x = properties(options["of"])
    root: FloatArray = np.sqrt(x[:, None] * x[None])
    return root


def _coulomb(options: Options, properties: Callable[[str], FloatArray], environment: Environment) -> FloatArray:
    q = properties(options["of"])
    eps = permittivity(options["permittivity"], environment.temperature)
    product: FloatArray = q[:, None] * q[None]
    return float(options["constant"]) / eps * product


def _debye(options: Options, properties: Callable[[str], FloatArray], environment: Environment) -> float:
    eps = permittivity(options["permittivity"], environment.temperature)
    length = options["bjerrum"] / (eps * environment.temperature)
    return inverse_debye_length(length, options["number_density"], environment.ionic_strength)


_RULES = (
    MixingRule(
        name="constant",
        equation="value",
        takes={"value": "number"},
        value=lambda options, properties, environment: options["value"],
        listed=True,
    ),
    MixingRule(
        name="mean",
        equation="times (x_i + x_j) / 2 + plus",
        takes={"of": "property", "times": "number", "plus": "number"},
        value=_mean,
        defaults={"times": 1.0, "plus": 0.0},
    ),
    MixingRule(
        name="geometric",
        equation="sqrt(x_i x_j)",
        takes={"of": "property"},
        value=_geometric,
    ),
    MixingRule(
        name="coulomb",
        equation="constant q_i q_j / permittivity(T)",
        takes={"of": "property", "permittivity": "permittivity", "constant": "number"},
        value=_coulomb,
        defaults={"constant": COULOMB},
        needs=lambda options: frozenset({"temperature"} if isinstance(options["permittivity"], str) else ()),
    ),
    MixingRule(
        name="debye",
        equation="sqrt(8 pi l_B number_density I), l_B = bjerrum / (permittivity(T) T)",
        takes={"permittivity": "permittivity", "bjerrum": "positive", "number_density": "positive"},
        value=_debye,
        defaults={"bjerrum": BJERRUM, "number_density": NUMBER_DENSITY},
        needs=lambda options: frozenset({"temperature", "ionic_strength"}),
    ),
)

RULES: Final[Mapping[str, MixingRule]] = MappingProxyType({rule.name: rule for rule in _RULES})
"""Every rule by name."""

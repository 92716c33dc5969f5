"""What several keys of system.yaml must agree on, and what is allowed but odd; a file for each section.

To add a rule: a function that yields `Problem`s, in the file of its section, and its name in `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from mdflash.config.rules.biases import bias_rules, metadynamics_rules
from mdflash.config.rules.durations import duration_rules
from mdflash.config.rules.ensemble import ensemble_rules
from mdflash.config.rules.exchange import exchange_rules
from mdflash.config.rules.model import device_rules, filter_rules
from mdflash.config.rules.molecules import system_rules
from mdflash.config.rules.odd import warnings
from mdflash.config.rules.problem import Problem, whole_steps
from mdflash.config.rules.temperatures import annealing_rules, temperature_rules
from mdflash.config.rules.variables import variable_rules
from mdflash.config.schema import RunConfig

__all__ = ["RULES", "Problem", "problems", "warnings", "whole_steps"]

RULES: Final[tuple[Callable[[RunConfig], Iterator[Problem]], ...]] = (
    system_rules,
    filter_rules,
    device_rules,
    temperature_rules,
    annealing_rules,
    exchange_rules,
    variable_rules,
    bias_rules,
    metadynamics_rules,
    ensemble_rules,
    duration_rules,
)
"""In the order in which problems are told."""


def problems(config: RunConfig) -> Iterator[Problem]:
    """Everything that keys get wrong together; nothing for a sound run."""
    for rule in RULES:
        yield from rule(config)

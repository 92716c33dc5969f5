"""The windows of a run: temperature and bias parameters of each replica, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mdflash.config.biases import BiasEntry
from mdflash.config.exchange import Exchange, scale_name
from mdflash.units import parse


def windows(config: Mapping[str, Any], systems: Mapping[str, int], labels: Sequence[int] | None) -> dict[str, Any]:
    """Columns with one value for each replica: its state at the start of the run.

    Nothing but the arguments is read, so files that the run refers to may be gone.

    Args:
        config: resolved.yaml.
        systems: replicas of each system, by name, in the order of the run.
        labels: the state of each replica in exchange.csv; None: without exchange.

    Returns:
        replica, system, state, temperature_K; for each bias NAME_center, NAME_force_constant and NAME_width, and for
        each scaled term scale_NAME. NaN where a bias acts on another system.
    """
    counts = list(systems.values())
    owner = np.repeat(np.arange(len(counts)), counts)
    within = np.concatenate([np.arange(count) for count in counts])
    exchange = None if config["exchange"] in (None, "none") else Exchange.model_validate(config["exchange"])
    columns: dict[str, Any] = {"temperature_K": _temperatures(config, exchange, len(owner))}

    def spread(name: str, values: Sequence[float], system: int) -> None:
        taken = np.asarray(values)[within % len(values)]  # replicas take a list in turn
        columns[name] = np.where(owner == system, taken, np.nan)

    for given in _list(config["biases"]):
        reference = "none" if given["reference"] == "none" else "start"  # a file may be gone
        entry = BiasEntry.model_validate({**given, "reference": reference})
        system = 0 if entry.system is None else list(systems).index(entry.system)
        spread(f"{entry.name}_center", entry.center, system)
        spread(f"{entry.name}_force_constant", entry.force_constant, system)
        spread(f"{entry.name}_width", (entry.width,), system)
    for term, scales in exchange.scale.items() if exchange is not None else ():
        spread(scale_name(term), scales, 0)
    return {
        "replica": np.arange(len(owner)),
        "system": np.array(list(systems))[owner],
        "state": _count(owner, list(columns.values())) if labels is None else np.asarray(labels),
        **columns,
    }


def _list(section: Any) -> list[Any]:
    if section in (None, "none"):
        return []
    return section if isinstance(section, list) else [section]


def _temperatures(config: Mapping[str, Any], exchange: Exchange | None, replicas: int) -> Any:
    """[R] K."""
    if exchange is not None and exchange.temperatures is not None:
        found = list(exchange.temperatures)
    else:
        found = [parse(text, "temperature") for text in _list(config["dynamics"]["temperature"])]
    return np.array(found)[np.arange(replicas) % len(found)]


def _count(owner: Any, columns: Sequence[Any]) -> Any:
    """[R] the states of each system, counted from 0 in the order of its replicas, as log.csv numbers them."""
    numbers: dict[int, dict[tuple[float, ...], int]] = {}
    found = []
    for r, system in enumerate(owner.tolist()):
        known = numbers.setdefault(system, {})
        state = tuple(float(column[r]) for column in columns if not np.isnan(column[r]))
        found.append(known.setdefault(state, len(known)))
    return np.array(found)

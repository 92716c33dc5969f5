"""Every residual rule of the list, with as many streams and ways of mixing as it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mdflash.potentials.backbones import RULES
from mdflash.potentials.backbones.backbone import Backbone


def _variants() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, rule in RULES.items():
        yield name, {"rule": name}
        if rule.streamed:
            yield f"{name}-4", {"rule": name, "streams": 4}
        if rule.mixed:
            yield f"{name}-sinkhorn", {"rule": name, "streams": 5, "mixing": "sinkhorn", "sinkhorn_iterations": 3}
            yield f"{name}-identity", {"rule": name, "streams": 2, "mixing": "identity"}


IN_NETWORKS: dict[str, dict[str, Any]] = {
    **dict(_variants()),
    "tied-accumulated": {"rule": "geometric", "streams": 2, "tied": True, "accumulate": True},
}
"""Options of a backbone, by a name for tests."""

VARIANTS: dict[str, dict[str, Any]] = {
    **dict(_variants()),
    **{f"{name}-unscaled": {"rule": name, "branch_scale": "one"} for name in RULES},
}
"""The same for single connections."""


def has_twin(options: dict[str, Any]) -> bool:
    """Whether kernels know the rule."""
    return Backbone(**options).connection(8, 2).parts() is not None

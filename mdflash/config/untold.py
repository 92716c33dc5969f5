"""Why biases that act together tell no free energy: known from the run file, before a run and after it."""

from __future__ import annotations

from mdflash.config.biases import BiasEntry
from mdflash.config.schema import RunConfig


def biases_on(config: RunConfig, name: str) -> list[BiasEntry]:
    """Those of `biases:` that act on a system."""
    return [b for b in config.biases if (b.system or config.system[0].name) == name]


def untold(config: RunConfig, name: str) -> dict[str, str]:
    """Biases of a system that have windows, move or fill with hills, and tell no free energy: why not.

    A free energy by windows takes biases that stay as they are. The work of a bias is all the work that is done only
    if nothing else changes. Both work and hills are of one ensemble only if all replicas have the same other biases.
    """
    own = biases_on(config, name)
    apart = [b.name for b in own if len(set(b.center)) > 1 or len(set(b.force_constant)) > 1]
    scaled = [f"the strength of {term}" for term in config.exchange.scale] if config.exchange is not None else []
    moving = [b.name for b in own if b.moving is not None]
    hills = [m.name for m in config.metadynamics if (m.system or config.system[0].name) == name]
    found = {}
    for b in own:
        changing = [other for other in (*moving, *hills) if other != b.name]
        if (b.name in moving or len(set(b.center)) > 1) and changing:
            found[b.name] = f"{_and(changing)} {_verb(changing, 'changes', 'change')} meanwhile"
        elif b.name in moving and apart:
            found[b.name] = f"replicas are in different windows of {_and(apart)}"
    for h in hills:
        if moving:
            found[h] = f"{_and(moving)} {_verb(moving, 'moves', 'move')} meanwhile"
        elif apart or scaled:
            found[h] = f"walkers are in different windows of {_and([*apart, *scaled])}"
    return found


def _and(names: list[str]) -> str:
    return " and ".join(names)


def _verb(names: list[str], one: str, many: str) -> str:
    return one if len(names) == 1 else many

"""The engine: replicas advanced in blocks, on a CPU, a GPU or many ranks."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """What `mdflash.engine` held in 0.1, when it was one module."""
    if name.startswith("_"):
        raise AttributeError(name)
    homes = (import_module(f"mdflash.engine.{module}") for module in ("engine", "settings"))
    home = next((module for module in homes if hasattr(module, name)), None)
    if home is None:
        raise AttributeError(f"module 'mdflash.engine' has no attribute '{name}'")
    warnings.warn(
        f"mdflash.engine.{name} is now {home.__name__}.{name}; the old name goes with the next release",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(home, name)

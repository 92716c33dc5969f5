"""The engine: replicas advanced in blocks, on a CPU, a GPU or many ranks."""

from __future__ import annotations

import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    """What `mdflash.engine` held in 0.1, when it was one module."""
    from mdflash.engine import engine

    if name.startswith("_") or not hasattr(engine, name):
        raise AttributeError(f"module 'mdflash.engine' has no attribute '{name}'")
    warnings.warn(
        f"mdflash.engine.{name} is now mdflash.engine.engine.{name}; the old name goes with the next release",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(engine, name)

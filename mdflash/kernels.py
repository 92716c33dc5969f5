"""numba's `njit`, with caches that notice a change in any file of the package.

numba keeps compiled functions beside their source and compiles them again when that file changes, but not when a
function that they call, in another file, does. After an update of a checkout such a cache would go on computing with
the old code. So caches older than the newest source file of the package are dropped before the first is read.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from numba import njit, prange

__all__ = ["njit", "prange"]

_NO_KERNELS = frozenset(
    """
    analysis bench cli config data importers io mapping openmm
    arguments.py ase.py distributed.py engine.py evaluator.py forcefield.py go.py guards.py outputs.py prepare.py
    prepare_biases.py record.py reporters.py run.py simulation.py testing.py torchsim.py
    """.split()
)
"""Folders and files that no compiled function depends on; editing them need not cost a recompilation."""


def drop_stale_caches(package: Path) -> list[Path]:
    """Delete numba's index and data files in `package` that are older than its newest kernel source; returns them."""
    sources = (f for f in package.rglob("*.py") if f.relative_to(package).parts[0] not in _NO_KERNELS)
    newest = max(file.stat().st_mtime_ns for file in sources)
    dropped = []
    for file in package.rglob("__pycache__/*.nb[ic]"):
        with suppress(OSError):  # another process may be doing the same
            if file.stat().st_mtime_ns < newest:
                file.unlink()
                dropped.append(file)
    return dropped


drop_stale_caches(Path(__file__).parent)

"""The compiled functions that a run uses belong to the source that is there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from numba.core.dispatcher import Dispatcher

import mdflash.bench.kernels
import mdflash.engine  # noqa: F401  (with it, everything that a run on a CPU uses)
from mdflash.kernels import drop_stale_caches


def test_caches_older_than_any_kernel_source_are_dropped(tmp_path: Path) -> None:
    caller, callee = tmp_path / "propagate", tmp_path / "integrators"
    for folder in (caller, callee, tmp_path / "cli"):
        (folder / "__pycache__").mkdir(parents=True)
        (folder / "file.py").write_text("")
        os.utime(folder / "file.py", (1000, 1000))
    cached = [caller / "__pycache__/f.nbi", caller / "__pycache__/f.1.nbc", callee / "__pycache__/g.nbi"]
    for file in cached:
        file.write_bytes(b"")
        os.utime(file, (2000, 2000))
    assert drop_stale_caches(tmp_path) == []
    os.utime(tmp_path / "cli/file.py", (3000, 3000))  # no kernel depends on it
    assert drop_stale_caches(tmp_path) == []
    os.utime(callee / "file.py", (3000, 3000))
    assert sorted(drop_stale_caches(tmp_path)) == sorted(cached)
    assert not any(file.exists() for file in cached)


def test_no_compiled_function_is_a_closure_over_another() -> None:
    """numba finds a closure in its cache by what it closes over, and knows a compiled function only in the process that
    made it: such a closure would be compiled anew in every process."""
    found = 0
    for name, module in list(sys.modules.items()):
        if name.startswith("mdflash."):
            for value in vars(module).values():
                if isinstance(value, Dispatcher):
                    found += 1
                    closed_over = [cell.cell_contents for cell in value.py_func.__closure__ or ()]
                    assert not any(isinstance(c, Dispatcher) for c in closed_over), f"{name}: {value}"
    assert found > 100

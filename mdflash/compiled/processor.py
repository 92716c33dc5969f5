"""The processor that kernels are compiled for: a level that many machines share, not the exact one.

So one cache serves all machines of a level, and a run has the same bits on all of them.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping

import llvmlite.binding as llvm
import numba
from numba.core.registry import cpu_target

_V3 = frozenset({"avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"})
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
"""What the levels of x86-64 have beyond the one before, in LLVM's words; see the x86-64 psABI."""


def level(architecture: str, features: Mapping[str, bool]) -> str | None:
    """LLVM's name of the highest level of a processor; None where it is below all that we compile for."""
    if architecture.lower() in ("aarch64", "arm64"):
        return "generic"
    if architecture.lower() in ("x86_64", "amd64"):
        have = {name for name, present in features.items() if present}
        return "x86-64-v4" if have >= _V4 else "x86-64-v3" if have >= _V3 else None
    return None


def use_level() -> None:
    """Let numba compile for the level of this machine.

    Nothing changes where the user chose a processor (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES, NUMBA_ENABLE_AVX), where the
    machine is below all levels, or where numba has compiled for the exact processor in this process already.
    """
    config = numba.config
    chosen = config.CPU_NAME is not None or config.CPU_FEATURES is not None or not config.ENABLE_AVX
    if chosen or "_toplevel_target_context" in vars(cpu_target):
        return
    found = level(platform.machine(), llvm.get_host_cpu_features())
    if found is not None:
        config.CPU_NAME, config.CPU_FEATURES = found, ""


def processor() -> str:
    """What numba compiles for: the name of a level or of a processor."""
    return str(numba.config.CPU_NAME or llvm.get_host_cpu_name())

"""The processor that kernels are compiled for: a level that many machines share, not the exact one.

So one cache serves all machines of a level, and a run has the same bits on all of them.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache, lru_cache

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


@cache
def target() -> tuple[str, str, str]:
    """What this process compiles for: triple, level or processor, and features, in LLVM's words.

    Settled once. numba names it by its settings, which it reads again, and forgets ours, whenever an environment
    variable NUMBA_... has changed; its code generator stays as it is.
    """
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    return triple, name, features


def processor() -> str:
    """The name of the level or processor that this process compiles for."""
    return target()[1]


@lru_cache(maxsize=1)
def tile_shape() -> tuple[int, int]:
    """The tile of a product of matrices that the vector registers hold: rows, and vectors of 64 bytes.

    Its sums stay in registers, beside a row of weights and an element of each row in turn; and they are enough for the
    time that a multiply-add takes (4 or 5 cycles, two begun in each).
    """
    return shape_for(*target())


def shape_for(triple: str, cpu: str, features: str) -> tuple[int, int]:
    """`tile_shape` of a processor, in LLVM's words."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    assembly = machine.emit_assembly(llvm.parse_assembly(_COPY))
    if "zmm" in assembly:
        return 12, 2  # 24 of 32 registers
    if "ymm" in assembly:
        return 6, 1  # 12 of 16
    if triple.startswith(("aarch64", "arm64")):
        return 4, 1  # 16 of 32; LLVM moves sums to the stack from 5 rows on
    return 2, 1  # 8 of 16


_COPY = """
define void @copy(ptr %from, ptr %to) {
    %v = load <16 x float>, ptr %from
    store <16 x float> %v, ptr %to
    ret void
}
"""
"""Shows what a vector of 64 bytes is kept in."""

"""The processor that kernels are compiled for: a level of many machines, unless the user chose one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import llvmlite.binding as llvm
import pytest

from mdflash.compiled.processor import level

AVX2 = dict.fromkeys(("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "sse4.2"), True)
AVX512 = AVX2 | dict.fromkeys(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"), True)


@pytest.mark.parametrize(
    ("architecture", "features", "expected"),
    [
        ("x86_64", AVX512 | {"avx512bf16": True}, "x86-64-v4"),
        ("AMD64", AVX512 | {"avx512vl": False}, "x86-64-v3"),  # Knights Landing
        ("x86_64", AVX2, "x86-64-v3"),
        ("x86_64", AVX2 | {"fma": False}, None),
        ("x86_64", {}, None),
        ("aarch64", {"neon": True}, "generic"),
        ("arm64", {}, "generic"),
        ("riscv64", {}, None),
    ],
)
def test_the_highest_level_that_a_machine_has(
    architecture: str, features: dict[str, bool], expected: str | None
) -> None:
    assert level(architecture, features) == expected


def target(before: str = "", **environment: str) -> str:
    """What a new process compiles for."""
    script = (
        f"{before}\nimport mdflash.compiled.jit\nfrom numba.core.registry import cpu_target\n"
        "print(*cpu_target.target_context.codegen().magic_tuple()[1:], sep='|')"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU")}
    return subprocess.run(
        [sys.executable, "-c", script], env=kept | environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_numba_compiles_for_the_level() -> None:
    found = level(platform.machine(), llvm.get_host_cpu_features())
    assert target() == (f"{found}|" if found else f"{llvm.get_host_cpu_name()}|{target().partition('|')[2]}")


def test_the_choice_of_the_user_wins() -> None:
    assert target(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="").startswith("generic|")
    assert target(NUMBA_CPU_NAME="nocona", NUMBA_CPU_FEATURES="+sse2") == "nocona|+sse2"


def test_a_process_that_has_compiled_already_keeps_its_target() -> None:
    compiled = "import numba\nnumba.njit(lambda x: x + 1)(1)"
    assert target(compiled).startswith(f"{llvm.get_host_cpu_name()}|")

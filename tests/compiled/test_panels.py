"""Dense layers: the product of any tile, and sums that stay in registers at every level of processors; activations."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import llvmlite.binding as llvm
import numba
import numpy as np
import numpy.typing as npt
import pytest
import torch

from mdflash.compiled.activations import CODES, NAMES
from mdflash.compiled.panels import ROW_STEP, activate, multiply, tile_product
from mdflash.compiled.processor import shape_for
from mdflash.potentials.schnet.network import ACTIVATIONS

LINUX, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
LEVELS = [(LINUX, "x86-64-v4", 1), (LINUX, "x86-64-v3", 2), (ARM, "generic", 4)]
"""Triple, processor, and its registers that hold 64 bytes."""


def _panels(matrix: npt.NDArray[np.float64], dtype: type[np.floating]) -> npt.NDArray[np.floating]:
    """[n, k] -> flat, in panels."""
    width = 128 // np.dtype(dtype).itemsize
    return matrix.reshape(len(matrix), -1, width).transpose(1, 0, 2).astype(dtype).ravel()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [2, 10, 22, 36, 54])
def test_a_product_of_matrices(rows: int, dtype: type[np.floating]) -> None:
    """Whole numbers, so that every order of sums gives the same."""
    assert rows % ROW_STEP == 0
    rng = np.random.default_rng()
    width = 128 // np.dtype(dtype).itemsize
    n_in, n_out = width * int(rng.integers(1, 4)), width * int(rng.integers(1, 4))
    a, w, bias, before = (
        rng.integers(-9, 9, size=size).astype(float) for size in ((rows, n_in), (n_in, n_out), (n_out,), (rows, n_out))
    )
    data = np.concatenate([_panels(w, dtype), bias.astype(dtype)])
    begin, end = sorted(rng.integers(0, rows // 2 + 1, size=2) * 2)
    for add in (False, True):
        for shift in (-1, w.size):
            c = _panels(before, dtype)
            multiply(_panels(a, dtype), 0, n_in, data, 0, shift, c, 0, n_out, rows, begin, end, add)
            wanted = before.copy()
            product = a @ w + (bias if shift >= 0 else 0.0) + (before if add else 0.0)
            wanted[begin:end] = product[begin:end]
            assert np.array_equal(c, _panels(wanted, dtype))


def _assembly(rows: int, vectors: int, dtype: type, triple: str, cpu: str) -> list[str]:
    """Instructions of a tile's product on another processor."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    product = numba.njit(error_model="numpy")(tile_product(rows, vectors).py_func)  # type: ignore[attr-defined]
    numbers, whole = numba.types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C"), numba.types.intp
    signature = (numbers, whole, whole, whole, numbers, whole, whole, numbers, whole, numba.types.boolean)
    product.compile(signature)
    text = product.inspect_llvm(signature)
    defined = re.findall(r"^define .*product.*$", text, flags=re.M)
    (begin,) = (line for line in defined if "cpython" not in line and "cfunc" not in line)
    body = text[text.index(begin) :]
    body = body[: body.index("\n}\n") + 3]
    declared = "\n".join(re.findall(r"^declare .*llvm\.fmuladd.*$", text, flags=re.M))
    plain = re.sub(r"#\d+|(?:, )?!\S+ !\d+", "", body + declared)  # without attributes of this machine
    module = llvm.parse_assembly(plain)
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError:
        pytest.skip(f"this build of LLVM knows no {triple}")
    machine = target.create_target_machine(cpu=cpu, features="", opt=3)
    module.triple, module.data_layout = triple, str(machine.target_data)
    return machine.emit_assembly(module).splitlines()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("triple", "cpu", "registers"), LEVELS)
def test_sums_stay_in_registers(triple: str, cpu: str, registers: int, dtype: type) -> None:
    """Between two multiply-adds of the tile nothing is read from the stack or written to it."""
    rows, vectors = shape_for(triple, cpu, "")
    lines = _assembly(rows, vectors, dtype, triple, cpu)
    sums = [k for k, line in enumerate(lines) if re.search(r"\b(vfmadd\w+|fmla)\b", line)]
    assert len(sums) >= rows * vectors * registers, "a whole tile; how often a loop is unrolled depends on this machine"
    stack = r"\(%rsp\)|\(%rbp\)|\[sp\b"
    assert not [line for line in lines[sums[0] : sums[-1]] if re.search(stack, line)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_activations_and_their_slopes(name: str, dtype: type[np.floating]) -> None:
    """Against autograd in float64; where a unit is saturated, the slope is as exact as anywhere else."""
    rng, rows, n = np.random.default_rng(), 8, 128
    most = 20.0 if "softplus" in name else 60.0  # beyond 20 torch's own softplus(x) is x
    x = np.concatenate([rng.normal(size=rows * n // 2), rng.uniform(-most, most, size=rows * n // 2)]).astype(dtype)
    value, slope = x.copy(), np.zeros_like(x)
    activate(CODES[name], value, 0, slope, 0, n, rows, 0, rows)
    z = torch.from_numpy(x.astype(np.float64)).requires_grad_()
    y = ACTIVATIONS[name](z)
    (wanted,) = torch.autograd.grad(y.sum(), z)
    fades = np.exp(-np.abs(x.astype(np.float64)))
    last, least = (1e-6, 2e-12) if dtype is np.float32 else (1e-14, 1e-15)
    for found, exact in ((value, y.detach().numpy()), (slope, wanted.numpy())):
        assert (np.abs(found - exact) <= last * (np.abs(exact) + fades) + least).all()


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "silu"])
def test_activations_of_what_is_no_number(name: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, 88.0, -88.0] * 4, np.float32)
    slope = np.zeros_like(x)
    value = x.copy()
    activate(CODES[name], value, 0, slope, 0, 32, 1, 0, 1)
    assert np.isnan(value[::8]).all() and np.isnan(slope[::8]).all()
    if name != "silu":
        wanted = [1.0, -1.0 if name == "tanh" else 0.0] * 2
        assert np.allclose(value[1:5], wanted, rtol=0.0, atol=1e-12) and (slope[1:5] <= 1e-12).all()


@pytest.mark.skipif(numba.config.CPU_NAME != "x86-64-v4", reason="a machine of level x86-64-v4 has two levels")
def test_bits_do_not_depend_on_the_level() -> None:
    """Tiles differ, the order of every sum does not."""
    script = (
        "import numpy as np, sys\nfrom mdflash.compiled.panels import TILE_ROWS, activate, multiply\n"
        "rng = np.random.default_rng(3)\n"
        "a, w, c = (rng.normal(size=n).astype(np.float32) for n in (22 * 64, 64 * 96, 22 * 96))\n"
        "multiply(a, 0, 64, w, 0, -1, c, 0, 96, 22, 0, 22, True)\n"
        "slopes = np.zeros_like(c)\n"
        "activate(0, c, 0, slopes, 0, 96, 22, 0, 22)\n"
        "print(TILE_ROWS, c.tobytes().hex() + slopes.tobytes().hex())"
    )
    found = []
    for level in ("x86-64-v4", "x86-64-v3"):
        chosen = os.environ | {"NUMBA_CPU_NAME": level, "NUMBA_CPU_FEATURES": ""}
        done = subprocess.run([sys.executable, "-c", script], env=chosen, check=True, capture_output=True, text=True)
        found.append(done.stdout.split())
    assert found[0][0] != found[1][0] and found[0][1] == found[1][1]

"""The noise, as compiled functions take it: that of `philox`, of eight beads at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types

from mdflash.compiled.box_muller import three_normals
from mdflash.compiled.jit import intrinsic, njit
from mdflash.compiled.lanes import first_lane
from mdflash.compiled.philox import MULTIPLIERS, ROUNDS, WEYL
from mdflash.compiled.simd import Vector, local, store
from mdflash.core.types import FloatArray

EIGHT: Final = 8


@intrinsic
def uniforms8(
    typing_context: Any, seed: Any, replica: Any, step: Any, bead: Any, purpose: Any
) -> tuple[Any, Callable[..., tuple[Vector, Vector, Vector, Vector]]]:
    """(w + 1/2) / 2^32 of the four words w of each of the beads bead:bead + 8."""
    whole, real, index = (ir.VectorType(kind, EIGHT) for kind in (ir.IntType(64), ir.DoubleType(), ir.IntType(32)))

    def same(number: int) -> Any:
        return ir.Constant(whole, [number] * EIGHT)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        seed_, replica_, step_, first, purpose_ = args

        def spread(scalar: Any) -> Any:
            nothing = ir.Constant(whole, ir.Undefined)
            one = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, nothing, ir.Constant(index, [0] * EIGHT))

        def plus(scalar: Any, number: int) -> Any:
            return spread(builder.add(scalar, ir.Constant(ir.IntType(64), number)))

        def low(words: Any) -> Any:  # a word is the lower half of 64 bits, whose upper half may hold anything
            return builder.and_(words, same(0xFFFFFFFF))

        def high(words: Any) -> Any:
            return builder.lshr(words, same(32))

        c0, c1, c2, c3 = spread(step_), high(spread(step_)), spread(first), spread(purpose_)
        c2 = builder.add(c2, ir.Constant(whole, list(range(EIGHT))))
        for n in range(ROUNDS):
            k0, k1 = plus(seed_, n * WEYL[0]), plus(replica_, n * WEYL[1])
            p0, p1 = builder.mul(low(c0), same(MULTIPLIERS[0])), builder.mul(low(c2), same(MULTIPLIERS[1]))
            c0, c1, c2, c3 = (
                builder.xor(builder.xor(high(p1), c1), k0), p1, builder.xor(builder.xor(high(p0), c3), k1), p0,
            )  # fmt: skip
        uniform = []
        for words in (c0, c1, c2, c3):  # 2^20 + w / 2^32 is the word w with the bits of 2^20 before it
            number = builder.bitcast(builder.or_(low(words), same(0x413 << 52)), real)
            uniform.append(builder.fsub(number, ir.Constant(real, [2.0**20 - 2.0**-33] * EIGHT)))
        return context.make_tuple(builder, signature.return_type, uniform)

    return types.UniTuple(Vector(types.float64), 4)(*(types.int64,) * 5), generate


@njit(cache=True, error_model="numpy")
def normals8(
    seed: int,
    replica: int,
    step: int,
    bead: int,
    purpose: int,
    out: FloatArray,  # [24] x of each, then y, then z
) -> None:
    """Three independent standard normal numbers for each of the beads bead:bead + 8."""
    u0, u1, u2, u3 = uniforms8(seed, replica, step, bead, purpose)
    x, y, z = three_normals(u0, u1, u2, u3)
    store(out, 0, x)
    store(out, EIGHT, y)
    store(out, 2 * EIGHT, z)


@njit(cache=True, error_model="numpy")
def normal3(seed: int, replica: int, step: int, bead: int, purpose: int) -> tuple[float, float, float]:
    """Those of one bead."""
    u0, u1, u2, u3 = uniforms8(seed, replica, step, bead, purpose)
    x, y, z = three_normals(u0, u1, u2, u3)
    return first_lane(x), first_lane(y), first_lane(z)


@njit(cache=True, error_model="numpy")
def _fill(
    out: FloatArray,  # [N, 3]
    seed: int,
    replica: int,
    step: int,
    purpose: int,
) -> None:
    eight = local(out, 3)
    for bead in range(out.shape[0]):
        k = bead % EIGHT
        if k == 0:
            normals8(seed, replica, step, bead, purpose, eight)
        out[bead, 0], out[bead, 1], out[bead, 2] = eight[k], eight[EIGHT + k], eight[2 * EIGHT + k]


def normals(seed: int, replica: int, step: int, n_beads: int, purpose: int) -> FloatArray:
    """[n_beads, 3] standard normal numbers of one replica at one step."""
    out = np.empty((n_beads, 3))
    _fill(out, seed, replica, step, purpose)
    return out

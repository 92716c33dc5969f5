"""The noise of eight beads at once: the numbers of `philox.normal3`, to the last bit.

The words of Philox are whole numbers, and eight of them make a vector. Logarithms and cosines are the library's, one by
one, since vectors of them would round otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba import types

from mdflash.compiled.jit import intrinsic, njit
from mdflash.compiled.philox import MULTIPLIERS, TO_UNIT, TWO_PI, WEYL
from mdflash.core.types import FloatArray

EIGHT: Final = 8
ROUNDS: Final = 10


@intrinsic
def _uniform8(
    typing_context: Any, out: Any, seed: Any, replica: Any, step: Any, bead: Any, purpose: Any
) -> tuple[Any, Callable[..., None]]:
    """out[8 w + k] = the word w of bead + k as a number between 0 and 1, for the four words."""
    whole, eight, wide = ir.IntType(32), ir.VectorType(ir.IntType(32), EIGHT), ir.VectorType(ir.IntType(64), EIGHT)
    real = ir.VectorType(ir.DoubleType(), EIGHT)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def spread(scalar: Any) -> Any:
            one = builder.insert_element(ir.Constant(eight, ir.Undefined), scalar, ir.Constant(whole, 0))
            return builder.shuffle_vector(one, ir.Constant(eight, ir.Undefined), ir.Constant(eight, [0] * EIGHT))

        def constant(value: int) -> Any:
            return ir.Constant(eight, [value] * EIGHT)

        def product(a: Any, factor: int) -> tuple[Any, Any]:
            p = builder.mul(builder.zext(a, wide), ir.Constant(wide, [factor] * EIGHT))
            high = builder.lshr(p, ir.Constant(wide, [32] * EIGHT))
            return builder.trunc(high, eight), builder.trunc(p, eight)

        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        seed_, replica_, low, first, purpose_ = (builder.trunc(a, whole) for a in args[1:])
        high = builder.trunc(builder.lshr(args[3], ir.Constant(ir.IntType(64), 32)), whole)
        beads = builder.add(spread(first), ir.Constant(eight, list(range(EIGHT))))
        c0, c1, c2, c3 = spread(low), spread(high), beads, spread(purpose_)
        k0, k1 = spread(seed_), spread(replica_)
        for _ in range(ROUNDS):
            high0, low0 = product(c0, MULTIPLIERS[0])
            high1, low1 = product(c2, MULTIPLIERS[1])
            c0, c1, c2, c3 = (
                builder.xor(builder.xor(high1, c1), k0), low1, builder.xor(builder.xor(high0, c3), k1), low0,
            )  # fmt: skip
            k0, k1 = builder.add(k0, constant(WEYL[0])), builder.add(k1, constant(WEYL[1]))
        for w, word in enumerate((c0, c1, c2, c3)):
            value = builder.fadd(builder.uitofp(word, real), ir.Constant(real, [0.5] * EIGHT))
            value = builder.fmul(value, ir.Constant(real, [TO_UNIT] * EIGHT))
            place = builder.gep(data, [ir.Constant(ir.IntType(64), EIGHT * w)])
            builder.store(value, builder.bitcast(place, real.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(out, types.int64, types.int64, types.int64, types.int64, types.int64), generate


@njit(cache=True, error_model="numpy")
def normals8(
    seed: int,
    replica: int,
    step: int,
    bead: int,
    count: int,
    purpose: int,
    uniform: FloatArray,  # [32] scratch
    out: FloatArray,  # [24] x of each, then y, then z
) -> None:
    """Three independent standard normal numbers for each of the beads bead:bead + count, at most eight."""
    _uniform8(uniform, seed, replica, step, bead, purpose)
    for k in range(count):
        out[k] = math.sqrt(-2.0 * math.log(uniform[k]))
        out[2 * EIGHT + k] = math.sqrt(-2.0 * math.log(uniform[2 * EIGHT + k]))
    for k in range(count):
        radius, angle = out[k], TWO_PI * uniform[EIGHT + k]
        out[k] = radius * math.cos(angle)
        out[EIGHT + k] = radius * math.sin(angle)
        out[2 * EIGHT + k] *= math.cos(TWO_PI * uniform[3 * EIGHT + k])

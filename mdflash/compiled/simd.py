"""Explicit vectors for compiled kernels: what they compute, in which order, does not depend on the optimizer.

A vector holds 64 bytes: 16 float32 or 8 float64. LLVM splits it where the machine's registers are shorter, so the
order of every sum, and with it every bit, is the same on AVX-512, AVX2 and NEON (up to the fused multiply-add).

    lanes(a)         how many elements of a's dtype a vector has
    load(a, i)       the lanes a[i:i + lanes] of a flat array
    load_scaled(a, i, scales, k)
                     the same, where a holds 16-bit integers times scales[k:k + lanes]; of the kind of `scales`
    store(a, i, v)
    lane(a, i)       a[i] in every lane
    splat(v, s)      s in every lane, of the kind of v
    clamp(v, s)      the lanes limited to -s .. s; a NaN stays one
    fma(a, b, c)     a * b + c; also a + b, a - b, a * b, a / b
    total(v)         sum of the lanes, by halves
    maximum(a, b)    the larger of each lane
    sqrt(v)
    rint(v)          the nearest whole numbers
    times_power(v, k)
                     v 2^k for whole k, which end at the largest exponents that the dtype has
    local(a, count)  an array of `count` vectors of a's dtype on the stack; in registers where loops over it are short
                     and of constant length
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import lower_builtin, register_model, type_callable
from numba.np.arrayobj import populate_array

from mdflash.compiled.jit import intrinsic
from mdflash.core.types import Reals

BYTES = 64


class Vector(types.Type):  # type: ignore[misc]
    """The numba type of a vector of `dtype`."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        self.lanes = BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        element = ir.FloatType() if fe_type.dtype == types.float32 else ir.DoubleType()
        super().__init__(dmm, fe_type, ir.VectorType(element, fe_type.lanes))


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    vector = context.get_value_type(Vector(array_type.dtype))
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@intrinsic
def lanes(typing_context: Any, a: Any) -> tuple[Any, Callable[..., int]]:
    """Elements of a vector of the dtype of `a`; a constant to the compiler, unlike `a.itemsize`."""
    count = BYTES * 8 // a.dtype.bitwidth

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, count)

    return types.intp(a), generate


@intrinsic
def load(typing_context: Any, a: Any, i: Any) -> tuple[Any, Callable[..., Vector]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *args)
        return builder.load(pointer, align=signature.args[0].dtype.bitwidth // 8)

    return Vector(a.dtype)(a, types.intp), generate


@intrinsic
def load_scaled(typing_context: Any, a: Any, i: Any, scales: Any, k: Any) -> tuple[Any, Callable[..., Vector]]:
    whole = isinstance(a.dtype, types.Integer)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = context.get_value_type(signature.return_type)
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        kind = ir.VectorType(ir.IntType(a.dtype.bitwidth), vector.count) if whole else vector
        pointer = builder.bitcast(builder.gep(data, [args[1]]), kind.as_pointer())
        value = builder.load(pointer, align=a.dtype.bitwidth // 8)
        if not whole:
            return value
        scale = builder.load(
            _pointer(context, builder, signature.args[2], args[2], args[3]), align=scales.dtype.bitwidth // 8
        )
        return builder.fmul(builder.sitofp(value, vector), scale)

    return Vector(scales.dtype)(a, types.intp, scales, types.intp), generate


@intrinsic
def store(typing_context: Any, a: Any, i: Any, v: Any) -> tuple[Any, Callable[..., None]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], pointer, align=signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(a, types.intp, v), generate


def _spread(builder: Any, vector: Any, scalar: Any) -> Any:
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), mask)


@intrinsic
def lane(typing_context: Any, a: Any, i: Any) -> tuple[Any, Callable[..., Vector]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        scalar = builder.load(builder.gep(data, [args[1]]))
        return _spread(builder, context.get_value_type(signature.return_type), scalar)

    return Vector(a.dtype)(a, types.intp), generate


@intrinsic
def splat(typing_context: Any, v: Any, s: Any) -> tuple[Any, Callable[..., Vector]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread(builder, context.get_value_type(signature.return_type), args[1])

    return v(v, v.dtype), generate


@intrinsic
def clamp(typing_context: Any, v: Any, s: Any) -> tuple[Any, Callable[..., Vector]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, limit = args
        vector = context.get_value_type(signature.return_type)
        high = _spread(builder, vector, limit)
        low = builder.fneg(high)
        value = builder.select(builder.fcmp_ordered(">", value, high), high, value)
        return builder.select(builder.fcmp_ordered("<", value, low), low, value)

    return v(v, v.dtype), generate


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> tuple[Any, Callable[..., Vector]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = args[0].type
        kind = "f32" if signature.return_type.dtype == types.float32 else "f64"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{vector.count}{kind}"
        )
        return builder.call(function, args)

    return a(a, a, a), generate


@intrinsic
def total(typing_context: Any, v: Any) -> tuple[Any, Callable[..., float]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = args[0]
        count = value.type.count
        nothing = ir.Constant(value.type, ir.Undefined)
        while count > 1:
            count //= 2
            kind = ir.VectorType(ir.IntType(32), count)
            low = builder.shuffle_vector(value, nothing, ir.Constant(kind, list(range(count))))
            high = builder.shuffle_vector(value, nothing, ir.Constant(kind, list(range(count, 2 * count))))
            value = builder.fadd(low, high)
            nothing = ir.Constant(value.type, ir.Undefined)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return v.dtype(v), generate


@intrinsic
def maximum(typing_context: Any, a: Any, b: Any) -> tuple[Any, Callable[..., Vector]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, a), generate


def _unary(name: str) -> Callable[[Vector], Vector]:
    @intrinsic
    def function(typing_context: Any, v: Any) -> tuple[Any, Callable[..., Vector]]:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector = args[0].type
            kind = "f32" if v.dtype == types.float32 else "f64"
            called = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector]), f"llvm.{name}.v{vector.count}{kind}"
            )
            return builder.call(called, args)

        return v(v), generate

    return function


sqrt = _unary("sqrt")
rint = _unary("rint")


@intrinsic
def times_power(typing_context: Any, v: Any, k: Any) -> tuple[Any, Callable[..., Vector]]:
    bits, mantissa, most = (32, 23, 127) if v.dtype == types.float32 else (64, 52, 1023)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = args[0].type
        whole = ir.VectorType(ir.IntType(bits), vector.count)
        power = args[1]
        for limit, beyond in ((float(most), ">"), (float(1 - most), "<")):
            bound = ir.Constant(vector, [limit] * vector.count)
            inside = builder.not_(builder.fcmp_ordered(beyond, power, bound))
            power = builder.select(builder.and_(inside, builder.fcmp_ordered("ord", power, power)), power, bound)
        exponent = builder.add(builder.fptosi(power, whole), ir.Constant(whole, [most] * vector.count))
        factor = builder.shl(exponent, ir.Constant(whole, [mantissa] * vector.count))
        return builder.fmul(args[0], builder.bitcast(factor, vector))

    return v(v, v), generate


@intrinsic(prefer_literal=True)
def local(typing_context: Any, a: Any, count: Any) -> tuple[Any, Callable[..., Reals]]:
    array_type = types.Array(a.dtype, 1, "C")
    lanes_, vectors = BYTES * 8 // a.dtype.bitwidth, count.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_value_type(a.dtype)
        room = cgutils.alloca_once(builder, ir.ArrayType(ir.VectorType(element, lanes_), vectors))
        array = context.make_array(array_type)(context, builder)
        size = context.get_constant(types.intp, a.dtype.bitwidth // 8)
        populate_array(
            array, builder.bitcast(room, element.as_pointer()),
            [context.get_constant(types.intp, vectors * lanes_)], [size], size, None,
        )  # fmt: skip
        return array._getvalue()

    return array_type(a, count), generate


def _binary(operation: Callable[[Any, Any], Any], instruction: str) -> None:
    def typed(context: Any) -> Callable[[Any, Any], Any]:
        return lambda a, b: a if isinstance(a, Vector) and a == b else None

    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)

    type_callable(operation)(typed)
    lower_builtin(operation, Vector, Vector)(lowered)


_binary(operator.add, "fadd")
_binary(operator.sub, "fsub")
_binary(operator.mul, "fmul")
_binary(operator.truediv, "fdiv")

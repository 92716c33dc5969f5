"""Formulas that are written once, and serve one number as well as a vector of them (`compiled.simd`).

+ - * /          of vectors and numbers
< <= > >=        a Mask: one truth for each lane (of two numbers: a boolean)
a & b            of masks
where(m, a, b)   a where m holds, else b
first_bits(v, n) the mask whose lanes are the lowest bits of an integer; as many lanes as v has
any_lane(m)      whether m holds anywhere
fma(a, b, c)     a * b + c; with two roundings on processors that have no such instruction
fused(a, b, c)   a * b + c with one rounding everywhere, so with the same bits
sqrt(v), floor(v), magnitude(v)
with_sign(v, s)  v with the sign of s
first_lane(v)    the first number of a vector
split(v)         (m, k) with v = m 2^k, m from sqrt(1/2) to sqrt(2), of normal positive numbers
exp(v)           to the last bits of float64; the same bits for a number as for a lane
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

from mdflash.compiled.jit import intrinsic, njit
from mdflash.compiled.simd import Vector

Real = Any
"""A number, or a vector of them."""


class Mask(types.Type):  # type: ignore[misc]
    """The numba type of one truth for each lane."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Mask({lanes})")


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Mask) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(ir.IntType(1), fe_type.lanes))


def _joined(*kinds: Any) -> Any:
    """The vector among these types, else float64; None unless all are numbers or vectors of one kind."""
    vectors = {kind for kind in kinds if isinstance(kind, Vector)}
    numbers = [kind for kind in kinds if isinstance(kind, types.Float)]
    if len(vectors) > 1 or len(numbers) + sum(isinstance(kind, Vector) for kind in kinds) < len(kinds):
        return None
    return vectors.pop() if vectors else types.float64


def _widened(builder: Any, kind: Any, value: Any) -> Any:
    """The value as it is, or a number in every lane."""
    if value.type == kind:
        return value
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)


def _mixed(operation: Callable[[Any, Any], Any], generate: Callable[[Any, Any, Any], Any], mask: bool) -> None:
    """Define an operation of a vector and a number, either way round; of a mask also of two vectors."""

    def typed(context: Any) -> Callable[[Any, Any], Any]:
        def result(a: Any, b: Any) -> Any:
            if not any(isinstance(kind, Vector) for kind in (a, b)) or (a == b and not mask):
                return None
            joined = _joined(a, b)
            return Mask(joined.lanes) if mask and joined is not None else joined

        return result

    def lowered(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(_joined(*signature.args))
        return generate(builder, *(_widened(builder, kind, value) for value in args))

    type_callable(operation)(typed)
    for pair in ((Vector, types.Float), (types.Float, Vector)) + ((Vector, Vector),) * mask:
        lower_builtin(operation, *pair)(lowered)


_mixed(operator.add, lambda builder, a, b: builder.fadd(a, b), mask=False)
_mixed(operator.sub, lambda builder, a, b: builder.fsub(a, b), mask=False)
_mixed(operator.mul, lambda builder, a, b: builder.fmul(a, b), mask=False)
_mixed(operator.truediv, lambda builder, a, b: builder.fdiv(a, b), mask=False)
_mixed(operator.lt, lambda builder, a, b: builder.fcmp_ordered("<", a, b), mask=True)
_mixed(operator.le, lambda builder, a, b: builder.fcmp_ordered("<=", a, b), mask=True)
_mixed(operator.gt, lambda builder, a, b: builder.fcmp_ordered(">", a, b), mask=True)
_mixed(operator.ge, lambda builder, a, b: builder.fcmp_ordered(">=", a, b), mask=True)


@type_callable(operator.and_)  # type: ignore[untyped-decorator]
def _both(context: Any) -> Callable[[Any, Any], Any]:
    return lambda a, b: a if isinstance(a, Mask) and a == b else None


@lower_builtin(operator.and_, Mask, Mask)  # type: ignore[untyped-decorator]
def _lower_both(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.and_(*args)


@intrinsic
def where(typing_context: Any, mask: Any, a: Any, b: Any) -> tuple[Any, Callable[..., Real]]:
    result = _joined(a, b)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        return builder.select(args[0], *(_widened(builder, kind, value) for value in args[1:]))

    return result(mask, a, b), generate


@intrinsic
def first_bits(typing_context: Any, v: Any, n: Any) -> tuple[Any, Callable[..., Mask]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = signature.return_type.lanes
        return builder.bitcast(builder.trunc(args[1], ir.IntType(lanes)), ir.VectorType(ir.IntType(1), lanes))

    return Mask(v.lanes)(v, n), generate


@intrinsic
def any_lane(typing_context: Any, mask: Any) -> tuple[Any, Callable[..., bool]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = ir.IntType(args[0].type.count)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], bits), ir.Constant(bits, 0))

    return types.boolean(mask), generate


@intrinsic
def bits_of(typing_context: Any, mask: Any) -> tuple[Any, Callable[..., int]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.bitcast(args[0], ir.IntType(args[0].type.count)), ir.IntType(64))

    return types.int64(mask), generate


@intrinsic
def first_lane(typing_context: Any, v: Any) -> tuple[Any, Callable[..., float]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.extract_element(args[0], ir.Constant(ir.IntType(32), 0))

    return types.float64(v), generate


def _called(builder: Any, name: str, kind: Any, args: Any) -> Any:
    suffix = f"v{kind.count}f64" if isinstance(kind, ir.VectorType) else "f64"
    function = ir.FunctionType(kind, [kind] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.{suffix}"), args)


def _unary(name: str) -> Callable[[Real], Real]:
    @intrinsic
    def function(typing_context: Any, v: Any) -> tuple[Any, Callable[..., Real]]:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return _called(builder, name, args[0].type, args)

        return v(v), generate

    return function


sqrt = _unary("sqrt")
floor = _unary("floor")
magnitude = _unary("fabs")
_rint = _unary("rint")


def _multiply_add(name: str) -> Callable[[Real, Real, Real], Real]:
    @intrinsic
    def function(typing_context: Any, a: Any, b: Any, c: Any) -> tuple[Any, Callable[..., Real]]:
        result = _joined(a, b, c)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = context.get_value_type(signature.return_type)
            return _called(builder, name, kind, [_widened(builder, kind, value) for value in args])

        return result(a, b, c), generate

    return function


fma = _multiply_add("fmuladd")
fused = _multiply_add("fma")


@intrinsic
def with_sign(typing_context: Any, v: Any, s: Any) -> tuple[Any, Callable[..., Real]]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _called(builder, "copysign", args[0].type, args)

    return v(v, v), generate


def _whole(kind: Any) -> tuple[Any, Callable[[int], Any]]:
    """Integers of 64 bits, as many as `kind` has numbers, and how to make a constant of them."""
    if not isinstance(kind, ir.VectorType):
        return ir.IntType(64), lambda value: ir.Constant(ir.IntType(64), value)
    whole = ir.VectorType(ir.IntType(64), kind.count)
    return whole, lambda value: ir.Constant(whole, [value] * kind.count)


@intrinsic
def split(typing_context: Any, v: Any) -> tuple[Any, Callable[..., tuple[Real, Real]]]:
    begin = 0x3FE6A09E00000000  # close to sqrt(1/2), as bits of a float64

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        whole, constant = _whole(kind)
        bits = builder.sub(builder.bitcast(args[0], whole), constant(begin))
        mantissa = builder.add(builder.and_(bits, constant(2**52 - 1)), constant(begin))
        exponent = builder.sitofp(builder.ashr(bits, constant(52)), kind)
        return context.make_tuple(builder, signature.return_type, [builder.bitcast(mantissa, kind), exponent])

    return types.UniTuple(v, 2)(v), generate


@intrinsic
def _times_power(typing_context: Any, v: Any, k: Any) -> tuple[Any, Callable[..., Real]]:
    """v 2^k for whole k from -1022 to 1023."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        whole, constant = _whole(kind)
        exponent = builder.add(builder.fptosi(args[1], whole), constant(1023))
        return builder.fmul(args[0], builder.bitcast(builder.shl(exponent, constant(52)), kind))

    return v(v, k), generate


_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
"""ln 2 in two parts, the first of 33 bits: times a whole number of up to 20 bits it is exact (Cody & Waite 1980)."""
_INVERSE_FACTORIALS = tuple(1.0 / f for f in (6227020800, 479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120,
                                              24, 6, 2))  # fmt: skip


@njit(cache=True, error_model="numpy")
def exp(v: Real) -> Real:
    """e^v: 2^k times the Taylor series of the rest, at most ln(2)/2, whose next term is below the last bit.

    Below -708, where a float64 has fewer bits, it is e^-708.
    """
    v = where(v > -708.0, v, -708.0)
    v = where(v < 709.0, v, 709.0)
    k = _rint(v * _LOG2_E)
    t = fma(k, -_LN2_LOW, fma(k, -_LN2_HIGH, v))
    s = t * _INVERSE_FACTORIALS[0] + _INVERSE_FACTORIALS[1]
    for c in _INVERSE_FACTORIALS[2:]:
        s = fma(s, t, c)
    return _times_power(fma(fma(s, t, 1.0), t, 1.0), k)

"""What the package's `njit` does otherwise than numba's."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.runtime import _nrt_python, rtsys

from mdflash.compiled.arrays import numbers, release
from mdflash.compiled.jit import make_ready, njit


@njit
def scaled(x: float, factor: int, doubled: bool) -> float:
    return (2 if doubled else 1) * factor * x


def test_a_literal_number_makes_no_version_of_its_own_and_a_truth_does() -> None:
    @njit
    def caller(x: float) -> float:
        return scaled(x, 1, False) + scaled(x, 2, False) + scaled(x, factor=3, doubled=True)

    assert caller(1.0) == 9.0
    kernel: Any = scaled
    versions = [(x, factor, doubled.literal_value) for x, factor, doubled in kernel.signatures]
    assert versions == [(types.float64, types.int64, False), (types.float64, types.int64, True)]


def test_what_is_made_ready_is_compiled_and_not_called() -> None:
    @njit
    def divided(a: int, b: int) -> float:
        return a / b

    make_ready(divided, 1, 0)
    kernel: Any = divided
    assert kernel.signatures == [(types.int64, types.int64)]
    assert divided(1, 2) == 0.5
    assert len(kernel.signatures) == 1


def test_a_function_that_borrows_gives_back_what_others_make_for_it() -> None:
    @njit
    def half(n: int) -> Any:  # counts, though it is first compiled for one that does not
        return numbers(n)[: n // 2]

    @njit(borrow=True)
    def size(n: int, given: Any) -> int:
        made = half(n)
        found = made.shape[0] + given.shape[0]
        release(made)
        return found

    given = half(6)
    assert size(10, given) == 8
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats()
    assert size(10, given) == 8
    after = rtsys.get_allocation_stats()
    assert after.mi_alloc - before.mi_alloc == after.mi_free - before.mi_free == 1
    assert given.tolist() == [0.0, 0.0, 0.0]

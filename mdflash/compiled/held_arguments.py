"""Arguments that a compiled function keeps, so that they are read from Python once and not at every call.

numba takes apart whatever a compiled function is called with. The tables of a force field and the arrays of an
evaluation are some sixty arrays in nested tuples: that takes 11 µs a call, and one that holds them all takes 0.5 µs.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.experimental import structref

from mdflash.compiled.jit import njit


@structref.register
class _KeptType(types.StructRef):  # type: ignore[misc]
    def preprocess_fields(self, fields: Any) -> Any:
        return tuple((name, types.unliteral(kind)) for name, kind in fields)


class Kept(structref.StructRefProxy):  # type: ignore[misc]
    """A tuple in the hands of compiled functions, which read it as `kept.arguments`; from Python it is opaque."""


structref.define_proxy(Kept, _KeptType, ["arguments"])


@njit(cache=True)
def keep(arguments: tuple[Any, ...]) -> Kept:
    """The tuple `arguments` as `Kept`; arrays are shared, not copied."""
    return Kept(arguments)

"""Compiled functions that have one version for all numbers, and one for each of the two truths; compiled in turns.

numba compiles a function again for every whole number that stands literally in a call: f(0) and f(1) would be two
versions. A truth says what a function does, as in `multiply(..., True)`, so it may have a version of its own.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from numba import types
from numba.core.registry import CPUDispatcher
from numba.core.sigutils import normalize_signature

from mdflash.compiled.cache import KernelCache
from mdflash.compiled.turns import alone


def _any_number(kind: Any) -> Any:
    return kind.literal_type if isinstance(kind, types.IntegerLiteral) else kind


class KernelDispatcher(CPUDispatcher):  # type: ignore[misc]
    """numba's compiled function, save for literal numbers among the arguments."""

    def compile(self, signature: Any) -> Any:
        """As numba's; what another process is compiling is waited for, and then comes from the disk."""
        with self._turn(signature):
            return super().compile(signature)

    def _turn(self, signature: Any) -> AbstractContextManager[None]:
        if not isinstance(self._cache, KernelCache) or tuple(normalize_signature(signature)[0]) in self.overloads:
            return nullcontext()
        path = self._cache.path(signature, self.targetctx.codegen())
        return nullcontext() if path.exists() else alone(path)

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Asked for where a function that is compiled calls this one."""
        named = {name: _any_number(kind) for name, kind in kws.items()}
        return super().get_call_template(tuple(map(_any_number, args)), named)

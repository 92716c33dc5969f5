"""Compiled functions that have one version for all numbers, and one for each of the two truths.

numba compiles a function again for every whole number that stands literally in a call: f(0) and f(1) would be two
versions. A truth says what a function does, as in `multiply(..., True)`, so it may have a version of its own.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core.registry import CPUDispatcher


def _any_number(kind: Any) -> Any:
    return kind.literal_type if isinstance(kind, types.IntegerLiteral) else kind


class KernelDispatcher(CPUDispatcher):  # type: ignore[misc]
    """numba's compiled function, save for literal numbers among the arguments."""

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Asked for where a function that is compiled calls this one."""
        named = {name: _any_number(kind) for name, kind in kws.items()}
        return super().get_call_template(tuple(map(_any_number, args)), named)

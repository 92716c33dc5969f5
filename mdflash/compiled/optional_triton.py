"""What a module needs that holds GPU twins and is imported where Triton may be missing.

With Triton, `triton_jit`, `tl` and `constexpr` are Triton's own. Without it a decorated function stays as it is, and
nobody calls it: `core.gpu` refuses the device first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["constexpr", "tl", "triton_jit"]

tl: Any
triton_jit: Callable[..., Any]
constexpr: Callable[[Any], Any]

try:
    import triton.language as tl
    from triton import jit as triton_jit
    from triton.language import constexpr
except ImportError:
    tl = None

    def triton_jit(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def constexpr(value: Any) -> Any:
        return value

"""What a module needs that holds GPU twins and is imported where Triton may be missing.

With Triton, `triton_jit`, `tl` and `constexpr` are Triton's own. Without it a decorated function stays as it is, and
nobody calls it: `core.gpu` refuses the device first.
"""

from __future__ import annotations

from typing import Any

__all__ = ["constexpr", "tl", "triton_jit"]


def _unchanged(value: Any) -> Any:
    return value


tl: Any = None
triton_jit: Any = _unchanged
constexpr: Any = _unchanged

try:
    import triton
    import triton.language
except ImportError:
    pass
else:
    tl, triton_jit, constexpr = triton.language, triton.jit, triton.language.constexpr

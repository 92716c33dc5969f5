"""What a module needs that holds GPU twins and is imported where Triton may be missing.

With Triton, `triton_jit`, `tl` and `constexpr` are Triton's own. Without it a decorated function stays as it is, and
nobody calls it: `core.gpu` refuses the device first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["constexpr", "tl", "triton_jit"]


def _unchanged(value: Any) -> Any:
    return value


if TYPE_CHECKING:
    import triton.language as tl
    from triton import jit as triton_jit
    from triton.language import constexpr
else:
    try:
        import triton.language as tl
        from triton import jit as triton_jit
        from triton.language import constexpr
    except ImportError:
        tl, triton_jit, constexpr = None, _unchanged, _unchanged

"""Run Triton kernels on the CPU, through Triton's interpreter: for tests, and to try `gpu_check.py` without a GPU.

Call `enable()` before anything imports triton. As a program, `python interpreter.py run system.yaml ...` is `mdflash`
with the kernels of `device: cuda` interpreted.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def enable() -> None:
    """Switch the interpreter on in this process."""
    if "triton" in sys.modules:
        raise RuntimeError("triton is already imported: its interpreter must be switched on before")
    os.environ["TRITON_INTERPRET"] = "1"
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patch_lang_tensor(tensor: Any, scope: Any) -> None:
        # NumPy 2.4 no longer turns an array of one element into an int, which Triton 3.6 relies on in loop bounds
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))
        scope.set_attr(tensor, "__int__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch_lang_tensor


if __name__ == "__main__":
    enable()
    from mdflash.cli.app import main

    main()

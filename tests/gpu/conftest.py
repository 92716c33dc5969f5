"""The `check_*.py` of this folder run kernels through Triton's interpreter, in a process of their own.

`test_interpreted.py` starts it with TRITON_INTERPRET=1: the interpreter must be on before triton is imported.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if os.environ.get("TRITON_INTERPRET") == "1":
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    import interpreter

    interpreter.enable()

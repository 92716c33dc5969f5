"""Tells the user that kernels are being compiled, where that takes longer than a moment."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Final

from numba.core import event

from mdflash.compiled.cache import KernelCache
from mdflash.compiled.turns import WAIT

MOMENT: Final = 2.0
"""Seconds."""


class Compilation(event.Listener):  # type: ignore[misc]
    """What this process has compiled of the package, and the messages on stderr about it.

    Attributes:
        functions: how many, with those of numba that they need.
        quiet: no messages.
    """

    def __init__(self) -> None:
        self.functions = 0
        self.quiet = False
        self._depth = self._first = 0
        self._own = self._told = False
        self._began = 0.0

    def on_start(self, event: Any) -> None:
        """A function begins to compile, inside another or not."""
        if self._depth == 0:
            self._own = isinstance(event.data["dispatcher"]._cache, KernelCache)
            self._began, self._first, self._told = time.monotonic(), self.functions, False
        self._depth += 1
        if self._own:
            self.functions += 1
            self._tell()

    def on_end(self, event: Any) -> None:
        """A function is compiled, or cannot be."""
        self._depth -= 1
        if self._own:
            self._tell()
        if self._depth == 0 and self._told:
            count, seconds = self.functions - self._first, time.monotonic() - self._began
            print(f"mdflash: compiled {count} functions in {seconds:.0f} s", file=sys.stderr, flush=True)

    def _tell(self) -> None:
        if not (self._told or self.quiet) and time.monotonic() - self._began > MOMENT:
            self._told = True
            print("mdflash: compiling kernels (once for this version)", file=sys.stderr, flush=True)


class _Waits(event.Listener):  # type: ignore[misc]
    """Says on stderr that another process is compiling what this one needs, where that takes longer than a moment."""

    def on_start(self, event: Any) -> None:
        """A wait begins."""
        self._timer = threading.Timer(MOMENT, self._tell)
        self._timer.daemon = True
        self._timer.start()

    def on_end(self, event: Any) -> None:
        """It is over."""
        self._timer.cancel()

    def _tell(self) -> None:
        if not compilation.quiet:
            print("mdflash: waiting for kernels that another process compiles", file=sys.stderr, flush=True)


compilation: Final = Compilation()
event.register("numba:compile", compilation)
event.register(WAIT, _Waits())

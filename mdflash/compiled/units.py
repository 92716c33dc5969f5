"""Units: compiled functions whose code is not linked into their callers.

numba copies the code of every function into each of its callers and optimizes it there again, so a large function at
the bottom of several loops is compiled several times. A *unit* is compiled once: callers only declare it. A caller that
comes from the disk brings its units into the process first, and is compiled again where one of them is another.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import llvmlite.binding as llvm
from numba.core.dispatcher import Dispatcher

from mdflash.compiled.cache import UnitChanged
from mdflash.compiled.dispatcher import KernelDispatcher


class _Unit:
    """Stands for the code of a unit among what a caller links: nothing to link, but something to load before."""

    def __init__(self, dispatcher: Dispatcher, result: Any) -> None:
        function = dispatcher.py_func
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
        arguments = tuple(result.signature.args)
        symbol = result.fndesc.llvm_func_name
        self._library = result.library
        self._reload_init = {partial(_load, function.__module__, function.__qualname__, cells, arguments, symbol)}

    def _ensure_finalized(self) -> None:
        self._library._ensure_finalized()

    def _get_module_for_linking(self) -> Any:
        return llvm.parse_assembly("")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unit) and other._library is self._library

    def __hash__(self) -> int:
        return hash(self._library)


class UnitDispatcher(KernelDispatcher):
    """A compiled function that callers declare, and do not link."""

    def compile(self, signature: Any) -> Any:
        known = len(self.overloads)
        entry = super().compile(signature)
        if len(self.overloads) > known:
            result = next(r for r in self.overloads.values() if r.entry_point is entry)
            self.targetctx.remove_user_function(entry)
            self.targetctx.insert_user_function(entry, result.fndesc, [_Unit(self, result)])
        return entry


def _load(module: str, qualname: str, cells: tuple[Any, ...], arguments: tuple[Any, ...], symbol: str) -> None:
    """Bring a unit into the process, before a caller that comes from the disk is linked to it.

    Raises:
        UnitChanged: the unit is not the one that the caller was compiled with.
    """
    for value in vars(import_module(module)).values():
        if isinstance(value, UnitDispatcher) and value.py_func.__qualname__ == qualname:
            if tuple(cell.cell_contents for cell in value.py_func.__closure__ or ()) != cells:
                continue
            value.compile(arguments)
            if value.overloads[arguments].fndesc.llvm_func_name == symbol:
                return
    raise UnitChanged(f"{module}.{qualname}")

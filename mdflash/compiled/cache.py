"""Machine code of compiled functions on disk, found by what it was made from.

numba keeps compiled functions beside their source and compiles them again when that file changes, but not when a
function that they call, in another file, does; and two processes that fill one cache at once can end with the code of
one function under the name of another. Here every function has one file whose name is a digest of all that it was made
from: the source of its module and of every module of the package that this one imports, the types of its arguments,
the processor, and the versions of Python, numba and LLVM. So an entry is right or absent, any number of processes,
checkouts and installations share one folder, and nothing is ever overwritten with something else.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import llvmlite
import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.serialize import dumps

from mdflash.compiled.processor import processor, target

_PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
_IMPORT = re.compile(r"^from (mdflash[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
"""Imports at the left margin: those inside functions and for type checkers compile nothing."""

_UNUSED_DAYS = 90


def cache_folder() -> Path:
    """Where compiled functions are kept: numba's own setting, or the user's cache folder."""
    if numba.config.CACHE_DIR:
        return Path(numba.config.CACHE_DIR)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "mdflash" / "kernels"


class Usage(NamedTuple):
    """What the folder of compiled functions holds.

    Attributes:
        entries, size: files, and their bytes.
        writable: whether a function can be added.
    """

    folder: Path
    entries: int
    size: int
    writable: bool


def usage() -> Usage:
    """Of the folder that this process uses."""
    folder = cache_folder()
    sizes = [file.stat().st_size for file in folder.glob("*.nbc")]
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return Usage(folder, len(sizes), sum(sizes), there.is_dir() and os.access(there, os.W_OK))


@cache
def _read(file: str) -> tuple[str, frozenset[str]]:
    """The digest of a source file, and the files of the package that it imports."""
    with open(file, encoding="utf-8") as source:
        text = source.read()
    imported: set[str] = set()
    for module, names in _IMPORT.findall(text):
        place = os.path.join(_PACKAGE, *module.split(".")[1:])
        for name in re.findall(r"\w+", names):
            found = (f"{place}/{name}.py", f"{place}/{name}/__init__.py", f"{place}.py", f"{place}/__init__.py")
            imported.update([path for path in found if _is_file(path)][:1])
    return hashlib.sha256(text.encode()).hexdigest(), frozenset(imported)


_is_file = cache(os.path.isfile)


@cache
def source_digest(file: str) -> str:
    """Of a module's source and of everything in the package that it imports, directly or not; hexadecimal."""
    seen: set[str] = set()
    todo = [os.path.realpath(file)]
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            todo.extend(_read(here)[1])
    inside = f"{_PACKAGE}/"
    parts = sorted((f.removeprefix(inside) if f.startswith(inside) else os.path.basename(f), _read(f)[0]) for f in seen)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class _Locator(_CacheLocator):  # type: ignore[misc]
    """Where numba's cache keeps a function, and by what name."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        self._py_file, self._line = py_file, py_func.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def ensure_cache_path(self) -> None:
        """Nothing: the folder is made when the first function is stored; one that cannot be written can serve."""

    def get_source_stamp(self) -> str:
        return source_digest(self._py_file)

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        return cls(py_func, py_file)


class _Reducer(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes: ClassVar[list[type[_CacheLocator]]] = [_Locator]


class _Entries:
    """One file for each compiled function and its argument types."""

    told = False

    def __init__(self, name: str, stamp: str) -> None:
        self._name = name
        versions = (sys.version_info[:3], platform.python_implementation(), numba.__version__, llvmlite.__version__)
        self._made_from = repr((name, stamp, versions))

    def any(self) -> bool:
        """Whether the function is kept for any types of arguments, for this processor."""
        return next(cache_folder().glob(f"{self._prefix()}*.nbc"), None) is not None

    def _prefix(self) -> str:
        digest = hashlib.sha256(f"{self._made_from}{processor()}".encode()).hexdigest()
        return f"{self._name[:60]}-{digest[:20]}"

    def path(self, key: Any) -> Path:
        """Of the entry of these types, whether it is there or not."""
        digest = hashlib.sha256(repr(key).encode()).hexdigest()
        return cache_folder() / f"{self._prefix()}-{digest[:24]}.nbc"

    def load(self, key: Any) -> Any:
        path = self.path(key)
        try:
            data = path.read_bytes()
            if time.time() - path.stat().st_mtime > 86400:
                with suppress(OSError):
                    os.utime(path)  # still in use; see `_drop_unused`
        except OSError:
            return None
        digest, _, payload = data.partition(b"\n")
        if hashlib.sha256(payload).hexdigest().encode() != digest:
            return None  # cut short, or damaged: compiled again
        return pickle.loads(payload)

    def save(self, key: Any, data: Any) -> None:
        payload = dumps(data)
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
            try:
                with open(handle, "wb") as file:
                    file.write(hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            if not _Entries.told:
                _Entries.told = True
                print(
                    f"mdflash: compiled functions cannot be kept in {path.parent} ({error.strerror}); "
                    "every process will compile them again",
                    file=sys.stderr,
                )
            return
        _drop_unused(path.parent)


@lru_cache(maxsize=1)
def _drop_unused(folder: Path) -> None:
    """Once a process: delete what no process has read for a long time, and what killed ones left half written."""
    for pattern, days in (("*.nbc", _UNUSED_DAYS), (".*.tmp", 1)):
        for file in folder.glob(pattern):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > days * 86400:
                    file.unlink()


class UnitChanged(Exception):
    """A function from the disk was compiled with another version of a unit than the process has; see `compiled.jit`."""


class KernelCache(FunctionCache):  # type: ignore[misc]
    """numba's cache of one function, with entries found by content."""

    _impl_class = _Reducer

    def __init__(self, py_func: Callable[..., Any], options: str) -> None:
        super().__init__(py_func)
        module = inspect.getmodule(py_func)
        name = re.sub(r"[^\w.]", "", f"{module.__name__ if module else 'unknown'}.{py_func.__qualname__}")
        self._cache_file = _Entries(name, f"{self._impl.locator.get_source_stamp()} {options}")

    def kept(self) -> bool:
        """Whether the folder has the function, compiled for this version and this processor."""
        return self._cache_file.any()

    def path(self, sig: Any, codegen: Any) -> Path:
        """Where the code for a signature is kept."""
        return self._cache_file.path(self._index_key(sig, codegen))

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        types, _, code = super()._index_key(sig, codegen)
        return types, target(), code

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function for a signature; None if there is none that fits."""
        try:
            result = super().load_overload(sig, target_context)
        except UnitChanged:
            return None
        if result is not None:
            # numba forgets, on the way from the disk, which units a library needs; callers compiled here inherit it
            result.library._reload_init.update(result.reload_init or ())
        return result

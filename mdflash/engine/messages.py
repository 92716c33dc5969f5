"""What ranks tell each other, as bytes that only describe data: JSON, arrays, and errors by their class.

Nothing that arrives is run, whoever sent it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mdflash.errors import MdflashError

_ARRAY = "\0array"
"""The key of what stands for an array in the JSON."""


def pack(value: Any) -> bytes:
    """`value` (what JSON knows, with NumPy arrays anywhere in it) as bytes."""
    arrays: list[npt.NDArray[Any]] = []

    def put(item: object) -> dict[str, Any]:
        if not isinstance(item, np.ndarray) or item.dtype.hasobject:
            raise TypeError(f"ranks exchange plain data, not {type(item).__name__}")
        arrays.append(np.asarray(item, order="C"))
        return {_ARRAY: [item.dtype.str, list(item.shape)]}

    text = json.dumps(value, default=put).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *(array.tobytes() for array in arrays)])


def unpack(data: bytes) -> Any:
    """What `pack` was given; tuples are lists.

    Raises:
        ValueError: they are no such bytes.
    """
    end = 8 + int.from_bytes(data[:8], "little")

    def take(item: dict[str, Any]) -> Any:
        nonlocal end
        if _ARRAY not in item:
            return item
        kind, shape = item[_ARRAY]
        dtype = np.dtype(kind)
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        if dtype.hasobject or end > len(data):
            raise ValueError("an array has not the size that it states")
        return np.ndarray(shape, dtype, data, begin).copy()

    return json.loads(data[8:end], object_hook=take)  # arrays stand in the order of their keys


def describe_error(error: MdflashError | None) -> dict[str, Any] | None:
    """An error as JSON can hold it."""
    if error is None:
        return None
    plain = {k: v if isinstance(v, (str, int, float, bool)) or v is None else str(v) for k, v in vars(error).items()}
    return {"class": type(error).__qualname__, "text": str(error), "with": plain}


def recall_error(said: dict[str, Any]) -> MdflashError:
    """The error that `describe_error` described; of a class that this process does not know, a plain one."""
    kind = next((k for k in _errors() if k.__qualname__ == said["class"]), MdflashError)
    error = kind.__new__(kind, str(said["text"]))
    vars(error).update(said["with"])
    return error


def _errors(kind: type[MdflashError] = MdflashError) -> Iterator[type[MdflashError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _errors(below)

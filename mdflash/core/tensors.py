"""Reading safetensors files whole, so that one that is overwritten meanwhile is refused and never kills the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from mdflash.core.regular import parse_json, read_input


def read_tensors(path: Path | str) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """The arrays of a safetensors file by name, and its metadata.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file, or half of one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_input(path)  # not mapped: a mapped file that becomes shorter ends the process with SIGBUS
    try:
        tensors = load(data)
        header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from None
    except (KeyError, TypeError) as error:  # a kind of number that NumPy does not have
        raise ValueError(f"it holds numbers of the kind {error}, which cannot be read") from None
    return tensors, header.get("__metadata__") or {}

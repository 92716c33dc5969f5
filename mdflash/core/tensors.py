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
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors, header.get("__metadata__", {})

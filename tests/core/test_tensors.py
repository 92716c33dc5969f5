"""Safetensors files are read whole, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from mdflash.core.tensors import read_tensors


def test_arrays_and_metadata(tmp_path: Path) -> None:
    x = np.random.default_rng().normal(size=(7, 3))
    (tmp_path / "a").write_bytes(save({"x": x, "y": x[:0]}, metadata={"header": "{é}"}))
    tensors, metadata = read_tensors(tmp_path / "a")
    np.testing.assert_array_equal(tensors["x"], x)
    assert tensors["y"].shape == (0, 3) and tensors["x"].flags.writeable and metadata == {"header": "{é}"}


@pytest.mark.parametrize("length", [0, 4, 8, 30, 150])
def test_half_a_file_is_refused(tmp_path: Path, length: int) -> None:
    (tmp_path / "a").write_bytes(save({"x": np.arange(30.0)})[:length])
    with pytest.raises(ValueError):
        read_tensors(tmp_path / "a")

"""What several test folders share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # tests run in parallel; torch's threads would fight over the cores


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Models and data computed with mlcg, kept beside the repository; see its README.md."""
    folder = Path(__file__).parents[1] / ".." / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip(f"the reference data is not at {folder}")
    return folder.resolve()

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.datasets import write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three trajectories of a seven-bead Gō helix at 300 K."""
    folder = tmp_path_factory.mktemp("data") / "helix"
    write_dataset(folder)
    return folder

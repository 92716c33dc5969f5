"""What the tests of OpenMM share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mdflash.core.system import System
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.forcefields.model import ForceField

pytest.importorskip("openmm", reason="these tests need OpenMM (pip install 'mdflash[openmm]')")


@pytest.fixture(scope="session")
def go() -> ForceField:
    return load_forcefield("go-chignolin")


@pytest.fixture(scope="session")
def chignolin(go: ForceField) -> System:
    return go.system()[0]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


@pytest.fixture
def folded(go: ForceField, rng: np.random.Generator) -> np.ndarray:
    """[N, 3] Å, near the start frame."""
    frames = go.system()[1]
    assert frames is not None
    return frames[0] + rng.normal(scale=0.1, size=frames[0].shape)


@pytest.fixture
def go_folder(tmp_path: Path, go: ForceField) -> Path:
    """A copy of the force field that a test may damage."""
    save_forcefield(tmp_path / "ff", go)
    return tmp_path / "ff"

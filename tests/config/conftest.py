"""A project folder with right system.yaml files and everything that they name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of `files/` beside the structures they name; the current directory is another one."""
    here = tmp_path / "project"
    shutil.copytree(Path(__file__).parent / "files", here)
    for name in ("ff", "other"):
        (here / name).mkdir()
        (here / name / "forcefield.yaml").touch()
    for name in ("protein.pdb", "start.npy"):
        (here / name).touch()
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return here

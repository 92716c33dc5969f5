"""Files and folders that are replaced: all of the new, or all of the old."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdflash.core.files import new_folder, replacing
from mdflash.errors import StorageError


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as partial:
        partial.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(StorageError, match=r"cannot be written.*No such file"), replacing(tmp_path / "no" / "f"):
        pass


def test_a_folder_is_there_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a" / "folder"
    with pytest.raises(KeyError), new_folder(path) as partial:
        (partial / "f").write_text("half")
        raise KeyError
    assert not path.exists()
    path.mkdir()  # an empty one is replaced
    with new_folder(path) as partial:
        (partial / "f").write_text("new")
        assert list(path.iterdir()) == []
    with pytest.raises(StorageError, match="folder"), new_folder(path):
        pass
    assert (path / "f").read_text() == "new" and list(path.parent.iterdir()) == [path]

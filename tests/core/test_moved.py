"""Modules by the names they had in 0.1: the same objects, with a warning."""

from __future__ import annotations

import importlib
import sys

import pytest

import mdflash
from mdflash.core.moved import _MOVED


@pytest.mark.parametrize("old", sorted(_MOVED))
def test_an_old_name_is_the_new_module(old: str) -> None:
    sys.modules.pop(f"mdflash.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"mdflash.{old} is now mdflash"):
        found = importlib.import_module(f"mdflash.{old}")
    assert found is importlib.import_module(f"mdflash.{_MOVED[old]}")


def test_modules_of_a_moved_package_are_not_loaded_twice() -> None:
    with pytest.warns(DeprecationWarning):
        from mdflash.data.dataset import load_dataset as old  # type: ignore[import-not-found]
    from mdflash.sampling.dataset import load_dataset

    assert old is load_dataset


def test_names_of_the_old_engine_module() -> None:
    with pytest.warns(DeprecationWarning, match="mdflash.engine.Engine is now"):
        from mdflash.engine import Engine
    assert Engine is mdflash.Engine
    with pytest.raises(ImportError, match="Nonsense"):
        from mdflash.engine import Nonsense  # noqa: F401

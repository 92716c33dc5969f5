"""YAML that is small as text and large, deep or odd as data is refused with a message."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from mdflash.config.overrides import apply_overrides
from mdflash.core.yamlfile import parse_yaml
from mdflash.errors import InputError

FILE = Path("x.yaml")


def bomb(levels: int, width: int) -> str:
    """width**levels values in some 5*levels*width characters."""
    rows = ["a0: &a0 [" + ", ".join(["1"] * width) + "]"]
    rows += [f"a{k}: &a{k} [" + ", ".join([f"*a{k - 1}"] * width) + "]" for k in range(1, levels)]
    return "\n".join(rows)


@pytest.mark.parametrize("seed", range(2))
def test_aliases_of_aliases_are_counted(seed: int) -> None:
    width = int(np.random.default_rng(seed).integers(6, 20))
    began = time.monotonic()
    with pytest.raises(InputError, match="has aliases"):
        parse_yaml(bomb(9, width), FILE)
    assert time.monotonic() - began < 20.0
    assert len(parse_yaml(bomb(2, width), FILE).data["a1"]) == width  # aliases as people use them


@pytest.mark.parametrize("depth", [102, 333, 900])
def test_what_is_nested_too_deeply_is_refused(depth: int) -> None:
    for text in ("[" * depth + "]" * depth, "{a: " * depth + "1" + "}" * depth):
        with pytest.raises(InputError, match="nested too deeply"):
            parse_yaml(text, FILE)
        with pytest.raises(InputError):
            apply_overrides({}, [f"x={text}"])


@pytest.mark.parametrize("tag", ["bool", "int", "float"])
@pytest.mark.parametrize("value", ["maybe", "x1", "1.2.3", "''", "0x", "2026-01-01", "1:20"])
def test_a_tag_that_does_not_fit_its_value_is_named(tag: str, value: str) -> None:
    if tag == "float" and value == "1:20":
        return  # 80 of YAML 1.1
    with pytest.raises(InputError, match=f"cannot be read as {tag}"):
        parse_yaml(f"x: !!{tag} {value}", FILE)

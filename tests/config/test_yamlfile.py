from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mdflash.core.yamlfile import load_yaml, parse_yaml
from mdflash.errors import InputError

FILE = Path("system.yaml")


def read(text: str) -> Any:
    return parse_yaml(text, FILE).data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e6", 1e6),
        ("1e-3", 1e-3),
        ("1_000_000", 1000000),
        ("no", "no"),
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("23:30:00", "23:30:00"),
        ("2026-01-01", "2026-01-01"),
        ("010", 10),
        ("0x10", "0x10"),
        ("~", None),
        ("", None),
        ("4 fs", "4 fs"),
        ("'300'", "300"),
        ("1ENH", "1ENH"),
        ("1e5nh", "1e5nh"),
        ("<<", "<<"),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, expected: object) -> None:
    value = read(f"key: {text}")["key"]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a"),
        ("top:\n  a: 1\n  a: 2\n", 3, "top.a"),
        ("top:\n  a: [1, 2\nnext: 3\n", 2, "top.a"),
        ("top:\n  a: 'open\nnext: 3\n", 2, "top.a"),
        ("top:\n  a: 1\n\tb: 2\n", 3, "top.b"),
        ("top:\n  a: 1\n   b: 2\n", 3, "top.a.b"),
        ("top:\n  a: b: c\n", 2, "top.a"),
        ("top:\n  a: !!python/object:os.system x\n", 2, "top.a"),
        ("top:\n  a: !!int x\n", 2, "top.a"),
        ("top:\n  1: x\n", 2, "top.1"),
        ("top:\n  ? [1, 2]\n  : x\n", 2, "top"),
        ("a: \x07\n", 1, "a"),
        (f"a: {'9' * 5000}\n", 1, "a"),
        ("a: 1\nb: *nowhere\n", 2, "b"),
    ],
)
def test_broken_text_is_placed(text: str, line: int, key: str) -> None:
    with pytest.raises(InputError) as caught:
        read(text)
    assert caught.value.line == line
    assert (caught.value.key or "").startswith(key)
    assert str(caught.value).startswith(f"system.yaml, line {line}, key '{key}")


def test_an_alias_to_itself_ends(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="alias"):
        read("a: &x [*x]\n")


def test_lines_of_keys_items_and_missing_keys() -> None:
    document = parse_yaml("top:\n\n  a: 1\n  list:\n    - x\n    - y\n", FILE)
    assert document.line(("top", "a")) == 3
    assert document.line(("top", "list", 1)) == 6
    assert document.line(("top", "absent")) == 1


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_yaml(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        load_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: \xe9\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"line 2: is not text in UTF-8"):
        load_yaml(tmp_path / "latin.yaml")

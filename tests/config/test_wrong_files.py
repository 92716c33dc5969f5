"""Hundreds of wrong system.yaml files, made from a right one: each gets a message with file, line and key."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mdflash.config.load import load_run, parse_run
from mdflash.errors import InputError

RIGHT = (Path(__file__).parent / "files" / "full.yaml").read_text()


class Wrong(NamedTuple):
    """A wrong file, and where the message must point."""

    what: str
    text: str
    line: int
    key: str


class Leaf(NamedTuple):
    """A `key: value` line of the right file."""

    line: int  # 1-based
    indent: str
    key: str
    path: str
    value: str


def entries() -> Iterator[tuple[Leaf, bool]]:
    """Every key of the right file, and whether it opens a section."""
    above: list[str] = []
    for number, row in enumerate(RIGHT.splitlines(), start=1):
        match = re.fullmatch(r"( *)(\w+):(.*)", row)
        if match is None:
            continue
        indent, key, value = match.groups()
        above = [*above[: len(indent) // 2], key]
        yield Leaf(number, indent, key, ".".join(above), value.strip()), not value.strip()


LEAVES = [leaf for leaf, section in entries() if not section]
SECTIONS = [leaf for leaf, section in entries() if section]


def with_line(leaf: Leaf, row: str) -> str:
    rows = RIGHT.splitlines()
    rows[leaf.line - 1] = row
    return "\n".join(rows) + "\n"


def with_value(leaf: Leaf, value: str) -> str:
    return with_line(leaf, f"{leaf.indent}{leaf.key}: {value}")


QUANTITIES = {
    "dynamics.timestep", "dynamics.friction", "dynamics.length", "dynamics.temperature", "neighbors.skin",
    "output.trajectory.interval", "output.log.interval", "output.checkpoint.interval",
}  # fmt: skip
WHOLE = {
    "system.replicas", "dynamics.minimize", "dynamics.seed", "replicas.count", "output.checkpoint.keep",
    "hardware.threads", "mdflash",
}  # fmt: skip
CHOICES = {
    "system.mapping", "model.precision", "model.kernels", "model.filters", "dynamics.integrator",
    "output.trajectory.format", "hardware.device",
}  # fmt: skip
PATHS = {"system.structure", "system.start", "system.forcefield", "model.forcefield"}
WORDS = {"name", "system.name"}
OPTIONAL = {"system.start", "system.replicas", "system.forcefield", "model.forcefield", "dynamics.length",
            "dynamics.seed", "hardware.threads", "box", "output.folder"}  # fmt: skip


def bad_values(leaf: Leaf) -> Iterator[tuple[str, str]]:
    yield "mapping", "{a: 1}"
    if leaf.path not in OPTIONAL:
        yield "null", "null"
        yield "empty", ""
    if leaf.path != "dynamics.remove_com_motion":
        yield "bool", "true"
    if leaf.path != "dynamics.temperature":
        yield "list", "[1, 2]"
    if leaf.path in QUANTITIES:
        yield "bare number", "4"
        yield "bare number as text", "'4'"
        yield "unknown unit", "4 parsec"
        yield "unit of another dimension", "4 Da"
        yield "negative", f"-{leaf.value.lstrip('[').split(',')[0].rstrip(']')}"
        yield "infinite", f"1e400 {leaf.value.split()[1].rstrip(',')}"
        yield "word", "fast"
        yield "clock", "23:30:00"
        if leaf.path != "dynamics.temperature":
            yield "zero", f"0 {leaf.value.split()[1]}"
    if leaf.path in WHOLE:
        for what, value in (("fraction", "1.5"), ("text", "'3'"), ("word", "many"), ("negative", "-1")):
            yield what, value
        yield "huge", "9" * 30
        yield "digits without end", "9" * 5000
        yield "not a number", ".nan"
    if leaf.path in CHOICES:
        yield "unknown choice", "xxx"
        yield "misspelled choice", leaf.value[:-1]
        yield "number", "1"
        yield "YAML 1.1 boolean", "no"
    if leaf.path in PATHS:
        yield "unknown file", "absent.pdb"
        yield "number", "1"
        yield "name too long", "x" * 5000
    if leaf.path in WORDS:
        for what, value in (("slash", "a/b"), ("blank", "a b"), ("number", "12"), ("dots", "..")):
            yield what, value
    if leaf.path == "dynamics.remove_com_motion":
        for value in ("yes", "1", "'true'"):
            yield f"{value} for true", value
    if leaf.path == "box":
        for value in ("[1 nm, 2 nm]", "[1 nm, 2 nm, 3]", "[1 nm, 2 nm, -3 nm]", "60 angstrom", "cube", "[]"):
            yield value, value
    if leaf.path == "dynamics.temperature":
        for value in ("[]", "[300 K]]", "[300 K, 310]", "[300 K, null]", "[1 K, 2 K, 3 K]"):
            yield value, value
    if leaf.path == "model.kernels":
        yield "not in this version", "flash"
    if leaf.path in ("output.trajectory.interval", "output.log.interval", "dynamics.length"):
        yield "not a whole number of steps", "11 fs"
        yield "more steps than can be counted", "1e300 ps"


def misspelled(key: str, rng: random.Random) -> str:
    i = rng.randrange(len(key) - 1)
    return key[:i] + key[i + 1] + key[i] + key[i + 2 :] if key[i] != key[i + 1] else key[:i] + key[i + 1 :]


def wrong_files() -> Iterator[Wrong]:
    rng = random.Random(11)
    rows = RIGHT.splitlines()
    for leaf in LEAVES:
        for what, value in bad_values(leaf):
            yield Wrong(f"{leaf.path}: {what}", with_value(leaf, value), leaf.line, leaf.path)
        parent = leaf.path.rpartition(".")[0]
        wrong_key = misspelled(leaf.key, rng)
        place = f"{parent}.{wrong_key}" if parent else wrong_key
        yield Wrong(
            f"{leaf.path}: misspelled",
            with_line(leaf, f"{leaf.indent}{wrong_key}: {leaf.value}"),
            leaf.line,
            place,
        )
        row = rows[leaf.line - 1]
        yield Wrong(f"{leaf.path}: twice", with_line(leaf, f"{row}\n{row}"), leaf.line + 1, leaf.path)
        yield Wrong(f"{leaf.path}: open bracket", with_value(leaf, f"[{leaf.value}, [2"), leaf.line, leaf.path)
        yield Wrong(f"{leaf.path}: open quote", with_value(leaf, f'"{leaf.value}'), leaf.line, leaf.path)
        yield Wrong(f"{leaf.path}: unknown tag", with_value(leaf, "!!python/name:os.system x"), leaf.line, leaf.path)
        if leaf.indent:
            tabbed = with_line(leaf, f"\t{leaf.key}: {leaf.value}")
            yield Wrong(f"{leaf.path}: tab", tabbed, leaf.line, leaf.key)
    for leaf in SECTIONS:
        end = next((n for n in range(leaf.line, len(rows)) if not rows[n].startswith(f"{leaf.indent}  ")), len(rows))
        for value in ("null", "3", "word", "[1, 2]", "true"):
            text = "\n".join([*rows[: leaf.line - 1], f"{leaf.indent}{leaf.key}: {value}", *rows[end:]])
            yield Wrong(f"{leaf.path}: {value} for a section", text, leaf.line, leaf.path)
        wrong_key = misspelled(leaf.key, rng)
        place = leaf.path[: -len(leaf.key)] + wrong_key
        yield Wrong(f"{leaf.path}: misspelled", with_line(leaf, f"{leaf.indent}{wrong_key}:"), leaf.line, place)
    for path in ("mdflash", "system.structure", "dynamics.temperature", "dynamics.length"):
        leaf = next(leaf for leaf in LEAVES if leaf.path == path)
        parent = next((s.line for s in SECTIONS if s.path == path.rpartition(".")[0]), 2)
        text = "\n".join(rows[: leaf.line - 1] + rows[leaf.line :])
        yield Wrong(f"{path}: missing", text, parent, path)
    length = next(leaf for leaf in LEAVES if leaf.path == "dynamics.length")
    text = with_line(length, f"{rows[length.line - 1]}\n  steps: 1000")
    yield Wrong("length and steps", text, length.line + 1, "dynamics.steps")
    yield Wrong("a list", "- mdflash: 1\n", 1, "mdflash")
    yield Wrong("a word", "mdflash\n", 1, "mdflash")
    yield Wrong("empty", "", 1, "mdflash")
    yield Wrong("only a comment", "# mdflash\n", 1, "mdflash")
    yield Wrong("no systems", "mdflash: 1\nsystem: []\ndynamics: {temperature: 300 K, steps: 1}\n", 2, "system")


WRONG = list(wrong_files())


def test_the_right_file_is_right(folder: Path) -> None:
    load_run(folder / "full.yaml")
    assert len(WRONG) >= 200
    assert len({wrong.text for wrong in WRONG}) >= 200


@pytest.mark.parametrize("wrong", WRONG, ids=[wrong.what for wrong in WRONG])
def test_wrong_file(folder: Path, wrong: Wrong) -> None:
    with pytest.raises(InputError) as caught:
        parse_run(wrong.text, folder / "wrong.yaml")
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert message.startswith(f"{folder / 'wrong.yaml'}, line ")
    found = re.findall(r"line (\d+), key '([^']*)'", message)
    if wrong.what in ("a list", "a word"):  # no key to blame: the message lists them all
        assert ", line 1: expected a mapping with the keys mdflash, " in message
    else:
        assert any(int(line) == wrong.line and wrong.key in key for line, key in found), message
    for jargon in ("Input should", "validation error", "pydantic", "dict", "None", "NoneType", "literal"):
        assert jargon not in message, message

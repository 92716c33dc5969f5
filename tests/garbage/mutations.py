"""Sound content, damaged: strategies of hypothesis that change bytes, lines, keys, kinds and numbers."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

Content = bytes

NUMBERS = (0, -1, 1, 2**31, 2**63, 2**70, -(2**63), 1e300, -1e300, 1e-300, 0.5, float("nan"), float("inf"), 7, 100_000)
TEXTS = (
    "", " ", "x", "nm", "1 nm", "-1 nm", "0 angstrom", "1e300 angstrom", "1 ns", "300", "300 K", "-5 K", "1 kcal/mol",
    "none", "null", "true", "../../x", "/dev/null", "/", ".", "a/b", "A" * 300, "A" * 5000, "é\u202e", "[/]",
    "\x1b[2J", "$HOME", "~", "*", "%s", "{}", "0x10", "1_000", "start", "all", "-1", "ALA", "harmonic_bond", "ca",
)  # fmt: skip
"""Words that mean something somewhere, and words that mean nothing."""
ODD: tuple[Any, ...] = (None, True, False, [], {}, [[]], [0], [0, 0], {"x": 1}, [{"x": 1}], [None], ["x", "x"])

HOW = ("value", "value", "number", "number", "delete", "rename", "add", "copy", "swap", "wrap")

values: SearchStrategy[Any] = st.one_of(
    st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.sampled_from(ODD), st.integers(-3, 30), st.floats(-1e3, 1e3)
).map(copy.deepcopy)  # what is drawn is changed


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested dicts and lists but the root."""
    found: list[tuple[Any, ...]] = []
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        found += [(*path, key), *_places(value, (*path, key))]
    return found


def _at(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


def change(draw: DrawFn, data: Any) -> Any:
    """`data` with one place changed: its value, its key, its absence, its number, or another place's value there."""
    places = _places(data)
    if not places:
        return draw(values)
    *above, last = draw(st.sampled_from(places))
    owner = _at(data, tuple(above))
    how = draw(st.sampled_from(HOW))
    old = owner[last]
    if how == "delete":
        del owner[last]
    elif how == "rename" and isinstance(owner, dict):
        word = draw(st.sampled_from((f"{last}s", str(last)[:-1] or "x", "cutof", "units", "name", "unknown")))
        owner[word] = owner.pop(last)
    elif how == "add" and isinstance(owner, dict):
        owner[draw(st.sampled_from(("unknown", "cutoff", "scale", "units", "name", "x")))] = draw(values)
    elif how == "add":
        owner.append(draw(values))
    elif how in ("copy", "swap"):
        other = draw(st.sampled_from(places))
        owner[last] = json.loads(json.dumps(_at(data, other))) if how == "copy" else draw(values)
    elif how == "wrap":
        owner[last] = draw(st.sampled_from(([old], {"x": old}, [old, old], str(old))))
    elif how == "number" and isinstance(old, (int, float)) and not isinstance(old, bool):
        owner[last] = draw(st.sampled_from((-old, old * 10, old / 10, old + 1, old * 1e30, str(old), float(old))))
    elif how == "number" and isinstance(old, str) and re.match(r"-?\d", old):
        number, unit = re.match(r"(\S*)(.*)", old, re.DOTALL).groups()  # type: ignore[union-attr]
        factor = draw(st.sampled_from(("-", "0", "1e9", "1e-9", "")))
        owner[last] = f"{factor}{number}{unit}" if factor in "-" else f"{factor}{unit}"
    else:
        owner[last] = draw(values)
    return data


@st.composite
def changed_data(draw: DrawFn, load: Callable[[], Any]) -> Any:
    """Nested data with one to three places changed."""
    data = load()
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        data = change(draw, data)
    return data


@st.composite
def changed_lines(draw: DrawFn, text: str) -> str:
    """Text with lines dropped, doubled, swapped, cut, or with characters or numbers changed."""
    lines = text.splitlines()
    for _ in range(draw(st.sampled_from((1, 1, 2, 4)))):
        if not lines:
            break
        k = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(("drop", "double", "swap", "cut", "character", "number", "indent", "insert", "end")))
        if how == "drop":
            del lines[k]
        elif how == "double":
            lines.insert(k, lines[k])
        elif how == "swap":
            j = draw(st.integers(0, len(lines) - 1))
            lines[j], lines[k] = lines[k], lines[j]
        elif how == "cut":
            lines[k] = lines[k][: draw(st.integers(0, 80))]
        elif how == "character":
            at = draw(st.integers(0, 80))
            lines[k] = lines[k][:at] + draw(st.sampled_from("\0\t:-{}[]&*!|>'\"%@`#,? \x85é9-.")) + lines[k][at + 1 :]
        elif how == "number":
            found = list(re.finditer(r"-?\d+(\.\d+)?", lines[k]))
            if found:
                match = draw(st.sampled_from(found))
                new = str(draw(st.sampled_from(NUMBERS)))
                lines[k] = lines[k][: match.start()] + new + lines[k][match.end() :]
        elif how == "indent":
            lines[k] = draw(st.sampled_from((" ", "  ", "\t", "- "))) + lines[k]
        elif how == "insert":
            lines.insert(k, str(draw(st.sampled_from(TEXTS))))
        else:
            del lines[k:]
    return "\n".join(lines) + "\n"


@st.composite
def changed_bytes(draw: DrawFn, data: bytes) -> bytes:
    """Bytes flipped, set, dropped, doubled, cut off, or put in."""
    found = bytearray(data)
    for _ in range(draw(st.sampled_from((1, 1, 2, 3, 8)))):
        if not found:
            break
        head = draw(st.booleans())  # what says how the rest is to be read stands in front, mostly
        k = draw(st.integers(0, min(len(found) - 1, 1000) if head else len(found) - 1))
        how = draw(st.sampled_from(("flip", "flip", "set", "set", "zeros", "ones", "drop", "double", "cut", "insert")))
        if how == "flip":
            found[k] ^= 1 << draw(st.integers(0, 7))
        elif how == "set":
            found[k] = draw(st.integers(0, 255))
        elif how in ("zeros", "ones"):
            size = min(draw(st.sampled_from((2, 4, 8))), len(found) - k)
            found[k : k + size] = (b"\0" if how == "zeros" else b"\xff") * size
        elif how == "drop":
            del found[k : k + draw(st.integers(1, 40))]
        elif how == "double":
            found[k:k] = found[k : k + 40]
        elif how == "cut":
            del found[k:]
        else:
            found[k:k] = draw(st.binary(max_size=20))
    return bytes(found)


def text_file(content: bytes) -> SearchStrategy[bytes]:
    """Lines or bytes of a text changed."""
    text = content.decode("utf-8", "replace")
    return st.one_of(changed_lines(text).map(lambda t: t.encode("utf-8", "replace")), changed_bytes(content))


def yaml_file(content: bytes) -> SearchStrategy[bytes]:
    """Keys, kinds and numbers, lines or bytes of a YAML file changed."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    sound = json.dumps(yaml.load(content, Loader=loader))  # JSON is YAML, and is read and written much faster

    def write(data: Any) -> bytes:
        text = json.dumps(data, ensure_ascii=False).replace("NaN", ".nan").replace("Infinity", ".inf")
        return text.encode("utf-8", "replace")

    data = changed_data(lambda: json.loads(sound)).map(write)
    return st.one_of(data, data, text_file(content))


def json_file(content: bytes) -> SearchStrategy[bytes]:
    """As `yaml_file`, of JSON."""
    data = changed_data(lambda: json.loads(content)).map(lambda found: json.dumps(found).encode())
    return st.one_of(data, data, changed_bytes(content))


def command(content: bytes) -> SearchStrategy[bytes]:
    """Words of a command line, as JSON, changed, dropped, doubled or moved."""
    words: list[str] = json.loads(content)

    @st.composite
    def changed(draw: DrawFn) -> bytes:
        found = list(words)
        for _ in range(draw(st.sampled_from((1, 1, 2, 3)))):
            k = draw(st.integers(0, max(len(found) - 1, 0)))
            how = draw(st.sampled_from(("value", "value", "drop", "double", "move", "cut", "glue")))
            if not found or how == "value":
                new = str(draw(values)).replace("\0", "")
                found = [*found[:k], new, *found[k + 1 :]]
            elif how == "drop":
                del found[k]
            elif how == "double":
                found.insert(k, found[k])
            elif how == "move":
                found.insert(draw(st.integers(0, len(found) - 1)), found.pop(k))
            elif how == "cut":
                found[k] = found[k][: draw(st.integers(0, 12))]
            else:
                found[k] += str(draw(st.sampled_from(TEXTS)))
        return json.dumps([*found]).encode("utf-8", "surrogatepass")

    return changed()

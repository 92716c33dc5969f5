"""Read YAML strictly, and remember the line of every key.

PyYAML follows YAML 1.1, whose traps cost users runs: `1e6` is a string, `23:30:00` is 84600, `no` is False,
a key given twice silently keeps the last value. Here numbers follow YAML 1.2, only true and false are
booleans, and a duplicate key is an error.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mdflash.core.regular import read_text
from mdflash.errors import InputError

Path_ = tuple[str | int, ...]
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """The content of a YAML file, and where each part is.

    Attributes:
        data: plain dicts, lists, str, int, float, bool, None.
        lines: 1-based line of every key and list item, by its path ("dynamics", "timestep").
        file: the file.
    """

    data: Any
    lines: dict[Path_, int]
    file: Path

    def line(self, path: Path_) -> int | None:
        """The line of `path`, or of its nearest parent that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


class _Loader(_Base):  # type: ignore[misc]
    """SafeLoader with YAML 1.2 scalars."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9][0-9_]*$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$"
        r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int:
    return int(str(loader.construct_scalar(node)).replace("_", ""))


def _dotted(path: Path_) -> str:
    return ".".join(map(str, path))


def _key_near(text: str, line: int) -> str | None:
    """The dotted key that `line` (1-based) of a broken file belongs to, read off the indentation."""
    keys: list[str] = []
    indent: int | None = None
    for row in reversed(text.splitlines()[:line]):
        match = re.match(r"([\s-]*)([\w-]+)\s*:", row)
        if match and (indent is None or len(match[1]) < indent):
            keys.insert(0, match[2])
            indent = len(match[1])
        if indent == 0:
            break
    return ".".join(keys) or None


def _syntax_error(error: yaml.YAMLError, text: str, file: Path) -> InputError:
    """What the parser found, at the line where the user would fix it."""
    if isinstance(error, yaml.MarkedYAMLError):
        opened = error.context_mark and re.search(r"flow|quoted", error.context or "")
        mark = error.context_mark if opened else error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = str(error.problem or error)
        if opened:
            what = "quote" if "quoted" in str(error.context) else "bracket"
            problem = f"the {what} opened here is not closed ({problem})"
    else:
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1
        problem = f"character {getattr(error, 'character', None)!r} is not allowed"
    rows = text.splitlines()
    row = rows[line - 1] if line <= len(rows) else ""
    if re.match(r" *\t", row):
        problem = "the line is indented with a tab; use spaces"
    shown = f" in '{row.strip()}'" if row.strip() else ""
    return InputError(f"is not valid YAML: {problem}{shown}", file=file, line=line, key=_key_near(text, line))


_SCALAR_TAGS = tuple(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null"))
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


_DEEPEST = 100
"""Levels of nesting; no file of mdflash has ten."""

_MOST = 200_000
"""Values that any file may have; one without aliases may have as many as it has characters."""


def _build(loader: Any, node: yaml.Node, path: Path_, lines: dict[Path_, int], file: Path) -> Any:
    if len(path) > _DEEPEST:
        raise RecursionError
    if len(lines) > loader.most:
        raise InputError(
            f"has aliases (*name) that stand for more than {loader.most:,} values; write out what they stand for",
            file=file,
            line=node.start_mark.line + 1,
            key=_dotted(path[:1]),
        )
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag != _SCALAR_TAGS[0]:
                shown = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
                raise InputError(
                    f"expected a plain word as key, found {shown}; put it in quotes if it is meant as a word",
                    file=file,
                    line=line,
                    key=_dotted((*path, shown)),
                )
            key = str(key_node.value)
            below = (*path, key)
            if key in mapping:
                raise InputError(
                    f"is given twice (first on line {lines[below]}); keep one of them",
                    file=file,
                    line=line,
                    key=_dotted(below),
                )
            value = _build(loader, value_node, below, lines, file)
            lines[below] = line
            mapping[key] = value
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*path, i), lines, file) for i, item in enumerate(node.value)]
    if node.tag not in _SCALAR_TAGS:
        problem = f"the tag {node.tag!r} is not allowed; write the plain value"
    else:
        try:
            return loader.construct_object(node, deep=True)
        except (ValueError, KeyError, IndexError):
            shown = str(node.value) if len(str(node.value)) <= 40 else f"{str(node.value)[:37]}..."
            problem = f"'{shown}' cannot be read as {node.tag.rsplit(':', 1)[1]}"
    raise InputError(problem, file=file, line=lines[path], key=_dotted(path))


MOST_OF_A_PLAN = 2 << 20
"""Bytes of a system.yaml or a recipe."""


def load_yaml(file: Path, most: int = 16 << 20) -> Document:
    """Read one YAML document.

    Args:
        file: its path.
        most: bytes that it may have; a second's work each million.

    Raises:
        InputError: not readable, too large, not YAML, a duplicate key, an alias that refers to itself, aliases of
            aliases that stand for more values than any file has, or more than 100 levels of nesting.
    """
    try:
        text = read_text(file, most)
    except FileNotFoundError:
        raise InputError("no such file", file=file) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError("is not text in UTF-8", file=file, line=line) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=file) from None
    return parse_yaml(text, file)


def parse_yaml(text: str, file: Path) -> Document:
    """As `load_yaml`, from text; `file` is only named in errors."""
    lines: dict[Path_, int] = {}
    try:
        loader = _Loader(text)
        loader.most = max(_MOST, len(text))
        try:
            node = loader.get_single_node()
            data = None if node is None else _build(loader, node, (), lines, file)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, file) from None
    except RecursionError:
        raise InputError("is nested too deeply, or an alias refers to itself", file=file) from None
    return Document(data, lines, file)

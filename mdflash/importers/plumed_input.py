"""The lines of a plumed.dat as actions: labels, keywords and flags, with units and numbers as PLUMED reads them.

An action is one line, or several from `ACTION ...` to `... ACTION`. Words are KEYWORD=VALUE or flags, a value in braces
may have blanks, and # begins a comment. Numbers may be expressions of pi.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from mdflash.core.regular import read_input
from mdflash.errors import InputError

MOST_ATOMS: Final = 1_000_000
LARGEST: Final = 1e50
"""Of a number, and what is nearer to 0 than its inverse is none either: products and squares of numbers stay finite."""
_LONGEST: Final = 60
"""Letters of an expression of a number."""

_WORD = re.compile(r"(?:[^\s{}]|\{[^{}]*\})+")

_UNITS: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "LENGTH": {"nm": 10.0, "A": 1.0, "um": 1e4, "Bohr": 0.529177210903},
        "ENERGY": {
            "kj/mol": 1.0 / 4.184, "kcal/mol": 1.0, "j/mol": 1e-3 / 4.184, "eV": 23.060547830619, "Ha": 627.509474063,
        },
        "TIME": {"ps": 1.0, "fs": 1e-3, "ns": 1e3, "atomic": 2.4188843265857e-5},
    }
)  # fmt: skip
"""In Å, kcal/mol and ps; the first one is PLUMED's own, of which a number is a multiple."""


class Units(NamedTuple):
    """What the numbers of a file are in: Å, kcal/mol and ps."""

    length: float = 10.0
    energy: float = 1.0 / 4.184
    time: float = 1.0


@dataclass(frozen=True)
class Action:
    """One action of a file.

    Attributes:
        file, line: where it begins.
        name: such as DISTANCE.
        label: what others call it; made up where it has none, as PLUMED does.
        given: its keywords, in capital letters.
        flags: its words without a value.
    """

    file: Path
    line: int
    name: str
    label: str
    given: Mapping[str, str]
    flags: frozenset[str]

    def error(self, message: str) -> InputError:
        """What is wrong with it."""
        return InputError(f"{self.name} {message}", file=self.file, line=self.line)

    def only(self, keywords: str, flags: str = "") -> None:
        """Refuse what is none of these keywords and flags; # stands for a number: AT# is AT0, AT1, ...

        Raises:
            InputError: names the first of the others.
        """
        for word in self.given:
            if word not in keywords.split() and re.sub(r"\d+$", "#", word) not in keywords.split():
                raise self.error(f"has {word}={self.given[word][:60]}, for which there is nothing in mdflash")
        for word in sorted(self.flags - set(flags.split())):
            raise self.error(f"has {word[:60]}, for which there is nothing in mdflash")

    def words(self, keyword: str) -> list[str]:
        """The values of a keyword, which commas divide.

        Raises:
            InputError: it is missing.
        """
        if keyword not in self.given:
            raise self.error(f"lacks {keyword}=")
        return [word.strip() for word in self.given[keyword].strip("{}").split(",")]

    def numbers(self, keyword: str, default: float | None = None) -> list[float]:
        """The numbers of a keyword; where it is missing and there is a default, that alone.

        Raises:
            InputError: it is missing, or holds anything else.
        """
        if keyword not in self.given and default is not None:
            return [default]
        return [self.number(word, keyword) for word in self.words(keyword)]

    def number(self, word: str, keyword: str) -> float:
        """One number of a keyword.

        Raises:
            InputError: it is none.
        """
        try:
            return number_of(word)
        except ValueError:
            raise self.error(f"has {keyword}={word[:60]}, which is no number") from None

    def steps(self, keyword: str) -> int:
        """A number of steps.

        Raises:
            InputError: not a whole one, or below 0.
        """
        (word,) = self.words(keyword)[:1]
        number = self.number(word, keyword)
        if number != round(number) or not 0 <= number <= 2**53:
            raise self.error(f"has {keyword}={word[:60]}, which is no number of steps")
        return round(number)

    def single(self, keyword: str) -> float:
        """The only number of a keyword.

        Raises:
            InputError: there are several, or none.
        """
        found = self.numbers(keyword)
        if len(found) != 1:
            raise self.error(f"has {len(found)} values of {keyword}; one is read")
        return found[0]

    def of_argument(self, keyword: str, k: int, default: float | None = None) -> list[float]:
        """The value of a keyword that belongs to argument k; several where replicas have their own.

        Raises:
            InputError: it is missing without a default, no number, or not one for each argument.
        """
        if keyword not in self.given:
            return self.numbers(keyword, default)
        words, arguments = self.words(keyword), self.words("ARG")
        if words[0].startswith("@replicas:"):
            if len(arguments) > 1:
                raise self.error(f"has {keyword}=@replicas:... and several arguments; write an action for each of them")
            words[0] = words[0].removeprefix("@replicas:")
            return [self.number(word.strip("{}"), keyword) for word in words]
        if len(words) != len(arguments):
            raise self.error(f"has {len(words)} values of {keyword} for {len(arguments)} arguments")
        return [self.number(words[k], keyword)]

    def one_of_argument(self, keyword: str, k: int, default: float | None = None) -> float:
        """As `of_argument`, of what all replicas have in common.

        Raises:
            InputError: as there, or replicas have their own.
        """
        found = self.of_argument(keyword, k, default)
        if len(found) != 1:
            raise self.error(f"has {len(found)} values of {keyword}, by replica; mdflash has one for all of them")
        return found[0]


_OPERATORS: Final[Mapping[type[ast.AST], Callable[..., float]]] = MappingProxyType(
    {
        ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
        ast.UAdd: operator.pos, ast.USub: operator.neg,
    }
)  # fmt: skip


def number_of(text: str) -> float:
    """A number, or an expression of numbers and pi: -pi, 2*pi/3.

    Raises:
        ValueError: it is none, or beyond `LARGEST`.
    """
    if len(text) > _LONGEST:
        raise ValueError(text)

    def value(node: ast.AST) -> float:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return float(node.value)
        if isinstance(node, ast.Name) and node.id == "pi":
            return math.pi
        if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.operand))
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        raise ValueError(text)

    try:
        found = value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(text) from error
    if found and not 1.0 / LARGEST <= abs(found) <= LARGEST:  # nor NaN
        raise ValueError(text)
    return found


def read_actions(file: Path) -> list[Action]:
    """The actions of a file, in its order.

    Raises:
        InputError: it cannot be read, an action that has no end, a keyword or label twice.
    """
    found: list[Action] = []
    labels: set[str] = set()
    for line, words in _statements(file):
        label = None
        if len(words[0]) > 1 and words[0].endswith(":"):
            label, words = words[0][:-1], words[1:]
        name = words[0].upper() if words else ""
        given: dict[str, str] = {}
        flags = set()
        for word in words[1:]:
            key, equals, value = word.partition("=")
            if not equals:
                flags.add(key.upper())
            elif key.upper() in given:
                raise InputError(f"{name} has {key.upper()}= twice", file=file, line=line)
            else:
                given[key.upper()] = value
        label = given.pop("LABEL", label) or f"@{len(found)}"
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name) or label in labels:
            what = f"the label {label} is used twice" if label in labels else f"'{name[:60]}' is no action"
            raise InputError(what, file=file, line=line)
        labels.add(label)
        found.append(Action(file, line, name, label, given, frozenset(flags)))
    return found


def _statements(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The words of each action, and the line that it begins in."""
    begun: tuple[int, list[str]] | None = None
    text = read_input(file).decode(errors="replace")
    for number, line in enumerate(text.split("\n"), 1):
        words = _WORD.findall(line.partition("#")[0])
        if words and begun is None and words[0] == "ENDPLUMED":
            return
        if begun is None and words and words[-1] == "...":
            begun = (number, words[:-1])
        elif begun is not None and words and words[0] == "...":
            if begun[1]:
                yield begun
            begun = None
        elif begun is not None:
            begun[1].extend(words)
        elif words:
            yield number, words
    if begun is not None:
        raise InputError("an action begins here with '...' and does not end", file=file, line=begun[0])


def units_of(actions: list[Action]) -> Units:
    """What UNITS says, or PLUMED's own.

    Raises:
        InputError: UNITS twice, or a unit that is not known.
    """
    given = [action for action in actions if action.name == "UNITS"]
    if not given:
        return Units()
    (action, *more) = given
    if more:
        raise more[0].error("is there twice")
    action.only("LENGTH ENERGY TIME")
    sizes = []
    for key, known in _UNITS.items():
        own = next(iter(known.values()))
        word = action.given.get(key, next(iter(known)))
        size = {name.lower(): value for name, value in known.items()}.get(word.lower())
        if size is None:
            try:
                size = own * number_of(word)
            except ValueError:
                size = 0.0
            if not size > 0:
                raise action.error(f"has {key}={word[:60]}; known are {', '.join(known)} and numbers")
        sizes.append(size)
    return Units(*sizes)


def atoms_of(action: Action, word: str) -> list[int]:
    """Atoms from 1 of one entry of a list: 7, 3-9 or 3-9:2.

    Raises:
        InputError: it is none of these, or too many.
    """
    match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", word)
    if match is None:
        raise action.error(f"has the atoms '{word[:60]}'; numbers, ranges such as 3-9, and groups are read")
    first = int(match[1])
    last, step = int(match[2] or first), int(match[3] or 1)
    if not 1 <= first <= last or step < 1 or last - first >= MOST_ATOMS:
        raise action.error(f"has the atoms '{word[:60]}', which are none: they are counted from 1")
    return list(range(first, last + 1, step))

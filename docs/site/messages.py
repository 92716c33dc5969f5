"""The page of messages: every sentence that an error of mdflash can say, read from the code that raises it.

A part that depends on the case (a file, a key, a number) is shown as `...`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import mdflash
from mdflash import errors

PACKAGE = Path(mdflash.__file__).parent
CLASSES = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}
SHORTEST = 12
"""Letters that a sentence has of its own; below, all of it comes from elsewhere."""


def page() -> str:
    """Markdown: the messages by what they are about."""
    text = [
        "# Messages\n",
        "What an error says, in the words of the code that says it; `...` stands for what depends on the case: a file, "
        "a key, a number. A message begins with its file, line and key, where it has them, and ends with what to write "
        "instead. Search for a few words of yours.\n",
        "| the command ends with | after |\n| --- | --- |",
        "| 2 | bad input, or files that cannot be written |",
        "| 3 | a simulation that became unstable |",
        "| 75 | a stop by a signal or a time limit; the same command goes on |\n",
    ]
    for folder, found in _by_folder().items():
        text.append(f"## {folder}\n\n| message | from |\n| --- | --- |")
        text += [f"| {_cell(message)}{_ending(code)} | `{where}` |" for message, code, where in sorted(found)]
        text.append("")
    return "\n".join(text)


def _by_folder() -> dict[str, set[tuple[str, int, str]]]:
    found: dict[str, set[tuple[str, int, str]]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        module = file.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
        for message, code in _messages(ast.parse(file.read_text(encoding="utf-8"))):
            found.setdefault(module.partition(".")[0], set()).add((message, code, module))
    return found


def _messages(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The sentences of one module, each with the exit code of its class."""
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in CLASSES and call.args:
            said = " ".join(_shown(call.args[0]).split())
            if len(said.replace("...", "").replace(" ", "")) >= SHORTEST:
                yield said, CLASSES[call.func.id].exit_code


def _shown(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_shown(part) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _shown(left) + _shown(right)
        case _:
            return "..."


def _ending(code: int) -> str:
    return "" if code == errors.MdflashError.exit_code else f" (ends with {code})"


def _cell(text: str) -> str:
    """Text in a table of Markdown: as it is, never markup."""
    for mark in "\\`*_{}[]<>|":
        text = text.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return text

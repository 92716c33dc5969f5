"""The order of the house: imports point down, files form no circles, and few functions take many parameters."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = (
    "errors",
    "units",
    "core",
    "compiled",
    "neighbors",
    "potentials",
    "integrators",
    "forcefields",
    "mapping",
    "engine",
    "io",
    "config",
    "importers",
    "reporters runs",
    "sampling",
    "analysis",
    "training",
    "campaigns",
    "bench",
    "simulation replica openmm ase torchsim testing",
    "cli",
)
"""From the ground up; a file may import from its own floor and from those below."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}

MANY = 12
"""Parameters from which a function has too many."""
FUNCTIONS_WITH_MANY = 10
MOST_PARAMETERS = 16


def modules() -> dict[str, Path]:
    """Every module by name, but for the fronts of the package, which only point to public names."""
    found = {}
    for path in sorted((ROOT / "mdflash").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    del found["mdflash"], found["mdflash.__main__"]
    return found


MODULES = modules()


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module that are not inside a function or class; those for type checkers too."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With):
            yield from top_level(statement.body)
        if isinstance(statement, ast.If | ast.Try):
            yield from top_level(statement.orelse)
        if isinstance(statement, ast.Try):
            yield from top_level([s for handler in statement.handlers for s in handler.body])


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports at its top level."""
    names: set[str] = set()
    for statement in top_level(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(statement, ast.Import):
            names.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            for alias in statement.names:
                inner = f"{statement.module}.{alias.name}"
                names.add(inner if inner in MODULES else statement.module)
    return {name for name in names if name in MODULES}


@cache
def imports() -> set[tuple[str, str]]:
    return {(module, name) for module, path in MODULES.items() for name in imported(path)}


def room(module: str) -> str:
    return module.split(".")[1]


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in MODULES} == set(FLOOR)


def test_no_import_points_up() -> None:
    up = {(a, b) for a, b in imports() if FLOOR[room(b)] > FLOOR[room(a)]}
    assert not up, "\n".join(f"{a} imports {b}, which is on a higher floor" for a, b in sorted(up))


def test_no_circles() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for module, name in imports():
        graph[module].add(name)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("files import each other: " + " <- ".join(error.args[1]))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many arguments a function takes, `self` apart."""
    a = function.args
    names = [arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def long_signatures() -> list[tuple[int, str]]:
    """(parameters, function) of those with many. GPU kernels take what they are launched with, one by one, and
    `Simulation` is the front of everything, so both stand apart."""
    found = []
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        apart = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef) and node.name == "Simulation"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node in apart:
                continue
            if any("triton" in ast.unparse(decorator) for decorator in node.decorator_list):
                continue
            if parameters(node) >= MANY:
                found.append((parameters(node), f"{module}.{node.name}"))
    return sorted(found, reverse=True)


def test_few_functions_take_many_parameters() -> None:
    found = long_signatures()
    print(*(f"{count:3} {name}" for count, name in found), sep="\n")
    assert len(found) <= FUNCTIONS_WITH_MANY
    assert max(count for count, _ in found) <= MOST_PARAMETERS

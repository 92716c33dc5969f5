"""The page on adding a collective variable does what it says: its two files, in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "dev" / "add_a_collective_variable.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def insert(text: str, diff: str) -> str:
    """`text` with the added lines of a diff behind the line before them."""
    rows = diff.splitlines()
    before = "".join(f"{row[1:]}\n" for row in rows if row.startswith(" "))
    added = "".join(f"{row[1:]}\n" for row in rows if row.startswith("+"))
    assert text.count(before) == 1, before
    return text.replace(before, before + added)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and its tests, with the variable of the page."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "mdflash", root / "mdflash", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests").symlink_to(ROOT / "tests")
    shutil.copy(ROOT / "pyproject.toml", root)
    folder = root / "mdflash" / "potentials" / "variables"
    (code,) = blocks("python")
    (folder / "height.py").write_text(code, encoding="utf-8")
    the_list = folder / "__init__.py"
    text = the_list.read_text(encoding="utf-8")
    for diff in blocks("diff"):
        text = insert(text, diff)
    the_list.write_text(text, encoding="utf-8")
    return root


def python(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the copy as the package."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True,
        text=True,
    )  # fmt: skip


def test_the_new_variable_conforms(copy: Path) -> None:
    """The command of the page."""
    (command,) = blocks("sh")
    found = python(copy, "-m", *command.split(), "-p", "no:cacheprovider")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "passed" in found.stdout or "." in found.stdout


def test_a_file_can_use_it(copy: Path) -> None:
    """The entry of the page, and the schema."""
    (entry,) = blocks("yaml")
    (copy / "protein.pdb").touch()
    (copy / "ff").mkdir()
    (copy / "ff" / "forcefield.yaml").touch()
    (copy / "system.yaml").write_text(
        "mdflash: 1\nsystem: {structure: protein.pdb}\nmodel: {forcefield: ff}\nreplicas: {count: 2}\n"
        f"dynamics: {{temperature: 300 K, length: 1 ns}}\n{entry}"
    )
    script = (
        "import mdflash; from mdflash.config.load import load_run; from mdflash.config.schema import json_schema\n"
        "bias = load_run('system.yaml').biases[0]; print(mdflash.__file__)\n"
        "print(bias.variable, bias.center, json_schema()['$defs']['BiasEntry']['properties']['variable']['enum'][-1])"
    )
    found = python(copy, "-c", script)
    assert found.stdout.splitlines() == [str(copy / "mdflash" / "__init__.py"), "height (-3.0,) height"], found.stderr

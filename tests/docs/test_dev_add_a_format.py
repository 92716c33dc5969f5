"""docs/dev/add_a_format.md works as it is written: two files make a format that passes the tests of all formats."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "dev" / "add_a_format.md"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and the tests of formats, with what the page says."""
    folder = tmp_path_factory.mktemp("copy")
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("mdflash", "forcefields", "systems", "tests/io"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", folder)
    blocks = re.findall(r"^`(mdflash/\S+\.py)`[^\n]*\n\n```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    assert len(blocks) == 2, "two files make a format"
    (new, text), (old, lines) = blocks
    assert not (folder / new).exists()
    (folder / new).write_text(text)
    changed = (folder / old).read_text()
    for line in lines.splitlines():
        start = line[: line.index("=")]
        changed, count = re.subn(rf"^{re.escape(start)}.*$", line, changed, flags=re.M)
        assert count == 1, f"{old} has one line that starts with {start}"
    (folder / old).write_text(changed)
    return folder


def python(folder: Path, *arguments: str) -> str:
    """What a Python that finds the copy prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_new_format_passes_the_tests_of_formats(copy: Path) -> None:
    passed = python(
        copy, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "tests/io/test_formats.py", "-k", "xyz or list"
    )
    assert len(re.findall(r"^PASSED .*xyz", passed, re.M)) >= 10


def test_the_commands_of_the_page(copy: Path) -> None:
    commands, _ = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    for command in commands.splitlines():
        python(copy, "-m", *command.split())
    assert len(list((copy / "runs" / "chignolin" / "trajectory").glob("chignolin_*.xyz"))) == 16
    assert (copy / "replica.xyz").read_text().startswith("10\nstep=0 time=0.0\nC ")

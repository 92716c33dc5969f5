"""Pages of docs/dev as instructions: applied to a copy of the repository, whose tests and examples are then run.

"New file `path`:" before a python block writes the file. "In `path`:" before a diff block changes it; the diff blocks
that follow without a path change the same file. Every other block is an example.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from tests.processes import python

REPOSITORY = Path(__file__).parents[2]
_BLOCK = re.compile(r"^(?:(New file|In) `([^`]+)`:\n\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class DevPage:
    """A page, and the copy of the repository to which it was applied."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        for part in ("mdflash", "tests", "docs"):
            shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("*.pyc.*"))  # being written
        for part in ("systems", "forcefields", "benchmarks", "tools", "pyproject.toml"):
            (folder / part).symlink_to(REPOSITORY / part)
        self.touched: set[str] = set()
        self.examples: defaultdict[str, list[str]] = defaultdict(list)  # by language
        text = (REPOSITORY / "docs" / "dev" / name).read_text(encoding="utf-8")
        changed = ""
        for instruction, file, language, code in _BLOCK.findall(text):
            if (instruction, language) == ("New file", "python"):
                self._write(file, code)
            elif language == "diff":
                changed = file or changed
                self._edit(changed, code)
            else:
                assert not instruction, f"{name}: {instruction} `{file}` precedes a block of {language}"
                self.examples[language].append(code)

    def _write(self, file: str, code: str) -> None:
        path = self.folder / file
        assert not path.exists(), f"{file} is there already"
        path.write_text(code, encoding="utf-8")
        self.touched.add(file)

    def _edit(self, file: str, diff: str) -> None:
        lines = diff.splitlines(keepends=True)
        assert all(line[0] in " +-" for line in lines), f"{file}: is not a diff:\n{diff}"
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{file} has this {text.count(before)} times:\n{before}"
        path.write_text(text.replace(before, after), encoding="utf-8")
        self.touched.add(file)

    def run_examples(self) -> None:
        """The page's Python examples, in the copy."""
        assert self.examples["python"]
        for code in self.examples["python"]:
            self.python("-c", code)

    def run_tests(self, *arguments: str, **environment: str) -> str:
        """Tests of the copy; returns what pytest prints."""
        return self.python("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-x", *arguments, **environment)

    def run_kernel_tests(self, *arguments: str) -> None:
        """Tests of the copy with Triton's interpreter; skips where there is no Triton."""
        pytest.importorskip("triton", reason="the GPU kernels need triton (pip install 'mdflash[gpu]')")
        self.run_tests(*arguments, TRITON_INTERPRET="1", OMP_NUM_THREADS="1")

    def python(self, *arguments: str, **environment: str) -> str:
        """Python with the copy as the package, in the copy; returns what it prints."""
        environment = os.environ | {"PYTHONPATH": str(self.folder)} | environment
        done = python(*arguments, cwd=self.folder, env=environment, bare=True)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
        return done.stdout

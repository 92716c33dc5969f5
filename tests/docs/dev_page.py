"""Pages of docs/dev as instructions: applied to a copy of the repository, whose tests and examples are then run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^(?:New file|In) `([^`]+)`:?$", re.MULTILINE)


class DevPage:
    """A page, and the copy of the repository to which it was applied."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        for part in ("mdflash", "tests"):
            shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("systems", "forcefields", "benchmarks", "tools", "pyproject.toml"):
            (folder / part).symlink_to(REPOSITORY / part)
        self.touched: set[str] = set()
        self.examples: list[str] = []
        page = (REPOSITORY / "docs" / "dev" / name).read_text(encoding="utf-8")
        for section in re.split(r"^## ", page, flags=re.MULTILINE):
            files = _FILE.findall(section)
            for language, code in _BLOCK.findall(section):
                if language == "diff":
                    self._edit(files[-1], code)
                elif language == "python" and files:
                    self._write(files[-1], code)
                elif language == "python":
                    self.examples.append(code)

    def _write(self, file: str, code: str) -> None:
        path = self.folder / file
        assert not path.exists(), f"{file} is there already"
        path.write_text(code, encoding="utf-8")
        self.touched.add(file)

    def _edit(self, file: str, diff: str) -> None:
        lines = diff.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{file} has this {text.count(before)} times:\n{before}"
        path.write_text(text.replace(before, after), encoding="utf-8")
        self.touched.add(file)

    def run_examples(self) -> None:
        """The page's other Python blocks, in the copy."""
        assert self.examples
        for code in self.examples:
            self._run("-c", code)

    def run_tests(self, *arguments: str, **environment: str) -> str:
        """Tests of the copy; returns what pytest prints."""
        return self._run("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-x", *arguments, **environment)

    def _run(self, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.folder)} | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
        return done.stdout

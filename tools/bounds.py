"""Whether the bounds of pyproject.toml are true: the lowest versions that it allows, and which Pythons have wheels.

    python tools/bounds.py lowest .bounds --keep torch==2.13.0   # a fresh environment with the lowest; smoke tests
    python tools/bounds.py wheels                               # Python 3.10 to 3.14: what pip would install, unbuilt

`--keep` pins packages elsewhere than at their lowest version: torch, where only one version has a small wheel.
`--report docs/reliability.md` writes what was found into that page.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SMOKE = (
    "tests/core/test_units.py",
    "tests/core/test_yaml_bombs.py",
    "tests/compiled/test_philox.py",
    "tests/integrators/test_schemes.py",
    "tests/io/test_checkpoint.py",
    "tests/io/test_trajectory.py",
    "tests/mapping/test_structure.py",
    "tests/runs/test_run.py",
)
"""Tests that reach every library that is needed to run, and compile few kernels."""


def lowest(requirements: Sequence[str], keep: Sequence[str]) -> list[str]:
    """Each requirement at its lower bound; those in `keep` as they stand there."""
    kept = {re.split(r"[=<>~!]", pin)[0]: pin for pin in keep}
    found = []
    for requirement in requirements:
        name, bound = re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\w.]+)", requirement.replace(" ", "")).groups()  # type: ignore[union-attr]
        found.append(kept.get(name, f"{name}=={bound}"))
    return found


def needed() -> list[str]:
    """What pyproject.toml asks for without any extra."""
    import tomllib  # of Python 3.11

    project: Any = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["dependencies"])


def call(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command; its end is shown where it fails."""
    return subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True)


def try_lowest(folder: Path, python: str, keep: Sequence[str]) -> str:
    """Install the lowest versions, run the smoke tests; a sentence on how it went.

    Raises:
        SystemExit: it failed; shows why.
    """
    began, pins = time.monotonic(), lowest(needed(), keep)
    print(f"{', '.join(pins)} in {folder}: a few minutes, kernels are compiled anew", flush=True)
    binary = folder.absolute() / "bin" / "python"
    for words in (
        (python, "-m", "venv", folder),
        (binary, "-m", "pip", "install", "--quiet", "--no-compile", *pins, "pytest>=8", "hypothesis>=6.100"),
        (binary, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps", "-e", ROOT),
        (binary, "-m", "pip", "check"),
        (binary, "-m", "pytest", "-q", "-x", "-m", "not slow", *SMOKE),
    ):
        done = call(*words)
        print(f"{time.monotonic() - began:5.0f} s  {' '.join(map(str, words[1:]))[:100]}", flush=True)
        if done.returncode:
            sys.exit((done.stdout + done.stderr)[-6000:])
    version = call(binary, "-c", "import platform; print(platform.python_version())").stdout.strip()
    kept = f" ({', '.join(keep)} was kept)" if keep else ""
    return (
        f"The lowest versions that pyproject.toml allows{kept} pass the smoke tests on Python {version}: "
        f"{', '.join(pins)}."
    )


def try_wheels() -> str:
    """A table of Pythons: whether every dependency has a wheel, and which version is the newest there."""
    rows = ["| Python | wheels of all dependencies | torch | numba | numpy |", "|---|---|---|---|---|"]
    for version in PYTHONS:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            done = call(
                sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
                "--only-binary=:all:", "--python-version", version, "--target", folder, "--report", report, *needed(),
            )  # fmt: skip
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1].removeprefix("ERROR: ")
                rows.append(f"| {version} | no: {last} | | | |")
                continue
            found = {item["metadata"]["name"].lower(): item["metadata"]["version"]
                     for item in json.loads(report.read_text())["install"]}  # fmt: skip
            rows.append(f"| {version} | yes | {found['torch']} | {found['numba']} | {found['numpy']} |")
        print(rows[-1], flush=True)
    return "\n".join(rows)


def write(page: Path, name: str, text: str) -> None:
    """Put a text between its two marks in a page."""
    before, rest = page.read_text(encoding="utf-8").split(f"<!-- {name} -->")
    after = rest.split(f"<!-- /{name} -->")[1]
    page.write_text(f"{before}<!-- {name} -->\n{text}\n<!-- /{name} -->{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("lowest", "wheels"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".bounds"), help="of the environment")
    parser.add_argument("--python", default=sys.executable, help="that makes the environment")
    parser.add_argument("--keep", nargs="*", default=[], metavar="NAME==VERSION")
    parser.add_argument("--report", type=Path, help="the page that is written")
    given = parser.parse_args()
    if given.what == "lowest":
        text = try_lowest(given.folder, given.python, given.keep)
    else:
        text = f"{try_wheels()}\n\nAsked on {time.strftime('%Y-%m-%d')}, for {platform.system()} {platform.machine()}."
    print(text)
    if given.report is not None:
        write(given.report, given.what, text)


if __name__ == "__main__":
    main()

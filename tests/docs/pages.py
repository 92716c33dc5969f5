"""Code blocks of the pages in docs/dev, and how a test applies them to a copy of the package."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_of_the_repository(folder: Path) -> Path:
    """What tests of the package need, to be changed."""
    for name in ("mdflash", "tests", "docs", "benchmarks", "forcefields", "systems", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def apply_page(page: str, folder: Path) -> None:
    """Write the page's new files (python blocks that begin with their path) and make its changes (diff blocks)."""
    text = (ROOT / "docs" / "dev" / page).read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        first, _, rest = block.partition("\n")
        if language == "python" and first.startswith("# mdflash/"):
            file = folder / first[2:]
            assert not file.exists(), f"{page} writes {file}, which there is"
            file.write_text(rest, encoding="utf-8")
        elif language == "diff":
            file = folder / first.removeprefix("--- ")
            source = file.read_text(encoding="utf-8")
            for hunk in rest.split("@@\n")[1:]:
                before, after = (
                    "".join(f"{line[1:]}\n" for line in hunk.splitlines() if line[:1] in kept) for kept in (" -", " +")
                )
                assert source.count(before) == 1, f"{page}: {first} does not hold this once:\n{before}"
                source = source.replace(before, after)
            file.write_text(source, encoding="utf-8")

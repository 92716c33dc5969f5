"""What a mutant is: one deliberate bug, as a change of one place in one file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """A bug that a test must catch.

    Attributes:
        breaks: what is wrong then, in a sentence; names the mutant.
        file: the file that has it, in mdflash/.
        old: text that occurs once in it.
        new: what stands there instead.
        caught_by: the test that must fail: FILE::FUNCTION in tests/, with [PARAMETERS] where one case is enough.
    """

    breaks: str
    file: str
    old: str
    new: str
    caught_by: str

    def apply(self, tree: Path) -> str:
        """Change the file in a copy of the tree; returns its text before.

        Raises:
            ValueError: `old` does not occur once.
        """
        path = tree / "mdflash" / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"mdflash/{self.file}: expected this text once, found it {text.count(self.old)} times:\n"
                             f"{self.old}")  # fmt: skip
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
        return text

    def restore(self, tree: Path, text: str) -> None:
        """Take the change back."""
        (tree / "mdflash" / self.file).write_text(text, encoding="utf-8")

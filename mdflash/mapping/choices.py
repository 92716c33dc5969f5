"""How a structure file is to be read, where that is the user's choice."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

Keep = Literal["all", "protein"]
Modified = Literal["refuse", "parent"]
Gaps = Literal["refuse", "break", "bond"]


@dataclass(frozen=True)
class Reading:
    """Choices of the user about one structure file; the defaults refuse whatever would need one.

    Attributes:
        model: number of the one model to read; None: all, as frames.
        chains: ids of the chains to read; (): all.
        keep: "protein" leaves out ligands, lipids, nucleic acids; "all" refuses them. Waters and ions are always
            left out.
        modified: "parent" reads a modified amino acid as the one it comes from.
        gaps: where residues are missing: "break" leaves the parts unbonded, "bond" bonds across.
    """

    model: int | None = None
    chains: tuple[str, ...] = ()
    keep: Keep = "all"
    modified: Modified = "refuse"
    gaps: Gaps = "refuse"

    def as_keys(self) -> dict[str, int | str | list[str]]:
        """Those that were made, as keys of a molecule in system.yaml."""
        made: dict[str, int | str | list[str]] = {} if self.model is None else {"model": self.model}
        if self.chains:
            made["chain"] = self.chains[0] if len(self.chains) == 1 else list(self.chains)
        words = {"keep": self.keep, "modified": self.modified, "gaps": self.gaps}
        return made | {key: word for key, word in words.items() if word != getattr(AS_IT_IS, key)}

    def over(self, other: Reading) -> Reading:
        """These choices; those that were not made are of `other`."""
        return replace(other, **{f.name: v for f in fields(self) if (v := getattr(self, f.name)) != f.default})


AS_IT_IS = Reading()


def advice(key: str, value: str) -> str:
    """How to choose, on the command line and in a system.yaml."""
    return f"--{key} {value} (in a system.yaml: `{key}: {value}`)"

"""Where the ready systems and force fields lie: `mdflash/shipped/` in a wheel, the top level of a checkout."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Literal

Kind = Literal["systems", "forcefields"]
_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder(kind: Kind) -> Path:
    """The folder that holds the shipped `kind`; it need not exist."""
    in_wheel = _PACKAGE / "shipped" / kind
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parent / kind


def shipped_names(kind: Kind) -> tuple[str, ...]:
    """The names that `find_shipped` knows, sorted."""
    folder = shipped_folder(kind)
    if kind == "systems":
        return tuple(sorted(path.stem for path in folder.glob("*.yaml")))
    return tuple(sorted(path.parent.name for path in folder.glob("*/forcefield.yaml")))


def find_shipped(kind: Kind, name: str) -> Path | None:
    """The shipped system.yaml, or force field folder, called `name`; None if there is none."""
    if name not in shipped_names(kind):
        return None
    return shipped_folder(kind) / (f"{name}.yaml" if kind == "systems" else name)


def list_shipped(kind: Kind, wanted: str) -> str:
    """A message for errors: which names there are, and the one nearest to `wanted`."""
    names = shipped_names(kind)
    what = kind.replace("forcefields", "force fields")
    near = get_close_matches(wanted, names, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"shipped {what}: {', '.join(names) or 'none'}{hint}"

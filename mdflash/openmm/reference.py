"""A force field and a molecule by reference: what an OpenMM System stores of them.

As JSON: where the force field lies, the digest of its contents, and the molecule (by name, where it came with the force
field). So a System in XML holds about a kilobyte and no weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mdflash.core.system import System
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField


@dataclass(frozen=True)
class Reference:
    """What to evaluate.

    Attributes:
        forcefield: an absolute path, a shipped name, or None for a force field that is in no folder.
        name: what the force field calls itself.
        digest: digest of its contents.
        system: name of one of its molecules, or a molecule as `describe_system` writes it.
        replicas, precision, device: as for `Evaluator`.
        periodic: whether in the periodic box of the OpenMM Context.
    """

    forcefield: str | None
    name: str
    digest: str
    system: str | dict[str, Any]
    replicas: int
    precision: str
    device: str
    periodic: bool

    @staticmethod
    def to(folder: Path | str | None, ff: ForceField, system: System, **options: Any) -> Reference:
        """Refer to `ff`, read from `folder` (a path or a shipped name), and a molecule."""
        if folder is not None and (Path(folder) / "forcefield.yaml").is_file():
            folder = Path(folder).resolve()
        own = any(system == s for s, _ in ff.systems)
        return Reference(
            None if folder is None else str(folder),
            ff.name,
            ff.digest,
            system.name if own else describe_system(system),
            **options,
        )

    def to_text(self) -> str:
        """As JSON."""
        return json.dumps({f.name: getattr(self, f.name) for f in fields(self)}, separators=(",", ":"))

    @staticmethod
    def from_text(text: str) -> Reference:
        """Read what `to_text` wrote.

        Raises:
            InputError: it is something else.
        """
        types: dict[str, Any] = {
            "replicas": int,
            "periodic": bool,
            "system": (str, dict),
            "forcefield": (str, type(None)),
        }
        try:
            data = json.loads(text)
            known = all(isinstance(data[f.name], types.get(f.name, str)) for f in fields(Reference))
            if not known or len(data) != len(fields(Reference)):
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"does not describe an mdflash force: {text[:80]!r}") from None
        return Reference(**data)

    def load(self) -> tuple[ForceField, System]:
        """Read the force field and find the molecule.

        Raises:
            ForceFieldError: it is not there any more, or not what it was.
        """
        if self.forcefield is None:
            raise ForceFieldError(
                f"this OpenMM System was made from the force field '{self.name}' in memory, which ended with its "
                "process; write it with mdflash.save_forcefield(FOLDER, forcefield) and give mdflash_force the FOLDER"
            )
        try:
            ff = load_forcefield(self.forcefield)
        except ForceFieldError as error:
            raise ForceFieldError(
                f"the force field '{self.name}' of this OpenMM System: {error}", file=self.forcefield
            ) from None
        if ff.digest != self.digest:
            raise ForceFieldError(
                f"has changed since this OpenMM System was made ({self.digest[:12]} then, {ff.digest[:12]} now): "
                "make the System again with mdflash.openmm.create_system, or restore the old force field",
                file=self.forcefield,
            )
        return ff, self._molecule(ff)

    def _molecule(self, ff: ForceField) -> System:
        if isinstance(self.system, str):
            return ff.system(self.system)[0]
        try:
            return System(**self.system)
        except (TypeError, ValueError) as error:
            raise InputError(f"the molecule of this OpenMM System cannot be read: {error}") from None


def describe_system(system: System) -> dict[str, Any]:
    """All fields of a System as plain lists; `System(**described)` is the same molecule."""

    def plain(value: Any) -> Any:
        if isinstance(value, str | tuple):
            return value
        if hasattr(value, "items"):
            return {key: rows.tolist() for key, rows in value.items()}
        return value.tolist()

    return {f.name: plain(getattr(system, f.name)) for f in fields(System)}

"""A committee: force fields that learned the same from other seeds, and how far they disagree where they learned.

    FOLDER/committee.yaml             which members there are, and their spread on the frames they learned from
    FOLDER/member-1/forcefield, ...   ordinary force field folders

Members agree where there was data and drift apart where there was none, so their spread says what a force field knows.
A bead's spread is the root mean square of the members' forces about their mean, sqrt(sum over m of |F_m - F|^2 /
(M - 1)), that of a frame the largest of its beads: L. Zhang et al., Phys. Rev. Materials 3, 023804 (2019), eq. 4. A
spread is no error: what all members get wrong alike, they agree on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.core.damage import DAMAGE
from mdflash.core.files import atomic_write
from mdflash.core.types import FloatArray
from mdflash.core.yamlfile import load_yaml
from mdflash.errors import ForceFieldError, MdflashError
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField, dump

FILE = "committee.yaml"
SCHEMA = 1
FEWEST = 2
"""Members; a single one has no spread."""


@dataclass(frozen=True)
class Own:
    """The members on the frames of one molecule that they learned from.

    Attributes:
        forces: kcal/mol/Å, 99 of 100 frames have a smaller spread of forces.
        median: kcal/mol/Å, that of the frame in the middle.
        energies: kcal/mol, as `forces`, of energies.
        offsets: kcal/mol, what to take off each member's energies: its mean over these frames.
    """

    forces: float
    median: float
    energies: float
    offsets: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Committee:
    """The members of a folder.

    Attributes:
        folder: where it is.
        members: in order.
        own: by the name of each molecule that they learned from.
    """

    folder: Path
    members: tuple[ForceField, ...]
    own: Mapping[str, Own]

    def own_of(self, name: str, key: str) -> Own:
        """What the members say of the frames of a molecule that they learned from; `key` asked for it.

        Raises:
            ForceFieldError: they learned nothing of that molecule.
        """
        if name not in self.own:
            raise ForceFieldError(
                f"learned nothing of '{name}', only of {', '.join(self.own)}; give the molecule that name",
                file=self.folder,
                key=key,
            )
        return self.own[name]


def spread_of(forces: FloatArray) -> FloatArray:
    """[F] kcal/mol/Å the spread of each frame, from the forces [M, F, N, 3] of the members; see the module."""
    off = np.square(forces - forces.mean(axis=0)).sum(axis=(0, 3)) / (len(forces) - 1)
    return np.asarray(np.sqrt(off.max(axis=1)))


def energy_spread_of(energies: FloatArray, offsets: Sequence[float]) -> FloatArray:
    """[F] kcal/mol the standard deviation of the members' energies [M, F], each less its offset."""
    return np.asarray((energies - np.array(offsets)[:, None]).std(axis=0, ddof=1))


def own_spread(forces: FloatArray, energies: FloatArray) -> Own:
    """What members say of frames that they learned from: forces [M, F, N, 3] and energies [M, F]."""
    offsets = tuple(float(e) for e in energies.mean(axis=1))
    spread = spread_of(forces)
    return Own(
        float(np.quantile(spread, 0.99)), float(np.median(spread)),
        float(np.quantile(energy_spread_of(energies, offsets), 0.99)), offsets,
    )  # fmt: skip


def save_committee(folder: Path, members: Sequence[Path], own: Mapping[str, Own]) -> Path:
    """Write the file of a committee.

    Args:
        folder: of the committee.
        members: force field folders in it.
        own: by molecule.

    Raises:
        StorageError: it cannot be written.
    """
    described = {
        "mdflash_committee": SCHEMA,
        "members": [
            {"forcefield": str(path.relative_to(folder)), "sha256": load_forcefield(path).digest} for path in members
        ],
        "units": {"forces": "kcal/mol/angstrom", "energies": "kcal/mol"},
        "molecules": {
            name: {
                "forces": {"percentile_99": o.forces, "median": o.median},
                "energies": {"percentile_99": o.energies, "offsets": list(o.offsets)},
            }
            for name, o in own.items()
        },
    }
    file = folder / FILE
    atomic_write(file, dump(described))
    return file


def load_committee(folder: Path) -> Committee:
    """Read a committee.

    Raises:
        ForceFieldError: no committee, a damaged file, or a member that is not the one that was listed.
    """
    file = folder / FILE
    if not file.is_file():
        message = f"is not a committee: it has no {FILE} (mdflash train RECIPE --committee 4 makes committees)"
        raise ForceFieldError(message, file=folder)
    listed, own = _listed(file)
    if len(listed) < FEWEST:
        raise ForceFieldError(f"lists {len(listed)} members; a committee has {FEWEST} or more", file=file)
    members = tuple(load_forcefield(path) for path, _ in listed)
    for (path, digest), member in zip(listed, members, strict=True):
        if member.digest != digest:
            message = f"is not the member that {file} lists; run its training again, which writes that file anew"
            raise ForceFieldError(message, file=path)
    return Committee(folder, members, own)


def _read_own(found: Any, members: int) -> Own:
    forces, energies = found["forces"], found["energies"]
    own = Own(
        float(forces["percentile_99"]), float(forces["median"]), float(energies["percentile_99"]),
        tuple(float(e) for e in energies["offsets"]),
    )  # fmt: skip
    if len(own.offsets) != members or not np.isfinite([own.forces, own.median, own.energies, *own.offsets]).all():
        raise ValueError("numbers are missing, or are no spread")
    return own


def committee_folder(ff: ForceField) -> Path | None:
    """The folder of the committee that a force field is a member of: that it lies in, if it lists it; None: of none."""
    if ff.folder is None:
        return None
    path = ff.folder.absolute()
    folder = path.parent.parent
    try:
        listed = members_of(folder)
    except MdflashError:
        return folder  # its damage is for whoever reads it
    return folder if path in listed or ff.digest in listed.values() else None


def members_of(folder: Path) -> dict[Path, str]:
    """The force field folders that a committee lists, with their digests; empty where there is no committee.

    Raises:
        ForceFieldError: a damaged file.
    """
    return dict(_listed(folder / FILE)[0]) if (folder / FILE).is_file() else {}


def _listed(file: Path) -> tuple[list[tuple[Path, str]], dict[str, Own]]:
    """What the file of a committee lists: members with their digests, and what is known of each molecule."""
    data = load_yaml(file).data
    if not isinstance(data, dict) or data.get("mdflash_committee") != SCHEMA:
        raise ForceFieldError(f"expected 'mdflash_committee: {SCHEMA}' as the first line", file=file, line=1)
    try:
        listed = [(file.parent / str(m["forcefield"]), str(m["sha256"])) for m in data["members"]]
        own = {str(name): _read_own(found, len(listed)) for name, found in data["molecules"].items()}
    except DAMAGE as error:
        message = f"is damaged ({type(error).__name__}: {error}); run its training again, which writes it anew"
        raise ForceFieldError(message, file=file) from None
    return listed, own

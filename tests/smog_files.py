"""A C-alpha model in the files that SMOG 2 writes, of any chain."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mdflash.core.geometry import bond_angles, distances, torsions

C12 = 1.67772e-05
WIDTH = 0.05


def write_smog(folder: Path, positions: np.ndarray, *, gaussian: bool = False, split: int = 0) -> tuple[Path, ...]:
    """model.top, model.xml and model.gro of a chain [N, 3] in Å, or of two that part before residue `split`."""
    n, nm = len(positions), positions / 10.0
    starts = [i for i in range(n) if i not in (0, split)]
    bonds = np.array([(i - 1, i) for i in starts])
    angles = np.array([(i - 2, i - 1, i) for i in starts if i - 1 in starts])
    dihedrals = np.array([(i - 3, i - 2, i - 1, i) for i in starts if i - 1 in starts and i - 2 in starts])
    contacts = np.array([(i, j) for i in range(n) for j in range(i + 4, n, 2)])

    def lines(rows: np.ndarray, *columns: np.ndarray, function: int = 1) -> str:
        return "".join(
            f"{' '.join(str(b + 1) for b in beads)} {function} {' '.join(f'{v:.9e}' for v in values)}\n"
            for beads, *values in zip(rows, *columns, strict=True)
        )

    once = [np.degrees(torsions(nm, dihedrals)) * m + 180.0 for m in (1, 3)]
    twist = "".join(
        line.rsplit(" ", 1)[0] + f" {m}\n"
        for m, phase, k in zip((1, 3), once, (1.0, 0.5), strict=True)
        for line in lines(dihedrals, phase, np.full(len(dihedrals), k), np.zeros(len(dihedrals))).splitlines()
    )
    top = (
        "; written like SMOG 2\n[ defaults ]\n 1 1 no 1 1\n\n"
        f"[ atomtypes ]\n NB_1 1.0000 0.000000 A 0.0 {C12}\n\n[ moleculetype ]\n Macromolecule 3\n\n[ atoms ]\n"
        + "".join(f"{i + 1} NB_1 {i + 11} {'ALA' if i % 3 else 'GLY'} CA {i + 1}\n" for i in range(n))
        + "\n[ bonds ]\n" + lines(bonds, distances(nm, bonds), np.full(len(bonds), 2e4))
        + "\n[ angles ]\n" + lines(angles, np.degrees(bond_angles(nm, angles)), np.full(len(angles), 40.0))
        + "\n[ dihedrals ]\n" + twist
        + "\n[ exclusions ]\n" + "".join(f"{i + 1} {j + 1}\n" for i, j in contacts)
        + "\n[ system ]\n Macromolecule\n\n[ molecules ]\n Macromolecule 1\n"
    )  # fmt: skip
    r0 = distances(nm, contacts)
    if gaussian:
        expression, names = "A*((1+a/(A*r^12))*(1-exp(-(r-r0)^2/(2*sigmaG^2)))-1)", ("A", "r0", "sigmaG", "a")
        values = np.stack([np.full(len(r0), 1.0), r0, np.full(len(r0), WIDTH), np.full(len(r0), C12)], axis=1)
    else:
        expression, names = "A/r^12-B/r^10", ("A", "B")
        values = np.stack([5.0 * r0**12, 6.0 * r0**10], axis=1)
    rows = "".join(
        f'<interaction i="{i + 1}" j="{j + 1}" '
        + " ".join(f'{name}="{value:.9e}"' for name, value in zip(names, row, strict=True)) + "/>\n"
        for (i, j), row in zip(contacts, values, strict=True)
    )  # fmt: skip
    xml = (
        f'<OpenSMOGforces>\n<contacts>\n<contacts_type name="wells">\n<expression expr="{expression}"/>\n'
        + "".join(f"<parameter>{name}</parameter>\n" for name in names)
        + f"{rows}</contacts_type>\n</contacts>\n</OpenSMOGforces>\n"
    )
    gro = f"a chain\n{n}\n" + "".join(
        f"{i + 11:5d}{'ALA' if i % 3 else 'GLY':<5}{'CA':>5}{i + 1:5d}{x:8.3f}{y:8.3f}{z:8.3f}\n"
        for i, (x, y, z) in enumerate(nm)
    )
    files = (folder / "model.top", folder / "model.xml", folder / "model.gro")
    for file, text in zip(files, (top, xml, gro + "   9.0   9.0   9.0\n"), strict=True):
        file.write_text(text)
    return files

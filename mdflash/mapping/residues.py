"""What is known of residues: names, masses, and what in a structure file is no protein.

Masses are average residue masses in Da (amino acid less H2O, natural isotopes), as in ExPASy's table.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

RESIDUE_MASS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "ALA": 71.0788, "ARG": 156.1875, "ASN": 114.1038, "ASP": 115.0886, "CYS": 103.1388,
        "GLN": 128.1307, "GLU": 129.1155, "GLY": 57.0519, "HIS": 137.1411, "ILE": 113.1594,
        "LEU": 113.1594, "LYS": 128.1741, "MET": 131.1926, "PHE": 147.1766, "PRO": 97.1167,
        "SER": 87.0782, "THR": 101.1051, "TRP": 186.2132, "TYR": 163.1760, "VAL": 99.1326,
    }
)  # fmt: skip
"""The twenty amino acids."""

SAME_RESIDUE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "HID": "HIS", "HIE": "HIS", "HIP": "HIS", "HSD": "HIS", "HSE": "HIS", "HSP": "HIS",
        "CYX": "CYS", "CYM": "CYS", "ASH": "ASP", "GLH": "GLU", "LYN": "LYS",
    }
)  # fmt: skip
"""Protonation states and disulfides, which one bead per residue does not distinguish."""

ELEMENT_MASS: Final[Mapping[str, float]] = MappingProxyType({"C": 12.011, "N": 14.007, "O": 15.999, "S": 32.06})
"""Of the heavy atoms of the twenty amino acids and the caps, whose names begin with their element."""

PARENT_RESIDUE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "MSE": "MET", "SEP": "SER", "TPO": "THR", "PTR": "TYR", "HYP": "PRO", "PCA": "GLU", "CSO": "CYS",
        "CME": "CYS", "OCS": "CYS", "KCX": "LYS", "MLY": "LYS", "M3L": "LYS", "ALY": "LYS", "NLE": "LEU",
    }
)  # fmt: skip
"""Modified residues and the amino acid a user may want to put in their place; never replaced silently."""

CAPS: Final = frozenset({"ACE", "NME", "NMA", "NH2", "FOR"})
IONS: Final = frozenset(
    "NA NA+ SOD CL CL- CLA K K+ POT MG MG2 CA CAL CA2 ZN ZN2 MN FE FE2 CU NI CO CD LI RB CS BR IOD F".split()
)
WATERS: Final = frozenset("HOH WAT SOL H2O TIP3 TIP TP3 TIP4 TP4 T3P T4P SPC DOD W".split())

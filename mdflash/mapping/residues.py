"""What is known of residues: names, masses, and what in a structure file is no protein.

Masses are average residue masses in Da (amino acid less H2O, natural isotopes), as in ExPASy's table.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
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
        "HID": "HIS", "HIE": "HIS", "HIP": "HIS", "HSD": "HIS", "HSE": "HIS", "HSP": "HIS", "HSH": "HIS",
        "HIH": "HIS", "HISA": "HIS", "HISB": "HIS", "HISD": "HIS", "HISE": "HIS", "HISH": "HIS", "HIS1": "HIS",
        "HIS2": "HIS", "CYX": "CYS", "CYM": "CYS", "CYS1": "CYS", "CYS2": "CYS", "CYSH": "CYS", "CYN": "CYS",
        "ASH": "ASP", "ASPH": "ASP", "ASPP": "ASP", "GLH": "GLU", "GLUH": "GLU", "GLUP": "GLU", "LYN": "LYS",
        "LYP": "LYS", "LSN": "LYS", "LYSH": "LYS", "ARGN": "ARG", "ARN": "ARG", "TYM": "TYR",
    }
)  # fmt: skip
"""Protonation states and disulfides, as Amber, CHARMM and GROMACS call them; one bead does not distinguish them."""

ELEMENT_MASS: Final[Mapping[str, float]] = MappingProxyType({"C": 12.011, "N": 14.007, "O": 15.999, "S": 32.06})
"""Of the heavy atoms of the twenty amino acids and the caps, whose names begin with their element."""

PARENT_RESIDUE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "MSE": "MET", "SME": "MET", "OMT": "MET", "FME": "MET", "SEP": "SER", "SP1": "SER", "SP2": "SER", "TPO": "THR",
        "THP1": "THR", "PTR": "TYR", "TYS": "TYR", "TP2": "TYR", "HYP": "PRO", "PCA": "GLU", "CGU": "GLU", "CSO": "CYS",
        "CSD": "CYS", "CSX": "CYS", "CSS": "CYS", "CME": "CYS", "OCS": "CYS", "CAS": "CYS", "YCM": "CYS", "SEC": "CYS",
        "KCX": "LYS", "MLY": "LYS", "MLZ": "LYS", "M3L": "LYS", "ALY": "LYS", "LLP": "LYS", "PYL": "LYS", "NLE": "LEU",
        "ORN": "LYS", "NVA": "VAL", "AIB": "ALA", "ABA": "ALA", "ASX": "ASN", "GLX": "GLN", "SNN": "ASN",
    }
)  # fmt: skip
"""Modified residues and the amino acid that each comes from; nothing is replaced unless the user asks for it."""

DNA: Final = frozenset("DA DC DG DT DU DI DA5 DC5 DG5 DT5 DA3 DC3 DG3 DT3 DAN DCN DGN DTN T THY".split())
RNA: Final = frozenset(
    "A C G U I RA RC RG RU A5 C5 G5 U5 A3 C3 G3 U3 RA5 RC5 RG5 RU5 RA3 RC3 RG3 RU3 URA ADE CYT GUA".split()
)
CAPS: Final = frozenset({"ACE", "NME", "NMA", "NH2", "NHE", "FOR", "CT3", "CT2"})
IONS: Final = frozenset(
    "NA NA+ SOD CL CL- CLA K K+ POT MG MG2 MG+ CA CAL CA2 CA+ ZN ZN2 MN FE FE2 CU CU1 NI CO CD HG LI LIT RB RUB CS CES "
    "BR IB IOD F BA BAR SR CD2 NA1 CIO CIM CIP".split()
)
WATERS: Final = frozenset("HOH WAT SOL H2O TIP3 TIP TP3 TIP4 TP4 TIP5 TP5 T3P T4P T5P SPC SPCE OPC DOD W WF".split())

_CARBOXYLATE = {
    "O1": "O", "OT1": "O", "OCT1": "O", "OC1": "O", "O2": "OXT", "OT2": "OXT", "OCT2": "OXT", "OC2": "OXT", "OT": "OXT"
}  # fmt: skip
_OTHER_NAMES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "ILE": {"CD": "CD1"}, "SER": {"OG1": "OG"}, "THR": {"OG": "OG1", "CG": "CG2"}, "CYS": {"SG1": "SG"},
        "ASN": {"OD": "OD1", "ND": "ND2"}, "GLN": {"OE": "OE1", "NE": "NE2"},
        "ACE": {"CY": "C", "CAY": "CH3", "CA": "CH3", "OY": "O"}, "FOR": {"CY": "C", "OY": "O"},
        "NME": {"NT": "N", "CH3": "C", "CT": "C", "CAT": "C", "CA": "C"}, "NH2": {"NT": "N"}, "NHE": {"NT": "N"},
    }
)  # fmt: skip
SIDE_CHAIN: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        name: frozenset(atoms.split())
        for name, atoms in {
            "ALA": "CB", "ARG": "CB CG CD NE CZ NH1 NH2", "ASN": "CB CG OD1 ND2", "ASP": "CB CG OD1 OD2",
            "CYS": "CB SG", "GLN": "CB CG CD OE1 NE2", "GLU": "CB CG CD OE1 OE2", "GLY": "",
            "HIS": "CB CG ND1 CD2 CE1 NE2", "ILE": "CB CG1 CG2 CD1", "LEU": "CB CG CD1 CD2", "LYS": "CB CG CD CE NZ",
            "MET": "CB CG SD CE", "PHE": "CB CG CD1 CD2 CE1 CE2 CZ", "PRO": "CB CG CD", "SER": "CB OG",
            "THR": "CB OG1 CG2", "TRP": "CB CG CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2",
            "TYR": "CB CG CD1 CD2 CE1 CE2 CZ OH", "VAL": "CB CG1 CG2",
        }.items()
    }
)  # fmt: skip
"""Atoms of each amino acid beside N, CA, C, O, OXT and hydrogens."""


@cache
def amino_acid(name: str) -> str:
    """The amino acid that a residue of this name is; another name comes back as it is.

    Protonation states are their parent's; NALA and CALA are the first and last residue of a chain (Amber).
    """
    name = name if len(name) < 4 else name.rstrip("+-")  # LYS+, GLU-: charged
    if len(name) == 4 and name[0] in "NC" and SAME_RESIDUE.get(name[1:], name[1:]) in RESIDUE_MASS:
        name = name[1:]
    if name == "NMA":
        return "NME"
    return SAME_RESIDUE.get(name, name)


@cache
def standard_atom(residue: str, atom: str) -> str:
    """The PDB name of an atom that force fields call otherwise (CD of ILE, OT1)."""
    residue = amino_acid(residue)
    if residue in RESIDUE_MASS and atom in _CARBOXYLATE:
        return _CARBOXYLATE[atom]
    return _OTHER_NAMES.get(residue, {}).get(atom, atom)


def as_parent(parent: str, atoms: Mapping[str, int]) -> dict[str, int]:
    """Of a modified residue's atoms those that its parent has too; selenium stands for sulfur."""
    wanted = {"N", "CA", "C", "O", "OXT"} | SIDE_CHAIN[parent]
    renamed = {{"SE": "SD", "SEG": "SG"}.get(name, name): row for name, row in atoms.items()}
    return {name: row for name, row in renamed.items() if name in wanted}

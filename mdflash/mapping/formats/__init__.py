"""The formats of structure files. One file each; this list is what `read_content` and the messages know.

==========  ======================================================================
format      suffixes
==========  ======================================================================
PDB         .pdb, .ent, .pdb1 (an assembly)
mmCIF       .cif, .mmcif, .pdbx
GRO         .gro
==========  ======================================================================

Each may be compressed: .gz, .bz2, .xz.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mdflash.core.regular import read_input
from mdflash.errors import InputError
from mdflash.mapping.atoms import Content
from mdflash.mapping.formats import gro, mmcif, pdb

COMPRESSED = (".gz", ".bz2", ".xz")


class StructureFormat(NamedTuple):
    """How one format is read.

    Attributes:
        name: for people.
        suffix: a regular expression of its suffixes.
        read: from the file's bytes and its name (for messages).
        begins: a regular expression of first lines that no other format has; empty where there is none.
    """

    name: str
    suffix: str
    read: Callable[[bytes, Path], Content]
    begins: bytes = b""


FORMATS = (
    StructureFormat("PDB", r"\.(pdb\d*|ent)", pdb.read, rb"(HEADER|REMARK|CRYST1|ATOM  |HETATM|MODEL )\s"),
    StructureFormat("mmCIF", r"\.(cif|mmcif|pdbx)", mmcif.read, rb"(?i)data_\w*\s*$"),
    StructureFormat("GRO", r"\.gro", gro.read),
)
_HINTS = {
    **dict.fromkeys(
        (".psf", ".prmtop", ".parm7", ".top", ".tpr"),
        "a topology has no positions: write a PDB file of a frame; VMD: animate write pdb, MDAnalysis: u.atoms.write",
    ),
    ".bcif": "binary CIF: download the mmCIF (.cif.gz) instead",
    ".pdbqt": "PDBQT: convert it to PDB",
}


def plain_suffix(file: Path) -> str:
    """The suffix that tells the format, small, without that of a compression."""
    name = file.with_suffix("") if file.suffix.lower() in COMPRESSED else file
    return name.suffix.lower()


def is_structure(file: Path) -> bool:
    """Whether the name is that of a structure file."""
    return any(re.fullmatch(known.suffix, plain_suffix(file)) for known in FORMATS)


def is_assembly(file: Path) -> bool:
    """Whether the file is a biological assembly (.pdb1), whose models are the parts of one complex."""
    return re.fullmatch(r"\.pdb\d+", plain_suffix(file)) is not None


def bare_name(file: Path) -> str:
    """The file's name without the suffixes of format and compression."""
    name = file.with_suffix("") if file.suffix.lower() in COMPRESSED else file
    return name.stem


def read_content(file: Path) -> Content:
    """Everything a structure file holds.

    Raises:
        InputError: no such file, a format that is not known, or a file that is damaged.
    """
    if not file.exists():
        raise InputError("no such file; expected a structure (PDB, mmCIF, GRO)", file=file)
    if not file.is_file():
        raise InputError("is not a file; expected a structure (PDB, mmCIF, GRO)", file=file)
    suffix = plain_suffix(file)
    for known in FORMATS:
        if re.fullmatch(known.suffix, suffix):
            data = read_bytes(file)
            if known.begins:
                _check_kind(data, known, file)
            return known.read(data, file)
    expected = "expected .pdb, .ent, .cif, .mmcif or .gro, also compressed (.gz, .bz2, .xz)"
    hint = f" ({_HINTS[suffix]})" if suffix in _HINTS else ""
    raise InputError(f"'{suffix or file.name}' is not a structure format{hint}; {expected}", file=file)


def _check_kind(data: bytes, named: StructureFormat, file: Path) -> None:
    """Refuse what its suffix calls otherwise than it begins."""
    first = next((line for line in data.splitlines() if line.strip() and not line.startswith(b"#")), b"")
    begins = next((known for known in FORMATS if known.begins and re.match(known.begins, first)), named)
    if begins is not named:
        raise InputError(
            f"is {begins.name}, by its first line, under the name of {named.name}: rename it, as in "
            f"{bare_name(file)}.{'pdb' if begins.name == 'PDB' else 'cif'}",
            file=file,
        )


MOST_BYTES = 2 << 30
"""Of a structure file, unpacked: some 20 million atoms."""
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ\x00": lzma}
"""By how their files begin, who unpacks them."""


def read_bytes(file: Path) -> bytes:
    """What the file holds, unpacked: by its first bytes, for suffixes get lost in downloads.

    Raises:
        InputError: it cannot be read.
    """
    try:
        data = read_input(file, MOST_BYTES)
        for magic, module in _PACKED.items():
            if data.startswith(magic):
                with module.open(io.BytesIO(data)) as packed:
                    unpacked: bytes = packed.read(MOST_BYTES + 1)
                if len(unpacked) > MOST_BYTES:
                    raise InputError(f"unpacks to more than {MOST_BYTES:,} bytes, which no structure has", file=file)
                return unpacked
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # PowerShell's > writes UTF-16
            return data.decode("utf-16").encode()
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", file=file) from None
    return data

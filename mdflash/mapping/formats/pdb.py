"""PDB files by their columns, as the many programs that write them fill these.

https://www.wwpdb.org/documentation/file-format-content/format33/sect9.html

Only what names and places atoms is read strictly. Serial numbers may be stars, hexadecimal or repeated, remarks may
have any encoding, columns for elements may hold anything, and CONECT lines that make no sense are passed over.
Numbers beyond four columns: hybrid-36 (R. W. Grosse-Kunstleve), or a fifth digit in the column of the insertion code.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import numpy as np

from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.mapping.atoms import Atom, Content, Model, box_vectors, from_nanometers
from mdflash.mapping.residues import RESIDUE_MASS, amino_acid

_THREE = re.compile(r" *(-?\d+\.\d{3}) *(-?\d+\.\d{3}) *(-?\d+\.\d{3})(?!\d)")
_FIELD = re.compile(r" *-?\d+\.(\d+)")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def read(data: bytes, file: Path) -> Content:
    """What a PDB file holds.

    Models are those between MODEL and ENDMDL; frames that only END lines divide (VMD) are models too.

    Raises:
        InputError: no atoms, or an atom without a place or a residue number; names the line.
    """
    lines = [line.decode("latin-1") for line in data.removeprefix(b"\xef\xbb\xbf").splitlines()]
    models: list[Model] = []
    atoms: list[Atom] = []
    places: list[tuple[float, float, float]] = []
    serials: list[str] = []
    conect: list[str] = []
    parents: dict[str, str] = {}
    box: FloatArray | None = None
    part, number, numbered = 0, 1, False

    def finish() -> None:
        nonlocal atoms, places, part
        if atoms:
            by_end = bool(models) and not numbered
            models.append(Model(number, tuple(atoms), from_nanometers(np.array(places) * 0.1), box, by_end))
        atoms, places, part = [], [], 0

    for k, text in enumerate(lines, start=1):
        record = text[:6].upper().rstrip()
        if record == "HETATM" or (record[:4] == "ATOM" and not record[4:].strip(" 0123456789")):
            line = f"{_unshifted(text):<80}"
            place, line = _place(line, file, k)
            places.append(place)
            atoms.append(_atom(line, part, file, k))
            if not models:
                serials.append(line[6:11].strip())
        elif record.startswith("TER") and len(record) == 3:
            part += 1
        elif record == "MODEL":
            finish()
            number, numbered = _whole(text[6:].strip()) or len(models) + 1, True
        elif record in ("ENDMDL", "END"):
            finish()
            number = len(models) + 1
        elif record == "CRYST1":
            box = _box(text)
        elif record == "MODRES" and text[24:27].strip():
            parents[text[12:15].strip().upper()] = text[24:27].strip().upper()
        elif record == "CONECT":
            conect.append(text)
    finish()
    if not models:
        raise InputError("holds no atoms (no line begins with ATOM or HETATM)", file=file)
    return Content(tuple(models), parents, tuple(_bonds(conect, serials)))


def residue_number(columns: str) -> int | None:
    """The number in the four columns of a residue number, hybrid-36 or plain; None where there is none."""
    text = columns.strip()
    plain = _whole(text)
    if plain is not None:
        return plain
    if (
        len(text) == 4
        and text.isascii()
        and text[0].isalpha()
        and text.isalnum()
        and (text.isupper() or text.islower())
    ):
        value = 0
        for letter in text.upper():
            value = value * 36 + _DIGITS.index(letter)
        return value - 10 * 36**3 + 10_000 + (26 * 36**3 if text.islower() else 0)
    return None


def show_residue_number(number: int) -> str | None:
    """The four columns of a residue number, hybrid-36 above 9999; None where four columns cannot hold it."""
    if -999 <= number <= 9999:
        return f"{number:4d}"
    rest = number - 10_000 + 10 * 36**3
    lower = rest >= 36**4
    rest -= 26 * 36**3 if lower else 0
    if number < 0 or rest >= 36**4:
        return None
    text = ""
    for _ in range(4):
        rest, digit = divmod(rest, 36)
        text = _DIGITS[digit] + text
    return text.lower() if lower else text


def _unshifted(text: str) -> str:
    """The line as it would be without the digits by which a serial number above 99,999 pushed it to the right."""
    for more in (1, 2):
        if text[6 : 11 + more].isdigit() and text[34 + more : 35 + more] == text[42 + more : 43 + more] == ".":
            return text[:6] + text[6 + more :]
    return text


def _atom(line: str, part: int, file: Path, k: int) -> Atom:
    code = line[26].strip()
    number = residue_number(line[22:26])
    if code.isdecimal():  # a fifth digit
        number, code = _whole(line[22:27]), ""
    if number is None:
        raise InputError(
            f"columns 23 to 26 of an ATOM line must hold a residue number, found '{line[22:26]}'", file=file, line=k
        )
    residue, chain = line[17:21].strip().upper(), line[21].strip()
    if len(residue) == 4 and residue.isalnum() and line[17:20] in RESIDUE_MASS and amino_acid(residue) == residue:
        residue, chain = residue[:3], line[20:22]  # a chain id of two letters
    try:
        occupancy = float(line[54:60])
    except ValueError:
        occupancy = 1.0
    return Atom(
        name=line[12:16].strip().upper(),
        residue=residue,
        number=number,
        code=code,
        chain=chain.strip(),
        segment=line[72:76].strip(),
        part=part,
        alternate=line[16].strip(),
        occupancy=occupancy,
        hetero=line[:6].upper() == "HETATM",
        b_factor=_real(line[60:66]),
    )


def _place(line: str, file: Path, k: int) -> tuple[tuple[float, float, float], str]:
    """The coordinates, and the line as it would be if they kept to their columns.

    Programs that write `%8.3f` push all that follows to the right below -999.999, and some begin a column late. Then
    numbers run on from one field into the next, and each ends with its third decimal. Numbers of one format
    with more decimals (`%8.4f`) may fill their columns without running on.
    """
    runs_on = any(line[c] != " " and line[c + 1] != " " and line[c - 3] != "." for c in (37, 45, 53))
    if (runs_on or line[27:30] != "   ") and (found := _THREE.match(line, 27)) is not None:
        return (float(found[1]), float(found[2]), float(found[3])), f"{line[:54]}{line[found.end() :]:<26}"
    fields = [line[c : c + 8] for c in (30, 38, 46)]
    try:
        decimals = {found and len(found[1]) for found in map(_FIELD.fullmatch, fields)}
        if runs_on and (None in decimals or len(decimals) > 1):
            raise ValueError
        x, y, z = map(float, fields)
        return (x, y, z), line
    except ValueError:
        raise InputError(
            "columns 31 to 54 of an ATOM line must hold three coordinates (8.3f each)", file=file, line=k
        ) from None


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _whole(text: str) -> int | None:
    """The number that `text` is, as plain digits; None if it is not."""
    text = text.strip()
    digits = text[1:] if text[:1] in ("-", "+") else text
    return int(text) if digits.isdecimal() and digits.isascii() else None


def _box(text: str) -> FloatArray | None:
    try:
        a, b, c, alpha, beta, gamma = (
            float(text[i:j]) for i, j in ((6, 15), (15, 24), (24, 33), (33, 40), (40, 47), (47, 54))
        )
    except ValueError:
        return None
    return box_vectors((a, b, c), (alpha, beta, gamma))


def _bonds(conect: list[str], serials: list[str]) -> list[tuple[int, int]]:
    """Pairs of rows; serials that no atom or several atoms have say nothing."""
    count = Counter(serials)
    row = {serial: k for k, serial in enumerate(serials) if count[serial] == 1}
    found = set()
    for text in conect:
        fields = [text[i : i + 5].strip() for i in range(6, 31, 5)]
        for other in fields[1:]:
            if fields[0] in row and other in row and fields[0] != other:
                i, j = row[fields[0]], row[other]
                found.add((min(i, j), max(i, j)))
    return sorted(found)

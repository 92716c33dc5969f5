"""Which residues follow each other: chains as they are, from places and numbers, where files say it in many ways.

Two residues are bonded if C and N are bonded; in a trace of CA, if their CA are and their numbers follow each
other. Chain ids, TER, segment ids and numbers only say what a break between two residues means:

=====================================================================  ===========================================
between one residue and the next of the same chain id                  that is
=====================================================================  ===========================================
a bond                                                                 one chain, whatever else the file says
no bond; TER, another segment id, numbers that go back, a chain's end  another chain
no bond; numbers are left out that a chain could span                  missing residues: `gaps` decides
no bond; places differ by an edge of the file's box                    one chain, made whole
no bond; the same molecule again, or too far for missing residues      another chain, said in a note
a bond between the last and the first                                  a ring: refused, or `gaps: break` opens it
no bond; a jump along one axis, no box in the file                     refused: a periodic box has split it
=====================================================================  ===========================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.mapping.choices import Gaps, advice

PEPTIDE_BOND = 2.5
"""Å; C-N is 1.33 Å, and longer in poor models; without a bond, C and N are 3 Å apart or more."""
CHAIN_BREAK = 4.5
"""Å; consecutive CA atoms are 3.8 Å apart (2.9 Å across a cis bond), every second one 5 Å or more."""
JOINED = 1.8
"""Å; C and N of two residues that are nearer are bonded whatever else the file says."""
RING = 4.0
"""Å; CA atoms at the ends of a trace that are nearer may be those of a ring."""
STEP = 3.8
"""Å from one CA to the next: a chain spans no more for each residue."""
FAR = 25.0
"""Å; beyond it, residues whose numbers follow each other belong to two molecules, not to both sides of a gap."""
TORN = 15.0
"""Å; an atom farther from its residue's CA has been put to the other side of the box."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class Residue:
    """One protein residue, or terminal cap, of a structure file.

    Attributes:
        name: three letters; protonation states have their parent's name (HIE is HIS).
        number: as in the file.
        chain: chain id; chains without one get A, B, ...
        chain_index: counts the stretches of bonded residues.
        atoms: atom name -> row in `Structure.positions`, of its atoms other than hydrogen.
        code: insertion code, or "".
        molecule: counts chains; the two sides of a gap belong to one.
    """

    name: str
    number: int
    chain: str
    chain_index: int
    atoms: Mapping[str, int]
    code: str = ""
    molecule: int = 0

    @property
    def ca(self) -> int:
        """Row of its CA atom; caps have none."""
        return self.atoms["CA"]

    @property
    def heavy(self) -> IntArray:
        """Rows of its atoms other than hydrogen."""
        return np.array(list(self.atoms.values()), np.int64)

    @property
    def label(self) -> str:
        """Name and number: 'TYR 2', 'TYR 2A'."""
        return f"{self.name} {self.number}{self.code}"

    @property
    def place(self) -> str:
        """The residue by name: 'TYR 2 of chain A'."""
        return f"{self.label} of chain {self.chain}" if self.chain else self.label


@dataclass(frozen=True)
class Link:
    """What the file says of a residue beside `Residue`, to find its neighbors.

    Attributes:
        residue: its chain is the file's, or "".
        segment: segment id, or mmCIF's label_asym_id.
        part: how many TER stand before it.
        sequence: its place in the full sequence, where the file tells.
        starts: whether it is a chain's first residue by its atoms.
    """

    residue: Residue
    segment: str = ""
    part: int = 0
    sequence: int | None = None
    starts: bool = False

    @property
    def ends(self) -> bool:
        """Whether it is a chain's last residue by its atoms."""
        return "OXT" in self.residue.atoms or self.residue.name in ("NME", "NH2", "NHE", "CT3", "CT2")

    @property
    def is_start(self) -> bool:
        """Whether it is a chain's first residue by its atoms."""
        return self.starts or self.residue.name in ("ACE", "FOR")


class Chains:
    """The residues of one file in chains.

    Args:
        links: protein residues and caps, in the file's order.
        positions: [F, atoms, 3] Å; the first frame tells what is bonded.
        boxes: of each frame [3, 3] Å, or None.
        file: for messages.
    """

    def __init__(
        self, links: Sequence[Link], positions: FloatArray, boxes: Sequence[FloatArray | None], file: Path
    ) -> None:
        self.file = file
        self.positions = positions
        self.notes: list[str] = []
        self._boxes = boxes
        self._links = list(links)
        self._at = {name: self._places(name) for name in ("N", "CA", "C")}
        self._stretches = self._connect()

    def residues(self, gaps: Gaps) -> tuple[Residue, ...]:
        """The residues, chain after chain, each in its order.

        Raises:
            InputError: residues are missing, or a box has split the protein, and `gaps` does not say what to do.
        """
        molecules: list[list[list[int]]] = []
        for stretch in self._stretches:
            before = molecules[-1] if molecules else None
            if before is None or self._chain(before[-1][0]) != self._chain(stretch[0]):
                molecules.append([stretch])
            elif self._is_gap(before[-1], stretch, gaps):
                if gaps == "bond":
                    before[-1] = before[-1] + stretch
                else:
                    before.append(stretch)
            else:
                molecules.append([stretch])
        for molecule in molecules:
            self._open_ring(molecule, gaps)
        self._say_bonded_apart(molecules)
        self._make_whole()
        letters = self._letters(molecules)
        found, count = [], 0
        for m, (molecule, letter) in enumerate(zip(molecules, letters, strict=True)):
            for stretch in molecule:
                found += [replace(self._links[k].residue, chain=letter, chain_index=count, molecule=m) for k in stretch]
                count += 1
        return tuple(found)

    def _places(self, atom: str) -> FloatArray:
        rows = [link.residue.atoms.get(atom, -1) for link in self._links]
        x: FloatArray = self.positions[0][rows].copy()
        x[np.array(rows) < 0] = np.nan
        return x

    def _chain(self, k: int) -> str:
        return self._links[k].residue.chain

    def _nearest(self, d: FloatArray, frame: int = 0) -> FloatArray:
        """Displacements [..., 3] to the nearest image."""
        box = self._boxes[frame]
        if box is None:
            return d
        out: FloatArray = d - np.round(d @ np.linalg.inv(box)) @ box
        return out

    def _distance(self, a: FloatArray, b: FloatArray) -> FloatArray:
        found: FloatArray = np.linalg.norm(self._nearest(b - a), axis=-1)
        return found

    def _connect(self) -> list[list[int]]:
        """Stretches of bonded residues; those of one chain id follow each other, in the order of their beginnings."""
        after: dict[int, int] = {}
        groups: dict[str, list[int]] = {}
        for k in range(len(self._links)):
            groups.setdefault(self._chain(k), []).append(k)
        for members in groups.values():
            for a, b in pairwise(members):
                if self._bonded(a, b):
                    after[a] = b
            self._connect_apart(members, after)
        has_before = set(after.values())
        stretches = []
        for members in groups.values():
            for k in members:
                if k not in has_before:
                    stretch = [k]
                    while stretch[-1] in after:
                        stretch.append(after[stretch[-1]])
                    stretches.append(stretch)
        return stretches

    def _connect_apart(self, members: list[int], after: dict[int, int]) -> None:
        """Bonds between residues that do not stand next to each other in the file, nearest first."""
        has_before = set(after.values())
        tails = [k for k in members if k not in after]
        heads = [k for k in members if k not in has_before]
        if len(heads) < 2 or len(heads) > 5000:
            return
        found = []
        for t in tails:
            peptide = self._distance(self._at["C"][t], self._at["N"][heads])
            trace = self._distance(self._at["CA"][t], self._at["CA"][heads])
            for h, cn, ca in zip(heads, peptide.tolist(), trace.tolist(), strict=True):
                if h == t:
                    continue
                if cn <= PEPTIDE_BOND:
                    found.append((cn, t, h))
                elif np.isnan(cn) and 2.5 <= ca <= CHAIN_BREAK and self._step(t, h) == 1 and self._same_segment(t, h):
                    found.append((ca, t, h))
        for _, t, h in sorted(found):
            if t in after or h in has_before or self._end(h, after) == t:  # the last: a ring
                continue
            after[t] = h
            has_before.add(h)

    @staticmethod
    def _end(k: int, after: dict[int, int]) -> int:
        while k in after:
            k = after[k]
        return k

    def _same_segment(self, a: int, b: int) -> bool:
        return self._links[a].segment == self._links[b].segment

    def _bonded(self, a: int, b: int) -> bool:
        peptide = float(self._distance(self._at["C"][a], self._at["N"][b]))
        if peptide <= PEPTIDE_BOND:
            return True
        trace = float(self._distance(self._at["CA"][a], self._at["CA"][b]))
        if not 2.0 <= trace <= CHAIN_BREAK or not self._same_segment(a, b):
            return False
        step = self._step(a, b)
        one, other = self._links[a], self._links[b]
        if not np.isnan(peptide) or one.part != other.part:
            return step == 1 and not (one.ends or other.is_start)
        return step >= 1

    def _step(self, a: int, b: int) -> int:
        """By how much the numbers go on; below 1 they do not."""
        one, other = self._links[a], self._links[b]
        step = other.residue.number - one.residue.number
        if step == 0 and one.residue.code != other.residue.code:
            step = 1
        if step < 0 and one.residue.number in (9_999, 99_999) and other.residue.number in (0, 1):
            step = 1
        if one.sequence is not None and other.sequence is not None and self._same_segment(a, b):
            step = max(step, other.sequence - one.sequence)
        return step

    def _is_gap(self, before: list[int], after: list[int], gaps: Gaps) -> bool:
        """Whether two stretches of one chain id are one chain with a gap between; if not, they are two chains.

        Raises:
            InputError: they are, and `gaps` is "refuse".
        """
        a, b = before[-1], after[0]
        one, other = self._links[a], self._links[b]
        step = self._step(a, b)
        if step < 1 and one.part == other.part and self._same_segment(a, b) and not (one.ends or other.is_start):
            trace = float(np.linalg.norm(self._at["CA"][b] - self._at["CA"][a]))
            if trace <= CHAIN_BREAK:
                self.notes.append(
                    f"{one.residue.place} and {other.residue.label} lie {trace:.1f} Å apart, as bonded residues do, "
                    "but their numbers go back: a new chain begins there; number them in a row to read one chain"
                )
            return False
        if step < 1 or one.part != other.part or not self._same_segment(a, b) or one.ends or other.is_start:
            return False
        jump = self._at["CA"][b] - self._at["CA"][a]
        apart = float(np.linalg.norm(jump))
        if np.isnan(apart):
            return False
        r, s = one.residue, other.residue
        names = f"{r.label} and {s.label}" + (f" of chain {s.chain}" if s.chain else "")
        choices = f"{advice('gaps', 'break')} leaves the two sides unbonded, {advice('gaps', 'bond')} bonds across"
        spanned = step > 1 and np.linalg.norm(self._nearest(jump)) <= STEP * step + CHAIN_BREAK - STEP
        if (not spanned or apart > FAR) and gaps == "refuse":
            if self._names(before) == self._names(after):
                self.notes.append(f"{names} are {apart:.1f} Å apart: the same molecule again, a chain of its own")
                return False
            if not spanned and self._is_split(a, b, jump):
                raise InputError(
                    f"{names} follow each other but lie {apart:.1f} Å apart along one axis: a periodic box seems to "
                    "have split the protein, and the file does not say which box. Make it whole (gmx trjconv -pbc "
                    f"whole; MDAnalysis: unwrap), or write the box into the file (CRYST1). {choices}",
                    file=self.file,
                )
            if not spanned and apart > FAR:
                self.notes.append(
                    f"{names} lie {apart:.1f} Å apart, too far for missing residues: a new chain begins at {s.label}"
                )
                return False
        if gaps == "refuse":
            missing = f", {step - 1} by their numbers" if step > 1 else ""
            if apart < CHAIN_BREAK:
                raise InputError(
                    f"{names} follow each other in the chain, and their CA lie {apart:.1f} Å apart, where no bonded "
                    f"residues lie; mend the structure, or choose: {choices}",
                    file=self.file,
                )
            raise InputError(
                f"{names} follow each other in the chain but lie {apart:.1f} Å apart: residues are missing between them"
                f"{missing}. Model them (PDBFixer does), or choose: {choices}",
                file=self.file,
            )
        what = "bonded across the gap all the same" if gaps == "bond" else "a gap, so no bond"
        self.notes.append(f"chain break: {names}, {apart:.1f} Å apart: {what}")
        return True

    def _open_ring(self, molecule: list[list[int]], gaps: Gaps) -> None:
        """Refuse a chain whose ends are bonded, or say where it is opened.

        Raises:
            InputError: it is a ring, and `gaps` is not "break".
        """
        if sum(map(len, molecule)) < 3:
            return
        first, last = molecule[0][0], molecule[-1][-1]
        peptide = float(np.linalg.norm(self._at["N"][first] - self._at["C"][last]))  # not to an image: that is no ring
        trace = float(np.linalg.norm(self._at["CA"][first] - self._at["CA"][last]))
        r, s = self._links[last].residue, self._links[first].residue
        names = f"{r.label} and {s.label}" + (f" of chain {s.chain}" if s.chain else "")
        if peptide <= PEPTIDE_BOND:
            if gaps != "break":
                raise InputError(
                    f"{names}, the last and the first of a chain, are bonded ({peptide:.1f} Å): a cyclic peptide, and "
                    f"chains have two ends here; {advice('gaps', 'break')} opens the ring there",
                    file=self.file,
                )
            self.notes.append(f"a ring was opened between {names}, which are bonded in the file")
        elif np.isnan(peptide) and 2.5 <= trace <= RING:
            self.notes.append(
                f"the ends of a chain, {names}, lie {trace:.1f} Å apart: of a cyclic peptide the bond between them is "
                "missing here"
            )

    def _say_bonded_apart(self, molecules: list[list[list[int]]]) -> None:
        """Say where a peptide bond joins the end of one chain id to the beginning of another: no bond is read there."""
        heads = [molecule[0][0] for molecule in molecules]
        for molecule in molecules:
            last = molecule[-1][-1]
            apart = np.linalg.norm(self._at["N"][heads] - self._at["C"][last], axis=1)
            for head, d in zip(heads, apart.tolist(), strict=True):
                if d <= JOINED and self._chain(head) != self._chain(last):
                    one, other = (self._links[k].residue for k in (last, head))
                    ids = " and ".join(r.chain or "blank" for r in (one, other))
                    self.notes.append(
                        f"{one.label} and {other.label} are bonded ({d:.1f} Å), but their chain ids differ ({ids}): "
                        "two chains, without that bond; give them one id to read one chain"
                    )

    def _names(self, stretch: list[int]) -> list[str]:
        return [self._links[k].residue.name for k in stretch]

    def _is_split(self, a: int, b: int, jump: FloatArray) -> bool:
        """Whether two residues would be bonded but for a jump along one axis of the file's frame."""
        if self._boxes[0] is not None:
            return False
        peptide = self._at["N"][b] - self._at["C"][a]
        bond, d = (CHAIN_BREAK, jump) if np.isnan(peptide).any() else (PEPTIDE_BOND, peptide)
        two = np.sort(np.abs(d))[:2]
        return bool(np.linalg.norm(two) <= bond and np.abs(d).max() > 10.0)

    def _make_whole(self) -> None:
        """Put atoms, residues and chains that a periodic box tore apart together again, frame by frame."""
        torn = [f for f, box in enumerate(self._boxes) if box is not None and self._is_torn(f)]
        if not torn:
            return
        self.positions = self.positions.copy()
        for f in torn:
            self._join(f)
        box = self._boxes[torn[0]]
        assert box is not None
        edges = " x ".join(f"{np.linalg.norm(edge):.1f}" for edge in box)
        self.notes.append(f"the box of the file ({edges} Å) had split the protein; it was made whole")

    def _is_torn(self, f: int) -> bool:
        x = self.positions[f]
        for stretch in self._stretches:
            for a, b in pairwise(stretch):
                end, start = self._rows(a, b)
                d = x[start] - x[end]
                if np.linalg.norm(d) > 2 * CHAIN_BREAK and np.linalg.norm(self._nearest(d, f)) <= CHAIN_BREAK:
                    return True
        for link in self._links:
            rows = link.residue.heavy
            d = x[rows] - x[rows[0]]
            far = np.linalg.norm(d, axis=1) > TORN
            if far.any() and (np.linalg.norm(self._nearest(d[far], f), axis=1) <= TORN).any():
                return True
        return False

    def _rows(self, a: int, b: int) -> tuple[int, int]:
        """The atoms at which residue `a` goes on to `b`: C and N, or CA of both."""
        one, other = self._links[a].residue.atoms, self._links[b].residue.atoms
        if "C" in one and "N" in other:
            return one["C"], other["N"]
        return one.get("CA", next(iter(one.values()))), other.get("CA", next(iter(other.values())))

    def _join(self, f: int) -> None:
        x = self.positions[f]
        center: FloatArray | None = None
        for stretch in self._stretches:
            for k in stretch:
                rows = self._links[k].residue.heavy
                x[rows] = x[rows[0]] + self._nearest(x[rows] - x[rows[0]], f)
            for a, b in pairwise(stretch):
                end, start = self._rows(a, b)
                d = x[start] - x[end]
                x[self._links[b].residue.heavy] += self._nearest(d, f) - d
            rows = np.concatenate([self._links[k].residue.heavy for k in stretch])
            own = x[rows].mean(axis=0)
            if center is not None:  # a complex stays together: each chain in the image next to the first
                x[rows] += self._nearest(own - center, f) - (own - center)
            else:
                center = own

    def _letters(self, molecules: list[list[list[int]]]) -> list[str]:
        """The chain id of each molecule: the file's, or a letter that is free."""
        given = [self._chain(molecule[0][0]) for molecule in molecules]
        used = set(given)
        free = (a + b for a in ("", *LETTERS) for b in LETTERS if a + b not in used)
        return [letter or next(free) for letter in given]

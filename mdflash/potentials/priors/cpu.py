"""The compiled twins of the priors: every term of one replica in one sweep, with hand-written forces.

All terms that are functions of the same internal coordinate form one table: beads, the form's code, parameters. Rows
are sorted by term, so the branch on the form is predicted. The functions themselves are in `potentials.forms`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.compiled.coordinates import (
    STRAIGHT,
    Separation,
    add_bend,
    add_pull,
    add_twist,
    angle,
    arms,
    separation,
    torsion,
)
from mdflash.compiled.jit import njit
from mdflash.core.types import FloatArray, Int32Array, IntArray
from mdflash.neighbors.cpu import build_half_list, nearest_image, rebuild, rebuild_together, room_for
from mdflash.potentials import forms
from mdflash.potentials.priors.eights import Eights, add_eights, find_eights


class Table(NamedTuple):
    """All interactions of one internal coordinate, of all systems.

    Attributes:
        beads: [M, order] int32, counted within the molecule.
        code: [M] int8, the form.
        parameters: [M, P], each form's row (`Form.rows`), zero-padded.
        row: [systems + 1] system s owns the rows row[s]:row[s + 1].
    """

    beads: Int32Array
    code: npt.NDArray[np.int8]
    parameters: FloatArray
    row: IntArray


class Listed(NamedTuple):
    """The four tables of listed terms."""

    distance: Table
    angle_cosine: Table
    angle: Table
    dihedral: Table


class Nonbonded(NamedTuple):
    """The neighbor-list terms; those of one system share its exclusions.

    Those of `forms.ONE_BY_ONE` share one list of pairs, up to their largest cutoff; for the others there are `eights`.

    Attributes:
        type: [sum of beads over systems] int32 row of each bead in the parameter matrices.
        first: [systems + 1] where each system's beads begin in `type`; plus the system's number, in
            `exclusion_start`.
        row: [systems + 1] system s owns the terms row[s]:row[s + 1].
        code: [terms] int8, the form.
        reach: [terms] Å, the term's own cutoff.
        parameters: [terms, T, T, P], each form's row, zero-padded.
        one_by_one: [terms] whether it is evaluated pair by pair.
        cutoff: [systems] Å, the largest of its terms; 0 where a system has no such term.
        pair_cutoff: [systems] Å, the largest of those that are evaluated pair by pair; 0 where there are none.
        rows: [systems] how many rows the lists of a replica have.
        exclusion_start: [sum of (beads + 1)] CSR rows of the pairs (i, j > i) that do not interact, absolute.
        exclusion: [E] the j of each.
        eights: the searches for all other terms.
    """

    type: Int32Array
    first: IntArray
    row: IntArray
    code: npt.NDArray[np.int8]
    reach: FloatArray
    parameters: FloatArray
    one_by_one: npt.NDArray[np.bool_]
    cutoff: FloatArray
    pair_cutoff: FloatArray
    rows: IntArray
    exclusion_start: IntArray
    exclusion: IntArray
    eights: Eights | None


Find = Callable[[Nonbonded, int, float, FloatArray, FloatArray, IntArray, IntArray], IntArray]


@njit(cache=True, borrow=True, error_model="numpy")
def _distances(
    table: Table,
    begin: int,
    end: int,
    x: FloatArray,  # [N, 3] Å
    f: FloatArray,  # [N, 3] kcal/mol/Å
) -> float:
    energy = 0.0
    for m in range(begin, end):
        i, j = table.beads[m, 0], table.beads[m, 1]
        d = separation(x, i, j)
        u, pull = forms.distance(table.code[m], d.square, table.parameters[m])
        energy += u
        add_pull(f, i, j, d, pull)
    return energy


@njit(cache=True, borrow=True, error_model="numpy")
def _angles(
    table: Table,
    begin: int,
    end: int,
    x: FloatArray,  # [N, 3] Å
    f: FloatArray,  # [N, 3] kcal/mol/Å
    as_cosine: bool,
) -> float:
    energy = 0.0
    for m in range(begin, end):
        i, j, k = table.beads[m, 0], table.beads[m, 1], table.beads[m, 2]
        a = arms(x, i, j, k)
        if as_cosine:
            u, slope = forms.angle(table.code[m], a.cosine, table.parameters[m])
        else:
            theta, sine = angle(a)
            u, du = forms.angle(table.code[m], theta, table.parameters[m])
            slope = -du / sine if sine > STRAIGHT else 0.0
        energy += u
        add_bend(f, i, j, k, a, slope)
    return energy


@njit(cache=True, borrow=True, error_model="numpy")
def _dihedrals(
    table: Table,
    begin: int,
    end: int,
    x: FloatArray,  # [N, 3] Å
    f: FloatArray,  # [N, 3] kcal/mol/Å
) -> float:
    energy = 0.0
    for m in range(begin, end):
        i, j, k, l = table.beads[m, 0], table.beads[m, 1], table.beads[m, 2], table.beads[m, 3]  # noqa: E741
        t = torsion(x, i, j, k, l)
        u, slope = forms.dihedral(table.code[m], t.phi, table.parameters[m])
        energy += u
        add_twist(f, i, j, k, l, t, slope)
    return energy


@njit(cache=True, borrow=True, error_model="numpy")
def add_listed(
    listed: Listed,
    system: int,
    x: FloatArray,  # [N, 3] Å
    f: FloatArray,  # [N, 3] kcal/mol/Å
) -> float:
    """Add the forces of every listed term of one replica to f [N, 3]; returns the energy in kcal/mol."""
    t = listed.distance
    energy = _distances(t, t.row[system], t.row[system + 1], x, f)
    t = listed.angle_cosine
    energy += _angles(t, t.row[system], t.row[system + 1], x, f, True)
    t = listed.angle
    energy += _angles(t, t.row[system], t.row[system + 1], x, f, False)
    t = listed.dihedral
    return energy + _dihedrals(t, t.row[system], t.row[system + 1], x, f)


@njit(cache=True, borrow=True, error_model="numpy")
def add_term(
    table: Table,
    first: int,
    x: FloatArray,  # [N, 3] Å
    f: FloatArray,  # [N, 3] kcal/mol/Å
) -> float:
    """Add the forces of one term to f [N, 3]; returns its energy.

    Its rows of the four coordinates, in the order of `Listed`, are between the five numbers table.row[first:first + 5].
    """
    row = table.row[first : first + 5]
    energy = _distances(table, row[0], row[1], x, f)
    energy += _angles(table, row[1], row[2], x, f, True)
    energy += _angles(table, row[2], row[3], x, f, False)
    return energy + _dihedrals(table, row[3], row[4], x, f)


@njit(cache=True, borrow=True, error_model="numpy")
def _near_pairs(
    code: int,
    cutoff: float,
    parameters: FloatArray,  # [T, T, P]
    type_: Int32Array,  # [N]
    box: FloatArray,  # [3] edges in Å, 0 for no box
    start: IntArray,  # [N + 1]
    neighbor: IntArray,  # [P]
    x: FloatArray,  # [N, 3] Å
    f: FloatArray,  # [N, 3] kcal/mol/Å
) -> float:
    cutoff2 = cutoff * cutoff
    energy = 0.0
    for i in range(x.shape[0]):
        for p in range(start[i], start[i + 1]):
            j = neighbor[p]
            dx = nearest_image(x[j, 0] - x[i, 0], box[0])
            dy = nearest_image(x[j, 1] - x[i, 1], box[1])
            dz = nearest_image(x[j, 2] - x[i, 2], box[2])
            r2 = dx * dx + dy * dy + dz * dz
            if not r2 < cutoff2:
                continue
            u, pull = forms.pair(code, r2, parameters[type_[i], type_[j]], cutoff)
            energy += u
            add_pull(f, i, j, Separation(r2, dx, dy, dz), pull)
    return energy


@njit(cache=True, error_model="numpy")
def find_near(
    nonbonded: Nonbonded, system: int, skin: float, box: FloatArray, x: FloatArray, start: IntArray, neighbor: IntArray
) -> int:
    """Build the lists of one replica; returns for how many entries there must be room, or nothing is of use.

    Args:
        skin: Å.
        box: [3] edges in Å, 0 for no box.
        x: [N, 3] Å.
        start: [rows] out; N + 1 of the list of pairs, then those of `find_eights`.
        neighbor: [capacity] out.
    """
    n = x.shape[0]
    count = 0
    if nonbonded.pair_cutoff[system] > 0.0:
        row = nonbonded.first[system] + system
        count = build_half_list(
            x, nonbonded.pair_cutoff[system] + skin, box, nonbonded.exclusion_start[row : row + n + 1],
            nonbonded.exclusion, start[: n + 1], neighbor,
        )  # fmt: skip
    return find_eights(nonbonded.eights, system, skin, box, x, start[n + 1 :], neighbor, count)


def _finder(all_threads: bool) -> Find:
    """Compile `find_near` with more room where needed, by one thread or by all; the same lists."""

    @njit(cache=True, unit=True, error_model="numpy")
    def find(
        nonbonded: Nonbonded,
        system: int,
        skin: float,
        box: FloatArray,  # [3] edges in Å, 0 for no box
        x: FloatArray,  # [N, 3] Å
        start: IntArray,  # [rows] out
        neighbor: IntArray,  # [capacity] out
    ) -> IntArray:
        """Build the lists of one replica; returns the array that holds them."""
        n = x.shape[0]
        if nonbonded.pair_cutoff[system] > 0.0:
            row = nonbonded.first[system] + system
            reach = nonbonded.pair_cutoff[system] + skin
            old = (nonbonded.exclusion_start[row : row + n + 1], nonbonded.exclusion, start[: n + 1], neighbor)
            neighbor = rebuild_together(x, reach, box, *old) if all_threads else rebuild(x, reach, box, *old)
        pairs = int(start[n])
        needed = find_eights(nonbonded.eights, system, skin, box, x, start[n + 1 :], neighbor, pairs)
        if needed > neighbor.shape[0]:
            larger = room_for(needed)
            for p in range(pairs):  # (a slice would bring what numba words its error with: 36 functions)
                larger[p] = neighbor[p]
            neighbor = larger
            find_eights(nonbonded.eights, system, skin, box, x, start[n + 1 :], neighbor, pairs)
        return neighbor

    return find


find_by_one_thread = _finder(all_threads=False)
find_by_all_threads = _finder(all_threads=True)


@njit(cache=True, borrow=True, error_model="numpy")
def add_nonbonded(
    nonbonded: Nonbonded,
    system: int,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    start: IntArray,  # [rows]
    neighbor: IntArray,  # [P]
    x: FloatArray,  # [N, 3] Å
    f: FloatArray,  # [N, 3] kcal/mol/Å
) -> float:
    """Add the neighbor-list terms of one replica to f [N, 3]; returns the energy in kcal/mol."""
    type_ = nonbonded.type[nonbonded.first[system] : nonbonded.first[system + 1]]
    energy = 0.0
    for t in range(nonbonded.row[system], nonbonded.row[system + 1]):
        if nonbonded.one_by_one[t]:
            energy += _near_pairs(
                nonbonded.code[t], nonbonded.reach[t], nonbonded.parameters[t], type_, box, start, neighbor, x, f
            )
    return energy + add_eights(nonbonded.eights, system, box, start[x.shape[0] + 1 :], neighbor, x, f)

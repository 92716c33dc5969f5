"""Many molecules in a periodic box: a place for each copy, in which no bead is near one of another.

A molecule with a structure is turned and put at random until it fits (random sequential insertion). A chain of which
only the sequence is known grows where there is room, as a self-avoiding walk; so a slab of chains is about as dense,
and as entangled, from the start as it will be. All of it is a function of the seed and the number of the frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.compiled.noise import normal3
from mdflash.compiled.philox import PLACING
from mdflash.core.geometry import long_axis
from mdflash.core.plural import plural
from mdflash.core.types import Box, FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.mapping.chain import BOND, SECOND

APART: Final = (6.0, 5.4, 4.8, 4.2)
"""Å between beads of two molecules, or more than two bonds apart in a chain; the next one where that does not fit."""
DENSITY: Final = 0.3
"""g/mL of a slab at the start: that of condensates, roughly."""
DILUTE: Final = 0.15
"""g/mL in a box that is compressed later."""
WIDER: Final = 1.2
"""A slab that cannot be filled is made so many times as thick."""
_PLACES = 2000
"""Where a copy is tried at most, before beads may be nearer or the slab is thicker."""
_TRIES, _BACK = 16, 24
_GRAMS = 1.66053907
"""g/mL of 1 Da/Å^3."""


@dataclass(frozen=True, eq=False)
class Kind:
    """Copies of one molecule.

    Attributes:
        beads: of one copy.
        count: how many copies.
        mass: of one copy, Da.
        frames: [F, N, 3] Å, copy i takes the shape of frame i, cycled; None: a chain that grows.
    """

    beads: int
    count: int
    mass: float
    frames: FloatArray | None = None


class Placed(NamedTuple):
    """Where the copies are.

    Attributes:
        positions: [N, 3] Å of all copies of all kinds, one behind the other; molecules are whole.
        apart: Å, no bead is nearer to one of another molecule.
        thickness: Å of the slab; the edge of the box without one.
    """

    positions: FloatArray
    apart: float
    thickness: float


class _Room(NamedTuple):
    """Beads that are there already, in cells of the box; and where new ones may be."""

    x: FloatArray  # [N, 3] Å
    head: IntArray  # [cells] the bead that came last, or -1
    next: IntArray  # [N] the one before it in its cell, or -1
    cells: IntArray  # [3]
    box: FloatArray  # [3] Å
    apart2: float  # Å²
    axis: int
    low: float  # Å along the axis
    high: float


def slab_thickness(kinds: Sequence[Kind], box: Box, density: float = DENSITY) -> float:
    """Å that the molecules fill along the longest edge at `density` in g/mL, other edges being those of the box."""
    area = math.prod(box) / box[long_axis(box)]
    return sum(k.count * k.mass for k in kinds) * _GRAMS / (density * area)


def place(
    kinds: Sequence[Kind], box: Box, seed: int, frame: int = 0, *, slab: bool = False, thickness: float | None = None
) -> Placed:
    """A place for every copy of every kind.

    Args:
        kinds: what is placed.
        box: edges of the periodic box, Å.
        seed: of the random numbers.
        frame: its number among several; each has other random numbers.
        slab: whether to place them in the middle of the longest edge alone.
        thickness: Å, of the slab; None: as `DENSITY` has it.

    Raises:
        InputError: they do not fit.
    """
    axis = long_axis(box)
    wide = box[axis]
    if slab:
        wide = slab_thickness(kinds, box) if thickness is None else thickness
        _refuse_thick(kinds, box[axis], wide)
    while True:
        for apart in APART:
            found = _fill(kinds, box, seed, frame, apart, axis, wide)
            if found is not None:
                return Placed(found, apart, wide)
        if not slab or thickness is not None or WIDER * wide > 0.9 * box[axis]:
            break
        wide *= WIDER
    volume = math.prod(box) * wide / box[axis]
    density = sum(k.count * k.mass for k in kinds) * _GRAMS / volume
    where = f"a slab of {wide / 10:g} nm" if slab else "the box"
    raise InputError(
        f"{_what(kinds)} do not fit into {where}: it would hold {density:.2f} g/mL of protein; make the box larger, or "
        "take fewer copies",
        key="box",
    )


def larger_box(kinds: Sequence[Kind], box: Box, slab: bool, thickness: float | None) -> tuple[Box, Box] | None:
    """Edges of the box in which molecules are placed before it is compressed, and those that it shrinks to, Å.

    The first has `DILUTE`, and for a slab differs along the longest edge alone. None where nothing has to be
    compressed: molecules that grow are no denser than `DENSITY`, or those of a structure than `DILUTE`. It depends on
    densities alone, not on whether random places were found, so all replicas have it in common.

    Arguments as of `place`.

    Raises:
        InputError: a slab that leaves no dilute phase.
    """
    axis = long_axis(box)
    end = list(box)
    if slab:
        end[axis] = slab_thickness(kinds, box) if thickness is None else thickness
        _refuse_thick(kinds, box[axis], end[axis])
    density = sum(k.count * k.mass for k in kinds) * _GRAMS / math.prod(end)
    if density <= (DENSITY if all(k.frames is None for k in kinds) else DILUTE) * (1.0 + 1e-9):
        return None
    by = density / DILUTE
    start = [edge * (by if a == axis else 1.0) if slab else edge * by ** (1 / 3) for a, edge in enumerate(end)]
    return (start[0], start[1], start[2]), (end[0], end[1], end[2])


def _refuse_thick(kinds: Sequence[Kind], edge: float, wide: float) -> None:
    if wide > 0.9 * edge:
        raise InputError(
            f"a slab of {_what(kinds)} is {wide / 10:.0f} nm thick, which leaves no dilute phase beside it in an "
            f"edge of {edge / 10:g} nm; make that edge {0.3 * wide:.0f} nm long, or take fewer copies",
            key="box",
        )


def _what(kinds: Sequence[Kind]) -> str:
    copies, beads = sum(k.count for k in kinds), sum(k.count * k.beads for k in kinds)
    return f"{plural(copies, 'molecule')} ({plural(beads, 'bead')})"


def _fill(
    kinds: Sequence[Kind], box: Box, seed: int, frame: int, apart: float, axis: int, wide: float
) -> FloatArray | None:
    """[N, 3] Å; None where a copy finds no place."""
    n = sum(k.count * k.beads for k in kinds)
    room = _make_room(n, box, apart, axis, wide)
    firsts = np.cumsum([0, *(k.count * k.beads for k in kinds)])
    # what cannot bend goes first, and large before small
    order = sorted(range(len(kinds)), key=lambda k: (kinds[k].frames is None, -kinds[k].beads))
    molecule = 0
    for k in order:
        kind = kinds[k]
        for copy in range(kind.count):
            rng = np.random.default_rng([seed, frame, molecule])
            places = rng.random((_PLACES, 3)) * np.array(box)
            places[:, axis] = box[axis] / 2 + (places[:, axis] - box[axis] / 2) * (wide / box[axis])
            first = int(firsts[k]) + copy * kind.beads
            if kind.frames is None:
                done = _grow(room, first, kind.beads, places, seed, frame, molecule)
            else:
                shape = kind.frames[copy % len(kind.frames)]
                done = _insert(room, first, shape - shape.mean(axis=0), places, seed, frame, molecule)
            if not done:
                return None
            molecule += 1
    return room.x


def _make_room(n: int, box: Box, apart: float, axis: int, wide: float) -> _Room:
    cells = np.array([max(1, int(edge / apart)) for edge in box], np.int64)
    while cells.prod() > 64 * n + 4096:
        cells[cells.argmax()] = (cells.max() + 1) // 2
    middle, half = box[axis] / 2, wide / 2 if wide < box[axis] else math.inf
    return _Room(
        np.zeros((n, 3)), np.full(int(cells.prod()), -1, np.int64), np.full(n, -1, np.int64), cells, np.array(box),
        apart * apart, axis, middle - half, middle + half,
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _along(value: float, edge: float, cells: int) -> int:
    """The cell of a coordinate."""
    u = value / edge
    return min(int((u - math.floor(u)) * cells), cells - 1)


@njit(cache=True, error_model="numpy")
def _cell(room: _Room, x: float, y: float, z: float) -> int:
    a = _along(x, room.box[0], room.cells[0])
    b = _along(y, room.box[1], room.cells[1])
    cell: int = (a * room.cells[1] + b) * room.cells[2] + _along(z, room.box[2], room.cells[2])
    return cell


@njit(cache=True, error_model="numpy")
def _is_free(room: _Room, x: float, y: float, z: float, skip: int, until: int) -> bool:
    """Whether no bead but those from `skip` to `until` is near (x, y, z) Å."""
    a = _along(x, room.box[0], room.cells[0])
    b = _along(y, room.box[1], room.cells[1])
    c = _along(z, room.box[2], room.cells[2])
    for i in range(a - 1, a + 2):
        for j in range(b - 1, b + 2):
            for k in range(c - 1, c + 2):
                row = (i % room.cells[0]) * room.cells[1] + j % room.cells[1]
                bead = room.head[row * room.cells[2] + k % room.cells[2]]
                while bead >= 0:
                    if not skip <= bead < until:
                        dx, dy, dz = x - room.x[bead, 0], y - room.x[bead, 1], z - room.x[bead, 2]
                        dx -= room.box[0] * math.floor(dx / room.box[0] + 0.5)
                        dy -= room.box[1] * math.floor(dy / room.box[1] + 0.5)
                        dz -= room.box[2] * math.floor(dz / room.box[2] + 0.5)
                        if dx * dx + dy * dy + dz * dz < room.apart2:
                            return False
                    bead = room.next[bead]
    return True


@njit(cache=True, error_model="numpy")
def _put(room: _Room, bead: int, x: float, y: float, z: float) -> None:
    room.x[bead, 0], room.x[bead, 1], room.x[bead, 2] = x, y, z
    cell = _cell(room, x, y, z)
    room.next[bead] = room.head[cell]
    room.head[cell] = bead


@njit(cache=True, error_model="numpy")
def _take_back(room: _Room, first: int, until: int) -> None:
    """Remove the beads first:until, which came last of all."""
    for bead in range(until - 1, first - 1, -1):
        room.head[_cell(room, room.x[bead, 0], room.x[bead, 1], room.x[bead, 2])] = room.next[bead]


@njit(cache=True, error_model="numpy")
def _grow(
    room: _Room,
    first: int,
    n: int,
    places: FloatArray,  # [P, 3] Å where it may begin
    seed: int,
    frame: int,
    molecule: int,
) -> bool:
    """A chain of the beads first:first + n; False where it finds no room."""
    draw = np.int64(0)
    for p in range(places.shape[0]):
        if not _is_free(room, places[p, 0], places[p, 1], places[p, 2], 0, 0):
            continue
        _put(room, first, places[p, 0], places[p, 1], places[p, 2])
        k, failures, patience = 1, 0, 20 + n
        while k < n and patience > 0:
            last, found = first + k - 1, False
            for _ in range(_TRIES):
                dx, dy, dz = normal3(seed, frame, draw, molecule, np.int64(PLACING))
                draw += 1
                scale = BOND / math.sqrt(dx * dx + dy * dy + dz * dz)
                x, y, z = room.x[last, 0] + scale * dx, room.x[last, 1] + scale * dy, room.x[last, 2] + scale * dz
                along = x if room.axis == 0 else (y if room.axis == 1 else z)
                if not room.low <= along <= room.high:
                    continue
                if k > 1:
                    dx, dy, dz = x - room.x[last - 1, 0], y - room.x[last - 1, 1], z - room.x[last - 1, 2]
                    second = math.sqrt(dx * dx + dy * dy + dz * dz)
                    if not SECOND[0] < second < SECOND[1]:
                        continue
                if _is_free(room, x, y, z, max(first, last - 1), last + 1):
                    _put(room, last + 1, x, y, z)
                    found = True
                    break
            if found:
                k += 1
            else:  # it has run into something
                failures, patience = failures + 1, patience - 1
                back = min(k - 1, 1 + failures % _BACK)
                _take_back(room, first + k - back, first + k)
                k -= back
        if k == n:
            return True
        _take_back(room, first, first + k)
    return False


@njit(cache=True, error_model="numpy")
def _insert(
    room: _Room,
    first: int,
    shape: FloatArray,  # [N, 3] Å about its middle
    places: FloatArray,  # [P, 3] Å
    seed: int,
    frame: int,
    molecule: int,
) -> bool:
    """A molecule as it is, turned at random; False where it finds no room."""
    n = shape.shape[0]
    for p in range(places.shape[0]):
        # a quaternion of four normal numbers is a rotation without a preference (Shoemake, Graphics Gems III, 1992)
        a, b, c = normal3(seed, frame, np.int64(2 * p), molecule, np.int64(PLACING))
        d = normal3(seed, frame, np.int64(2 * p + 1), molecule, np.int64(PLACING))[0]
        norm = 1.0 / math.sqrt(a * a + b * b + c * c + d * d)
        a, b, c, d = a * norm, b * norm, c * norm, d * norm
        fits = True
        for i in range(n):
            x, y, z = shape[i, 0], shape[i, 1], shape[i, 2]
            u = (1.0 - 2.0 * (c * c + d * d)) * x + 2.0 * (b * c - a * d) * y + 2.0 * (b * d + a * c) * z
            v = 2.0 * (b * c + a * d) * x + (1.0 - 2.0 * (b * b + d * d)) * y + 2.0 * (c * d - a * b) * z
            w = 2.0 * (b * d - a * c) * x + 2.0 * (c * d + a * b) * y + (1.0 - 2.0 * (b * b + c * c)) * z
            u, v, w = u + places[p, 0], v + places[p, 1], w + places[p, 2]
            if not _is_free(room, u, v, w, 0, 0):
                fits = False
                break
            room.x[first + i, 0], room.x[first + i, 1], room.x[first + i, 2] = u, v, w
        if fits:
            for i in range(n):
                _put(room, first + i, room.x[first + i, 0], room.x[first + i, 1], room.x[first + i, 2])
            return True
    return False

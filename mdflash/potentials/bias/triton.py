"""Biases on a GPU, in float64 and in a fixed order of every sum: the twin of `cpu`.

`measure` has one program for each replica and variable: its value, and its gradient for each entry. `push` has one for
each replica: the energies and slopes of all its biases, then, bead by bead, their forces. Which variables and grids the
kernels are compiled for depends on the biases; no multiplication is fused with an addition, so this changes no bit.
"""

# ruff: noqa: SIM102 (the outer condition is known when a kernel is compiled, the inner one when it runs)

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.vectors import load_vector
from mdflash.potentials.bias.bias_form import NUMBERS
from mdflash.potentials.bias.surface_triton import on_grid
from mdflash.potentials.variables.triton import value_gradient

_LINEAR, _LOWER_WALL, _UPPER_WALL = (tl.constexpr(NUMBERS[form]) for form in ("linear", "lower-wall", "upper-wall"))
_TWO_PI = tl.constexpr(6.283185307179586)
_BLOCK = tl.constexpr(128)


@triton.jit
def _of_term(energies: tl.tensor, forces: tl.tensor, beads: tl.tensor, g: tl.tensor) -> tl.tensor:
    """The energy of a term, a number, and its gradient: the shares and forces of the molecule's beads."""
    total = tl.zeros([_BLOCK], tl.float64)
    for k in range(0, beads, _BLOCK):
        i = k + tl.arange(0, _BLOCK)
        total += tl.load(energies + i, mask=i < beads, other=0.0)
        f = load_vector(forces, i, i < beads)
        for c in tl.static_range(3):
            tl.store(g + 3 * i + c, -f[c], mask=i < beads)
    return tl.sum(total, axis=0)


@triton.jit(do_not_specialize=["beads"])
def measure(
    x: tl.tensor, bead_offset: tl.tensor, system: tl.tensor, tables: tl.core.base_value, work: tl.core.base_value,
    beads: tl.tensor, OCCUR: tl.constexpr, TERMS: tl.constexpr,
) -> None:  # fmt: skip
    """The value and gradient of one variable of one replica; nothing where its system has fewer.

    Args:
        x: [B, 3] float64 Å.
        bead_offset: [R + 1] int32; system: [R] int32.
        tables: `device.BiasTables`.
        work: `device.BiasWork`; the value and gradient are written.
        beads: B.
        OCCUR: which variables there are, see `variables.triton`; TERMS: whether there are energies of terms.
    """
    measure_one(x, bead_offset, system, tables, work, beads, tl.program_id(0), tl.program_id(1), OCCUR, TERMS)


@triton.jit
def measure_one(
    x: tl.tensor, bead_offset: tl.tensor, system: tl.tensor, tables: tl.core.base_value, work: tl.core.base_value,
    beads: tl.tensor, r: tl.tensor, k: tl.tensor | int, OCCUR: tl.constexpr, TERMS: tl.constexpr,
) -> None:  # fmt: skip
    """`measure` of variable k of replica r."""
    s = tl.load(system + r)
    begin = tl.load(tables.row + s)
    b = begin + k
    if b < tl.load(tables.row + s + 1):
        origin = tl.load(bead_offset + r)
        entry = tl.load(tables.variables.first + b) - tl.load(tables.variables.first + begin)
        g = work.gradient + 3 * (tl.load(work.gradient_at + r) + entry)
        q = value_gradient(tl.load(tables.code + b), tables.variables, b, x + 3 * origin, g, OCCUR)
        if TERMS:
            term = tl.load(tables.term + b)
            if term >= 0:
                at = term.to(tl.int64) * beads + origin
                count = tl.load(bead_offset + r + 1) - origin
                q = _of_term(work.term_energy + at, work.term_forces + 3 * at, count, g)
        tl.store(work.value + tl.load(work.at + r) + b - begin, q)


@triton.jit
def _of_form(form: tl.tensor, periodic: tl.tensor, q: tl.tensor, p: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dq by `bias_form.EQUATIONS`; p points to force constant, center and width."""
    force_constant = tl.load(p)
    d = q - tl.load(p + 1)
    d = tl.where(periodic != 0, d - _TWO_PI * tl.floor(d / _TWO_PI + 0.5), d)
    linear = force_constant * d
    d = tl.where(((form == _LOWER_WALL) & (d > 0.0)) | ((form == _UPPER_WALL) & (d < 0.0)), 0.0, d)
    far = tl.abs(d) - tl.load(p + 2)
    over = tl.where(far < 0.0, 0.0, far)  # what is not a number stays so
    slope = force_constant * over
    u = 0.5 * slope * over
    slope = tl.where(d > 0.0, slope, -slope)
    return tl.where(form == _LINEAR, linear, u), tl.where(form == _LINEAR, force_constant, slope)


@triton.jit
def _energy_slope(
    tables: tl.core.base_value, work: tl.core.base_value, b: tl.tensor, at: tl.tensor, GRIDS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """u of the bias (0 where b is not its first variable), and its slope by variable b; `at`: the variable's place."""
    q = tl.load(work.value + at)
    u = 0.0 * q
    slope = 0.0 * q
    axes = tl.load(tables.axes + b)
    along = tl.load(tables.along + b)
    if axes == 0:
        u, slope = _of_form(tl.load(tables.form + b), tl.load(tables.periodic + b), q, work.parameters + 3 * at)
    surface = work.surface + tl.load(work.place + at)
    axis = tables.axis + 4 * (b - along)
    values = work.value + at - along
    for d in tl.static_range(1, 4):
        if (GRIDS >> d) & 1:
            if axes == d:
                u, slope = on_grid(surface, axis, values, along, d)
    return tl.where(along == 0, u, 0.0), slope


@triton.jit
def push(
    bead_offset: tl.tensor, system: tl.tensor, tables: tl.core.base_value, work: tl.core.base_value, energy: tl.tensor,
    forces: tl.tensor, GRIDS: tl.constexpr,
) -> None:  # fmt: skip
    """Add the energy of all biases of a replica to the share of its first bead, and their forces to those of its beads.

    Args:
        bead_offset, system, tables, work: as of `measure`, which must have run.
        energy: [B], forces: [B, 3] float64, of the priors.
        GRIDS: sum of 1 << d for grids of d variables that there are.
    """
    push_one(bead_offset, system, tables, work, energy, forces, tl.program_id(0), GRIDS)


@triton.jit
def push_one(
    bead_offset: tl.tensor, system: tl.tensor, tables: tl.core.base_value, work: tl.core.base_value, energy: tl.tensor,
    forces: tl.tensor, r: tl.tensor, GRIDS: tl.constexpr,
) -> None:  # fmt: skip
    """`push` of replica r."""
    s = tl.load(system + r)
    begin = tl.load(tables.row + s)
    count = tl.load(tables.row + s + 1) - begin
    if count > 0:
        origin = tl.load(bead_offset + r)
        at = tl.load(work.at + r)
        total = tl.load(energy + origin)
        for k in range(0, count):
            u, slope = _energy_slope(tables, work, begin + k, at + k, GRIDS)
            total += u
            tl.store(work.slope + at + k, slope)
        tl.store(energy + origin, total)
        tl.debug_barrier()  # the slopes are read by all threads
        end = tl.load(tables.bead_row + s + 1)
        most = tl.load(tables.most + s)
        gradient = work.gradient + 3 * tl.load(work.gradient_at + r)
        for k in range(tl.load(tables.bead_row + s), end, _BLOCK):
            i = k + tl.arange(0, _BLOCK)
            inside = i < end
            bead = origin + tl.load(tables.bead + i, mask=inside, other=0)
            f = load_vector(forces, bead, inside)
            fx = f[0]
            fy = f[1]
            fz = f[2]
            e = tl.load(tables.entry_start + i, mask=inside, other=0)
            stop = tl.load(tables.entry_start + i + 1, mask=inside, other=0)
            for offset in range(0, most):
                has = e + offset < stop
                slope = tl.load(
                    work.slope + at + tl.load(tables.owner + e + offset, mask=has, other=0), mask=has, other=0.0
                )
                g = load_vector(gradient, tl.load(tables.entry + e + offset, mask=has, other=0), has)
                fx -= slope * g[0]
                fy -= slope * g[1]
                fz -= slope * g[2]
            tl.store(forces + 3 * bead, fx, mask=inside)
            tl.store(forces + 3 * bead + 1, fy, mask=inside)
            tl.store(forces + 3 * bead + 2, fz, mask=inside)

"""The compiled twin of biases: energies and forces of one replica, in float64 and in a fixed order."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.compiled.arrays import numbers, release, vectors
from mdflash.compiled.jit import njit
from mdflash.core.types import FloatArray, Int32Array, IntArray
from mdflash.potentials import variables
from mdflash.potentials.bias.bias_form import NUMBERS
from mdflash.potentials.bias.surface_cpu import energy_at, on_line, on_plane, on_space
from mdflash.potentials.priors.cpu import Table, add_term
from mdflash.potentials.variables.base import VariableArrays

TERM_ENERGY: Final = -1
"""The number of `TermEnergy`; those of the other variables are their places in `VARIABLES`."""

LINEAR: Final = NUMBERS["linear"]
LOWER_WALL: Final = NUMBERS["lower-wall"]
UPPER_WALL: Final = NUMBERS["upper-wall"]


class Biases(NamedTuple):
    """All biases of a batch, as flat arrays: n variables with M beads in all.

    A bias of a form has one variable; one on a grid has one to three, which follow each other.

    Attributes:
        row: [systems + 1] system s owns the variables row[s]:row[s + 1].
        variable: [n] number of the variable.
        periodic: [n] whether values 2 pi apart are the same.
        form: [n] number of the form, see `bias_form`.
        axes: [n] of the grid whose first variable this is; 0: a bias of a form.
        axis: [n, 4] low end, spacing, points and period of each axis of a grid, as `surface_cpu` reads them.
        first: [n + 1] bias b has the beads first[b]:first[b + 1].
        beads, weight, reference: [M], [M], [M, 3] of all variables, as in `VariableArrays`.
        start, constants: [n, 5], [n, C] of each variable, as there.
        term_beads, term_code, term_parameters: of `TERM_ENERGY`, as in `priors.cpu.Table`, beads [M, 4].
        term_row: [4 n + 1] the rows of the k-th coordinate of bias b are term_row[4 b + k]:term_row[4 b + k + 1].
        parameters: [R, n, 3] force constant, center and width, for each replica.
        surface: the grids, one behind the other.
        place: [R, n] where in them the grid of a replica begins.
    """

    row: IntArray
    variable: IntArray
    periodic: npt.NDArray[np.bool_]
    form: IntArray
    axes: IntArray
    axis: FloatArray
    first: IntArray
    beads: IntArray
    weight: FloatArray
    reference: FloatArray
    start: IntArray
    constants: FloatArray
    term_beads: Int32Array
    term_code: npt.NDArray[np.int8]
    term_parameters: FloatArray
    term_row: IntArray
    parameters: FloatArray
    surface: FloatArray
    place: IntArray


@njit(cache=True, error_model="numpy")
def _term_gradient(biases: Biases, b: int, x: FloatArray, g: FloatArray) -> float:
    """The energy of the term of bias b; overwrites g [N, 3] with its gradient."""
    g[:] = 0.0
    table = Table(biases.term_beads, biases.term_code, biases.term_parameters, biases.term_row)
    energy: float = add_term(table, 4 * b, x, g)
    for i in range(g.shape[0]):
        for d in range(3):
            g[i, d] = -g[i, d]
    return energy


@njit(cache=True, borrow=True, error_model="numpy")
def value_gradient(biases: Biases, b: int, x: FloatArray, g: FloatArray) -> float:
    """The variable of bias b at x [N, 3]; overwrites g [beads of b, 3] with its gradient."""
    if biases.variable[b] == TERM_ENERGY:
        energy: float = _term_gradient(biases, b, x, g)
        return energy
    first, last = biases.first[b], biases.first[b + 1]
    v = VariableArrays(
        biases.beads[first:last], biases.weight[first:last], biases.reference[first:last], biases.start[b],
        biases.constants[b],
    )  # fmt: skip
    return variables.value_gradient(biases.variable[b], v, x, g)


@njit(cache=True, error_model="numpy")
def energy_slope(form: int, periodic: bool, q: float, p: FloatArray) -> tuple[float, float]:
    """u(q) and du/dq under parameters p [3]; see `bias_form.EQUATIONS`."""
    force_constant, center, width = p[0], p[1], p[2]
    d = q - center
    if periodic:
        d -= 2.0 * math.pi * np.rint(d / (2.0 * math.pi))
    if form == LINEAR:
        return force_constant * d, force_constant
    if (form == LOWER_WALL and d > 0.0) or (form == UPPER_WALL and d < 0.0):
        d = 0.0
    over = max(abs(d) - width, 0.0)
    slope = force_constant * over
    return 0.5 * slope * over, slope if d > 0.0 else -slope


@njit(cache=True, borrow=True, error_model="numpy")
def add_biases(biases: Biases, system: int, replica: int, x: FloatArray, f: FloatArray) -> float:
    """Add the forces of every bias of one replica to f [N, 3]; returns the energy in kcal/mol."""
    value, gradient = numbers(len(biases.variable)), vectors(len(biases.beads))
    find_variables(biases, system, x, value, gradient)
    energy: float = push_biases(biases, system, replica, value, gradient, f)
    release(value)
    release(gradient)
    return energy


@njit(cache=True, borrow=True, error_model="numpy")
def find_variables(biases: Biases, system: int, x: FloatArray, value: FloatArray, gradient: FloatArray) -> None:
    """Overwrite value [n] and gradient [M, 3] with those of every variable of a system at x [N, 3]."""
    for b in range(biases.row[system], biases.row[system + 1]):
        value[b] = value_gradient(biases, b, x, gradient[biases.first[b] : biases.first[b + 1]])


@njit(cache=True, borrow=True, error_model="numpy")
def push_biases(
    biases: Biases, system: int, replica: int, value: FloatArray, gradient: FloatArray, f: FloatArray
) -> float:
    """`add_biases` where `find_variables` has found value [n] and gradient [M, 3]."""
    energy = 0.0
    b = biases.row[system]
    while b < biases.row[system + 1]:
        q = value[b]
        if biases.axes[b] == 3:
            grid = biases.surface[biases.place[replica, b] :]
            u, slope, rise, climb = on_space(grid, biases.axis[b : b + 3], q, value[b + 1], value[b + 2])
            _push(biases, b + 1, rise, gradient, f)
            _push(biases, b + 2, climb, gradient, f)
        elif biases.axes[b] == 2:
            grid = biases.surface[biases.place[replica, b] :]
            u, slope, rise = on_plane(grid, biases.axis[b], biases.axis[b + 1], q, value[b + 1])
            _push(biases, b + 1, rise, gradient, f)
        elif biases.axes[b] == 1:
            u, slope = on_line(biases.surface[biases.place[replica, b] :], biases.axis[b], q)
        else:
            u, slope = energy_slope(biases.form[b], biases.periodic[b], q, biases.parameters[replica, b])
        energy += u
        _push(biases, b, slope, gradient, f)
        b += max(biases.axes[b], 1)
    return energy


@njit(cache=True, borrow=True, error_model="numpy")
def _push(biases: Biases, b: int, slope: float, gradient: FloatArray, f: FloatArray) -> None:
    """Subtract slope times the gradient of variable b, which is in gradient [M, 3], from the forces."""
    for m in range(biases.first[b], biases.first[b + 1]):
        for d in range(3):
            f[biases.beads[m], d] -= slope * gradient[m, d]


@njit(cache=True, nogil=True)
def measure(
    biases: Biases, system: IntArray, bead_offset: IntArray, x: FloatArray, value: FloatArray, energy: FloatArray
) -> None:
    """Overwrite value and energy [R, n] with every variable and bias energy; NaN for those of other systems.

    The energy of a bias on a grid stands at its first variable. By one thread: it takes less than waking the others.
    """
    gradient = vectors(len(biases.beads))
    for r in range(value.shape[0]):
        value[r] = np.nan
        energy[r] = np.nan
        find_variables(biases, system[r], x[bead_offset[r] : bead_offset[r + 1]], value[r], gradient)
        b = biases.row[system[r]]
        while b < biases.row[system[r] + 1]:
            axes = biases.axes[b]
            if axes > 0:
                grid = biases.surface[biases.place[r, b] :]
                energy[r, b] = energy_at(grid, biases.axis[b : b + axes], value[r, b : b + axes])
            else:
                p = biases.parameters[r, b]
                energy[r, b] = energy_slope(biases.form[b], biases.periodic[b], value[r, b], p)[0]
            b += max(biases.axes[b], 1)

"""Biases on the device against plain torch, the grids and parameters that change, and steps with them."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from mdflash.core.state import Layout
from mdflash.engine.gpu.forces import DeviceForces
from mdflash.errors import InputError
from mdflash.potentials.base import EnergyForces, Potential, SumPotential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.bias_form import EQUATIONS, ONE_SIDED
from mdflash.potentials.bias.function import FunctionBias
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.metadynamics import Metadynamics
from mdflash.potentials.bias.surface import Axis
from mdflash.potentials.bias.surface_triton import on_grid
from mdflash.potentials.bias.term_energy import TermEnergy
from mdflash.potentials.forms import FORMS
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.variables.distance import Distance
from mdflash.potentials.variables.triton import ON_GPU
from tests.gpu.batches import DEVICE, on_device, reference
from tests.helpers import beads, helix
from tests.potentials.test_variables import SYSTEM, N, make

SMALLER = beads("smaller", 5)


def fresh() -> np.random.Generator:
    return np.random.default_rng(np.random.default_rng().integers(10**6))


def shaken(layout: Layout, rng: np.random.Generator) -> torch.Tensor:
    """[B, 3] a helix in each replica, shaken and somewhere else."""
    parts = [
        helix(n) + rng.normal(size=(n, 3)) + 20.0 * rng.normal(size=3)
        for n in np.diff(layout.bead_offset).tolist()
    ]  # fmt: skip
    return torch.from_numpy(np.concatenate(parts))


def agree(found: EnergyForces, expected: EnergyForces) -> None:
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-11, atol=1e-11)
    size = max(float(expected.forces.abs().max()), 1e-3)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=1e-10 * size)


@pytest.mark.parametrize("name", ON_GPU)
def test_every_variable_in_every_form(name: str) -> None:
    """Of the list, on fresh conformations; biases of all forms at once, each replica with parameters of its own."""
    rng = fresh()
    layout, variable = Layout((SYSTEM,), (2,)), make(name, seed=int(rng.integers(1000)))
    x = shaken(layout, rng)
    values = variable.value(x.view(2, N, 3)).numpy()
    width = {form: 0.1 if form == "flat-bottom" else 0.0 for form in EQUATIONS}
    biases = [
        Bias(form, variable, layout, rng.uniform(1, 5, 2), values + rng.normal(size=2), width[form], form)
        for form in EQUATIONS
        if not (variable.periodic and form in ONE_SIDED)
    ]  # fmt: skip
    found, expected = on_device(layout, biases, x, None), reference(layout, SumPotential(biases), x)
    agree(found, expected)
    assert expected.forces.any()


def test_what_has_no_kernel_is_named() -> None:
    class Height(Distance):
        name = "height"

    layout = Layout((SYSTEM,), (1,))
    refused: list[tuple[Potential, str]] = [
        (Bias("lift", Height(SYSTEM, 0, 1), layout, 1.0), "bias 'lift' acts on the variable 'height'"),
        (FunctionBias("funnel", lambda x: x.sum(dim=(1, 2))), "bias 'funnel' is a function in Python"),
    ]
    for bias, why in refused:
        with pytest.raises(InputError, match=why):
            DeviceForces(layout, [bias], None, "fp64", 1.0, None, DEVICE)


def test_a_distance_through_the_box() -> None:
    layout, box, rng = Layout((SYSTEM,), (3,)), (9.0, 11.0, 8.5), fresh()
    bias = Bias("ends", Distance(SYSTEM, [0, 1], [9, 11]).in_box(box), layout, 2.0, 1.0)
    x = shaken(layout, rng)
    agree(on_device(layout, [bias], x, None, box=box), reference(layout, bias, x))


@pytest.mark.parametrize("name", ["distance", "angle", "position"])
def test_no_force_but_no_nan_at_a_kink(name: str) -> None:
    layout, variable = Layout((SYSTEM,), (1,)), make(name)
    x = torch.zeros(N, 3, dtype=torch.float64)
    if name == "angle":
        x[:, 0] = torch.arange(N)
    if name == "position":
        x[torch.from_numpy(variable.groups[0])] = torch.from_numpy(variable.reference)
    found = on_device(layout, [Bias("b", variable, layout, 5.0, 0.5)], x, None)
    assert torch.isfinite(found.energy).all() and not found.forces.any()


def test_grids_of_one_to_three_variables() -> None:
    """Random numbers at the nodes; values inside, beyond both ends, and round a period; what is lost is not finite."""
    rng = fresh()
    layout = Layout((SMALLER, SYSTEM), (1, 2), (9, 3, 4))
    size, turn = make("radius_of_gyration"), make("dihedral")
    x = shaken(layout, rng)
    middle = float(size.value(x[5:].view(2, N, 3)).mean())
    axes = (Axis("size", size, middle - 0.05, middle + 0.05, 6), Axis("turn", turn, -math.pi, math.pi, 7))
    ends = Axis("ends", make("distance"), 0.0, 30.0, 5)
    biases: list[Potential] = [
        GridBias("space", (axes[1], ends, axes[0]), layout, walkers=1, system=1),
        GridBias("line", axes[:1], layout, walkers=2, system=1),
        GridBias("ring", axes[1:], layout, system=1),
        GridBias("plane", axes, layout, walkers=1, system=1),
        GridBias("other", axes[::-1], layout, system=1),
    ]
    for bias in biases:
        assert isinstance(bias, GridBias)
        bias.surfaces[...] = rng.normal(size=bias.surfaces.shape)
    agree(on_device(layout, biases, x, None), reference(layout, SumPotential(biases), x))
    for bias in biases[2:4]:  # with grids of one kind only, other kernels
        agree(on_device(layout, [bias], x, None), reference(layout, bias, x))
    x[5] = math.nan
    energy = on_device(layout, biases, x, None).energy
    assert torch.isfinite(energy).tolist() == [True, False, True]


@triton.jit
def _on_grid(surface, axes, values, out, D: tl.constexpr):
    for d in tl.static_range(D):
        u, slope = on_grid(surface, axes, values, d, D)
        tl.store(out + d, slope)
        tl.store(out + D, u)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_product_of_cubics_is_exact(dimensions: int) -> None:
    """What a cell reproduces: a polynomial of degree 3 in each variable, its value and slopes anywhere."""
    rng = fresh()
    rows = rng.uniform([-1.0, 0.3, 4.0, 0.0], [1.0, 0.6, 8.0, 0.0], (dimensions, 4))  # low, spacing, points, period
    rows[:, 2] = rows[:, 2].round()
    cubics = [np.polynomial.Polynomial(rng.normal(size=4)) for _ in rows]
    parts = []  # [points, 2] of each axis: at its nodes, and by their numbers
    for cubic, (low, spacing, points, _) in zip(cubics, rows, strict=True):
        q = low + spacing * np.arange(int(points))
        parts.append(np.stack([cubic(q), spacing * cubic.deriv()(q)], axis=-1))
    surface = np.stack(
        [
            functools.reduce(np.multiply.outer, [part[:, p >> d & 1] for d, part in enumerate(parts)])
            for p in range(2**dimensions)
        ],
        axis=-1,
    )
    values = rows[:, 0] + rows[:, 1] * rng.uniform(0.0, rows[:, 2] - 1.0)
    out = torch.zeros(dimensions + 1, dtype=torch.float64, device=DEVICE)
    given = [torch.from_numpy(array.copy()).to(DEVICE) for array in (surface, rows, values)]
    _on_grid[(1,)](*given, out, D=dimensions)
    at = [cubic(q) for cubic, q in zip(cubics, values, strict=True)]
    expected = [
        np.prod(
            [cubic.deriv()(q) if k == d else at[k] for k, (cubic, q) in enumerate(zip(cubics, values, strict=True))]
        )
        for d in range(dimensions)
    ]
    np.testing.assert_allclose(out.cpu(), [*expected, np.prod(at)], rtol=1e-11, atol=1e-11)


def test_the_strength_of_terms() -> None:
    """Of every coordinate, and beside a variable that pulls at the same beads."""
    rng = fresh()
    layout = Layout((SMALLER, SYSTEM), (1, 1))
    parameters: dict[str, tuple[int, dict[str, object]]] = {
        "harmonic_bond": (2, {"k": 0.7, "x0": 3.8}),
        "polynomial_angle_cosine": (3, {"v0": 0.3, "ks": [0.2, -0.6, 0.1]}),
        "harmonic_angle": (3, {"k": 1.1, "x0": 1.9}),
        "fourier_dihedral": (4, {"v0": 0.5, "k1": [0.2, 0.4], "k2": [0.7, -0.1]}),
    }
    biases: list[Potential] = []
    for form, (order, numbers) in parameters.items():
        tables = []
        for n in (5, N):
            index = np.arange(n - order + 1)[:, None] + np.arange(order)
            tables.append(
                (index, {p: np.array(np.broadcast_to(v, (len(index), *np.shape(v)))) for p, v in numbers.items()})
            )  # type: ignore[call-overload]
        energy = TermEnergy(SYSTEM, PriorTerm(form, FORMS[form], tables), 1)
        biases.append(Bias(form, energy, layout, -0.4, form="linear", system=1))
    biases.append(Bias("size", make("radius_of_gyration"), layout, 3.0, 2.0, system=1))
    x = shaken(layout, rng)
    agree(on_device(layout, biases, x, None), reference(layout, SumPotential(biases), x))


def test_what_changes_between_blocks_is_read_again() -> None:
    """Parameters always; a grid is copied when it has changed, and only then."""
    layout, rng = Layout((SYSTEM,), (2,)), fresh()
    pull = Bias("pull", Distance(SYSTEM, 0, 7), layout, 2.0, [4.0, 5.0])
    grown = Metadynamics(
        "grown", (Axis("size", make("radius_of_gyration"), 0.0, 12.0, 40),), layout, (0.8,), 0.5, 8.0, 10, 0.6
    )
    x = shaken(layout, rng)
    forces = DeviceForces(layout, [pull, grown], None, "fp64", 1.0, None, DEVICE)
    forces.x.copy_(x)

    def compare(copies: int) -> None:
        forces.evaluate()
        agree(EnergyForces(forces.energy.cpu(), forces.f.cpu()), reference(layout, SumPotential([pull, grown]), x))
        assert forces._biases is not None and forces._biases.copies == copies

    compare(1)
    pull.parameters[1] = [3.0, 9.0, 0.0]
    compare(1)
    size = make("radius_of_gyration").value(x.view(2, N, 3)).numpy()
    grown.deposit(np.zeros(2, np.int64), size[:, None] + 0.3, np.array([0.5, 0.4]))
    compare(2)

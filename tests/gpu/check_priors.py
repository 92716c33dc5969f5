"""The priors' kernel against the torch reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.core.types import Precision
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import Term
from mdflash.potentials.pack import pack
from mdflash.potentials.priors.device import DevicePriors
from mdflash.potentials.schnet.tabulated import FORCE_ERROR
from tests.gpu.batches import errors, layout_of, on_device, reference, walks
from tests.helpers import beads, toy, volume_term
from tests.potentials.random_forms import FORMS, LISTED, SAFE, at_place, batch, random_term, scattered


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form: str) -> None:
    layout, potential, x = batch(form, int(np.random.default_rng().integers(10**6)), (7, 5), (2, 1))
    found, expected = on_device(layout, potential.terms, x, None), reference(layout, potential, x)
    # energies of one sign or the other may cancel; how large they are is then told by the forces
    size = max(1.0, *(float(expected.forces[layout.rows(r)].abs().sum()) for r in range(layout.n_replicas)))
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12 * size)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=1e-11 * float(expected.forces.abs().max()))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_float32(form: str) -> None:
    layout, potential, x = batch(form, int(np.random.default_rng().integers(10**6)), (9,), (1,))
    found, expected = on_device(layout, potential.terms, x, None, "fp32"), reference(layout, potential, x)
    for name in ("energy", "forces"):
        mine, exact = getattr(found, name), getattr(expected, name)
        assert float((mine - exact).norm()) <= FORCE_ERROR["fp32"] * float(exact.norm())
    assert found.energy.dtype == found.forces.dtype == torch.float64


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize(("form", "q"), SAFE)
def test_singular_places_that_a_form_calls_safe(form: str, q: float, precision: Precision) -> None:
    layout, potential, x = at_place(form, q, 3)
    found, expected = on_device(layout, potential.terms, x, None, precision), reference(layout, potential, x)
    rounding = {"fp64": 1e-12, "fp32": 1e-5}[precision]
    torch.testing.assert_close(found.energy, expected.energy, rtol=rounding, atol=rounding)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=10 * rounding)


def test_terms_of_one_molecule_each_with_pairs_of_its_own() -> None:
    """Cutoffs, exclusions and beads that differ: three searches in one molecule, one in the other."""
    rng = np.random.default_rng()
    layout = Layout(tuple(beads(f"m{n}", n, types="AB") for n in (15, 6)), (1, 1))
    charge = np.array([rng.uniform(10, 20), 0.0, 0.0])  # of A and A; B has none
    near = [random_term(form, 15, rng) for form in ("ashbaugh_hatch", "wang_frenkel", "yukawa")]
    near[0] = replace(near[0], name="sticky", cutoff=10.0, exclude_bonds=1)
    near[1] = replace(near[1], name="well", exclude_bonds=3)
    near[2] = replace(near[2], name="charges", cutoff=15.0, parameters=near[2].parameters | {"prefactor": charge})
    potential = build_potential([toy(*near, types="AB"), toy(near[1], types="AB")], layout)
    x = torch.from_numpy(np.concatenate([scattered(n, rng) for n in (15, 6)]))
    expected = reference(layout, potential, x, (40.0, 41.0, 42.0))
    for precision, bar in (("fp64", 1e-12), ("fp32", FORCE_ERROR["fp32"])):
        found = on_device(layout, potential.terms, x, None, precision, (40.0, 41.0, 42.0))  # type: ignore[arg-type]
        assert max(errors(found, expected)) < bar


def test_all_forms_together_and_systems_that_lack_some() -> None:
    rng = np.random.default_rng(12)
    layout = layout_of((6, 5, 9), (1, 2, 1))
    forcefields = []
    for system, mine in zip(layout.systems, (LISTED, LISTED[::3], LISTED[1::2]), strict=True):
        terms = [random_term(form, system.n_beads, rng) for form in mine]
        forcefields.append(toy(*(Term(f"t_{t.form}", t.form, "beads", t.keys, t.parameters) for t in terms)))
    potential = build_potential(forcefields, layout)
    x = walks(layout, rng)
    found, expected = on_device(layout, potential.terms, x, None), reference(layout, potential, x)
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=1e-11 * float(expected.forces.abs().max()))


@pytest.mark.parametrize("box", [None, (30.0, 33.0, 31.5)], ids=["open", "box"])
def test_excluded_volume(box: tuple[float, float, float] | None) -> None:
    """Two bead types, two cutoffs, exclusions along the chain, a molecule without the term."""
    rng = np.random.default_rng(13)
    layout = layout_of((24, 9, 4), (1, 2, 1))
    forcefields = []
    for cutoff, system in zip((9.0, 7.0), layout.systems, strict=False):
        volume = volume_term(2, cutoff, rng.uniform(0.5, 2, 3), rng.uniform(3, 5, 3), exclude_bonds=3)
        bonds = Term("b", "harmonic_bond", "beads", system.bonds, {"k": np.ones(len(system.bonds)),
                                                                   "x0": np.ones(len(system.bonds))})  # fmt: skip
        forcefields.append(toy(bonds, volume, types="AB"))
    alone = Term("b", "harmonic_bond", "beads", np.array([[0, 1]]), {"k": np.ones(1), "x0": np.ones(1)})
    forcefields.append(toy(alone, types="AB"))
    potential = build_potential(forcefields, layout)
    x = torch.from_numpy(rng.uniform(-12, 12, (layout.n_beads, 3)))
    found = on_device(layout, potential.terms, x, None, box=box)
    expected = reference(layout, potential, x, box)
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=1e-11 * float(expected.forces.abs().max()))


@pytest.mark.parametrize("n", [2, 5, 17, 40])
def test_tables_of_any_size_are_of_one_kind_to_triton(n: int) -> None:
    """Triton specializes on integers that are 1 or a multiple of 16, inside tuples always: so every stride is one."""
    rng = np.random.default_rng(14)
    layout = layout_of((n,), (1,))
    potential = build_potential([toy(random_term("harmonic_bond", n, rng))], layout)
    tables = DevicePriors(pack(potential.terms, layout).listed, [n], torch.float64, torch.device("cpu")).tables
    for t in tables:
        assert t.stride > 1 and t.stride % 16 == 0
        assert t.beads.shape[1] == t.role.shape[0] == t.parameters.shape[1] == t.stride


@pytest.mark.parametrize("form", ["harmonic_angle", "fourier_dihedral"])
def test_straight_angles_pull_nowhere(form: str) -> None:
    layout = layout_of((6,), (1,))
    potential = build_potential([toy(random_term(form, 6, np.random.default_rng(3)), types="AB")], layout)
    x = torch.zeros(6, 3, dtype=torch.float64)
    x[:, 0] = 3.8 * torch.arange(6)
    found, expected = on_device(layout, potential.terms, x, None), reference(layout, potential, x)
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
    assert not found.forces.any() and not expected.forces.any()

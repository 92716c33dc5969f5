"""The priors' kernel against the torch reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import Term
from mdflash.potentials.pack import pack
from mdflash.potentials.priors.device import DevicePriors
from tests.gpu.batches import layout_of, on_device, reference, walks
from tests.helpers import toy, volume_term
from tests.potentials.random_forms import FORMS, LISTED, SAFE, at_place, batch, random_term


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form: str) -> None:
    layout, potential, x = batch(form, int(np.random.default_rng().integers(10**6)), (7, 5), (2, 1))
    found, expected = on_device(layout, potential.terms, x, None), reference(layout, potential, x)
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=1e-11 * float(expected.forces.abs().max()))


@pytest.mark.parametrize(("form", "q"), SAFE)
def test_singular_places_that_a_form_calls_safe(form: str, q: float) -> None:
    layout, potential, x = at_place(form, q, 3)
    found, expected = on_device(layout, potential.terms, x, None), reference(layout, potential, x)
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=1e-11)


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

"""Every functional form of the list: its compiled twin, its torch, and numerical derivatives agree.

The Triton twins are compared by `tests/gpu/check_priors.py`, over the same list.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from mdflash.core.state import Layout
from mdflash.engine.blocks.compiled import CompiledPriors
from mdflash.errors import ForceFieldError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials import forms
from mdflash.potentials.base import Pairs, Potential, SumPotential
from mdflash.potentials.forms import CODES, FORMS, MODULES
from mdflash.potentials.forms.document import forms_table
from mdflash.potentials.pack import pack
from mdflash.potentials.priors.neighbor_term import NeighborTerm
from tests.helpers import beads, toy, volume_term
from tests.potentials.random_forms import CUTOFF, SAFE, at_place, batch, random_parameters, random_term, scattered
from tests.potentials.test_compiled import agree, difference

RANGES = {
    "distance": (2.5, 12.0), "angle_cosine": (-0.99, 0.99), "angle": (0.1, 3.0), "dihedral": (-3.1, 3.1),
    "pair": (3.0, CUTOFF),
}  # fmt: skip
ROOT = Path(__file__).parents[2]


def compiled_value_slope(name: str, q: float, row: np.ndarray) -> tuple[float, float]:
    """u and du/dq through the list's functions; those of distances take r^2 and give (du/dr) / r."""
    on, code = FORMS[name].on, CODES[name]
    if on in ("distance", "pair"):
        u, pull = forms.distance(code, q * q, row) if on == "distance" else forms.pair(code, q * q, row, CUTOFF)
        return u, pull * q
    return forms.dihedral(code, q, row) if on == "dihedral" else forms.angle(code, q, row)


@pytest.mark.parametrize("name", FORMS)
def test_compiled_value_and_slope_are_torchs(name: str) -> None:
    form, rng = FORMS[name], np.random.default_rng()
    places = rng.uniform(*RANGES[form.on], 300)
    places[: len(form.safe)] = form.safe
    q = torch.from_numpy(places).requires_grad_()
    parameters = random_parameters(form, 300, rng, degree=4)
    more = {"cutoff": CUTOFF} if form.on == "pair" else {}
    u = form.energy(q, **{p: torch.from_numpy(v) for p, v in parameters.items()}, **more)
    (slope,) = torch.autograd.grad(u.sum(), q)
    rows = form.pair_rows(parameters, CUTOFF) if form.on == "pair" else form.rows(parameters)
    if form.series:
        rows = np.column_stack([rows, np.zeros((300, 2))])  # as a table of several lengths is padded
    found = np.array([compiled_value_slope(name, v, p) for v, p in zip(places, rows, strict=True)])
    scale = np.abs(form.rows(parameters)).sum(axis=1) + np.abs(found).max(axis=1)
    assert (np.abs(found[:, 0] - u.detach().numpy()) <= 1e-13 * scale).all()
    there = ~np.isin(places, (0.0,))  # two beads in one place: no slope, no force
    assert (np.abs(found[:, 1] - slope.numpy()) <= 1e-12 * (1 + scale))[there].all()


@pytest.mark.parametrize(
    ("function", "coordinates"),
    [
        (forms.distance, ("distance",)),
        (forms.angle, ("angle", "angle_cosine")),
        (forms.dihedral, ("dihedral",)),
        (lambda code, q, p: forms.pair(code, q, p, CUTOFF), ("pair",)),
    ],
    ids=["distance", "angle", "dihedral", "pair"],
)
def test_the_function_of_a_coordinate_knows_its_forms_and_no_others(function, coordinates) -> None:
    for code, module in enumerate(MODULES):
        value, _ = function(code, 1.0, np.ones(9))
        assert np.isfinite(value) == any(form.on in coordinates for form in module.FORMS)


def twin_of(potential: Potential, layout: Layout) -> CompiledPriors:
    packed = pack(potential.terms, layout)  # type: ignore[attr-defined]
    assert not packed.rest
    return CompiledPriors(packed, None)


def pairs_of(potential: Potential, x: torch.Tensor, layout: Layout) -> Pairs | None:
    return None if potential.cutoff is None else all_pairs(x, layout, potential.cutoff)


@pytest.mark.parametrize("name", FORMS)
def test_the_compiled_twin_is_torch(name: str) -> None:
    layout, potential, x = batch(name, int(np.random.default_rng().integers(10**6)))
    expected = potential.energy_and_forces(x, layout, pairs_of(potential, x, layout))
    agree(twin_of(potential, layout).energy_and_forces(x, layout, None), expected, layout)


def crosses_no_rough_place(potential: SumPotential, layout: Layout, x: torch.Tensor) -> bool:
    """Whether no pair is so near to the end of its interaction, or to a bend, that differences would reach across."""
    term = potential.terms[0]
    assert isinstance(term, NeighborTerm)
    for r in range(layout.n_replicas):
        table = term.tables[int(layout.system_of_replica[r])]
        types = np.ix_(table.types, table.types)
        d = torch.cdist(x[layout.rows(r)], x[layout.rows(r)]).numpy()
        places = [np.full(d.shape, CUTOFF)]
        places += [find(table.parameters)[types] for find in (term.form.ends, term.form.rough) if find is not None]
        if any(bool((np.abs(d - place) < 3e-3).any()) for place in places):
            return False
    return True


def smooth_batch(name: str) -> tuple[Layout, SumPotential, torch.Tensor]:
    seed = 4  # of any number, a torsion may lie at the jump of an improper
    found = batch(name, seed)
    while FORMS[name].on == "pair" and not crosses_no_rough_place(found[1], found[0], found[2]):
        seed += 1
        found = batch(name, seed)
    return found


@pytest.mark.parametrize("name", FORMS)
def test_forces_are_the_gradient_of_the_energy(name: str) -> None:
    layout, potential, x = smooth_batch(name)
    expected = potential.energy_and_forces(x, layout, pairs_of(potential, x, layout))
    twin = twin_of(potential, layout)
    by_difference = difference(twin, layout, x)
    for r in range(layout.n_replicas):
        rows = layout.rows(r)
        largest = float(expected.forces[rows].abs().max())
        assert float((expected.forces[rows] - by_difference[rows]).abs().max()) <= 3e-8 * max(largest, 1.0)
        assert float(expected.forces[rows].sum(dim=0).abs().max()) <= 1e-12 * largest * layout.n_beads


@pytest.mark.parametrize(("name", "q"), SAFE)
def test_singular_places_that_a_form_calls_safe(name: str, q: float) -> None:
    layout, potential, x = at_place(name, q, 3)
    expected = potential.energy_and_forces(x, layout, None)
    twin = twin_of(potential, layout)
    found = twin.energy_and_forces(x, layout, None)
    assert bool(expected.forces.isfinite().all()) and float(expected.energy[0]) != 0.0
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
    largest = max(float(expected.forces.abs().max()), 1.0)
    assert float((found.forces - expected.forces).abs().max()) <= 1e-11 * largest
    assert float((found.forces - difference(twin, layout, x)).abs().max()) <= 1e-6 * largest


@pytest.mark.parametrize("name", FORMS)
def test_a_force_field_of_any_form_is_written_and_read_to_the_last_bit(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    term = random_term(name, 12, np.random.default_rng())
    _, once = np.unique(np.sort(term.keys, axis=1), axis=0, return_index=True)  # a file names no beads twice
    term = replace(term, keys=term.keys[once], parameters={p: v[once] for p, v in term.parameters.items()})
    ff = toy(term, types="AB")
    save_forcefield(tmp_path, ff)
    assert form.equation in (tmp_path / "forcefield.yaml").read_text()
    term = load_forcefield(tmp_path).terms[0]
    assert (term.form, term.keyed_by) == (name, "neighbors" if form.on == "pair" else "beads")
    for p in form.parameters:
        assert np.array_equal(term.parameters[p], ff.terms[0].parameters[p])


def placed_off(n: int, cutoffs: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """[n, 3] scattered beads, no two of them where differences would reach across a cutoff."""
    x = scattered(n, rng)
    while np.abs(pdist(x)[:, None] - cutoffs).min() < 5e-3:
        x = scattered(n, rng)
    return x


def test_two_pair_terms_of_one_molecule_share_a_list_and_keep_their_cutoffs() -> None:
    """The second term ends before the first; both are in the compiled loop."""
    rng = np.random.default_rng()
    near = volume_term(2, 6.5, 1.5, 4.0, exclude_bonds=2)
    far = volume_term(2, CUTOFF, rng.uniform(0.5, 2, 3), rng.uniform(3, 5, 3), exclude_bonds=2)
    first = replace(near, name="near")
    layout = Layout((beads("m", 30, types="AB"), beads("other", 12, types="AB")), (2, 2))
    potential = build_potential([toy(first, far, types="AB"), toy(far, types="AB")], layout)
    places = [placed_off(n, (6.5, CUTOFF), rng) for n in (30, 30, 12, 12)]
    x = torch.from_numpy(np.concatenate(places))
    twin = twin_of(potential, layout)
    expected = potential.energy_and_forces(x, layout, all_pairs(x, layout, CUTOFF))
    agree(twin.energy_and_forces(x, layout, None), expected, layout)
    assert float((expected.forces - difference(twin, layout, x)).abs().max()) <= 3e-8 * float(
        expected.forces.abs().max()
    )


def test_every_file_of_the_package_is_listed() -> None:
    folder = Path(forms.__file__).parent
    files = {p.stem for p in folder.glob("*.py")} - {"__init__", "form", "document"}
    assert files == {m.__name__.rpartition(".")[2] for m in MODULES}
    assert len(FORMS) == sum(len(m.FORMS) for m in MODULES)  # no name twice
    assert len(MODULES) <= 31  # bits of an int32


def test_every_parameter_has_a_unit_and_every_form_a_source() -> None:
    for form in FORMS.values():
        assert form.source and form.equation and all(form.units.values())
        assert form.on != "pair" or not (form.series or form.safe)  # matrices over types hold numbers
        assert (form.on == "pair") == (form.strength in form.scalars)


def test_the_documents_table_is_that_of_the_list() -> None:
    assert (ROOT / "docs" / "forms.md").read_text(encoding="utf-8") == forms_table()


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.ends is not None])
def test_a_pair_that_ends_beyond_the_cutoff_is_refused(name: str) -> None:
    term = random_term(name, 12, np.random.default_rng())
    longest = float(FORMS[name].ends(term.parameters).max())  # type: ignore[misc]
    shorter = replace(term, cutoff=0.9 * longest)
    with pytest.raises(ForceFieldError, match=rf"'term' .* ends at .* Å; set the cutoff to {longest:g} angstrom"):
        build_potential([toy(shorter, types="AB")], Layout((beads("m", 12, types="AB"),), (1,)))


@pytest.mark.parametrize(("name", "whole"), [(name, p) for name, form in FORMS.items() for p in form.whole])
def test_a_whole_number_is_one(name: str, whole: str, tmp_path: Path) -> None:
    term = random_term(name, 12, np.random.default_rng())
    term.parameters[whole][1] = 2.5
    save_forcefield(tmp_path, toy(term, types="AB"))
    with pytest.raises(ForceFieldError, match=rf"'{whole}' must be a whole number from \d+ to \d+, not 2.5") as error:
        load_forcefield(tmp_path)
    assert error.value.key == "terms.0.rows.1"

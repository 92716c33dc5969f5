"""Priors: coordinates against MDTraj, forms against their compiled twins, forces against finite differences."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.build import bind_term, build_potential, excluded_pairs
from mdflash.forcefields.model import BeadType, ForceField, Term
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.forms import FORMS
from mdflash.potentials.forms.excluded_volume import value_pull
from mdflash.potentials.priors.geometry import COORDINATES
from tests.potentials.random_forms import LISTED, random_parameters

TYPES = ("ALA", "CYS", "ASP", "GLU")


def chain(n: int, types: tuple[str, ...] | None = None, **interactions: list[list[int]]) -> System:
    types = types or ("ALA",) * n
    return System(
        name="chain",
        types=types,
        bead_names=("CA",) * n,
        residue_index=np.arange(n),
        residue_names=types,
        residue_ids=tuple(range(1, n + 1)),
        chain_ids=("A",) * n,
        masses=np.full(n, 12.0),
        bonds=np.array([[i, i + 1] for i in range(n - 1)]),
        interactions={k: np.array(v) for k, v in interactions.items()},
    )


def walk(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Chains of beads 3.8 Å apart, [*shape, 3]."""
    steps = rng.normal(size=(*shape, 3))
    return np.cumsum(3.8 * steps / np.linalg.norm(steps, axis=-1, keepdims=True), axis=-2)


@pytest.mark.parametrize(
    ("coordinate", "order", "theirs"),
    [
        ("distance", 2, mdtraj.compute_distances),
        ("angle", 3, mdtraj.compute_angles),
        ("dihedral", 4, mdtraj.compute_dihedrals),
    ],
)
def test_coordinates_are_mdtrajs(coordinate, order, theirs) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 20, 3)) * 5
    index = np.array([rng.permutation(20)[:order] for _ in range(60)])
    ours = COORDINATES[coordinate](torch.from_numpy(x), torch.from_numpy(index)).numpy()
    trajectory = mdtraj.Trajectory((x / 10).astype(np.float32), None)
    expected = theirs(trajectory, index, periodic=False) * (10 if coordinate == "distance" else 1)
    difference = np.abs(ours - expected)
    if coordinate == "dihedral":
        difference = np.minimum(difference, 2 * np.pi - difference)
    assert np.median(difference) < 1e-6 and difference.max() < 2e-3  # MDTraj works in float32
    if coordinate == "angle":
        cosine = COORDINATES["angle_cosine"](torch.from_numpy(x), torch.from_numpy(index)).numpy()
        assert np.allclose(np.cos(ours), cosine, rtol=0, atol=1e-14)


def test_excluded_volume_ends_at_the_cutoff() -> None:
    assert np.abs(value_pull(10.0**2, np.array([0.7, 4.0]), 10.0)).max() < 1e-15


def finite_difference(energy, x: torch.Tensor, bead: int, axis: int, h: float = 1e-4) -> float:
    """dE/dx by the five-point formula."""
    values = []
    for k in (-2, -1, 1, 2):
        moved = x.clone()
        moved[bead, axis] += k * h
        values.append(float(energy(moved)))
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)


@pytest.mark.parametrize("name", LISTED)
def test_forces_are_the_gradient(name: str) -> None:
    form, rng = FORMS[name], np.random.default_rng(3)
    keys = np.array([[i + j for j in range(form.order)] for i in range(12 - form.order)])
    term = Term("term", name, "beads", keys, random_parameters(form, len(keys), rng))
    layout = Layout((chain(12),), (2,))
    potential = build_potential([ForceField("ff", (), terms=(term,))], layout)
    x = torch.from_numpy(walk(rng, 2, 12).reshape(-1, 3))
    energy, forces = potential.energy_and_forces(x, layout, None)
    assert energy.shape == (2,) and forces.norm() > 0.1

    def total(y: torch.Tensor) -> torch.Tensor:
        return potential.energy_and_forces(y, layout, None).energy.sum()

    for bead in range(0, 24, 5):
        for axis in range(3):
            slope = finite_difference(total, x, bead, axis)
            assert abs(slope + float(forces[bead, axis])) <= 1e-7 * (1 + abs(slope))
    assert forces.view(2, 12, 3).sum(dim=1).abs().max() < 1e-11 * forces.abs().max()


def excluding(exclude_bonds: int = 0, exclude_terms: tuple[str, ...] = (), cutoff: float = 9.0) -> ForceField:
    keys = np.array([(i, j) for i in range(4) for j in range(i, 4)])
    rng = np.random.default_rng(0)
    near = Term(
        "near",
        "excluded_volume",
        "neighbors",
        keys,
        {"epsilon": rng.uniform(0.5, 1, len(keys)), "sigma": rng.uniform(4, 6, len(keys))},
        cutoff=cutoff,
        exclude_bonds=exclude_bonds,
        exclude_terms=exclude_terms,
    )
    contacts = Term(
        "contacts", "contact_12_10", "beads", np.array([[0, 9], [2, 8]]), {"epsilon": np.ones(2), "r0": np.ones(2) * 5}
    )
    return ForceField("ff", tuple(BeadType(t, i) for i, t in enumerate(TYPES)), terms=(near, contacts))


def test_neighbor_term_against_a_plain_loop() -> None:
    rng = np.random.default_rng(5)
    ff = excluding(exclude_bonds=3, exclude_terms=("contacts",))
    systems = tuple(chain(n, tuple(rng.choice(TYPES, n).tolist())) for n in (12, 15))
    layout = Layout(systems, (2, 3))
    frames = [
        rng.normal(size=(s.n_beads, 3)) + 1.6 * np.arange(s.n_beads)[:, None] * np.array([1.0, 0.3, 0.1])
        for s, count in zip(systems, layout.counts, strict=True)
        for _ in range(count)
    ]
    x = torch.from_numpy(np.concatenate(frames))
    potential = build_potential([ff, ff], layout)
    term = next(t for t in potential.terms if t.name == "near")
    energy, forces = term.energy_and_forces(x, layout, all_pairs(x, layout, 11.0))
    near = ff.terms[0]
    row = {tuple(sorted(key)): k for k, key in enumerate(near.keys.tolist())}
    for r, frame in enumerate(frames):
        types = ff.type_indices(layout.systems[layout.system_of_replica[r]])
        expected = 0.0
        for i in range(len(frame)):
            for j in range(i + 4, len(frame)):
                d = np.linalg.norm(frame[i] - frame[j])
                if (i, j) in [(0, 9), (2, 8)] or d >= 9.0:
                    continue
                k = row[tuple(sorted((types[i], types[j])))]
                e, s = near.parameters["epsilon"][k], near.parameters["sigma"][k]
                slope = -12 * e * (s / 9.0) ** 12 / 9.0
                expected += e * (s / d) ** 12 - e * (s / 9.0) ** 12 - (d - 9.0) * slope
        assert float(energy[r]) == pytest.approx(expected, rel=1e-12)

    def total(y: torch.Tensor) -> torch.Tensor:
        return term.energy_and_forces(y, layout, all_pairs(y, layout, 11.0)).energy.sum()

    for bead in range(0, len(x), 11):
        slope = finite_difference(total, x, bead, 1)
        assert abs(slope + float(forces[bead, 1])) <= 1e-6 * (1 + abs(slope))


def test_neighbor_term_across_a_box() -> None:
    """A pair interacts through the nearest image."""
    both, system = excluding(cutoff=6.0), chain(2)
    ff = ForceField("ff", both.bead_types, terms=both.terms[:1])
    layout, box = Layout((system,), (1,)), (14.0, 13.0, 12.5)
    potential = build_potential([ff], layout)
    inside = torch.tensor([[0.0, 0.0, 0.0], [3.0, 1.0, -1.0]], dtype=torch.float64)
    images = inside + torch.tensor([[0.0, 0.0, 0.0], [-14.0, 26.0, 12.5]], dtype=torch.float64)
    plain = potential.energy_and_forces(inside, layout, all_pairs(inside, layout, 6.0))
    wrapped = potential.energy_and_forces(images, layout, all_pairs(images, layout, 6.0, box))
    assert float(plain.energy[0]) > 0
    assert torch.allclose(plain.energy, wrapped.energy, rtol=1e-12)
    assert torch.allclose(plain.forces, wrapped.forces, rtol=1e-11)


def test_all_pairs_lists_each_pair_once_and_stays_in_its_replica() -> None:
    rng = np.random.default_rng(9)
    layout = Layout((chain(7), chain(5)), (2, 3))
    x = torch.from_numpy(rng.normal(size=(layout.n_beads, 3)) * 4)
    pairs = all_pairs(x, layout, 6.0)
    expected = []
    for r in range(layout.n_replicas):
        rows = range(layout.bead_offset[r], layout.bead_offset[r + 1])
        expected += [(i, j) for i in rows for j in rows if i < j and float((x[i] - x[j]).norm()) < 6.0]
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == expected
    assert 0 < len(expected) < layout.n_beads**2
    with pytest.raises(InputError, match="half the box"):
        all_pairs(x, layout, 6.0, (11.0, 20.0, 20.0))


def typed(keys: list[list[int]], k: list[float]) -> ForceField:
    term = Term("bonds", "harmonic_bond", "types", np.array(keys), {"k": np.array(k), "x0": np.array(k)})
    return ForceField("ff", tuple(BeadType(t, i) for i, t in enumerate(TYPES)), terms=(term,))


def test_types_are_looked_up_in_both_directions() -> None:
    ff = typed([[0, 1], [2, 1], [1, 2], [0, 0]], [1.0, 2.0, 3.0, 4.0])
    system = chain(5, ("CYS", "ALA", "ALA", "CYS", "ASP"), bonds=[[0, 1], [1, 2], [2, 3], [3, 4], [4, 3]])
    index, parameters = bind_term(ff, ff.terms[0], system)
    assert index.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 3]]
    assert parameters["k"].tolist() == [1.0, 4.0, 1.0, 3.0, 2.0]  # CYS-ASP and ASP-CYS have a row each


def test_missing_parameters_name_beads_types_and_term() -> None:
    ff = typed([[0, 0]], [1.0])
    with pytest.raises(ForceFieldError, match=r"'bonds'.*ALA-GLU.*'chain'.*ALA 1 CA \(bead 0\), GLU 2 CA \(bead 1\)"):
        bind_term(ff, ff.terms[0], chain(2, ("ALA", "GLU"), bonds=[[0, 1]]))
    with pytest.raises(ForceFieldError, match="no bead type 'TRP'"):
        bind_term(ff, ff.terms[0], chain(2, ("ALA", "TRP"), bonds=[[0, 1]]))
    twice = typed([[0, 1], [0, 1]], [1.0, 2.0])
    with pytest.raises(ForceFieldError, match="two rows for ALA-CYS"):
        bind_term(twice, twice.terms[0], chain(2, ("ALA", "CYS"), bonds=[[0, 1]]))
    with pytest.raises(ForceFieldError, match="3 beads per interaction"):
        bind_term(ff, ff.terms[0], chain(3, bonds=[[0, 1, 2]]))


def test_a_molecule_without_any_interaction_is_refused() -> None:
    ff = typed([[0, 0]], [1.0])
    with pytest.raises(ForceFieldError, match="lists no interactions"):
        build_potential([ff], Layout((chain(3),), (1,)))
    assert len(bind_term(ff, ff.terms[0], chain(3, angles=[[0, 1, 2]]))[0]) == 0


def test_terms_by_bead_fit_one_molecule() -> None:
    ff = excluding()
    contacts = ff.terms[1]
    with pytest.raises(ForceFieldError, match=r"acts on bead 9.*ends with bead 4"):
        bind_term(ff, contacts, chain(5))
    made_for = ForceField("ff", ff.bead_types, terms=ff.terms, systems=((chain(12), None),))
    with pytest.raises(ForceFieldError, match="keyed by beads of the molecule it was made for"):
        bind_term(made_for, contacts, chain(12, ("CYS",) * 12))


def test_exclusions() -> None:
    ff = excluding(exclude_bonds=2, exclude_terms=("contacts",))
    expected = sorted([(i, i + d) for d in (1, 2) for i in range(10 - d)] + [(0, 9), (2, 8)])
    assert excluded_pairs(ff, ff.terms[0], chain(10)).tolist() == [list(p) for p in expected]
    wrong = excluding(exclude_terms=("kontakte",))
    with pytest.raises(ForceFieldError, match="'kontakte', which is not one of its terms"):
        excluded_pairs(wrong, wrong.terms[0], chain(10))


def test_one_name_two_forms_become_two_potentials() -> None:
    bonds = typed([[0, 0]], [1.0])
    other = Term("bonds", "contact_12_10", "beads", np.array([[0, 1]]), {"epsilon": np.ones(1), "r0": np.ones(1)})
    second = ForceField("second", bonds.bead_types, terms=(other,))
    layout = Layout((chain(3, bonds=[[0, 1], [1, 2]]), chain(2)), (1, 2))
    names = [t.name for t in build_potential([bonds, second], layout).terms]
    assert names == ["bonds (contact_12_10 of second)", "bonds (harmonic_bond of ff)"]

"""How near beads come, read from the priors; tables that are made for it, and hold for beads that come nearer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

import mdflash
from mdflash.core.state import Layout
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.distances import ALLOWED, distances_of
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import BeadType, ForceField, Term
from mdflash.forcefields.shipped import find_shipped, shipped_names
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tables import BEYOND, SHORTEST, Sample, exact_forces, force_error, samples_of
from mdflash.potentials.schnet.tabulated import FORCE_ERROR, TABLE_ERROR, FlashSchNet, tables_for, take_networks

NETWORKS = [
    name
    for name in shipped_names("forcefields")
    if (find_shipped("forcefields", name) / "weights.safetensors").is_file()
]


def _term(name: str, form: str, **parameters: float) -> Term:
    values = {key: np.array([value]) for key, value in parameters.items()}
    return Term(name, form, "types", np.zeros((1, 2), np.int64), values)


def _near(term: Term, cutoff: float) -> Term:
    return dataclasses.replace(term, keyed_by="neighbors", cutoff=cutoff)


def test_bonds_and_contacts_of_priors() -> None:
    """A bond costs `ALLOWED` at its ends; a repulsion that at the contact; a contact is no bond."""
    rng = np.random.default_rng()
    k, x0, sigma, depth, at = rng.uniform((40, 1.4, 3.5, 0.3, 5.0), (400, 4.0, 5.0, 2.0, 8.0))
    bond = _term("bonds", "harmonic_bond", k=k, x0=x0)
    contact = _term("contacts", "contact_12_10", epsilon=depth, r0=at)
    volume = _near(_term("volume", "excluded_volume", epsilon=1.0, sigma=sigma), 15.0)
    found = distances_of(ForceField("made", (BeadType("A", 0),), terms=(bond, contact, volume)))
    assert found is not None and found.bonds.shape == (1, 2)
    width = (ALLOWED / k) ** 0.5
    np.testing.assert_allclose(found.bonds[0], (x0 - width, x0 + width), atol=0.011)
    assert found.contact <= sigma * ALLOWED ** (-1.0 / 12.0) + 0.011


def test_without_priors_nothing_is_known() -> None:
    bead = (BeadType("A", 0),)
    bond = _term("bonds", "harmonic_bond", k=100.0, x0=3.8)
    volume = _near(_term("volume", "excluded_volume", epsilon=1.0, sigma=4.0), 10.0)
    assert distances_of(ForceField("none", bead)) is None
    assert distances_of(ForceField("loose", bead, terms=(volume,))) is None
    alone = distances_of(ForceField("bonds", bead, terms=(bond,)))
    assert alone is not None and alone.contact == SHORTEST.contact


def _schnet(name: str) -> tuple[SchNetPotential, Layout, torch.Tensor]:
    """The network of a shipped force field on its molecule, and the start frame [N, 3]."""
    ff = load_forcefield(find_shipped("forcefields", name))
    system, frames = ff.systems[0]
    assert frames is not None
    layout = Layout((system,), (1,))
    (term,) = (t for t in build_potential([ff], layout).terms if isinstance(t, SchNetPotential))
    return term, layout, torch.from_numpy(np.array(frames[0], np.float64))


@pytest.mark.parametrize("name", NETWORKS)
def test_tables_of_shipped_force_fields(name: str) -> None:
    """As exact as promised on the start frame, and nowhere left to plain torch."""
    term, layout, x = _schnet(name)
    for precision in ("fp64", "fp32", "mixed16"):
        taken = take_networks([term], layout, precision, x)
        assert taken.networks is not None and not taken.rest and taken.wide is None
        assert taken.networks.tables.dtype == {"fp64": np.float64, "fp32": np.float32, "mixed16": np.int16}[precision]
        assert not [note for note in taken.notes if "more than" in note or "32 bits" in note]


@pytest.mark.parametrize("name", NETWORKS)
def test_fp32_forces_in_a_simulation(name: str) -> None:
    """The kernels as a whole, on frames that a run comes to; trained networks are saturated there."""
    ff = load_forcefield(find_shipped("forcefields", name))
    system, _ = ff.systems[0]
    simulation = mdflash.Simulation(system, ff, replicas=2, temperatures="335 K", timestep="2 fs", seed=3, threads=1)
    simulation.run(100)
    x, layout = simulation.state.positions, Layout((system,), (2,))
    term, _, _ = _schnet(name)
    found = FlashSchNet.of(term, layout, "fp32").energy_and_forces(x, layout, None).forces.numpy().reshape(2, -1, 3)
    assert term.networks[0] is not None
    for f, frame in zip(found, x.numpy().reshape(found.shape), strict=True):
        expected = exact_forces(term.networks[0], Sample(frame, term.types[0].numpy(), term.excluded[0]))
        error = np.sqrt(((f - expected) ** 2).mean() / (expected**2).mean())
        assert error <= FORCE_ERROR["fp32"]


@pytest.mark.parametrize("name", NETWORKS)
def test_beads_nearer_than_the_priors_allow(name: str) -> None:
    """Two beads of the start frame are pushed to 1.45 Å and beyond: forces are still right, if not as exact.

    Tables promise nothing of what is nearer, so whoever is pushed may not come nearer to others than bonds are long.
    """
    term, _, x = _schnet(name)
    (network,) = term.networks
    (distances,) = term.distances
    assert network is not None and distances is not None
    (tables,) = tables_for(term, TABLE_ERROR["fp32"]).values()
    for inside in samples_of(network, distances):
        assert force_error(network, tables, inside) <= TABLE_ERROR["fp32"]
    types, excluded = term.types[0].numpy(), term.excluded[0]
    rng = np.random.default_rng()
    shortest = min(SHORTEST.bonds[0, 0], pdist(x.numpy()).min())
    for _ in range(4):
        y = np.zeros_like(x.numpy())
        while pdist(y).min() < shortest:
            y = x.numpy().copy()
            i, j = rng.choice(len(y), size=2, replace=False)
            nearest = rng.uniform(SHORTEST.bonds[0, 0], distances.contact)
            y[j] = y[i] + (y[j] - y[i]) * nearest / np.linalg.norm(y[j] - y[i])
        assert force_error(network, tables, Sample(y, types, excluded)) <= BEYOND * TABLE_ERROR["fp32"]


def test_tables_that_16_bits_spoil_keep_32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not plain torch: the same tables as with fp32, beside those of others in 16 bits."""
    from mdflash.potentials.schnet import tabulated

    first, _, x = _schnet("teacher-chignolin")
    second, layout, y = _schnet("chignolin-ca")
    monkeypatch.setattr(tabulated, "_too_coarse_in_16_bits", lambda term, tables: "16 bits" * (term is not second))
    alone = take_networks([first], layout, "mixed16", x)
    assert alone.networks is not None and not alone.rest and alone.wide is None
    plain = take_networks([first], layout, "fp32", x).networks
    assert plain is not None and np.array_equal(alone.networks.tables, plain.tables)
    assert "'schnet' has tables in 32 bits, as with `precision: fp32`: 16 bits" in alone.notes

    both = Layout((*layout.systems, *layout.systems), (1, 1))
    types, excluded = [t.types[0].numpy() for t in (first, second)], [*first.excluded, *second.excluded]
    terms = [
        SchNetPotential("a", [first.networks[0], None], types, excluded, [first.distances[0], None]),
        SchNetPotential("b", [None, second.networks[0]], types, excluded, [None, second.distances[0]]),
    ]
    second = terms[1]
    taken = take_networks(terms, both, "mixed16", torch.cat([x, y]))
    assert taken.networks is not None and taken.networks.tables.dtype == np.int16
    assert taken.wide is not None and np.array_equal(taken.wide.tables, plain.tables)
    assert not taken.rest
    assert [list(n.weights.network) for n in (taken.networks, taken.wide)] == [[-1, 0], [0, -1]]


def test_limits_of_tables_are_parts_of_those_of_forces() -> None:
    assert all(TABLE_ERROR[p] <= FORCE_ERROR[p] / 2 for p in FORCE_ERROR)

"""The Gō force field: every term has its minimum at the native structure."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch

from mdflash.core.geometry import bond_angles, distances, torsions
from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.forcefields.shipped import shipped_folder
from mdflash.importers.go_model import GoParameters, build_go, chain_terms, go_from_structure, native_contacts
from mdflash.mapping.structure import map_structure
from mdflash.neighbors.verlet import VerletList
from mdflash.potentials.base import EnergyForces

EPSILON = 0.6


def chain_system(n: int, lengths: tuple[int, ...] = ()) -> System:
    lengths = lengths or (n,)
    chain = np.repeat(np.arange(len(lengths)), lengths)
    first = np.flatnonzero(chain[1:] == chain[:-1])
    return System(
        name="coil",
        types=tuple(["ALA", "GLY", "SER"][k % 3] for k in range(n)),
        bead_names=("CA",) * n,
        residue_index=np.arange(n),
        residue_names=("ALA",) * n,
        residue_ids=tuple(range(1, n + 1)),
        chain_ids=tuple("AB"[c] for c in chain),
        masses=np.array([[71.0, 57.0, 87.0][k % 3] for k in range(n)]),
        bonds=np.stack([first, first + 1], axis=1),
    )


def helix(n: int, seed: int = 3) -> FloatArray:
    """A CA helix (1.5 Å rise, 100 degrees) with 0.2 Å of noise."""
    k = np.arange(n)
    x = np.stack([2.3 * np.cos(np.radians(100) * k), 2.3 * np.sin(np.radians(100) * k), 1.5 * k], axis=1)
    return x + 0.2 * np.random.default_rng(seed).normal(size=(n, 3))


def evaluate(ff: ForceField, positions: FloatArray) -> dict[str, EnergyForces]:
    """Each term at [R, N, 3]."""
    system, _ = ff.system()
    layout = Layout((system,), (len(positions),))
    potential = build_potential([ff], layout)
    x = torch.from_numpy(positions.reshape(-1, 3).copy())
    assert potential.cutoff is not None
    return potential.by_term(x, layout, VerletList(layout, potential.cutoff, 0.0, None).pairs(x))


@pytest.fixture(scope="module")
def model() -> ForceField:
    return build_go(chain_system(14), helix(14), parameters=GoParameters(epsilon=EPSILON))


@pytest.fixture(scope="module")
def chignolin() -> ForceField:
    return load_forcefield(shipped_folder("forcefields") / "go-chignolin")


def test_native_structure_is_the_minimum_of_every_attractive_term(model: ForceField) -> None:
    native = model.systems[0][1]
    assert native is not None
    terms = evaluate(model, native)
    n_contacts = len(next(t for t in model.terms if t.name == "contacts").keys)
    expected = {"bonds": 0.0, "angles": 0.0, "dihedrals": 0.0, "contacts": -EPSILON * n_contacts}
    for name, energy in expected.items():
        assert terms[name].energy.item() == pytest.approx(energy, abs=1e-10)
        assert terms[name].forces.abs().max() < 1e-9
    assert terms["excluded_volume"].energy.item() >= 0
    rng = np.random.default_rng(5)
    moved = evaluate(model, native + 0.3 * rng.normal(size=(32, *native.shape[1:])))
    for name, energy in expected.items():
        assert (moved[name].energy > energy + 1e-3).all()


def test_energy_is_the_published_function(model: ForceField) -> None:
    """Written out once more, plainly, with the paper's constants."""
    system, native = model.system()
    assert native is not None
    x = native[0] + 0.4 * np.random.default_rng(6).normal(size=native[0].shape)
    n, e = system.n_beads, EPSILON
    traj = mdtraj.Trajectory(np.stack([native[0], x]) / 10, topology(n))
    traj.xyz = np.stack([native[0], x]) / 10  # float32: the tolerance below
    chain = [np.arange(n - k)[:, None] + np.arange(k + 1) for k in (1, 2, 3)]
    r0, r = 10 * mdtraj.compute_distances(traj, chain[0])
    a0, a = mdtraj.compute_angles(traj, chain[1])
    p0, p = mdtraj.compute_dihedrals(traj, chain[2])
    pairs = [(i, j) for i in range(n) for j in range(i + 4, n)]
    d0, d = 10 * mdtraj.compute_distances(traj, np.array(pairs))
    contact = d0 < 8.0
    far = ~contact & (d < 10.0)
    shift = (4 / 10) ** 12 * (1 + 12 * (1 - d[far] / 10))  # force-shifted at the cutoff
    expected = {
        "bonds": (100 * e * (r - r0) ** 2).sum(),
        "angles": (20 * e * (a - a0) ** 2).sum(),
        "dihedrals": (e * (1 - np.cos(p - p0)) + 0.5 * e * (1 - np.cos(3 * (p - p0)))).sum(),
        "contacts": e * (5 * (d0 / d) ** 12 - 6 * (d0 / d) ** 10)[contact].sum(),
        "excluded_volume": e * ((4 / d[far]) ** 12 - shift).sum(),
    }
    assert contact.any() and far.any()
    found = evaluate(model, x[None])
    assert set(found) == set(expected)
    for name, energy in expected.items():
        assert found[name].energy.item() == pytest.approx(energy, rel=1e-4), name


def topology(n: int) -> mdtraj.Topology:
    top = mdtraj.Topology()
    chain = top.add_chain()
    for _ in range(n):
        top.add_atom("CA", mdtraj.element.carbon, top.add_residue("ALA", chain))
    return top


def test_forces_are_the_gradient(chignolin: ForceField) -> None:
    native = chignolin.systems[0][1]
    assert native is not None
    rng = np.random.default_rng(7)
    x = native + 0.5 * rng.normal(size=(4, *native.shape[1:]))
    direction = rng.normal(size=x.shape)
    h = 1e-5
    plus, minus, here = (evaluate(chignolin, x + s * direction) for s in (h, -h, 0.0))
    for name, (_, forces) in here.items():
        slope = (plus[name].energy - minus[name].energy) / (2 * h)
        work = -(forces.view(4, -1) * torch.from_numpy(direction.reshape(4, -1))).sum(dim=1)
        torch.testing.assert_close(work, slope, rtol=1e-6, atol=1e-6)


def test_pairs_interact_once(model: ForceField) -> None:
    """Bonded neighbors, contacts and repelled pairs share nothing and leave nothing out."""
    from mdflash.forcefields.build import excluded_pairs

    system, _ = model.system()
    repulsion = model.terms[-1]
    assert repulsion.form == "excluded_volume"
    excluded = {tuple(p) for p in excluded_pairs(model, repulsion, system).tolist()}
    contacts = {tuple(p) for p in model.terms[3].keys.tolist()}
    near = {(i, j) for i in range(14) for j in range(i + 1, min(i + 4, 14))}
    assert not contacts & near
    assert excluded == contacts | near


def test_contacts_follow_from_heavy_atoms() -> None:
    system = chain_system(8)
    native = np.stack([np.arange(8) * 3.8, np.zeros(8), np.zeros(8)], axis=1)
    atoms = [x[None] for x in native]
    atoms[1] = np.vstack([native[1], [11.0, 4.0, 0.0]])  # side chains of 1 and 5 meet at 4.4 Å,
    atoms[5] = np.vstack([native[5], [15.4, 4.0, 0.0]])
    atoms[2] = np.vstack([native[2], [11.0, -4.0, 0.0]])  # those of 2 and 6 miss at 4.6 Å,
    atoms[6] = np.vstack([native[6], [15.6, -4.0, 0.0]])
    atoms[4] = np.vstack([native[4], [26.0, 8.0, 0.0]])  # and 4 and 7 are too near in sequence
    atoms[7] = np.vstack([native[7], [26.0, 8.5, 0.0]])
    assert native_contacts(system, native, atoms).tolist() == [[1, 5]]
    assert native_contacts(system, native).tolist() == []


def test_chains_have_terms_of_their_own() -> None:
    system = chain_system(9, (4, 5))
    bonds, angles, dihedrals = chain_terms(system)
    assert bonds.tolist() == [[0, 1], [1, 2], [2, 3], [4, 5], [5, 6], [6, 7], [7, 8]]
    assert angles.tolist() == [[0, 1, 2], [1, 2, 3], [4, 5, 6], [5, 6, 7], [6, 7, 8]]
    assert dihedrals.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [5, 6, 7, 8]]
    native = np.array([[3.8 * (k % 4 if k < 4 else k - 4), 6.0 * (k >= 4), 0.0] for k in range(9)])
    assert [3, 7] in native_contacts(system, native).tolist()  # between chains, any separation
    assert [3, 4] not in native_contacts(system, native).tolist()  # 12.9 Å
    assert [0, 4] in native_contacts(system, native).tolist()


def test_internal_coordinates_agree_with_mdtraj() -> None:
    x = np.random.default_rng(8).normal(size=(5, 12, 3)) * 5
    traj = mdtraj.Trajectory(x / 10, topology(12))
    bonds, angles, dihedrals = chain_terms(chain_system(12))
    np.testing.assert_allclose(distances(x, bonds), 10 * mdtraj.compute_distances(traj, bonds), rtol=1e-5)
    np.testing.assert_allclose(bond_angles(x, angles), mdtraj.compute_angles(traj, angles), atol=1e-4)
    turn = torsions(x, dihedrals) - mdtraj.compute_dihedrals(traj, dihedrals)
    np.testing.assert_allclose(np.exp(1j * turn), 1, atol=1e-4)


def test_folder_round_trip(model: ForceField, tmp_path: Path) -> None:
    save_forcefield(tmp_path / "go", model)
    again = load_forcefield(tmp_path / "go")
    assert again.digest == model.digest
    assert again.systems[0][0] == model.systems[0][0]
    np.testing.assert_array_equal(again.systems[0][1], model.systems[0][1])
    assert again.mapping == "ca" and dict(again.provenance) == dict(model.provenance)


def assert_same_to_rounding(built: ForceField, shipped: ForceField) -> None:
    """Names and beads equal; numbers to rounding, since sines and cosines of different CPUs differ in the last bit."""
    assert (built.name, built.mapping, built.bead_types) == (shipped.name, shipped.mapping, shipped.bead_types)
    assert not built.networks and not shipped.networks
    assert len(built.terms) == len(shipped.terms)
    for new, old in zip(built.terms, shipped.terms, strict=True):
        for fact in ("name", "form", "keyed_by", "cutoff", "exclude_bonds", "exclude_terms"):
            assert getattr(new, fact) == getattr(old, fact), (new.name, fact)
        np.testing.assert_array_equal(new.keys, old.keys)
        assert new.parameters.keys() == old.parameters.keys()
        for name, values in new.parameters.items():
            np.testing.assert_allclose(values, old.parameters[name], rtol=1e-13, atol=1e-14, err_msg=name)


def test_shipped_chignolin_is_what_the_structure_gives(chignolin: ForceField) -> None:
    structure = shipped_folder("systems") / "chignolin.pdb"
    epsilon = float(chignolin.terms[3].parameters["epsilon"][0])
    built, notes = go_from_structure(structure, GoParameters(epsilon=epsilon))
    assert notes == ()
    assert_same_to_rounding(built, chignolin)
    system, positions, _ = map_structure(structure, forcefield=chignolin)
    assert system == chignolin.system("chignolin")[0]
    start = chignolin.system("chignolin")[1]
    assert start is not None
    np.testing.assert_array_equal(positions, start)
    assert system.types == tuple("TYR TYR ASP PRO GLU THR GLY THR TRP TYR".split())


def test_shipped_chignolin_is_a_hairpin() -> None:
    traj = mdtraj.load_pdb(str(shipped_folder("systems") / "chignolin.pdb"))
    ca = traj.topology.select("name CA")
    x = 10 * traj.xyz[0, ca]
    for i, j in ((0, 9), (1, 8), (2, 7)):
        assert 3.8 < np.linalg.norm(x[i] - x[j]) < 6.0
    bonds = {
        (traj.topology.atom(d).residue.resSeq, traj.topology.atom(a).residue.resSeq)
        for d, _, a in mdtraj.baker_hubbard(traj)
        if traj.topology.atom(d).name == "N" and traj.topology.atom(a).name == "O"
    }
    assert {(3, 8), (8, 3), (1, 10), (10, 1)} & bonds >= {(3, 8)} and len(bonds) >= 3
    phi = np.degrees(mdtraj.compute_phi(traj)[1][0])  # of residues 2 to 10
    assert phi[5] > 0 and (np.delete(phi, 5) < 0).all()  # only Gly7 is left-handed


def test_wrong_input() -> None:
    straight = np.stack([np.arange(6) * 3.8, np.zeros(6), np.zeros(6)], axis=1)
    with pytest.raises(InputError, match="'coil' has no native contacts"):
        build_go(chain_system(6), straight)
    with pytest.raises(InputError, match=r"\[6, 3\] finite numbers, found shape \[5, 3\]"):
        build_go(chain_system(6), straight[:5])
    with pytest.raises(InputError, match="parameter 'epsilon' must be at least 1e-06, found -1"):
        GoParameters(epsilon=-1.0)
    crossed = System(**{**vars(chain_system(6)), "bonds": np.array([[0, 1], [1, 3]])})
    with pytest.raises(InputError, match="not a set of CA chains"):
        build_go(crossed, helix(6))

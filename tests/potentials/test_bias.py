"""Collective variables and biases: values, exact gradients, the compiled twins, parameters of each replica."""

from __future__ import annotations

import dataclasses
import math

import mdtraj
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mdflash.core.state import Layout, State
from mdflash.core.system import System
from mdflash.engine.blocks.compiled import CompiledPriors
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Dynamics
from mdflash.errors import InputError
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.base import SumPotential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.bias_form import ONE_SIDED, BiasForm
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.potentials.bias.term_energy import TermEnergy
from mdflash.potentials.forms import FORMS
from mdflash.potentials.pack import pack
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.variables.angle import Angle
from mdflash.potentials.variables.base import Variable
from mdflash.potentials.variables.dihedral import Dihedral
from mdflash.potentials.variables.distance import Distance
from mdflash.potentials.variables.images import check_images, in_box
from mdflash.potentials.variables.native_contacts import NativeContacts, contacts_of
from mdflash.potentials.variables.position import Position
from mdflash.potentials.variables.radius_of_gyration import RadiusOfGyration
from mdflash.potentials.variables.rmsd import Rmsd
from mdflash.testing import check_potential
from tests.helpers import beads, helix, walk

N = 14
BOX = (50.0, 60.0, 45.0)
MASSES = np.random.default_rng(5).uniform(50.0, 200.0, N)
CHAIN = beads("chain", N, masses=MASSES.tolist())
NATIVE = helix(N)
CONTACTS = contacts_of(CHAIN, range(N), NATIVE, 8.0, 2)
R0 = np.linalg.norm(NATIVE[CONTACTS[:, 0]] - NATIVE[CONTACTS[:, 1]], axis=1)


def listed(form: str, order: int, **parameters: object) -> PriorTerm:
    """A term over every run of `order` beads."""
    index = np.arange(N - order + 1)[:, None] + np.arange(order)
    rows = {p: np.array(np.broadcast_to(v, (len(index), *np.shape(v)))) for p, v in parameters.items()}
    return PriorTerm(form, FORMS[form], [(index, rows)])


VARIABLES: dict[str, Variable] = {
    "distance": Distance(CHAIN, 0, N - 1),
    "distance of groups": Distance(CHAIN, [3, 0, 1], [7, 8, 12]),
    "angle": Angle(CHAIN, 0, [4, 5], 11),
    "dihedral": Dihedral(CHAIN, 0, 4, [6, 7], 11),
    "position": Position(CHAIN, [5, 0, 9], NATIVE[[5, 0, 9]] + 1.0),
    "rmsd": Rmsd(CHAIN, range(2, N), NATIVE[2:]),
    "radius of gyration": RadiusOfGyration(CHAIN, range(1, N)),
    "native contacts": NativeContacts(CHAIN, CONTACTS, R0, beta=2.0, stretch=1.4),
    "energy of bonds": TermEnergy(CHAIN, listed("harmonic_bond", 2, k=0.7, x0=3.8)),
    "energy of angles": TermEnergy(CHAIN, listed("harmonic_angle", 3, k=1.1, x0=1.9)),
    "energy of cosines": TermEnergy(CHAIN, listed("polynomial_angle_cosine", 3, v0=0.3, ks=[0.2, -0.6, 0.1])),
    "energy of dihedrals": TermEnergy(CHAIN, listed("fourier_dihedral", 4, v0=0.5, k1=[0.2, 0.4], k2=[0.7, -0.1])),
}
PARAMETERS: dict[str, tuple[BiasForm, float, float, float]] = {
    "harmonic": ("harmonic", 3.0, 0.7, 0.0),
    "flat bottom": ("flat-bottom", 3.0, 0.7, 0.15),
    "linear": ("linear", 2.0, 0.5, 0.0),
    "lower wall": ("lower-wall", 3.0, 1.5, 0.0),
    "upper wall": ("upper-wall", 3.0, 0.7, 0.0),
}
CASES = [(v, p) for v in VARIABLES for p in PARAMETERS if v != "dihedral" or PARAMETERS[p][0] not in ONE_SIDED]


def frames(replicas: int, seed: int, spread: float = 1.0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    x = NATIVE + rng.normal(size=(replicas, N, 3)) * spread + rng.normal(size=(replicas, 1, 3)) * 3
    return torch.from_numpy(x.reshape(-1, 3))


@pytest.mark.parametrize(("variable", "parameters"), CASES)
def test_conformance(variable: str, parameters: str) -> None:
    """Finite differences, symmetries and independence, of the reference and of its compiled twin."""
    layout = Layout((CHAIN,), (4,))
    form, k, center, width = PARAMETERS[parameters]
    bias = Bias("bias", VARIABLES[variable], layout, k, center, width, form)
    fixed = ("translation", "rotation") if variable == "position" else ()  # it knows where it is
    x = frames(4, seed=len(variable))
    check_potential(bias, layout, x, skip=fixed)
    compiled = CompiledPriors(pack([bias], layout))
    check_potential(compiled, layout, x, skip=fixed)
    expected, found = (p.energy_and_forces(x, layout, None) for p in (bias, compiled))
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=1e-11, atol=1e-12)


def measured(variable: Variable, x: torch.Tensor) -> np.ndarray:
    layout = Layout((CHAIN,), (len(x) // N,))
    return PackedBiases([Bias("b", variable, layout, 1.0)], layout).measure(x.numpy())[0][:, 0]


def test_values_are_what_mdtraj_says() -> None:
    x = frames(20, seed=3)
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(N):
        topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", chain))
    t = mdtraj.Trajectory(x.view(20, N, 3).numpy() / 10, topology)
    native = mdtraj.Trajectory(NATIVE[None] / 10, topology)
    single = {"rtol": 1e-4, "atol": 1e-4}  # MDTraj keeps float32
    rmsd = 10 * mdtraj.rmsd(t, native, atom_indices=np.arange(2, N), precentered=False)
    np.testing.assert_allclose(measured(VARIABLES["rmsd"], x), rmsd, **single)
    away = x.view(20, N, 3)[:, 1:].numpy()
    away = away - np.average(away, axis=1, weights=MASSES[1:])[:, None]
    rg = np.sqrt(np.average((away**2).sum(-1), axis=1, weights=MASSES[1:]))  # MDTraj's has another center
    np.testing.assert_allclose(measured(VARIABLES["radius of gyration"], x), rg, rtol=1e-13)
    phi = mdtraj.compute_dihedrals(t, [[0, 4, 6, 11]])[:, 0]
    np.testing.assert_allclose(measured(Dihedral(CHAIN, 0, 4, 6, 11), x), phi, **single)
    theta = mdtraj.compute_angles(t, [[2, 9, 5]])[:, 0]
    np.testing.assert_allclose(measured(Angle(CHAIN, 2, 9, 5), x), theta, **single)
    r = 10 * mdtraj.compute_distances(t, CONTACTS).astype(float)
    q = (1 / (1 + np.exp(2.0 * (r - 1.4 * R0)))).mean(axis=1)  # Best, Hummer & Eaton, eq. 1
    np.testing.assert_allclose(measured(VARIABLES["native contacts"], x), q, **single)
    centers = [np.average(x.view(20, N, 3).numpy()[:, g], axis=1, weights=MASSES[g]) for g in ([0, 1, 3], [7, 8, 12])]
    apart = np.linalg.norm(centers[1] - centers[0], axis=1)
    np.testing.assert_allclose(measured(VARIABLES["distance of groups"], x), apart, rtol=1e-13)


@pytest.mark.parametrize("seed", range(3))
def test_rmsd_of_turned_and_mirrored_structures(seed: int) -> None:
    """Any rotation is undone, to the last digits also where the rmsd is tiny; a mirror image is not superposed."""
    turn = Rotation.random(random_state=seed).as_matrix()
    points = NATIVE[2:] - NATIVE[2:].mean(axis=0)
    noise = np.random.default_rng(seed).normal(size=points.shape)
    noise -= noise.mean(axis=0)
    for scale in (0.0, 1e-7, 1e-3, 1.0):
        x = NATIVE.copy()
        x[2:] = (points + scale * noise) @ turn.T + 17.0
        best, _ = Rotation.align_vectors(points + scale * noise, points)  # its own residue is a difference of sums
        residue = np.linalg.norm(points + scale * noise - best.apply(points))
        for found in (
            measured(VARIABLES["rmsd"], torch.from_numpy(x))[0],
            float(VARIABLES["rmsd"].value(torch.from_numpy(x)[None])[0]),
        ):
            assert abs(found - residue / math.sqrt(N - 2)) < 2e-14 + 1e-8 * scale
    mirrored = torch.from_numpy(NATIVE * [1.0, 1.0, -1.0])
    expected = Rotation.align_vectors(points * [1.0, 1.0, -1.0], points)[1] / math.sqrt(N - 2)
    assert measured(VARIABLES["rmsd"], mirrored)[0] == pytest.approx(expected, rel=1e-7)
    assert expected > 1.0


def test_rmsd_gradient_goes_through_the_rotation() -> None:
    """Against autograd through the largest eigenvalue of the quaternion matrix, another formula for the same number."""
    x = frames(1, seed=9).requires_grad_()
    mine = x[2:] - x[2:].mean(dim=0)
    ref = torch.from_numpy(VARIABLES["rmsd"].reference)
    s = ref.T @ mine
    a = torch.stack([s[1, 2] - s[2, 1], s[2, 0] - s[0, 2], s[0, 1] - s[1, 0]])
    lower = s + s.T - torch.eye(3).double() * s.trace()
    matrix = torch.cat([torch.cat([s.trace()[None], a])[None], torch.cat([a[:, None], lower], dim=1)])
    largest = torch.linalg.eigvalsh(matrix)[-1]
    rmsd = ((mine.square().sum() + ref.square().sum() - 2 * largest) / len(ref)).sqrt()
    (expected,) = torch.autograd.grad(rmsd, x)
    layout = Layout((CHAIN,), (1,))
    linear = Bias("b", VARIABLES["rmsd"], layout, 1.0, form="linear")
    found = -CompiledPriors(pack([linear], layout)).energy_and_forces(x.detach(), layout, None).forces
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["distance", "angle", "position", "rmsd"])
def test_no_force_but_no_nan_at_a_kink(name: str) -> None:
    """Two beads in one place, a straight angle, a structure at its own reference: a force has no direction there."""
    x = NATIVE.copy()
    if name == "distance":
        x[-1] = x[0]
    if name == "angle":
        x[:, 1:] = 0.0
        x[4], x[5] = -20.0, -20.0
        x[4:6, 1:] = 0.0
    variable = Position(CHAIN, [0, 5], NATIVE[[0, 5]]) if name == "position" else VARIABLES[name]
    layout = Layout((CHAIN,), (1,))
    bias = Bias("b", variable, layout, 5.0, 0.5)
    potentials = (CompiledPriors(pack([bias], layout)), *([bias] if name in ("distance", "position") else []))
    for potential in potentials:
        energy, forces = potential.energy_and_forces(torch.from_numpy(x), layout, None)
        assert torch.isfinite(energy).all() and torch.isfinite(forces).all()
        if name != "rmsd":  # which rounding keeps from being exactly 0
            assert float(forces.abs().max()) == 0.0


def test_a_dihedral_is_pulled_the_short_way_round() -> None:
    """phi = 170 degrees, center = -170 degrees: 20 degrees apart, across 180."""
    phi = math.radians(170.0)
    x = torch.tensor(
        [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [math.cos(phi), math.sin(phi), 1.0]], dtype=torch.float64
    )
    system = beads("four", 4)
    layout = Layout((system,), (1,))
    variable = Dihedral(system, 0, 1, 2, 3)
    sign = float(torch.sign(variable.value(x[None])[0]))
    bias = Bias("phi", variable, layout, 2.0, sign * math.radians(-170.0))
    for potential in (bias, CompiledPriors(pack([bias], layout))):
        assert float(potential.energy_and_forces(x, layout, None).energy[0]) == pytest.approx(math.radians(20.0) ** 2)


def test_flat_bottom() -> None:
    """Nothing within center - width to center + width, and harmonic outside."""
    system = beads("two", 2)
    layout = Layout((system,), (3,))
    bias = Bias("flat", Distance(system, 0, 1), layout, 4.0, 5.0, 1.0, "flat-bottom")
    x = torch.zeros(6, 3, dtype=torch.float64)
    x[1, 0], x[3, 1], x[5, 2] = 3.5, 5.9, 7.0
    for potential in (bias, CompiledPriors(pack([bias], layout))):
        energy, forces = potential.energy_and_forces(x, layout, None)
        assert energy.tolist() == [0.5 * 4.0 * 0.25, 0.0, 0.5 * 4.0 * 1.0]
        assert forces[1].tolist() == [2.0, 0.0, 0.0] and forces[5].tolist() == [0.0, 0.0, -4.0]
        assert not forces[2:4].any()


def test_parameters_follow_the_replica() -> None:
    """Windows and force constants of each replica's own, in a mixed batch, in any batch that holds the replica."""
    small = beads("small", 5)
    rng = np.random.default_rng(8)
    layout = Layout((small, CHAIN), (2, 3), (7, 3, 5, 9, 1))
    biases = [
        Bias("far", VARIABLES["distance"], layout, [1.0, 2.0, 3.0], [5.0, 6.0, 7.0], system=1),
        Bias("turn", Dihedral(small, 0, 1, 2, 3), layout, 4.0, [1.0, -2.0], system=0),
        Bias("size", VARIABLES["radius of gyration"], layout, [0.5, 1.5, 2.5], 4.0, system=1),
    ]
    x = torch.from_numpy(np.concatenate([walk(5, rng), walk(5, rng), *(walk(N, rng) for _ in range(3))]))
    packed = pack(biases, layout)
    energy, forces = CompiledPriors(packed).energy_and_forces(x, layout, None)
    values, shares = packed.biases.measure(x.numpy())
    assert [b.name for b in packed.biases.biases] == ["turn", "far", "size"]
    np.testing.assert_allclose(np.nansum(shares, axis=1), energy, rtol=1e-13)
    assert np.isnan(values).tolist() == [[False, True, True]] * 2 + [[True, False, False]] * 3
    for r in range(3):
        d = float(VARIABLES["distance"].value(x[10 + r * N : 10 + (r + 1) * N][None])[0])
        assert shares[2 + r, 1] == pytest.approx(0.5 * (r + 1) * (d - 5 - r) ** 2, rel=1e-13)
    total = sum(b.energy_and_forces(x, layout, None).energy for b in biases)
    np.testing.assert_allclose(energy, total, rtol=1e-13)

    alone = Layout((CHAIN,), (1,), (9,))  # replica 9 by itself
    e, f = CompiledPriors(packed).energy_and_forces(x[layout.rows(3)], alone, None)
    assert e[0] == energy[3] and torch.equal(f, forces[layout.rows(3)])
    biases[0].parameters[1, 1] += 1.0  # replica 9's center; read afresh at the next call
    moved = CompiledPriors(packed).energy_and_forces(x, layout, None).energy
    assert (moved != energy).tolist() == [False, False, False, True, False]


def test_contacts_of_a_structure() -> None:
    two = System(
        name="two", types=("A",) * 6, bead_names=("CA",) * 6, residue_index=np.arange(6), residue_names=("ALA",) * 6,
        residue_ids=tuple(range(6)), chain_ids=("A",) * 4 + ("B",) * 2, masses=np.full(6, 100.0), bonds=[],
    )  # fmt: skip
    x = np.array([[0.0, 0, 0], [4, 0, 0], [8, 0, 0], [4, 3, 0], [2, 3, 0], [40, 0, 0]])
    # 3-4 are neighbors in number but of two chains; 0-1 and 1-3 are too near in the chain, 5 is far from all
    assert contacts_of(two, range(6), x, 5.0, 2).tolist() == [[0, 4], [1, 4], [3, 4]]
    assert contacts_of(two, range(6), x, 5.1, 2).tolist() == [[0, 3], [0, 4], [1, 4], [3, 4]]


def test_images_are_refused_between_molecules() -> None:
    """Bonds hold a molecule together wherever it goes; two molecules may be nearest through the edge of the box."""
    two = System(
        name="two", types=("A",) * 6, bead_names=("CA",) * 6, residue_index=np.arange(6), residue_names=("ALA",) * 6,
        residue_ids=tuple(range(6)), chain_ids=("A",) * 6, masses=np.full(6, 100.0),
        bonds=np.array([[0, 1], [1, 2], [4, 3], [5, 4]]),
    )  # fmt: skip
    for variable in (
        Distance(two, 0, 2),
        RadiusOfGyration(two, [3, 4, 5]),
        Position(two, [1, 4], R0[:6].reshape(2, 3)),
    ):
        check_images(variable, two, BOX)
        assert in_box(variable, two, BOX) is variable
    for variable in (Distance(two, 0, 3), NativeContacts(two, [[0, 1], [2, 5]], [4.0, 4.0])):
        with pytest.raises(InputError, match=r"within one molecule, .* no bonds connect ALA 0 CA \(bead 0\) and ALA"):
            check_images(variable, two, BOX)
    layout = Layout((two,), (1,))
    apart = Bias("apart", Distance(two, 0, 3), layout, 1.0)
    state = State.at(layout, torch.from_numpy(NATIVE[:6]), 300.0, BOX)
    with pytest.raises(InputError, match="within one molecule"):
        Engine(layout, SumPotential([apart]), state, Dynamics(LangevinMiddle(0.004), seed=1))
    apart = Bias("apart", in_box(Distance(two, 0, 3), two, BOX), layout, 1.0)
    Engine(layout, SumPotential([apart]), state, Dynamics(LangevinMiddle(0.004), seed=1))
    for box, text in ((None, "found no box"), ((60.0, 50.0, 40.0), r"write variable.in_box\(\(60.0, 50.0, 40.0\)\)")):
        other = State.at(layout, torch.from_numpy(NATIVE[:6]), 300.0, box)
        with pytest.raises(InputError, match=text):
            Engine(layout, SumPotential([apart]), other, Dynamics(LangevinMiddle(0.004), seed=1))
    with pytest.raises(InputError, match="the beads of a group are of one molecule, but no bonds connect ALA 1"):
        in_box(Distance(two, [0], [1, 4]), two, BOX)
    with pytest.raises(InputError, match="within one molecule, or on the distance of two"):
        in_box(NativeContacts(two, [[0, 1], [2, 5]], [4.0, 4.0]), two, BOX)


def test_a_distance_between_molecules_is_that_of_nearest_images() -> None:
    """Value and gradient, compiled and plain, wherever the molecules are; within half a box as without one."""
    rng = np.random.default_rng(12)
    bonds = np.array([[0, 1], [1, 2], [3, 4], [4, 5], [5, 6]])
    two = dataclasses.replace(beads("two", 7, masses=rng.uniform(50, 200, 7).tolist()), bonds=bonds)
    free = Distance(two, [0, 1, 2], [4, 5, 6])
    boxed = in_box(free, two, BOX)
    assert boxed.digest != free.digest and in_box(Distance(two, 3, [5, 6]), two, BOX).box is None
    x = rng.normal(scale=4.0, size=(20, 7, 3))  # nearer than half a box
    moved = x.copy()
    moved[:, 3:] += np.array(BOX) * rng.integers(-3, 4, size=(20, 1, 3))
    layout = Layout((two,), (20,))
    packed = {v: PackedBiases([Bias("apart", v, layout, 2.0, 7.0)], layout) for v in (free, boxed)}
    expected, energy = packed[free].measure(x.reshape(-1, 3))
    for variable, at in ((boxed, x), (boxed, moved)):
        q, u = packed[variable].measure(at.reshape(-1, 3))
        np.testing.assert_allclose(q, expected, rtol=1e-12)
        np.testing.assert_allclose(u, energy, rtol=1e-9)
        np.testing.assert_allclose(variable.value(torch.from_numpy(at)), expected[:, 0], rtol=1e-12)
        forces = packed[variable].biases[0].energy_and_forces(torch.from_numpy(at.reshape(-1, 3)), layout, None).forces
        same = packed[free].biases[0].energy_and_forces(torch.from_numpy(x.reshape(-1, 3)), layout, None).forces
        np.testing.assert_allclose(forces, same, atol=1e-10)


def test_two_molecules_are_held_together_through_the_wall() -> None:
    """Compiled dynamics of a boxed pair that starts across the wall is that of the pair side by side, without a box."""
    two = dataclasses.replace(beads("two", 4), bonds=np.array([[0, 1], [2, 3]]))
    layout, near = Layout((two,), (1,)), np.array([[0.0, 0, 0], [3.8, 0, 0], [8, 0, 0], [8, 3.8, 0]])
    across = near.copy()
    across[2:] -= [BOX[0], 0.0, 2 * BOX[2]]
    free, found = Distance(two, [0, 1], [2, 3]), []
    for variable, x, box in ((free, near, None), (in_box(free, two, BOX), across, BOX)):
        state = State.at(layout, torch.from_numpy(x), 300.0, box)
        pull = Bias("pull", variable, layout, 5.0, 6.0)
        engine = Engine(layout, SumPotential([pull]), state, Dynamics(LangevinMiddle(0.004), seed=1))
        assert engine.propagator.kernels == "compiled"
        engine.draw_velocities()
        engine.run(300)
        found.append(state.positions.numpy() - x)
    assert np.abs(found[0]).max() > 1.0
    np.testing.assert_allclose(found[1], found[0], atol=1e-8)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Distance(CHAIN, 0, N), f"bead {N} is not in system 'chain'; its beads are 0 to {N - 1}"),
        (lambda: Angle(CHAIN, 0, [], 2), "a group of beads of system 'chain' is empty"),
        (lambda: RadiusOfGyration(CHAIN, [1, 2, 1]), r"names a bead twice: \[1, 2, 1\]"),
        (lambda: Rmsd(CHAIN, [1, 2], NATIVE[:2]), "three or more beads, found 2"),
        (lambda: Rmsd(CHAIN, [1, 2, 3], NATIVE), r"must be \[3, 3\] finite numbers in Å, found \[14, 3\]"),
        (lambda: NativeContacts(CHAIN, [[0, 5]], [1.0, 2.0]), "found 1 pairs and 2 r0"),
        (lambda: Bias("b", VARIABLES["distance"], Layout((CHAIN,), (3,)), 1.0, [1.0, 2.0]),
         "bias 'b': center must be one finite number, or one for each of the 3 replicas"),
        (lambda: Bias("b", VARIABLES["distance"], Layout((CHAIN,), (1,)), math.nan), "force_constant must be one fin"),
        (lambda: Bias("b", VARIABLES["distance"], Layout((CHAIN,), (1,)), 1.0, 0.0, -1.0), "width must be 0 or more"),
        (lambda: Bias("b", VARIABLES["dihedral"], Layout((CHAIN,), (1,)), 1.0, form="linear"), "would jump at 180"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(make: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()  # type: ignore[operator]

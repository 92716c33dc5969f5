"""Systems of the standard benchmark sizes, made here where the real models are not at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import BeadType, ForceField, Term
from mdflash.potentials.base import Potential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.surface import Axis, add_gaussian
from mdflash.potentials.bias.term_energy import TermEnergy
from mdflash.potentials.forms import FORMS
from mdflash.potentials.priors.term import PriorTerm
from mdflash.potentials.schnet.network import Hyperparameters, SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.base import Selected, Variable

PUBLISHED = Hyperparameters(cutoff=15.0, types=25)
"""The published CGSchNet size: 128 features and filters, 4 blocks, 64 basis functions."""


def chain(n: int, name: str = "chain") -> System:
    """n beads, one a residue, 12 Da."""
    return System(
        name=name, types=("A",) * n, bead_names=("CA",) * n, residue_index=np.arange(n), residue_names=("UNK",) * n,
        residue_ids=tuple(range(1, n + 1)), chain_ids=("A",) * n, masses=np.full(n, 12.0),
        bonds=np.array([[i, i + 1] for i in range(n - 1)]),
    )  # fmt: skip


def compact_walk(n: int, rng: np.random.Generator, density: float) -> FloatArray:
    """[n, 3] Å: points at least 2 Å apart in a sphere of `density` beads/Å^3, ordered along a path."""
    radius = (n / density * 3 / (4 * np.pi)) ** (1 / 3)
    x = np.empty((0, 3))
    while len(x) < n:
        point = rng.uniform(-radius, radius, 3)
        if point @ point < radius**2 and (not len(x) or ((x - point) ** 2).sum(1).min() > 4.0):
            x = np.concatenate([x, point[None]])
    order, left = [0], set(range(1, n))
    while left:
        nearest = min(left, key=lambda k: float(((x[k] - x[order[-1]]) ** 2).sum()))
        order.append(nearest)
        left.remove(nearest)
    return x[order]


def _term(name: str, form: str, rows: np.ndarray, **parameters: object) -> Term:
    columns = {
        p: np.broadcast_to(np.asarray(v, float), (len(rows), *np.shape(v))).copy() for p, v in parameters.items()
    }
    return Term(name, form, "beads", rows, columns)


def priors_for(x: FloatArray) -> ForceField:
    """The kinds of priors that CGSchNet has: bonds at their length in x, angles, torsions, all-pairs repulsion."""
    n = len(x)
    bonds, angles, torsions = (np.arange(n - k)[:, None] + np.arange(k + 1) for k in (1, 2, 3))
    i, j = np.triu_indices(n, k=4)
    length = np.linalg.norm(x[bonds[:, 1]] - x[bonds[:, 0]], axis=1)
    terms = (
        Term("bonds", "harmonic_bond", "beads", bonds, {"k": np.full(len(bonds), 50.0), "x0": length}),
        _term("angles", "harmonic_angle_cosine", angles, k=5.0, x0=-0.3),
        _term("dihedrals", "fourier_dihedral", torsions, v0=0.0, k1=[0.3, 0.1, 0.05], k2=[0.2, -0.1, 0.02]),
        _term("impropers", "harmonic_improper", torsions[::3], k=1.0, x0=0.5),
        _term("non_bonded", "repulsion", np.stack([i, j], axis=1), sigma=2.5),
    )
    return ForceField("synthetic", (BeadType("A", 0, 12.0),), terms=terms)


def excluded_volume() -> ForceField:
    """The prior that needs a neighbor list."""
    volume = Term("volume", "excluded_volume", "neighbors", np.zeros((1, 2), np.int64),
                  {"epsilon": np.ones(1), "sigma": np.full(1, 2.8)}, cutoff=6.0, exclude_bonds=3)  # fmt: skip
    return ForceField("volume", (BeadType("A", 0, 12.0),), terms=(volume,))


def near_forms() -> ForceField:
    """A term of every form of near pairs."""
    terms = []
    for name, form in FORMS.items():
        if form.on == "pair":
            columns = {p: np.full(1, {"Å": 2.0, "1/Å": 0.1}.get(unit, 1.0)) for p, unit in form.scalars.items()}
            keys = np.zeros((1, 2), np.int64)
            terms.append(Term(name, name, "neighbors", keys, columns, cutoff=20.0, exclude_bonds=1))
    return ForceField("near", (BeadType("A", 0, 12.0),), terms=tuple(terms))


def biases_for(layout: Layout, terms: Sequence[Potential], x: FloatArray) -> dict[str, list[Potential]]:
    """Biases on the molecule of a layout, by what they show: each variable, the strength of a term, grids, and all.

    Args:
        layout: of one system, of 7 beads or more.
        terms: its potentials, of which one is a listed term.
        x: [N, 3] Å where it is folded.
    """
    (system,) = layout.systems
    half = system.n_beads // 2
    beads = list(range(system.n_beads))
    groups: dict[int | None, list[list[int]]] = {
        None: [beads], 2: [beads[:half], beads[half:]], 3: [[0], beads[half : half + 2], [system.n_beads - 1]],
        4: [[0], [half - 1], [half], [system.n_beads - 1]],
    }  # fmt: skip
    variables: dict[str, Variable] = {}
    for name, kind in VARIABLES.items():
        options = None if kind.options is None else kind.options.section()
        reference = x + 0.5 if kind.needs_reference else None
        variables[name] = kind.select(system, Selected(groups[kind.takes], reference, options))
    found: dict[str, list[Potential]] = {
        name: [Bias(name, variable, layout, 1.0, 0.5)] for name, variable in variables.items()
    }
    listed = next(term for term in terms if isinstance(term, PriorTerm))
    found["term"] = [Bias("term", TermEnergy(system, listed), layout, -0.2, form="linear")]
    axes = (
        Axis("size", variables["radius_of_gyration"], 0.0, 40.0, 80),
        Axis("turn", variables["dihedral"], -np.pi, np.pi, 60),
        Axis("apart", variables["distance"], 0.0, 60.0, 40),
    )
    center, width = np.array([15.0, 1.0, 20.0]), np.array([5.0, 1.0, 6.0])
    for d, name in enumerate(("line", "plane", "space"), 1):
        grid = GridBias(name, axes[:d], layout)
        add_gaussian(grid.surfaces[0], axes[:d], center[:d], width[:d], 2.0)
        found[name] = [grid]
    return found | {"all": [bias for biases in found.values() for bias in biases]}


def random_network(hyper: Hyperparameters, seed: int = 0) -> SchNet:
    """Random weights, the last layer small, so that dynamics is stable."""
    torch.manual_seed(seed)
    model = SchNet(hyper)
    model.output[-1].weight.data *= 0.02  # type: ignore[operator, union-attr]
    return model.requires_grad_(False)


def synthetic(
    n: int, hyper: Hyperparameters, replicas: int, density: float = 0.029
) -> tuple[Layout, list[Potential], SchNet, FloatArray]:
    """Layout, potentials, network and start positions [replicas * n, 3] of a compact chain of n beads."""
    rng = np.random.default_rng(n)
    x = compact_walk(n, rng, density)
    layout = Layout((chain(n),), (replicas,))
    network = random_network(hyper)
    types = rng.integers(hyper.types, size=n)
    schnet = SchNetPotential("SchNet", [network], [types], [np.zeros((0, 2), np.int64)])
    terms = [schnet, *build_potential([priors_for(x)], layout).terms]
    return layout, terms, network, np.tile(x, (replicas, 1))

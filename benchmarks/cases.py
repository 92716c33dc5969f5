"""The systems of the standard benchmark, each as a folder with a force field and a system.yaml."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdflash.config.write import commented_yaml
from mdflash.core.system import System, save_system
from mdflash.core.types import FloatArray
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.forcefields.model import BeadType, ForceField, Network, Term
from mdflash.importers.mlcg import import_mlcg
from mdflash.potentials.schnet.network import Hyperparameters, SchNet

DENSITY = 0.025
"""Beads/Å^3 of `large`: five beads a residue, and a third more room than inside a protein."""
CHAIN = 250
"""Beads of each chain of `large`."""
STRETCH = 3.55
"""Å a residue along the extended chain."""


@dataclass(frozen=True)
class Case:
    """A molecule with its force field, start frame [N, 3] Å and periodic box (edges in Å) or None."""

    name: str
    forcefield: ForceField
    system: System
    start: FloatArray
    box: tuple[float, float, float] | None = None

    def write(self, folder: Path) -> Path:
        """Write force field, system and system.yaml into `folder`; returns the system.yaml."""
        folder.mkdir(parents=True)
        save_forcefield(folder / "forcefield", self.forcefield)
        save_system(folder / f"{self.name}.safetensors", self.system, self.start[None])
        box = {} if self.box is None else {"box": [f"{edge!r} angstrom" for edge in self.box]}
        data = {
            "mdflash": 1,
            "name": self.name,
            "system": {"structure": f"{self.name}.safetensors"},
            **box,
            "model": {"forcefield": "forcefield", "precision": "fp32"},
            "dynamics": {"timestep": "4 fs", "friction": "1 /ps", "temperature": "300 K", "length": "1 ns",
                         "seed": 2026},
        }  # fmt: skip
        file = folder / "system.yaml"
        file.write_text(commented_yaml(data))
        return file


def homeodomain(reference: Path) -> tuple[Case, Case]:
    """1ENH in five beads at the published CGSchNet size, folded and extended.

    The network has random weights, the last layer scaled by 0.02 so that dynamics is stable; priors are mlcg's.
    """
    folder = reference / "mlcg"
    models = [folder / "1enh_5b_random_schnet_exp_schnet.pt", folder / "prior.pt"]
    ff = import_mlcg(models, folder / "1enh_5b_configurations.pt", "1enh-5b")
    (network,) = ff.networks
    last = max(key for key in network.weights if key.startswith("output."))
    weights = {key: np.array(w) * (0.02 if key == last else 1.0) for key, w in network.weights.items()}
    system, frames = ff.systems[0]
    assert frames is not None
    ff = dataclasses.replace(ff, networks=(dataclasses.replace(network, weights=weights),), systems=())
    return (
        Case("1enh-5b-folded", ff, system, frames[0]),
        Case("1enh-5b-extended", ff, system, extended(system, frames[0])),
    )


def extended(system: System, x: FloatArray) -> FloatArray:
    """[N, 3] Å: the residues of x in a row, every second one turned over; bonds are left to a minimization."""
    out = np.empty_like(x)
    for r in range(system.n_residues):
        beads = np.flatnonzero(system.residue_index == r)
        names = [system.bead_names[b] for b in beads]
        local = x[beads] - x[beads[names.index("CA")]]
        axis = local[names.index("C")] - local[names.index("N")]
        side = -local[names.index("C")] - local[names.index("N")]  # away from the backbone's inner side
        e0 = axis / np.linalg.norm(axis)
        e1 = side - (side @ e0) * e0
        e1 /= np.linalg.norm(e1)
        frame = np.stack([e0, e1, np.cross(e0, e1)]) * np.array([[1.0], [(-1.0) ** r], [(-1.0) ** r]])
        out[beads] = local @ frame.T + np.array([STRETCH * r, 0.4 * (-1.0) ** r, 0.0])
    return out


def chignolin(reference: Path) -> Case:
    """mlcg's trained model of chignolin in CA beads."""
    ff = import_mlcg([reference / "mlcg" / "schnet_cln_ca_specialized_model_and_config.pt"], None, "chignolin-ca")
    system, frames = ff.systems[0]
    assert frames is not None
    return Case("chignolin-ca", dataclasses.replace(ff, systems=()), system, frames[0])


def large(n: int) -> Case:
    """n beads in chains that fill a periodic box, so that every bead has the same surroundings at every n.

    Published network size, random weights; bonds, angles, dihedrals, excluded volume.
    """
    rng = np.random.default_rng(n)
    sides = _sides(n)
    spacing = DENSITY ** (-1.0 / 3.0)
    path = _snake(sides) * spacing
    x = path + rng.normal(scale=0.1, size=path.shape)
    starts = np.arange(0, n, CHAIN)
    inside = np.ones(n + 3, bool)
    inside[starts] = False  # a bead that does not continue the one before
    inside[n:] = False
    runs = [np.flatnonzero(np.all([inside[k : n + k] for k in range(1, order)], axis=0)) for order in (2, 3, 4)]
    bonds, angles, dihedrals = (run[:, None] + np.arange(k + 2) for k, run in enumerate(runs))
    system = System(
        name=f"large-{n}", types=("A",) * n, bead_names=("CA",) * n, residue_index=np.arange(n),
        residue_names=("UNK",) * n, residue_ids=tuple(range(1, n + 1)),
        chain_ids=tuple(str(i // CHAIN) for i in range(n)), masses=np.full(n, 12.0), bonds=bonds,
        interactions={"bonds": bonds, "angles": angles, "dihedrals": dihedrals},
    )  # fmt: skip
    terms = (
        _term("bonds", "harmonic_bond", 2, k=50.0, x0=spacing),
        _term("angles", "harmonic_angle_cosine", 3, k=1.0, x0=-0.5),
        _term("dihedrals", "fourier_dihedral", 4, v0=0.0, k1=[0.1], k2=[0.1]),
        dataclasses.replace(
            _term("volume", "excluded_volume", 2, epsilon=1.0, sigma=2.8),
            keyed_by="neighbors", cutoff=6.0, exclude_bonds=3,
        ),
    )  # fmt: skip
    ff = ForceField("large", (BeadType("A", 0, 12.0),), terms=terms, networks=(random_network(),))
    a, b, c = (side * spacing for side in sides)
    return Case(system.name, ff, system, x, (a, b, c))


def random_network() -> Network:
    """The published CGSchNet size with random weights, the last layer small."""
    import torch

    hyper = Hyperparameters(cutoff=15.0, types=25)
    torch.manual_seed(2026)
    weights = {key: np.array(w) for key, w in SchNet(hyper).state_dict().items()}
    last = max(key for key in weights if key.startswith("output.") and key.endswith("weight"))
    weights[last] = weights[last] * np.float32(0.02)
    return Network("SchNet", "schnet", hyper.to_dict(), weights)


def _term(name: str, form: str, order: int, **values: object) -> Term:
    """A term with one row, for beads of the one type."""
    parameters = {p: np.array([value], float) for p, value in values.items()}
    return Term(name, form, "types", np.zeros((1, order), np.int64), parameters)


def _sides(n: int) -> tuple[int, int, int]:
    """Three nearly equal sides of a box of exactly n lattice points."""
    best = min(
        ((a, b, n // (a * b)) for a in range(1, n + 1) if n % a == 0 and a**3 <= n
         for b in range(a, n + 1) if (n // a) % b == 0 and a * b * b <= n),
        key=lambda sides: sides[2] - sides[0],
    )  # fmt: skip
    return best


def _snake(sides: tuple[int, int, int]) -> FloatArray:
    """[n, 3] all points of the lattice, each next to the one before."""
    a, b, c = sides
    points = []
    for i in range(a):
        for j in range(b) if i % 2 == 0 else reversed(range(b)):
            line = range(c) if (i * b + (j if i % 2 == 0 else b - 1 - j)) % 2 == 0 else reversed(range(c))
            points += [(i, j, k) for k in line]
    return np.array(points, float)

"""Energies and forces of real models against mlcg's own numbers, each term and the total."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.forcefields.model import ForceField, Term
from mdflash.importers.mlcg import import_mlcg
from mdflash.importers.mlcg_types import RESIDUES
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.base import EnergyForces

Npz = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A model as users bring it, and the arrays mlcg computed with it."""

    npz: str
    models: tuple[str, ...] = ()
    structures: str | None = None
    renamed: tuple[tuple[str, str], ...] = ()  # our term, the reference's
    total: bool = True
    frames: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7)


CASES = {
    "chignolin-ca-schnet": Case(
        "cln_ca_schnet",
        ("schnet_cln_ca_specialized_model_and_config.pt",),
        renamed=(("dihedrals", "pseudo_ca_dihedral"),),
    ),
    "chignolin-ca-priors": Case("cln_ca_schnet", ("sparse_prior_cln_ca.pt",), "structures_cln_ca.pt", total=False),
    "chignolin-5b": Case("cln_5b_priors", ("prior.pt",), "structures_cln_5b.pt"),
    "chignolin-5b-sparse": Case("cln_5b_priors", ("sparse_prior_cln_5b.pt",), "cln_configurations_demo.pt"),
    "chignolin-5b-beside-painn": Case(
        "cln_5b_painn_and_priors", ("sparse_prior_cln_5b.pt",), "structures_cln_5b.pt", total=False
    ),
    "trpcage-5b": Case("trpcage_5b_priors", ("prior_tag_prior_model.pt",)),
    "ntl9-ca": Case("ntl9_ca_priors"),
    "1enh-5b-schnet": Case(
        "1enh_5b_random_schnet_exp",
        ("1enh_5b_random_schnet_exp_schnet.pt", "prior.pt"),
        "1enh_5b_configurations.pt",
        frames=(0, 7),  # 86,000 edges each: the others would only cost time
    ),
}


@cache
def load_npz(file: Path) -> Npz:
    with np.load(file) as data:
        return {key: data[key] for key in data.files}


def system_from_npz(npz: Npz, interactions: bool) -> System:
    types = npz["types"].tolist()
    names = {k + 1: name for k, name in enumerate(RESIDUES)} | {21: "N", 22: "CA", 23: "C", 24: "O"}
    n = len(types)
    return System(
        name="molecule",
        types=tuple(names[t] for t in types),
        bead_names=("CA",) * n,
        residue_index=np.arange(n),
        residue_names=("UNK",) * n,
        residue_ids=tuple(range(n)),
        chain_ids=("A",) * n,
        masses=npz["masses"] * 418.4,
        bonds=np.zeros((0, 2), np.int64),
        interactions={k[3:]: v.T for k, v in npz.items() if k.startswith("nl_")} if interactions else {},
    )


def ntl9_forcefield(npz: Npz) -> ForceField:
    """NTL9's priors are given only per interaction: a force field keyed by beads."""

    def term(name: str, form: str, **columns: str) -> Term:
        parameters = {ours: npz[f"p_{name}_{theirs}"].astype(float) for ours, theirs in columns.items()}
        parameters = {p: v[:, 0] if p == "v0" and v.ndim == 2 else v for p, v in parameters.items()}
        return Term(name, form, "beads", npz[f"nl_{name}"].T, parameters)

    terms = (
        term("bonds", "harmonic_bond", k="k", x0="x0"),
        term("angles", "polynomial_angle_cosine", v0="v_0s", ks="ks"),
        term("dihedrals", "fourier_dihedral", v0="v_0", k1="k1s", k2="k2s"),
        term("non_bonded", "repulsion", sigma="sigma"),
    )
    return ForceField("ntl9", (), terms=terms)


def load_case(case: Case, reference: Path, tmp_path: Path) -> tuple[ForceField, System, Npz]:
    npz = load_npz(reference / f"{case.npz}.npz")
    if not case.models:
        return ntl9_forcefield(npz), system_from_npz(npz, interactions=False), npz
    folder = reference / "mlcg"
    structures = folder / case.structures if case.structures else None
    save_forcefield(tmp_path / "ff", import_mlcg([folder / m for m in case.models], structures, "case"))
    ff = load_forcefield(tmp_path / "ff")  # what a user's run reads
    return ff, ff.systems[0][0] if ff.systems else system_from_npz(npz, interactions=True), npz


def evaluate(
    ff: ForceField, system: System, frames: np.ndarray, dtype: torch.dtype
) -> tuple[dict[str, EnergyForces], EnergyForces]:
    """All frames as replicas of one batch, each recentered before it is rounded."""
    layout = Layout((system,), (len(frames),))
    positions = torch.from_numpy(frames - frames.mean(axis=1, keepdims=True)).reshape(-1, 3).to(dtype)
    potential = build_potential([ff], layout)
    pairs = None if potential.cutoff is None else all_pairs(positions, layout, potential.cutoff)
    terms = potential.by_term(positions, layout, pairs)
    energies, forces = zip(*terms.values(), strict=True)
    return terms, EnergyForces(torch.stack(energies).sum(0), torch.stack(forces).sum(0))


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    scale = np.sqrt((expected**2).mean())
    return float(np.sqrt(((found - expected) ** 2).mean()) / scale) if scale else float(np.abs(found).max())


def errors(case: Case, ff: ForceField, system: System, npz: Npz, dtype: torch.dtype) -> dict[str, tuple[float, float]]:
    """Of each term (and the total): relative force error, relative energy error."""
    frames = list(case.frames)
    by_term, total = evaluate(ff, system, npz["positions"][frames], dtype)
    results = dict(by_term) | ({"total": total} if case.total else {})
    names = dict(case.renamed)
    found = {}
    for name, (energy, forces) in results.items():
        theirs = names.get(name, name)
        if f"E_{theirs}_f64" not in npz:  # a term of the table that this molecule does not have
            assert not energy.any() and not forces.any(), name
            continue
        expected = npz[f"F_{theirs}_f64"][frames]
        found[theirs] = (
            relative(forces.double().numpy().reshape(expected.shape), expected),
            relative(energy.double().numpy(), npz[f"E_{theirs}_f64"][frames]),
        )
    wanted = {k[2:-4] for k in npz if k.startswith("E_") and k.endswith("_f64")}
    assert set(found) >= wanted - ({"total", "SchNet"} if not case.total else set())
    return found


@pytest.mark.parametrize("name", CASES)
def test_fp64_matches_mlcg(name: str, reference_dir: Path, tmp_path: Path) -> None:
    case = CASES[name]
    found = errors(case, *load_case(case, reference_dir, tmp_path), torch.float64)
    bad = {term: e for term, e in found.items() if not max(e) <= 1e-9}
    assert not bad


@pytest.mark.parametrize("name", CASES)
def test_fp32_matches_mlcg(name: str, reference_dir: Path, tmp_path: Path) -> None:
    case = CASES[name]
    found = errors(case, *load_case(case, reference_dir, tmp_path), torch.float32)
    bad = {term: e for term, e in found.items() if not e[0] <= 3e-5}
    assert not bad


def test_a_replica_has_the_same_bits_in_any_batch(reference_dir: Path, tmp_path: Path) -> None:
    """Alone, among others, and beside another molecule."""
    ff, system, npz = load_case(CASES["chignolin-ca-schnet"], reference_dir, tmp_path / "a")
    other_ff, other, other_npz = load_case(CASES["chignolin-5b"], reference_dir, tmp_path / "b")
    other_frames = other_npz["positions"][:3]
    frames = npz["positions"]

    def batch(layout: Layout, forcefields: list[ForceField], *parts: np.ndarray) -> EnergyForces:
        positions = torch.from_numpy(np.concatenate([p.reshape(-1, 3) for p in parts])).float()
        potential = build_potential(forcefields, layout)
        assert potential.cutoff is not None
        return potential.energy_and_forces(positions, layout, all_pairs(positions, layout, potential.cutoff))

    alone = [batch(Layout((system,), (1,)), [ff], frame) for frame in frames]
    seven = batch(Layout((system,), (7,)), [ff], frames[:7])
    layout = Layout((other, system), (3, 64))
    many = batch(layout, [other_ff, ff], other_frames, *[frames] * 8)
    for f in range(7):
        assert torch.equal(seven.energy[f], alone[f].energy[0])
        assert torch.equal(layout.view(many.forces, 1)[f], alone[f].forces)
    for f in range(64):
        assert torch.equal(many.energy[3 + f], alone[f % 8].energy[0])
        assert torch.equal(layout.view(many.forces, 1)[f], alone[f % 8].forces)

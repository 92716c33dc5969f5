"""Published models of one bead per residue, put together from the tables of a note that is not part of the project."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.forcefields.model import BeadType, ForceField, Term

NOTE = Path(__file__).parents[2] / ".." / "shared" / "research" / "cg-models.md"
SEQUENCES = {"FUSRGG3": "RRGGRGGYDRGGYRGRGGDRGGFRGGRGGGDRGC", "Hst5": "DSHAKRHHGYKRKFHEKHHSHRGY"}
KJ = 4.184


def note() -> str:
    if not NOTE.exists():
        pytest.skip(f"the tables of published models are not on this machine ({NOTE})")
    return NOTE.read_text(encoding="utf-8")


def table_after(heading: str) -> list[list[str]]:
    """The rows of the first table behind `heading`; several may stand on a line."""
    text = note()
    found = re.search(r"```csv\n(.*?)```", text[text.index(heading) :], re.DOTALL)
    assert found is not None
    rows = re.split(r"\n| ; ", found.group(1).strip())
    return [row.split(",") for row in rows if not row.startswith(("#", "one,"))]


def coordinates(n: int, shape: str) -> FloatArray:
    """[n, 3] Å: an open or a crowded helix."""
    radius, turn, rise = {"wide": (5.0, 40.0, 1.6), "alpha": (2.3, 100.0, 1.5)}[shape]
    i = np.arange(n)
    angle = np.radians(turn) * i
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), rise * i], axis=1)


def _pairs(kinds: list[str]) -> IntArray:
    return np.stack(np.triu_indices(len(kinds)), axis=1)


def _model(
    names: list[str], kinds: list[str], bond: tuple[float, float], near: Term, charges: Term
) -> tuple[System, ForceField]:
    n = len(names)
    bonds = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
    k, x0 = bond  # kJ/mol/nm^2, nm
    term = Term("bonds", "harmonic_bond", "beads", bonds,
                {"k": np.full(n - 1, 0.5 * k / KJ / 100), "x0": np.full(n - 1, 10 * x0)})  # fmt: skip
    system = System(
        name="chain", types=tuple(names), bead_names=("CA",) * n, residue_index=np.arange(n),
        residue_names=("ALA",) * n, residue_ids=tuple(range(1, n + 1)), chain_ids=("A",) * n,
        masses=np.full(n, 100.0), bonds=bonds,
    )  # fmt: skip
    return system, ForceField("model", tuple(BeadType(t, i, 100.0) for i, t in enumerate(kinds)),
                              terms=(term, near, charges))  # fmt: skip


def _mean(values: list[float], keys: IntArray) -> FloatArray:
    v = np.array(values)
    return 0.5 * (v[keys[:, 0]] + v[keys[:, 1]])


def _yukawa(form: str, keys: IntArray, prefactor: FloatArray, kappa: float, cutoff: float) -> Term:
    """`prefactor` in kJ nm/mol, kappa in 1/nm, cutoff in Å."""
    columns = {"prefactor": 10 / KJ * prefactor, "kappa": np.full(len(keys), 0.1 * kappa)}
    return Term("charges", form, "neighbors", keys, columns, cutoff, exclude_bonds=1)


def dielectric(temperature: float) -> float:
    t = temperature
    return 5321 / t + 233.76 - 0.9297 * t + 1.417e-3 * t**2 - 8.292e-7 * t**3


def calvados(sequence: str, version: int) -> tuple[System, ForceField]:
    """At 293.15 K, 0.19 M, pH 7.5, with charged ends."""
    rows = {r[0]: r for r in table_after("Residues (`src/residues_pub.csv`")}
    names = [sequence[0] + "+", *sequence[1:-1], sequence[-1] + "-"]
    kinds = sorted(set(names))

    def charge(kind: str) -> float:
        own = 1 / (1 + 10**1.5) if kind[0] == "H" else float(rows[kind[0]][4])
        return own + (kind[1:] == "+") - (kind[1:] == "-")

    keys = _pairs(kinds)
    sigma = _mean([10 * float(rows[k[0]][3]) for k in kinds], keys)
    scale = _mean([float(rows[k[0]][4 + version]) for k in kinds], keys)
    rt = 8.3145e-3 * 293.15
    bjerrum = 1.6021766**2 / (4 * np.pi * 8.854188 * dielectric(293.15)) * 6.02214076e3 / rt
    kappa = float(np.sqrt(8 * np.pi * bjerrum * 0.19 * 6.02214076 / 10))
    q = np.array([charge(k) for k in kinds])
    columns = {"epsilon": np.full(len(keys), 0.2), "sigma": sigma, "lambda": scale}
    near = Term("near", "ashbaugh_hatch", "neighbors", keys, columns, 20.0, exclude_bonds=1)
    charges = _yukawa("yukawa_shifted", keys, bjerrum * rt * q[keys[:, 0]] * q[keys[:, 1]], kappa, 40.0)
    return _model(names, kinds, (8033.0, 0.38), near, charges)


def hps_urry(sequence: str) -> tuple[System, ForceField]:
    rows = {r[0]: r for r in table_after("## 3. HPS-KR and HPS-Urry")}
    kinds = sorted(set(sequence))
    keys = _pairs(kinds)
    sigma = _mean([10 * float(rows[k][4]) for k in kinds], keys)
    scale = _mean([float(rows[k][6]) for k in kinds], keys) - 0.08
    near = Term("near", "ashbaugh_hatch_own_cutoff", "neighbors", keys,
                {"epsilon": np.full(len(keys), 0.2), "sigma": sigma, "lambda": scale, "own_cutoff": 4 * sigma},
                float(4 * sigma.max()), exclude_bonds=1)  # fmt: skip
    q = np.array([float(rows[k][3]) for k in kinds])
    charges = _yukawa("yukawa", keys, 138.935458 / 80 * q[keys[:, 0]] * q[keys[:, 1]], 1.0, 35.0)
    return _model(list(sequence), kinds, (8368.0, 0.38), near, charges)


def _by_pair(heading: str) -> dict[frozenset[str], list[float]]:
    return {frozenset(r[:2]): [float(v) for v in r[2:]] for r in table_after(heading)}


def mpipi(sequence: str) -> tuple[System, ForceField]:
    pairs = _by_pair("## 4. Mpipi")
    kinds = sorted(set(sequence))
    keys = _pairs(kinds)
    mine = [pairs[frozenset(kinds[k] for k in row)] for row in keys]
    mu = {frozenset("VI"): 4.0, frozenset("I"): 11.0}
    sigma = np.array([10 * s for _, s in mine])
    near = Term("near", "wang_frenkel", "neighbors", keys,
                {"epsilon": np.array([e / KJ for e, _ in mine]), "sigma": sigma,
                 "mu": np.array([mu.get(frozenset(kinds[k] for k in row), 2.0) for row in keys])},
                float(3 * sigma.max()), exclude_bonds=1)  # fmt: skip
    q = np.array([{"R": 0.75, "K": 0.75, "D": -0.75, "E": -0.75, "H": 0.375}.get(k, 0.0) for k in kinds])
    charges = _yukawa("yukawa", keys, 138.935458 / 80 * q[keys[:, 0]] * q[keys[:, 1]], 1.26, 35.0)
    return _model(list(sequence), kinds, (8033.28, 0.381), near, charges)


def recharged(sequence: str) -> tuple[System, ForceField]:
    """At 293.15 K and 0.15 M."""
    text = note()
    pairs = _by_pair("## 5. Mpipi-Recharged")
    sigmas = re.search(r"sigma_i, nm: (.*)", text)
    prefactors = re.search(r"A_ij, kJ nm/mol \(all others 0\): (.*)", text)
    assert sigmas is not None and prefactors is not None
    radius = {k: float(v) for k, v in re.findall(r"([A-Z]) ([0-9.]+\d)", sigmas.group(1))}
    amplitude: dict[frozenset[str], float] = {}
    for group in prefactors.group(1).rstrip(".").split(";"):
        *names, value = re.split(r",? +", group.strip())
        amplitude |= {frozenset(name.split("-")): float(value) for name in names}
    kinds = sorted(set(sequence))
    keys = _pairs(kinds)
    both = [frozenset(kinds[k] for k in row) for row in keys]
    sigma = _mean([10 * radius[k] for k in kinds], keys)
    near = Term("near", "wang_frenkel", "neighbors", keys,
                {"epsilon": np.array([pairs[b][0] / KJ for b in both]), "sigma": sigma,
                 "mu": np.array([pairs[b][1] for b in both])}, 25.0, exclude_bonds=1)  # fmt: skip
    bjerrum = 1.671e-5 / (dielectric(293.15) * 293.15)
    kappa = 1e-9 * float(np.sqrt(8 * np.pi * bjerrum * 0.15 * 6.022e26))
    charges = _yukawa("yukawa", keys, np.array([amplitude.get(b, 0.0) for b in both]), kappa, 35.0)
    return _model(list(sequence), kinds, (8031.0, 0.381), near, charges)


def model(name: str, sequence: str) -> tuple[System, ForceField]:
    """By its name in the note."""
    if name.startswith("CALVADOS"):
        return calvados(sequence, int(name[-1]))
    return {"HPS-Urry": hps_urry, "Mpipi": mpipi, "Recharged": recharged}[name](sequence)

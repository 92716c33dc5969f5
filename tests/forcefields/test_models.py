"""Published one-bead models: energies that two other programs computed, termini, and what depends on the environment.

The energies were computed with a NumPy program written from the papers and, for CALVADOS, with OpenMM 8.6.1. They are
printed with six decimals of kJ/mol.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from mdflash import load_forcefield
from mdflash.cli.energy import single_points
from mdflash.core.types import FloatArray
from mdflash.forcefields.build import explicit, neighbor_table
from mdflash.forcefields.environment import Environment, inverse_debye_length, protonated, water
from mdflash.forcefields.kinds import bead_kinds, mixed
from mdflash.forcefields.model import ForceField
from mdflash.mapping.chain import chain_of
from mdflash.potentials.forms import FORMS

KJ = 4.184
MODELS = ("calvados2", "calvados3", "hps-kr", "hps-urry", "mpipi", "mpipi-recharged")
SEQUENCES = {"FUSRGG3": "RRGGRGGYDRGGYRGRGGDRGGFRGGRGGGDRGC", "Hst5": "DSHAKRHHGYKRKFHEKHHSHRGY"}
HELICES = {"wide": (5.0, 40.0, 1.6), "alpha": (2.3, 100.0, 1.5)}
"""Radius in Å, turn in degrees, rise in Å."""
CHAINS = [
    ("FUSRGG3", "wide", "calvados2", 0.766814, -15.591620, 1.945491),
    ("FUSRGG3", "wide", "calvados3", 0.766814, -16.168148, 1.945491),
    ("FUSRGG3", "wide", "hps-urry", 0.798793, -11.508077, 4.094202),
    ("FUSRGG3", "wide", "mpipi", 1.537024, -20.040493, 1.684966),
    ("FUSRGG3", "wide", "mpipi-recharged", 1.536587, -19.102144, 1.998139),
    ("FUSRGG3", "alpha", "calvados2", 1.175292, 444.342726, 6.888340),
    ("FUSRGG3", "alpha", "calvados3", 1.175292, 441.843132, 6.888340),
    ("FUSRGG3", "alpha", "hps-urry", 1.224305, 459.270615, 8.503002),
    ("FUSRGG3", "alpha", "mpipi", 0.518479, 2095.003128, 3.895634),
    ("FUSRGG3", "alpha", "mpipi-recharged", 0.518332, 7356.463815, 4.604523),
    ("Hst5", "wide", "calvados2", 0.534446, -11.122333, 1.468799),
    ("Hst5", "wide", "calvados3", 0.534446, -10.610208, 1.468799),
    ("Hst5", "wide", "hps-urry", 0.556734, -12.180050, 11.206484),
    ("Hst5", "wide", "mpipi", 1.071259, -17.756786, 4.734647),
    ("Hst5", "wide", "mpipi-recharged", 1.070955, -22.517005, 5.431197),
    ("Hst5", "alpha", "calvados2", 0.819143, 652.701271, 2.005375),
    ("Hst5", "alpha", "calvados3", 0.819143, 654.001075, 2.005375),
    ("Hst5", "alpha", "hps-urry", 0.853304, 650.049625, 20.710086),
    ("Hst5", "alpha", "mpipi", 0.361364, 1413.379438, 9.512541),
    ("Hst5", "alpha", "mpipi-recharged", 0.361262, 20889.470538, 10.390728),
]
PAIRS = [
    ("calvados2", "TYR", "TRP", (79.1140666, 4.8731723, -0.6632754, -0.7132219, -0.2494137, -0.0198201)),
    ("calvados3", "TYR", "TRP", (79.1068908, 4.8659965, -0.6704512, -0.7194740, -0.2516001, -0.0199939)),
    ("calvados2", "GLU", "ASP", (10.9852228, 0.2348112, -0.0150259, -0.0083741, -0.0024260, -0.0001839)),
    ("calvados3", "GLU", "ASP", (10.9641248, 0.2137132, -0.0329798, -0.0183801, -0.0053248, -0.0004037)),
    ("calvados2", "LYS", "ASP", (19.1479474, 0.6485204, -0.0871501, -0.0524951, -0.0156989, -0.0012007)),
    ("calvados3", "LYS", "ASP", (19.1437658, 0.6443388, -0.0911092, -0.0548799, -0.0164121, -0.0012553)),
]
"""Energies of stickiness at these distances."""
DISTANCES = (5.0, 6.0, 7.0, 8.0, 10.0, 15.0)
SOLUTIONS = [
    # T/K, I/M, eps_r, K/kJ nm/mol, kappa/(1/nm)
    (293.15, 0.19, 80.252636, 1.73122599, 1.42917709),
    (298.0, 0.15, 78.456762, 1.77085371, 1.27381440),
    (310.0, 0.15, 74.188519, 1.87273517, 1.28434080),
    (278.0, 0.20, 86.139794, 1.61290668, 1.45336445),
    (293.0, 0.05, 80.308847, 1.73001423, 0.73308333),
    (293.0, 0.50, 80.308847, 1.73001423, 2.31821303),
]


def helix(n: int, shape: str) -> FloatArray:
    radius, turn, rise = HELICES[shape]
    i = np.arange(n)
    w = np.radians(turn) * i
    return np.stack([radius * np.cos(w), radius * np.sin(w), rise * i], axis=1)


@pytest.mark.parametrize(("chain", "shape", "model", "bonds", "short", "charges"), CHAINS)
def test_energies_of_whole_chains(
    chain: str, shape: str, model: str, bonds: float, short: float, charges: float
) -> None:
    ff = load_forcefield(model)
    if model.startswith("calvados"):
        ff = ff.at(Environment(293.15, 0.19, 7.5))
    system, _ = chain_of(SEQUENCES[chain], ff, chain)
    found = single_points(ff, system, helix(system.n_beads, shape)[None], "fp64")
    for term, expected in zip(ff.terms, (bonds, short, charges), strict=True):
        assert KJ * found[f"energy_{term.name}"][0] == pytest.approx(expected, rel=1e-6, abs=5.1e-7), term.name


@pytest.mark.parametrize(("model", "one", "other", "energies"), PAIRS)
def test_energies_of_pairs(model: str, one: str, other: str, energies: tuple[float, ...]) -> None:
    import torch

    ff = load_forcefield(model)
    term = explicit(ff, ff.terms[1])
    names = [t.name for t in ff.bead_types]
    wanted = {names.index(one), names.index(other)}
    row = next(k for k, key in enumerate(term.keys) if set(key.tolist()) == wanted)
    parameters = {p: torch.tensor(v[row]) for p, v in term.parameters.items()}
    found = KJ * FORMS[term.form].energy(torch.tensor(DISTANCES, dtype=torch.float64), **parameters, cutoff=term.cutoff)
    np.testing.assert_allclose(found.numpy(), energies, rtol=1e-7, atol=5.1e-8)


@pytest.mark.parametrize(("temperature", "salt", "eps", "strength", "kappa"), SOLUTIONS)
def test_the_solution_around(temperature: float, salt: float, eps: float, strength: float, kappa: float) -> None:
    assert water(temperature) == pytest.approx(eps, abs=5.1e-7)
    ff = load_forcefield("calvados2").at(Environment(temperature, salt, 7.5))
    system, _ = chain_of("GKG", ff, "one")  # inside a chain, K has one charge
    table = neighbor_table(ff, ff.terms[2], system)
    lysine = int(table.types[1])
    assert table.parameters["prefactor"][lysine, lysine] * KJ / 10 == pytest.approx(strength, abs=5.1e-9)
    assert table.parameters["kappa"][lysine, lysine] * 10 == pytest.approx(kappa, abs=5.1e-9)


def test_no_salt_does_not_screen() -> None:
    assert inverse_debye_length(7.1, 6.02214076e-4, 0.0) == 0.0


def test_ends_of_a_chain_have_their_own_charge_and_mass() -> None:
    ff = load_forcefield("calvados2")
    system, _ = chain_of("KGHGE", ff, "ends")
    masses = {t.name: t.mass for t in ff.bead_types}
    more = np.array([masses[t] for t in system.types])
    np.testing.assert_allclose(system.masses - more, [2, 0, 0, 0, 16], atol=1e-12)
    table = neighbor_table(ff, ff.terms[2], system)
    middle = bead_kinds(ff, system).of_bead[2]
    strength = table.parameters["prefactor"][table.types, middle]  # of every bead with the histidine
    histidine = protonated(6.0, 7.5)
    charges = np.array([2.0, 0.0, histidine, 0.0, -2.0])
    np.testing.assert_allclose(strength / strength[0], charges / 2.0, atol=1e-12)


@pytest.mark.parametrize("pH", [4.0, 6.0, 7.5])
def test_histidine_and_phosphates_titrate(pH: float) -> None:
    ff = load_forcefield("calvados2").at(Environment(293.15, 0.15, pH))
    assert _charge(ff, "HIS") == pytest.approx(1 / (1 + 10 ** (pH - 6)), rel=1e-12)
    if pH == 7.5:  # the numbers of the published table
        assert _charge(ff, "SEP") == pytest.approx(-1.968654940548496, rel=1e-12)
        assert _charge(ff, "TPO") == pytest.approx(-1.9406490568972323, rel=1e-12)


def _charge(ff: ForceField, residue: str) -> float:
    """In e, read off the pair of two such residues."""
    index = [t.name for t in ff.bead_types].index(residue)
    term = explicit(ff, ff.terms[2])
    pair = next(k for k, key in enumerate(term.keys) if (key == index).all())
    lysine = [t.name for t in ff.bead_types].index("LYS")
    mixed_pair = next(k for k, key in enumerate(term.keys) if set(key.tolist()) == {index, lysine})
    ratio = term.parameters["prefactor"][pair] / term.parameters["prefactor"][mixed_pair]
    return float(ratio)


def test_lambda_may_exceed_one_and_be_negative() -> None:
    """Published numbers are not clipped: W of CALVADOS 3, E-E of HPS-Urry."""
    for model, residue, expected in (("calvados3", "TRP", 1.033450123574512), ("hps-urry", "GLU", -0.08)):
        ff = load_forcefield(model)
        term = explicit(ff, ff.terms[1])
        index = [t.name for t in ff.bead_types].index(residue)
        pair = next(k for k, key in enumerate(term.keys) if (key == index).all())
        assert term.parameters["lambda"][pair] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("model", MODELS)
def test_what_a_model_depends_on(model: str) -> None:
    ff = load_forcefield(model)
    expected = {
        "calvados2": {"temperature", "ionic_strength", "pH"},
        "calvados3": {"temperature", "ionic_strength", "pH"},
        "mpipi-recharged": {"temperature", "ionic_strength"},
    }
    assert ff.needs == expected.get(model, set())
    for name in ("cite", "table"):
        assert ff.provenance[name]


def test_more_salt_screens_more() -> None:
    ff = load_forcefield("calvados2")
    kinds = bead_kinds(ff, chain_of("KEKE", ff, "x")[0])
    low, high = (mixed(ff.at(Environment(293.15, i, 7.5)), ff.terms[2].rules["kappa"], kinds)[0, 0] for i in (0.1, 0.4))
    assert high == pytest.approx(math.sqrt(4) * low)

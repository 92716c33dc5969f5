"""Published models of one bead per residue: energies of pairs and of whole chains, against other programs' numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import Term
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.forms import CODES, FORMS, pair
from tests.potentials.residue_models import KJ, SEQUENCES, coordinates, model, note
from tests.potentials.test_compiled import agree
from tests.potentials.test_forms import twin_of

# Å, 1, and kJ/mol at 5, 6, 7, 8, 10 and 15 Å; epsilon 0.8368 kJ/mol, cutoff 20 Å
PAIRS = [
    (6.62, 0.98341881, [79.1140666, 4.8731723, -0.6632754, -0.7132219, -0.2494137, -0.0198201]),
    (6.62, 0.99203941, [79.1068908, 4.8659965, -0.6704512, -0.7194740, -0.2516001, -0.0199939]),
    (5.75, 0.02114880, [10.9852228, 0.2348112, -0.0150259, -0.0083741, -0.0024260, -0.0001839]),
    (5.75, 0.04641857, [10.9641248, 0.2137132, -0.0329798, -0.0183801, -0.0053248, -0.0004037]),
    (5.97, 0.11031261, [19.1479474, 0.6485204, -0.0871501, -0.0524951, -0.0156989, -0.0012007]),
    (5.97, 0.11532391, [19.1437658, 0.6443388, -0.0911092, -0.0548799, -0.0164121, -0.0012553]),
]


@pytest.mark.parametrize(("sigma", "scale", "energies"), PAIRS)
def test_ashbaugh_hatch_has_the_energies_of_calvados(sigma: float, scale: float, energies: list[float]) -> None:
    form = FORMS["ashbaugh_hatch"]
    parameters = {"epsilon": np.array([0.2]), "sigma": np.array([sigma]), "lambda": np.array([scale])}
    (row,) = form.pair_rows(parameters, 20.0)
    q = np.array([5.0, 6.0, 7.0, 8.0, 10.0, 15.0])
    compiled = [pair(CODES[form.name], r * r, row, 20.0)[0] for r in q]
    reference = form.energy(torch.from_numpy(q), cutoff=20.0, **{p: torch.from_numpy(v) for p, v in parameters.items()})
    for found in (np.array(compiled), reference.numpy()):
        assert np.abs(found * KJ - energies).max() <= 0.6e-7  # both lambda and the energies are rounded


def chains() -> list[tuple[str, str, str]]:
    models = ("CALVADOS 2", "CALVADOS 3", "HPS-Urry", "Mpipi", "Recharged")
    return [(name, shape, model) for name in SEQUENCES for shape in ("wide", "alpha") for model in models]


def larger(term: Term) -> Term:
    """The term with sigma half a digit larger."""
    if "sigma" not in term.parameters:
        return term
    return replace(term, parameters={**term.parameters, "sigma": term.parameters["sigma"] + 0.5e-4})


@pytest.mark.parametrize(("name", "shape", "kind"), chains())
def test_chains_of_published_models(name: str, shape: str, kind: str) -> None:
    (expected,) = [line for line in note().splitlines() if line.startswith(f"| {name} | {shape} | {kind} |")]
    bonds, near, charges = map(float, expected.strip("| ").split("|")[3:])
    system, ff = model(kind, SEQUENCES[name])
    layout = Layout((system,), (1,))
    potential = build_potential([ff], layout)
    x = torch.from_numpy(coordinates(system.n_beads, shape))
    pairs = all_pairs(x, layout, 40.0)
    terms = {t.name: t.energy_and_forces(x, layout, pairs) for t in potential.terms}
    for term, energy in (("bonds", bonds), ("near", near), ("charges", charges)):
        slack = 0.0
        if kind == "Recharged" and term == "near":  # whose sigmas are rounded to 1e-4 Å in the file the energy is from
            moved = build_potential([replace(ff, terms=tuple(map(larger, ff.terms)))], layout)
            (near_,) = [t for t in moved.terms if t.name == "near"]
            slack = KJ * abs(float(near_.energy_and_forces(x, layout, pairs).energy[0] - terms[term].energy[0]))
        found = KJ * float(terms[term].energy[0])
        assert abs(found - energy) <= max(1e-6 * abs(energy), 0.51e-6) + slack, (term, found, energy)
    agree(twin_of(potential, layout).energy_and_forces(x, layout, None), potential.energy_and_forces(x, layout, pairs),
          layout)  # fmt: skip

"""One force field for many molecules: energies of copies that do not meet add up; what cannot be shared is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mdflash.core.copies import join
from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import ForceFieldError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.copies import Part, merge
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.forcefields.shipped import find_shipped
from mdflash.importers.domains import restrain
from mdflash.mapping.chain import chain_of
from mdflash.neighbors.reference import all_pairs


def shipped(name: str) -> ForceField:
    folder = find_shipped("forcefields", name)
    assert folder is not None
    return load_forcefield(folder)


def energy(ff: ForceField, system: System, x: FloatArray) -> float:
    layout = Layout((system,), (1,))
    positions = torch.from_numpy(x)
    return float(
        build_potential([ff], layout).energy_and_forces(positions, layout, all_pairs(positions, layout, 50.0))[0]
    )


def on_a_grid(x: FloatArray) -> FloatArray:
    """Places of few bits, so that a copy some thousand Å away is no other by a rounded last bit."""
    return np.round(x * 2.0**20) / 2.0**20


def held(ff: ForceField, sequence: str) -> tuple[ForceField, System, FloatArray]:
    """The force field with the first ten residues of a molecule held, the molecule, and its positions."""
    system, (x,) = chain_of(sequence, ff, sequence[:4])
    made = restrain(ff, system, x, (np.arange(10),))
    return made, made.systems[0][0], on_a_grid(x + np.random.default_rng().normal(scale=0.3, size=x.shape))


def test_copies_far_apart_have_the_sum_of_their_energies() -> None:
    plain = shipped("calvados3")
    domain, folded, x = held(plain, "MSRAALPSLENLEDDDEFEDFATENW")
    chain, (start,) = chain_of("GSYGSYGRRE", plain, "idr")
    y = on_a_grid(start)
    parts = [Part(domain, folded, 2), Part(plain, chain, 3)]
    system = join([(p.system, p.count) for p in parts], "box")
    ff = merge(parts, "box")
    every = [x, x, y, y, y]
    together = np.concatenate([c + np.array([500.0 * k, 0.0, 0.0]) for k, c in enumerate(every)])
    expected = 2 * energy(domain, folded, x) + 3 * energy(plain, chain, y)
    assert np.isclose(energy(ff, system, together), expected, rtol=1e-12)
    # and where they meet they interact, as any two chains do
    near = np.concatenate([x, x + 500.0, y, y + np.array([0.0, 0.0, 7.0]), y + 900.0])
    pair = energy(plain, join([(chain, 2)], "two"), np.concatenate([y, y + np.array([0.0, 0.0, 7.0])]))
    expected = 2 * energy(domain, folded, x) + energy(plain, chain, y) + pair
    moved = near.copy()
    moved[2 * len(x) : 2 * len(x) + 2 * len(y)] += np.array([0.0, 3000.0, 0.0])
    assert np.isclose(energy(ff, system, moved), expected, rtol=1e-12)


def test_a_force_field_for_any_sequence_stays_as_it_is() -> None:
    plain = shipped("calvados2")
    parts = [Part(plain, chain_of(s, plain, s)[0], 4) for s in ("GSYGS", "RRE")]
    assert merge(parts, "box") is plain


def test_what_differs_between_molecules_is_named() -> None:
    two, three = shipped("calvados2"), shipped("calvados3")
    a, b = (Part(ff, chain_of("GSYGS", ff, ff.name)[0], 1) for ff in (two, three))
    with pytest.raises(
        ForceFieldError, match="'calvados2' and 'calvados3' cannot share a box: their bead types differ"
    ):
        merge([a, b], "box")
    stiff = replace(two, terms=tuple(replace(t, cutoff=30.0) if t.name == "stickiness" else t for t in two.terms))
    with pytest.raises(ForceFieldError, match="their terms 'stickiness' differ"):
        merge([a, replace(a, forcefield=stiff)], "box")


def test_one_molecule_alone_keeps_its_force_field() -> None:
    go = shipped("go-chignolin")
    (system, _), *_ = go.systems
    assert merge([Part(go, system, 1)], "box") is go

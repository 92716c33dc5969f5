"""Learned terms: what they add is what the force field that is written has more than the one at the start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.errors import InputError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import BeadType, ForceField
from mdflash.training.learned_terms import LearnedTerms, with_steps

ROOT = Path(__file__).parents[2]


def _priors(name: str) -> ForceField:
    ff = load_forcefield(ROOT / "forcefields" / name)
    return replace(ff, networks=(), terms=tuple(t for t in ff.terms if t.keyed_by != "neighbors"))


@pytest.mark.parametrize("name", ["go-chignolin", "chignolin-ca", "ala2"])
def test_changes_are_those_of_the_written_force_field(name: str) -> None:
    rng = np.random.default_rng()
    ff = _priors(name)
    system, start = ff.systems[0]
    assert start is not None
    learned = LearnedTerms(ff, "key")
    steps = torch.from_numpy(rng.normal(0.0, 0.2, len(learned.steps)).astype(np.float32))
    with torch.no_grad():
        learned.steps.copy_(steps)
    x = torch.from_numpy(start[:1] + rng.normal(0.0, 0.3, (5, system.n_beads, 3)))
    own = learned.of(system)
    assert own is not None
    found = own.energies(x), own.forces(x)
    layout = Layout((system,), (5,))
    flat = x.reshape(-1, 3)
    after, before = (
        build_potential([priors], layout).energy_and_forces(flat, layout, None)
        for priors in (with_steps(ff, steps), ff)
    )
    torch.testing.assert_close(found[0], after.energy - before.energy, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found[1].reshape(-1, 3), after.forces - before.forces, rtol=1e-7, atol=1e-7)


def test_gradients_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng()
    ff = _priors("go-chignolin")
    system, start = ff.systems[0]
    assert start is not None
    learned = LearnedTerms(ff, "key").double()
    x = torch.from_numpy(start[:1] + rng.normal(0.0, 0.2, (3, system.n_beads, 3)))
    along = torch.from_numpy(rng.normal(size=x.shape))
    direction = torch.from_numpy(rng.normal(size=len(learned.steps)))

    def at(size: float) -> tuple[float, float]:
        with torch.no_grad():
            learned.steps.copy_(size * direction)
        own = learned.of(system)
        assert own is not None
        return float(own.energies(x).sum().detach()), float(own.change(x, along).detach())

    (e1, c1), (e0, c0) = at(1e-4), at(-1e-4)
    at(0.0)
    own = learned.of(system)
    assert own is not None
    for value, numerical in ((own.energies(x).sum(), e1 - e0), (own.change(x, along), c1 - c0)):
        (gradient,) = torch.autograd.grad(value, learned.steps)
        assert float(gradient @ direction) == pytest.approx(numerical / 2e-4, rel=1e-4)


def test_what_is_positive_stays_so_and_angles_stay_angles() -> None:
    ff = _priors("go-chignolin")
    size = len(LearnedTerms(ff, "key").steps)
    for sign in (-5.0, 5.0):
        moved = with_steps(ff, torch.full((size,), sign))  # a Term checks its ranges
        assert all((t.parameters["k"] > 0.0).all() for t in moved.terms if "k" in t.parameters)


def test_a_force_field_without_tables_is_refused() -> None:
    with pytest.raises(InputError, match=r"key 'relative_entropy\.priors'.*'empty' has no table"):
        LearnedTerms(ForceField("empty", (BeadType("A", 0),)), "relative_entropy.priors")

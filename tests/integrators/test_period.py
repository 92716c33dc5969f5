"""The fastest motion that is known of, and what is said about steps that are long for it."""

from __future__ import annotations

import numpy as np
import pytest

from mdflash.config.load import load_run, locate
from mdflash.core.state import Layout
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.shipped import shipped_names
from mdflash.integrators.timestep_check import coarse_step, shortest_period
from mdflash.integrators.verlet import Verlet
from mdflash.potentials.base import Potential
from mdflash.runs.prepare import prepare
from tests.helpers import bead_term, beads, simulate, toy

MASSES = [12.0, 14.0, 3.0]


def _chain() -> tuple[Layout, tuple[Potential, ...]]:
    layout = Layout((beads("chain", 3, masses=MASSES),), (1,))
    ff = toy(bead_term("bonds", "harmonic_bond", [[0, 1], [1, 2]], k=[50.0, 4.0], x0=3.8))
    return layout, tuple(build_potential([ff], layout).terms)


def test_two_beads_on_the_stiffest_spring_come_back_after_the_period() -> None:
    layout, terms = _chain()
    period = shortest_period(terms, layout)
    pair = Layout((beads("pair", 2, masses=MASSES[:2]),), (1,))
    alone = toy(bead_term("bonds", "harmonic_bond", [[0, 1]], k=50.0, x0=3.8))
    start = np.array([[0.0, 0.0, 0.0], [3.9, 0.0, 0.0]])
    engine = simulate(pair, [alone], start, Verlet(period / 4000), draw=False)
    lengths = []
    for _ in range(4000):
        engine.run(1)
        lengths.append(float(engine.state.positions[1, 0] - engine.state.positions[0, 0]))
    assert lengths[-1] == pytest.approx(3.9, abs=1e-5)
    assert lengths[1999] == pytest.approx(3.7, abs=1e-5)


def test_a_step_that_is_long_for_a_bond_is_told_with_one_that_is_not() -> None:
    layout, terms = _chain()
    period = shortest_period(terms, layout)
    assert coarse_step(terms, layout, period / 10.01) is None
    said = coarse_step(terms, layout, period / 6)
    assert said is not None
    advised = float(said.split("steps of")[2].split()[0]) * 1e-3
    assert period / 12 < advised <= period / 10


@pytest.mark.parametrize("name", shipped_names("systems"))
def test_ready_systems_have_steps_that_resolve_their_bonds(name: str) -> None:
    config = load_run(locate(name), [])
    assert not [note for note in prepare(config).notes if "dynamics.timestep" in note]


def test_a_run_says_so() -> None:
    notes = prepare(load_run(locate("chignolin"), ["dynamics.timestep=40 fs"])).notes
    assert any("dynamics.timestep: steps of 40 fs are more than a tenth" in note for note in notes)

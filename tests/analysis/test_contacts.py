"""The public Q is the variable of biases, and what `mdflash analyze` counts where it is as steep as can be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import mdflash
from mdflash import Simulation
from mdflash.analysis.measures import fraction_of_contacts
from mdflash.core.geometry import distances
from mdflash.errors import InputError
from mdflash.potentials.variables.native_contacts import Contacts, NativeContacts, contacts_of

SYSTEM, FRAMES = mdflash.load_forcefield("go-chignolin").system()
assert FRAMES is not None
NATIVE = FRAMES[0]


@pytest.fixture
def positions() -> np.ndarray:
    """[20, 10, 3] from folded to torn apart."""
    rng = np.random.default_rng(9)
    return NATIVE * np.linspace(1.0, 2.0, 20)[:, None, None] + rng.normal(scale=0.7, size=(20, 10, 3))


@pytest.mark.parametrize("rule", [{}, {"cutoff": 7.0, "separation": 2, "beta": 3.0, "stretch": 1.5}])
def test_it_is_the_variable_of_biases(rule: dict[str, float], positions: np.ndarray) -> None:
    r = Contacts().model_copy(update=rule)
    pairs = contacts_of(SYSTEM, range(10), NATIVE, r.cutoff, r.separation)
    variable = NativeContacts(SYSTEM, pairs, distances(NATIVE, pairs), r.beta, r.stretch)
    q = mdflash.native_contacts(positions, SYSTEM, NATIVE, **rule)  # type: ignore[arg-type]
    np.testing.assert_allclose(q, variable.value(torch.from_numpy(positions)), rtol=1e-12)
    assert q.max() > 0.8 and q.min() < 0.2
    assert mdflash.native_contacts(positions[3], SYSTEM, NATIVE, **rule) == pytest.approx(q[3])  # type: ignore[arg-type]


def test_it_is_what_a_run_records() -> None:
    sim = Simulation(
        "chignolin", "go-chignolin", replicas=3, temperature="400 K", seed=3,
        biases=[{"name": "q", "variable": "native_contacts", "center": 0.5, "force_constant": "9 kcal/mol"}],
    )  # fmt: skip
    sim.run(200)
    native = Simulation("chignolin", "go-chignolin", seed=1).replicas[0].positions
    np.testing.assert_allclose(mdflash.native_contacts(sim.positions, SYSTEM, native), sim.variables()["q"], rtol=1e-12)


def test_steep_it_counts(positions: np.ndarray) -> None:
    contacts = next(t for t in mdflash.load_forcefield("go-chignolin").terms if t.name == "contacts").keys
    q = mdflash.native_contacts(positions, SYSTEM, NATIVE, contacts=contacts, beta=math.inf)
    assert q.tolist() == fraction_of_contacts(positions, contacts, distances(NATIVE, contacts)).tolist()


def test_what_is_refused(positions: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"native must be \[10, 3\] in Å for each frame, found \[1, 9, 3\]"):
        mdflash.native_contacts(positions, SYSTEM, NATIVE[:9])
    with pytest.raises(InputError, match=r"positions must be \[10, 3\]"):
        mdflash.native_contacts(positions[:, :9], SYSTEM, NATIVE)
    with pytest.raises(InputError, match="no two beads are nearer than 3 Å and more than 3 residues apart"):
        mdflash.native_contacts(positions, SYSTEM, NATIVE, cutoff=3.0)

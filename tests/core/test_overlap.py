"""Beads in one place, and positions in another unit, are refused at every door."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mdflash import Simulation
from mdflash.cli.app import app
from mdflash.core.overlap import NEAREST, in_one_place
from mdflash.engine.evaluator import Evaluator
from mdflash.errors import InputError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.importers.go_model import build_go
from tests.helpers import beads, go_helix, helix

OTHER = pytest.mark.parametrize(("factor", "says"), [(0.1, "nm"), (10.0, "divide them by 10"), (100.0, "pm")])


@pytest.mark.parametrize("n", [2, 30, 200])
def test_the_first_two_beads_in_one_place_are_named(n: int) -> None:
    rng = np.random.default_rng()
    x = helix(n) + rng.uniform(-0.5, 0.5, (3, n, 3))  # no two within 2 Å
    assert in_one_place(beads("m", n), x) is None
    i, j = sorted(rng.choice(n, 2, replace=False))
    x[2, j] = x[2, i] + rng.normal(size=3) * NEAREST / 10
    assert str(in_one_place(beads("m", n), x)).startswith(f"frame 2: ALA {i + 1} CA (bead {i}) and ALA {j + 1} CA")


@OTHER
def test_other_units_are_refused_at_every_door(tmp_path: Path, factor: float, says: str) -> None:
    system, ff = go_helix(8)
    save_forcefield(tmp_path / "ff", ff)
    x = helix(8)
    with pytest.raises(InputError, match=says):
        build_go(system, x * factor)
    with pytest.raises(InputError, match=says):
        Simulation(system, ff, start=x * factor)
    with pytest.raises(InputError, match=says):
        Evaluator(ff, system)(x * factor)
    simulation = Simulation(system, ff, start=x)
    with pytest.raises(InputError, match=says):
        simulation.positions = x[None] * factor
    with pytest.raises(InputError, match=says):
        simulation.replicas[0].positions = x * factor
    np.save(tmp_path / "x.npy", x * factor)
    with pytest.raises(InputError, match=says) as error:
        app(
            ["energy", f"{tmp_path}/ff", "--out", f"{tmp_path}/e.npz", "--frames", f"{tmp_path}/x.npy"],
            standalone_mode=False,
        )
    assert error.value.file == tmp_path / "x.npy"


@OTHER
def test_an_evaluator_that_knows_the_molecule_refuses_them_too(factor: float, says: str) -> None:
    system, ff = go_helix(8)
    evaluate = Evaluator(ff, system, 2)
    x = np.concatenate([helix(8)] * 2)
    evaluate(x)
    x[8:] *= factor
    with pytest.raises(InputError, match=f"replica 1.*{says}"):
        evaluate(x)


def test_a_native_structure_has_a_place_for_every_bead() -> None:
    x = helix(8)
    x[6] = x[1]
    with pytest.raises(InputError, match=r"ALA 2 CA .* and ALA 7 CA .* are in one place"):
        build_go(beads("m", 8), x)

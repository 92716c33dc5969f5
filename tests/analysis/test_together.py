"""Biases that act together: a free energy of all of them, or a sentence on why there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

import mdflash
from mdflash.config.load import load_run, parse_run
from mdflash.config.untold import untold
from mdflash.core.mbar import mbar
from mdflash.runs.execute import execute
from mdflash.units import kT

pytest.importorskip("pandas", reason="tables need pandas (pip install 'mdflash[analysis]')")

CHIGNOLIN = Path(mdflash.__file__).parents[1] / "systems" / "chignolin.pdb"
KELVIN = 330.0
BASE = {
    "mdflash": 1,
    "system": {"structure": str(CHIGNOLIN), "name": "pep"},
    "model": {"forcefield": "go-chignolin"},
    "dynamics": {"timestep": "10 fs", "length": "8 ps", "seed": 7, "temperature": f"{KELVIN} K"},
    "replicas": {"count": 4},
    "output": {"folder": "./run", "trajectory": {"interval": "100 fs"}, "log": {"interval": "100 fs"},
               "colvars": {"interval": "100 fs"}},
}  # fmt: skip
CENTERS = ["5 angstrom", "6 angstrom", "7 angstrom", "8 angstrom"]
WINDOWS = {"name": "ends", "variable": "distance", "beads": [0, 9], "center": CENTERS,
           "force_constant": "0.3 kcal/mol/angstrom^2"}  # fmt: skip
WALL = {"name": "wall", "variable": "distance", "beads": [0, 9], "form": "upper-wall", "center": "20 angstrom",
        "force_constant": "1 kcal/mol/angstrom^2"}  # fmt: skip
PULL = {"name": "pull", "variable": "distance", "beads": [1, 8], "center": "5 angstrom", "center_to": "9 angstrom",
        "force_constant": "1 kcal/mol/angstrom^2", "moving": {"length": "5 ps"}}  # fmt: skip
HILLS = {"name": "hills", "variables": [{"name": "q", "variable": "native_contacts", "width": 0.05}],
         "height": "0.1 kcal/mol", "every": "100 fs"}  # fmt: skip
TRADED = {"biases": ["ends"], "interval": "200 fs"}


def analyzed(folder: Path, **keys: object):  # type: ignore[no-untyped-def]
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(BASE | keys))
    plan = execute(load_run(file), file)
    run = mdflash.open_run(folder / "run")
    return plan.notes, run, run.analyze().molecules["pep"]


def test_windows_of_states_that_differ_in_the_strength_of_a_term_too(tmp_path: Path) -> None:
    scales = np.round(np.random.default_rng().uniform(0.5, 1.0, 4), 2)
    exchange = TRADED | {"scale": {"contacts": scales.tolist()}}
    notes, run, found = analyzed(tmp_path, biases=[WINDOWS], exchange=exchange)
    assert not any("no free energy" in note for note in notes)
    (windows,) = found.windows
    rows = run.colvars[run.colvars.step >= found.first_step]
    energy = 0.15 * (rows.ends_A.to_numpy() - np.arange(5.0, 9.0)[:, None]) ** 2
    energy += (scales[:, None] - 1.0) * rows.scale_contacts_term_kcal_mol.to_numpy()
    expected = mbar(energy / kT(KELVIN), np.bincount(rows.state, minlength=4).astype(float))
    np.testing.assert_allclose(windows.free - windows.free[0], expected - expected[0], atol=1e-6)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"biases": [WINDOWS], "metadynamics": [HILLS]},
         {"ends": "hills changes meanwhile", "hills": "walkers are in different windows of ends"}),
        ({"biases": [WINDOWS, PULL]},
         {"ends": "pull changes meanwhile", "pull": "replicas are in different windows of ends"}),
        ({"biases": [PULL], "metadynamics": [HILLS]},
         {"pull": "hills changes meanwhile", "hills": "pull moves meanwhile"}),
        ({"biases": [PULL, PULL | {"name": "twist", "beads": [2, 7]}]},
         {"pull": "twist changes meanwhile", "twist": "pull changes meanwhile"}),
        ({"biases": [PULL | {"center": CENTERS}]}, {"pull": "replicas are in different windows of pull"}),
        ({"metadynamics": [HILLS], "exchange": {"scale": {"contacts": [1, 0.9, 0.8, 0.7]}, "interval": "200 fs"}},
         {"hills": "walkers are in different windows of the strength of contacts"}),
        ({"biases": [WALL], "metadynamics": [HILLS]}, {}),
        ({"biases": [WALL, PULL]}, {}),
        ({"biases": [WALL, WINDOWS], "exchange": TRADED}, {}),
    ],
)  # fmt: skip
def test_which_biases_tell_no_free_energy(tmp_path: Path, keys: dict[str, object], why: dict[str, str]) -> None:
    config = parse_run(yaml.safe_dump(BASE | keys), tmp_path / "run.yaml")
    assert untold(config, "pep") == why


@pytest.mark.parametrize("moved", [True, False])
def test_what_tells_no_free_energy_has_none(tmp_path: Path, moved: bool) -> None:
    """It is said before the run, too."""
    keys = {"biases": [WINDOWS, PULL]} if moved else {"biases": [WINDOWS], "metadynamics": [HILLS]}
    notes, _, found = analyzed(tmp_path, **keys)
    other = "pull" if moved else "hills"
    for name in ("ends", other):
        assert any(note.startswith(f"{name} will tell no free energy: ") for note in notes)
    assert not (found.windows or found.pulled or found.filled)
    assert any(f"the windows of ends are not joined into a free energy: {other} changes" in n for n in found.notes)
    assert any(other in text and "different windows of ends" in text for text in found.lacking)
    assert "freed" not in found.biased

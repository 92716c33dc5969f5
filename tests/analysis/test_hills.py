"""Free energies from metadynamics runs: the scaled bias and reweighted rows agree, and with the exact ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import mdflash
from mdflash.analysis.hills import Filled, projected
from mdflash.analysis.judge import judge
from mdflash.analysis.open_run import Run
from mdflash.analysis.report.figure import Map
from mdflash.analysis.report.sections.metadynamics import metadynamics
from mdflash.analysis.result import MoleculeAnalysis
from mdflash.config.load import load_run
from mdflash.core.system import save_system
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.runs.execute import execute
from tests.runs.test_metadynamics import SPACE, run, write
from tests.umbrella import torsion

RUN = """mdflash: 1
name: torsion
system: {structure: torsion.safetensors, forcefield: ff, start: start.npy}
dynamics: {timestep: 10 fs, friction: 8 /ps, seed: 5, temperature: 300 K, length: 200 ps}
replicas: {count: 24}
metadynamics:
  - name: turn
    variables: {name: phi, variable: dihedral, beads: [0, 1, 2, 3], width: 12 degree}
    height: 0.1 kcal/mol
    every: 0.4 ps
    walkers: 12
output: {trajectory: {interval: 10 ps}, log: {interval: 10 ps}, colvars: {interval: 0.4 ps}}
"""


def analyzed(folder: Path) -> Filled:
    well = torsion()
    save_forcefield(folder / "ff", well.forcefield)
    save_system(folder / "torsion.safetensors", well.system)
    np.save(folder / "start.npy", np.stack([well.start(phi) for phi in (0.0, 3.1)]))
    (folder / "system.yaml").write_text(RUN)
    execute(load_run(folder / "system.yaml", [f"output.folder={folder / 'out'}"]), folder / "system.yaml")
    run = mdflash.open_run(folder / "out")
    analysis = run.analyze()
    analysis.write()
    page = (run.folder / "analysis" / "report.html").read_text()
    assert "Free energy along dihedral (phi) / rad at 300 K, by metadynamics" in page
    found = json.loads((run.folder / "analysis" / "analysis.json").read_text())["molecules"]["torsion"]
    assert found["metadynamics"][0]["hills"] == 24 * 500
    (filled,) = analysis.molecules["torsion"].filled
    return filled


def test_a_torsion_with_a_known_free_energy(tmp_path: Path) -> None:
    filled = analyzed(tmp_path)
    assert (filled.groups, filled.hills) == (2, 12_000)
    exact = torsion().free_energy(filled.nodes[0])
    assert (filled.scaled - exact).std() < 0.15
    s = filled.reweighted
    assert s is not None
    off = s.energy - torsion().free_energy(0.5 * (s.edges[0][1:] + s.edges[0][:-1]))
    assert np.nanstd(off) < 0.25 and np.isfinite(s.errors).sum() > 40
    assert filled.disagreement < 0.25 and filled.drift[-1] < filled.drift[0]
    assert np.isfinite(filled.scaled_error).all()


def test_a_map_says_where_it_is_lowest(tmp_path: Path) -> None:
    found = mdflash.open_run(run(write(tmp_path), tmp_path / "out")).analyze()
    (sentence,) = (s for s in found.molecules["helix"].sentences if s.startswith("The free energy by metadynamics"))
    assert re.search(r"is lowest at distance \(ends\) = [\d.]+ Å and dihedral \(twist\) = [-\d.]+ rad\.$", sentence)


def test_frames_count_before_the_first_checkpoint(tmp_path: Path) -> None:
    found = mdflash.open_run(run(write(tmp_path), tmp_path / "out")).analyze()
    molecule = found.molecules["helix"]
    molecule.lights.clear()
    judge(molecule, found.manifest | {"status": "running", "step": 0, "total_steps": 4000}, [])
    assert [light.value for light in molecule.lights if light.name == "Complete"] == ["50 %"]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, MoleculeAnalysis]:
    """24 ps of two groups of walkers along two variables."""
    folder = tmp_path_factory.mktemp("short")
    found = mdflash.open_run(run(write(folder), folder / "out", "dynamics.steps=6_000"))
    return found, found.analyze().molecules["helix"]


def test_a_short_run_is_not_enough(short: tuple[Run, MoleculeAnalysis]) -> None:
    """Walkers have hardly crossed, and the verdict names what is missing."""
    _, molecule = short
    (filled,) = molecule.filled
    lights = {light.name: light for light in molecule.lights}
    assert filled.check is not None and filled.check.effective < 300
    assert lights["Effective frames of fold"].color in ("care", "bad")
    assert {"Round trips of fold", "Halves of fold agree", "Walkers of fold agree"} <= set(lights)
    assert "Sampled enough: yes" not in molecule.sentences[-1]


def test_both_maps_have_the_same_axes(short: tuple[Run, MoleculeAnalysis]) -> None:
    _, molecule = short
    maps = {f.key: f for f in metadynamics(molecule) if isinstance(f, Map)}
    one, other = maps["meta-fold"], maps["meta-reweighted-fold"]
    for a, b in ((one.x_edges, other.x_edges), (one.y_edges, other.y_edges)):
        assert a[0] == b[0] and a[-1] == b[-1]
    (filled,) = molecule.filled
    assert np.isnan(filled.scaled).any(), "places that no hill was near are blank"
    assert filled.nodes[0][0] + 0.6 < filled.lowest[0] < filled.nodes[0][-1] - 0.6


def test_the_potential_energy_is_without_the_bias(short: tuple[Run, MoleculeAnalysis]) -> None:
    found, molecule = short
    assert molecule.energy is not None and molecule.bias is not None
    rows = found.log.merge(found.colvars, on=["step", "replica"])
    rows = rows[rows["step"] >= molecule.first_step]
    assert molecule.bias.states[0].mean.value == pytest.approx(rows["fold_kcal_mol"].mean())
    without = rows["potential_kcal_mol"] - rows["fold_kcal_mol"]
    assert molecule.energy.states[0].mean.value == pytest.approx(without.mean())
    assert found.manifest["variables"]["ends"]["unit"] == "A"


def test_three_variables_are_shown_as_pairs(tmp_path: Path) -> None:
    """Each pair has a map of its own, both estimates, and its lights; the sum over the third variable is right."""
    found = mdflash.open_run(run(write(tmp_path, SPACE), tmp_path / "out", "output.colvars.interval=0.08 ps"))
    analysis = found.analyze()
    analysis.write()
    molecule = analysis.molecules["helix"]
    names = [f"fold ({pair})" for pair in ("ends and twist", "ends and rg", "twist and rg")]
    assert [f.name for f in molecule.filled] == names
    maps = {f.key for f in metadynamics(molecule) if isinstance(f, Map)}
    assert {"meta-fold-ends-and-twist", "meta-reweighted-fold-twist-and-rg"} <= maps
    assert {f"Bias of {name} has settled" for name in names} <= {light.name for light in molecule.lights}
    assert molecule.sentences[0].count("under metadynamics of fold") == 1
    rng = np.random.default_rng(3)
    free, sampled = rng.normal(size=(2, 4, 5, 6)), rng.random((4, 5, 6)) < 0.7
    sampled[1, 2] = False
    by_hand = -0.6 * np.log(np.where(sampled, np.exp(-free / 0.6), 0.0).sum(axis=3).clip(1e-300))
    seen = sampled.any(axis=2)
    np.testing.assert_allclose(projected(free, sampled, (0, 1), 0.6)[:, seen], by_hand[:, seen])
    assert np.isfinite(projected(free, sampled, (0, 1), 0.6)).all()

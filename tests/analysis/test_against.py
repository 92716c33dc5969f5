"""A run against another ensemble, wherever that comes from."""

from __future__ import annotations

import json
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from typer.testing import CliRunner

import mdflash
from mdflash.analysis.against.ensemble import Reference, read_ensemble
from mdflash.analysis.analyze import analyze
from mdflash.analysis.report.comparison import verdict
from mdflash.analysis.report.page import page
from mdflash.cli.app import app
from mdflash.errors import InputError
from mdflash.forcefields.forcefield import save_forcefield
from tests.analysis.test_analyze import CHIGNOLIN, PLAIN, make
from tests.helpers import go_helix
from tests.training.datasets import write_dataset


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same twice, with other noise."""
    text = PLAIN.replace("seed: 7", "seed: {seed}")
    first, second = (
        make(tmp_path_factory.mktemp("plain"), text, count=4, steps=10000, format="xtc", seed=s) for s in (1, 2)
    )
    return first, second


def test_a_run_against_its_twin(runs: tuple[Path, Path], tmp_path: Path) -> None:
    found = mdflash.open_run(runs[0]).analyze(against=runs[1])
    m = found.molecules["chignolin"]
    r = m.against
    assert r is not None and r.kelvin == 340.0 and r.reference == "plain" and min(r.frames, r.reference_frames) > 50
    names = [f.coordinate.name for f in r.findings if not f.coordinate.group]
    assert names == ["Rg", "Q", "RMSD", "Q, RMSD"] and any("too few for TICA" in n for n in m.notes)
    bonds = [f for f in r.findings if f.coordinate.group == "bonds"]
    assert len(bonds) == 9 and max(f.model.jsd for f in bonds) < 0.15
    assert sum(s.startswith("Against plain free energies differ by up to") for s in m.sentences) == 1
    found.write(tmp_path)
    numbers = json.loads((tmp_path / "analysis.json").read_text())["molecules"]["chignolin"]["against"]
    assert numbers["coordinates"]["Rg"]["model_against_data"]["jsd_nats"] == pytest.approx(r.findings[0].model.jsd)
    text = page(found)
    assert all(f'id="figure-{key}"' in text for key in ("against", "against-Rg", "against-Q--RMSD-difference"))
    same = mdflash.open_run(runs[0]).analyze(against=runs[0]).molecules["chignolin"].against
    assert same is not None and max(f.model.jsd for f in same.findings) < 1e-9


def test_a_run_under_biases_is_no_reference(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """It is refused before the analysis, which may take minutes."""
    pull = "biases: {{name: ends, variable: distance, beads: [0, 9], center: 20 angstrom, " \
        "force_constant: 1 kcal/mol/angstrom^2}}\n"  # fmt: skip
    biased = make(tmp_path, PLAIN + pull, count=1, steps=10, format="xtc")
    with pytest.raises(InputError, match="is a run under biases"):
        analyze(mdflash.open_run(runs[0]), against=Reference((biased,)), progress=lambda *_: pytest.fail("analyzes"))
    (free,) = mdflash.open_run(runs[0]).analyze().molecules.values()
    (pulled,) = mdflash.open_run(biased).analyze().molecules.values()
    (said,) = verdict([("free", free), ("pulled", pulled)])
    assert said.startswith("Means of pulled are not compared: biases")


def test_an_annealed_run_is_no_reference(runs: tuple[Path, Path], tmp_path: Path) -> None:
    text = PLAIN.replace("seed: 7", "seed: 7, annealing: {{to: 500 K, length: 1 ps}}")
    annealed = make(tmp_path, text, count=1, steps=100, format="xtc")
    with pytest.raises(InputError, match="is a run under biases, with weights or annealed"):
        mdflash.open_run(runs[0]).analyze(against=annealed)


def test_trajectories_of_atoms_and_of_beads(runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = mdflash.open_run(runs[0])
    molecule = run.analyze().molecules["chignolin"].sample.molecule
    beads = run.trajectory(1)
    beads.save_xtc(str(tmp_path / "beads.xtc"))
    own = read_ensemble(Reference((tmp_path / "beads.xtc",)), molecule, 340.0)
    assert np.isnan(own.kelvin) and "needs --topology" not in own.name and any("--topology" in n for n in own.notes)
    np.testing.assert_allclose(own.trajectories[0], 10 * beads.xyz, atol=1e-4)
    atoms = mdtraj.load(str(CHIGNOLIN))[0]
    many = mdtraj.join([atoms] * 7)
    many.xyz += np.random.default_rng(1).normal(scale=0.01, size=many.xyz.shape).astype(np.float32)
    many.save_dcd(str(tmp_path / "atoms.dcd"))
    found = read_ensemble(Reference((tmp_path / "atoms.dcd",) * 2, CHIGNOLIN), molecule, 340.0)
    ca = [a.index for a in atoms.topology.atoms if a.name == "CA"]
    assert found.frames == 14 and len(found.blocks) >= 14
    np.testing.assert_allclose(found.trajectories[1], 10 * many.xyz[:, ca], atol=1e-4)


def test_a_dataset_at_the_temperature_of_the_run(tmp_path: Path) -> None:
    _, ff = write_dataset(tmp_path / "data", frames=150, beads=7)
    save_forcefield(tmp_path / "ff", ff)
    file = tmp_path / "run.yaml"
    file.write_text(
        f"mdflash: 1\nname: helix\nsystem: {{structure: {tmp_path / 'data' / 'helix' / 'system.safetensors'}}}\n"
        f"model: {{forcefield: {tmp_path / 'ff'}}}\nreplicas: {{count: 3}}\n"
        "dynamics: {timestep: 4 fs, steps: 100000, temperature: 300 K, seed: 3, friction: 20 /ps}\n"
        f"output: {{folder: {tmp_path / 'run'}, trajectory: {{interval: 400 fs}}, log: {{interval: 400 fs}}}}\n"
    )
    assert CliRunner().invoke(app, ["run", str(file)]).exit_code == 0
    done = CliRunner().invoke(app, ["analyze", str(tmp_path / "run"), "--against", str(tmp_path / "data")])
    assert done.exit_code == 0 and "Against the data free energies differ by up to" in done.output, done.output
    numbers = json.loads((tmp_path / "run" / "analysis" / "analysis.json").read_text())
    (found,) = (m["against"] for m in numbers["molecules"].values())
    assert found["temperature_K"] == 300.0 and found["reference_frames"] == 3 * 150
    bonds = [c for c in found["coordinates"].values() if c["group"] == "bonds"]
    far, halves = (
        np.median([c[key]["jsd_nats"] for c in bonds])
        for key in ("model_against_data", "half_of_data_against_other_half")
    )
    assert len(bonds) == 6 and far < 1.5 * halves  # the force field that made the data


def test_mistakes(runs: tuple[Path, Path], tmp_path: Path) -> None:
    run = mdflash.open_run(runs[0])
    for against, message in ((tmp_path, "neither a run"), (tmp_path / "x.xtc", "no such file")):
        with pytest.raises(InputError, match=message):
            run.analyze(against=against)
    (tmp_path / "x.xtc").touch()
    short = tmp_path / "short.pdb"
    lines = [line for line in CHIGNOLIN.read_text().splitlines() if not (line[:4] == "ATOM" and int(line[22:26]) > 8)]
    short.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"maps to 8 beads by 'ca', but 'chignolin' has 10"):
        run.analyze(against=tmp_path / "x.xtc", topology=short)
    write_dataset(tmp_path / "other", frames=3, beads=go_helix(7)[0].n_beads)
    with pytest.raises(InputError, match="is not 'chignolin'"):
        run.analyze(against=tmp_path / "other")
    done = CliRunner().invoke(app, ["analyze", str(runs[0]), "--topology", str(CHIGNOLIN)])
    assert "--against, which is not given" in str(done.exception)

"""`mdflash init --sequence` and `--fasta`: from sequences to a run, and what is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.config.compose import sampling_rule
from mdflash.config.load import load_run
from mdflash.core.quantity import show_quantity
from mdflash.errors import MdflashError
from mdflash.runs.execute import execute
from mdflash.runs.prepare import prepare


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.mark.parametrize(
    ("residues", "every"), [(1, 7000), (149, 7000), (150, 7000), (153, 8000), (312, 30_000), (441, 59_000)]
)
def test_the_published_sampling_rule(residues: int, every: int) -> None:
    assert sampling_rule(residues) == (every, 1010 * every)


def test_a_sequence_becomes_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = call("init", "--sequence", "MSRAALPSLENLEDDDEF", "--forcefield", "calvados2", "--out", "dss1")
    assert "mdflash run dss1/system.yaml" in said
    config = load_run("dss1/system.yaml")
    assert (config.name, config.n_replicas, config.total_steps) == ("dss1", 20, 7_070_000)
    assert config.trajectory_every == 7000
    assert (config.dynamics.timestep, config.dynamics.friction) == (0.01, 0.01)
    assert config.folder == tmp_path / "dss1" / "run"
    execute(load_run("dss1/system.yaml", ["replicas.count=3", "dynamics.steps=14000"]), Path("dss1/system.yaml"))
    resolved = yaml.safe_load(Path("dss1/run/resolved.yaml").read_text())
    assert resolved["environment"] == {"temperature": "293.15 K", "ionic_strength": "0.15 M", "pH": 7.5}
    with h5py.File("dss1/run/trajectory/dss1.h5") as file:
        coordinates = next(v for v in _arrays(file) if v.ndim == 4 or (v.ndim == 3 and v.shape[0] == 3))
    assert np.isfinite(coordinates).all()


def _arrays(file: h5py.File) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    file.visititems(lambda name, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return [a for a in found if a.dtype.kind == "f"]


def test_a_fasta_becomes_one_batch(tmp_path: Path) -> None:
    fasta = tmp_path / "idrs.fasta"
    fasta.write_text(">long\n" + "GS" * 80 + "\n>short\nMSRAALPS\n")
    out = tmp_path / "idrs"
    overrides = ["--set", "replicas.count=2", "--set", "environment.pH=6", "--set", "dynamics.temperature=310 K"]
    call("init", "--fasta", fasta, "--forcefield", "calvados3", "--out", out, *overrides)
    config = load_run(out / "system.yaml")
    assert [entry.name for entry in config.system] == ["long", "short"]
    assert config.trajectory_every == 8000  # the rule for 160 residues
    prepared = prepare(config.with_seed())
    assert [s.n_beads for s in prepared.layout.systems] == [160, 8]
    assert prepared.forcefields[0] is prepared.forcefields[1]
    around = prepared.forcefields[0].environment
    assert around is not None
    assert (around.temperature, around.ionic_strength, around.pH) == (310.0, 0.15, 6.0)
    assert show_quantity(around.ionic_strength, "concentration", ("M",)) == "0.15 M"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sequence", "MSXR", "--forcefield", "calvados2"], "--sequence: the sequence has 'X' (any amino acid)"),
        (["--sequence", "", "--forcefield", "calvados2"], "the sequence is empty"),
        (["--sequence", "MSR", "--forcefield", "calvado"], "did you mean 'calvados"),
        (["--sequence", "MSR"], "needs a structure and a force field"),
        (["protein.pdb", "--sequence", "MSR", "--forcefield", "calvados2"], "give one of"),
        (["--sequence", "MSR", "--forcefield", "ala2"], "one bead for each residue"),
        (["--sequence", "MSR", "--forcefield", "go-chignolin"], "belongs to another molecule (chignolin, 10 residues)"),
        (["--fasta", "absent.fasta", "--forcefield", "calvados2"], "absent.fasta: cannot be read"),
        (["--sequence", "MSR", "--forcefield", "calvados2", "--set", "environment.pH=acid"], "pH: 7.5"),
        (
            ["--sequence", "MSR", "--forcefield", "calvados2", "--count", "2", "--box", "10, 10, 40"],
            "key '--box': '10' has no unit; write for example '10 angstrom'",
        ),
        (
            ["--sequence", "MSR", "--forcefield", "calvados2", "--count", "2", "--box", "5 nm, 5 nm, 40 nm"],
            "at least twice cutoff + skin = 84 Å",
        ),
    ],
)
def test_refused(words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MdflashError) as error:
        call("init", *words, "--out", "here")
    assert says in str(error.value)
    assert not Path("here/system.yaml").exists()

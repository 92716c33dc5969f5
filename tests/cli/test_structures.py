"""Structures as they come through the verbs and a system.yaml, from the file to topology.pdb of a run."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.config.load import load_run
from mdflash.core.system import load_system
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.mapping.structure import map_structure
from mdflash.runs.prepare import prepare
from tests.mapping.drawn import Line, draw, moved, pdb
from tests.processes import ROOT, python

SHARED = Path(__file__).resolve().parents[3] / "shared" / "cases"


def mdflash(*args: object, rc: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert result.exit_code == rc, result.output + repr(result.exception)
    return " ".join(result.output.split())


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    """Two chains, one with a gap and a modified residue, and a ligand."""
    rng = np.random.default_rng(3)
    one = [replace(a, residue="MSE") if a.number == 3 else a for a in draw(rng, 12, first=-2) if a.number not in (6, 7)]
    other = moved(draw(rng, 8, first=1), (12.0, 6.0, 4.0), chain="B")
    file = tmp_path / "awkward.pdb"
    file.write_text(pdb([*one, *other, Line("C1", "LIG", 300, (40.0, 0.0, 0.0), "L")]))
    return file


CHOICES = ("--keep", "protein", "--modified", "parent", "--gaps", "break")
KEYS = {"keep": "protein", "modified": "parent", "gaps": "break"}


def test_every_choice_is_named_once_for_all(awkward: Path) -> None:
    with pytest.raises(Exception, match=r"MSE 3 of chain A.*--modified parent.*LIG 300 of chain L.*--keep protein"):
        map_structure(awkward)


def test_go_init_and_a_run_agree(awkward: Path, tmp_path: Path) -> None:
    ff = tmp_path / "ff"
    said = mdflash("go", awkward, "--out", ff, *CHOICES, "--contact-distance", "9 angstrom")
    assert "MSE 3 of chain A as MET" in said and "LIG 300 of chain L" in said and "chain break" in said
    assert "2 chains" in said and "contacts are between chains: A-B" in said
    assert f"mdflash init {ff / 'systems' / 'awkward.safetensors'}" in said.replace("- ", "-") or "next:" in said
    mdflash("init", awkward, "--forcefield", ff, "--out", tmp_path / "run.yaml", *CHOICES)
    text = (tmp_path / "run.yaml").read_text()
    assert {key: yaml.safe_load(text)["system"][key] for key in KEYS} == KEYS
    prepared = prepare(load_run(tmp_path / "run.yaml"))
    (system,) = prepared.layout.systems
    assert system == load_forcefield(ff).systems[0][0]
    assert system.residue_ids[:3] == (-2, -1, 0) and system.chain_index.tolist() == [0] * 8 + [1] * 2 + [2] * 8


def test_contacts_between_chains_can_be_left_out(awkward: Path, tmp_path: Path) -> None:
    pairs = {}
    for option in ("native", "none"):
        words = (*CHOICES, "--contact-distance", "12 angstrom", "--between-chains", option)
        mdflash("go", awkward, "--out", tmp_path / option, *words)
        ff = load_forcefield(tmp_path / option)
        pairs[option] = {tuple(row) for t in ff.terms if t.name == "contacts" for row in t.keys.tolist()}
    kept, gone = pairs["none"], pairs["native"] - pairs["none"]
    chain = [0] * 10 + [1] * 8  # a gap does not make two chains
    assert gone and all(chain[i] != chain[j] for i, j in gone)
    assert kept and all(chain[i] == chain[j] for i, j in kept)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"gaps": "join"}, "gaps"),
        ({"keep": "ligands"}, "keep"),
        ({"chain": []}, "chain id"),
        ({"model": -1}, "model"),
        ({"chain": "Z"}, "has no chain Z; its chains are A, B, L"),
        ({"model": 4}, "has no model 4"),
    ],
)
def test_keys_of_a_run(awkward: Path, tmp_path: Path, keys: dict[str, object], message: str) -> None:
    system = {"structure": awkward.name, **KEYS, **keys}
    data = {"mdflash": 1, "system": system, "model": {"forcefield": "chignolin-ca"},
            "dynamics": {"temperature": "300 K", "length": "1 ps"}}  # fmt: skip
    (tmp_path / "run.yaml").write_text(json.dumps(data))
    with pytest.raises(Exception, match=message):
        prepare(load_run(tmp_path / "run.yaml"))


def test_chains_in_a_run(awkward: Path, tmp_path: Path) -> None:
    mdflash("go", awkward, "--out", tmp_path / "ff", "--chain", "B", "--contact-distance", "14 angstrom")
    for chain in ("B", ["B"]):
        data = {"mdflash": 1, "system": {"structure": awkward.name, "chain": chain},
                "model": {"forcefield": "ff"}, "dynamics": {"temperature": "300 K", "length": "1 ps"}}  # fmt: skip
        (tmp_path / "run.yaml").write_text(json.dumps(data))
        (system,) = prepare(load_run(tmp_path / "run.yaml")).layout.systems
        assert set(system.chain_ids) == {"B"}


def test_map_says_what_pdb_cannot_hold(tmp_path: Path) -> None:
    file = tmp_path / "far.pdb"
    file.write_text(pdb(draw(np.random.default_rng(1), 8, first=20_000)))
    said = mdflash("map", file, "--out", tmp_path)
    assert "residue number 20000" in said and (tmp_path / "far-beads.cif").is_file()
    system, _ = load_system(tmp_path / "far.safetensors")
    assert system.residue_ids[0] == 20_000


@pytest.mark.skipif(not SHARED.is_dir(), reason="the cases are not beside the repository")
def test_shared_cases(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return python("-m", *command, cwd=ROOT, timeout=max(600, options["timeout"]))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["check_structures.py", str(SHARED / "structures"), "mdflash"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SHARED / "check_structures.py"), run_name="__main__")
    assert not end.value.code, capsys.readouterr().out

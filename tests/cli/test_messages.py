"""Messages that a newcomer met, and what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.config.load import load_run
from mdflash.core.plural import plural
from mdflash.errors import InputError
from mdflash.importers.unpickle import load_torch
from mdflash.mapping.read import read_structure

STRUCTURE = Path(__file__).parents[2] / "systems" / "chignolin.pdb"


def test_a_ladder_under_dynamics_is_sent_to_exchange() -> None:
    with pytest.raises(InputError, match="write it as `temperatures:` under `exchange:`"):
        load_run("chignolin", ["dynamics.temperature={min: 300 K, max: 400 K, count: 4}"])


def test_a_structure_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_text("EXPDTA    of a PDB file\n")
    with pytest.raises(InputError, match="is not a PyTorch checkpoint"):
        load_torch(tmp_path / "model.pt")


@pytest.mark.parametrize("ending", [".psf", ".prmtop"])
def test_a_topology_is_no_structure(ending: str, tmp_path: Path) -> None:
    (tmp_path / f"adk{ending}").write_text("PSF\n")
    with pytest.raises(InputError, match="a topology has no positions: write a PDB file of a frame"):
        read_structure(tmp_path / f"adk{ending}")


def test_plurals() -> None:
    assert [plural(n, "clash") for n in (0, 1, 2)] == ["0 clashes", "1 clash", "2 clashes"]
    assert plural(1, "frame") == "1 frame" and plural(12_000, "frame") == "12,000 frames"
    assert plural(2, "process") == "2 processes"


def test_completion_of_verbs() -> None:
    code = "import sys; sys.argv = ['mdflash']; from mdflash.cli.app import main; main()"
    words = {"_MDFLASH_COMPLETE": "complete_bash", "COMP_WORDS": "mdflash sch", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path), **words},
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout.split() == ["schema"]
    assert "--install-completion" in CliRunner().invoke(app, ["--help"]).output

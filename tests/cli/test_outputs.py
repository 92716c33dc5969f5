"""`--out` of every verb: what exists is kept, and so is what belongs to a run or is read."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.cli.outputs import may_write
from mdflash.errors import InputError, MdflashError
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield

REPO = Path(__file__).parents[2]

CHIGNOLIN = str(REPO / "systems" / "chignolin.pdb")

VERBS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "go": ((CHIGNOLIN,), ("forcefield.yaml", "weights.safetensors")),
    "build": (("--sequence", "GG"), ("",)),
    "rebuild": ((CHIGNOLIN,), ("",)),
    "init": ((CHIGNOLIN, "--forcefield", "go-chignolin"), ("", "system.yaml")),
    "map": ((CHIGNOLIN,), ("chignolin.safetensors", "chignolin-beads.pdb")),
    "energy": (("go-chignolin", "--frames", CHIGNOLIN), ("",)),
    "domains": ((CHIGNOLIN, "--domains", "2-9"), ("system.yaml", "forcefield/forcefield.yaml")),
    "fit": ((CHIGNOLIN,), ("forcefield.yaml", "weights.safetensors")),
    "analyze": ((str(REPO),), ("report.html", "properties.csv", "analysis.json")),
}
"""For each verb: what else it takes, and files below --out (or itself) that it may not replace."""


@pytest.mark.parametrize("verb", VERBS)
def test_what_exists_is_kept(verb: str, tmp_path: Path) -> None:
    arguments, below = VERBS[verb]
    for k, name in enumerate(below):
        out = tmp_path / (f"{k}.pdb" if verb in ("build", "rebuild") else str(k))
        file = out / name if name else out
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
        before = sorted(tmp_path.rglob("*"))
        done = CliRunner().invoke(app, [verb, *arguments, "--out", str(out)])
        assert isinstance(done.exception, MdflashError) and "already exists" in str(done.exception), done.exception
        assert file.read_text() == "mine" and sorted(tmp_path.rglob("*")) == before


def test_every_verb_that_writes_out_has_force() -> None:
    exempt = {"melt", "import"}  # a run folder, which resumes; a group of commands
    for command in app.registered_commands:
        called: Callable[..., object] | None = command.callback
        assert called is not None
        names = inspect.signature(called).parameters
        if "out" in names and called.__name__ not in exempt:
            assert "force" in names, called.__name__


@pytest.mark.parametrize("seed", range(10))
def test_no_file_of_a_run_is_a_target(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    run = tmp_path / "run"
    (run / "trajectory").mkdir(parents=True)
    (run / "checkpoint").mkdir()
    (run / "lock").touch()
    names = ["trajectory/native.h5", "trajectory/new.xtc", "log.csv", "manifest.json", "lock", "topology.pdb",
             "topology_a.cif", "checkpoint/x.npz", "exchange.csv", "input.yaml"]  # fmt: skip
    target = run / str(draw.choice(names))
    if draw.random() < 0.5:
        target.write_text("the run's")
    if draw.random() < 0.5:
        (tmp_path / "link").symlink_to(run)
        target = tmp_path / "link" / target.relative_to(run)
    with pytest.raises(InputError, match="only the run writes it"):
        may_write([target], force=True)
    may_write([run / "r3.xtc", tmp_path / "log.csv"], force=False)


def test_folders_devices_and_inputs_are_no_targets_even_by_force(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "x").write_text("mine")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "same").symlink_to(tmp_path / "x")
    for name, why in (("folder", "is a folder"), ("fifo", "is a device"), ("x", "is read here"), ("same", "is read")):
        with pytest.raises(InputError, match=why):
            may_write([tmp_path / name], True, [tmp_path / "x"])
    with pytest.raises(InputError, match="is a device"):
        may_write([Path("/dev/null")], True)


def test_a_name_that_says_another_format_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export", str(tmp_path), "--out", str(tmp_path / "q.xtc"), "--format", "pdb"])
    assert isinstance(done.exception, InputError) and "q.pdb" in str(done.exception)


def test_a_structure_that_pdb_cannot_hold_leaves_nothing(tmp_path: Path) -> None:
    rows = [line for line in Path(CHIGNOLIN).read_text().splitlines() if line[12:16].strip() == "CA"]
    at = [1e30 if k == 3 else 3.8 * k for k in range(len(rows))]
    far = [f"{row[:30]}{x:8.3g}{0.0:8.3f}{0.0:8.3f}{row[54:]}" for row, x in zip(rows, at, strict=True)]
    (tmp_path / "far.pdb").write_text("\n".join([*far, "END\n"]))
    done = CliRunner().invoke(app, ["map", str(tmp_path / "far.pdb"), "--out", str(tmp_path / "o"), "--gaps", "bond"])
    assert isinstance(done.exception, MdflashError)
    assert not (tmp_path / "o").exists()


def test_a_force_field_without_networks_keeps_no_weights_of_others(tmp_path: Path) -> None:
    save_forcefield(tmp_path / "ff", load_forcefield("chignolin-ca"))
    assert (tmp_path / "ff" / "weights.safetensors").is_file()
    save_forcefield(tmp_path / "ff", load_forcefield("go-chignolin"))
    assert not (tmp_path / "ff" / "weights.safetensors").exists()

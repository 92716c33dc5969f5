"""Where runs start: frames of trajectories by replica or number, masses, changed files, steps that bonds survive."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdflash.config.load import load_run
from mdflash.errors import InputError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.io.checkpoint import load_checkpoint
from mdflash.io.read import read_frames
from mdflash.runs.execute import Plan, execute
from mdflash.runs.prepare import Prepared, prepare
from tests.helpers import go_helix

TEXT = """\
mdflash: 1
system: {{structure: ff/systems/helix.safetensors}}
model: {{forcefield: ff}}
dynamics: {{timestep: 10 fs, temperature: 300 K, steps: 40, seed: 7}}
replicas: {{count: 3}}
monitor: [{{name: rg, variable: radius_of_gyration}}]
output: {{folder: ./{folder}, trajectory: {{format: {format}, interval: 200 fs}}, log: {{interval: 100 fs}},
         checkpoint: {{interval: 200 fs, keep: 3}}}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of three replicas in HDF5 and one in XTC."""
    folder = tmp_path_factory.mktemp("made")
    save_forcefield(folder / "ff", go_helix(8)[1])
    for format in ("hdf5", "xtc"):
        file = folder / f"{format}.yaml"
        file.write_text(TEXT.format(folder=format, format=format))
        execute(load_run(file).with_seed(), file)
    return folder


def prepared(made: Path, **start: Any) -> Prepared:
    text = ", ".join(f"{key}: {value}" for key, value in start.items())
    return prepare(load_run(made / "hdf5.yaml", [f"system.start={{{text}}}", f"output.folder={made / 'next'}"]))


@pytest.mark.parametrize("frame", [None, "last", 0, 1])
def test_own_trajectories_start_each_replica_where_its_own_was(made: Path, frame: Any) -> None:
    (file,) = (made / "hdf5" / "trajectory").glob("*.h5")
    given = {"file": file} | ({} if frame is None else {"frame": frame})
    found = prepared(made, **given)
    k = -1 if frame in (None, "last") else frame
    for r, x in enumerate(found.layout.view(found.start, 0).numpy()):
        assert np.array_equal(x, read_frames(file, r).positions[k])
    (note,) = (note for note in found.notes if file.name in note)
    assert "replica i starts from replica i" in note and ("the last" in note) == (k == -1)


def test_other_trajectories_start_from_one_frame_or_each(made: Path) -> None:
    file = next((made / "xtc" / "trajectory").glob("*0001.xtc"))
    frames = read_frames(file).positions
    for frame in ("last", 1):
        found = prepared(made, file=file, frame=frame)
        expected = frames[-1 if frame == "last" else frame]
        assert all(np.allclose(x, expected) for x in found.layout.view(found.start, 0).numpy())
        assert any(f"frame {len(frames) - 1 if frame == 'last' else 1} " in note for note in found.notes)
    each = prepared(made, file=file)
    assert np.allclose(each.layout.view(each.start, 0).numpy(), frames[:3])
    with pytest.raises(InputError, match=r"there is no frame 99") as error:
        prepared(made, file=file, frame=99)
    assert error.value.key == "system.start.frame" and error.value.file == file


def test_a_run_says_what_is_weighted_by_mass(made: Path) -> None:
    rows = (made / "hdf5" / "masses.csv").read_text().splitlines()
    assert rows[0].split(",")[-1] == "mass_Da" and len(rows) == 9
    assert [float(row.rpartition(",")[2]) for row in rows[1:]] == [100.0] * 8
    assert "weighted by mass" in (made / "hdf5" / "manifest.json").read_text()


def resume(folder: Path) -> Plan:
    file = folder.parent / "hdf5.yaml"
    return execute(load_run(file, [f"output.folder={folder}", "dynamics.steps=60"]), file)


def test_changed_rows_and_checkpoints_are_found_and_written_again(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "sound", ignore=shutil.ignore_patterns("next"))
    resume(tmp_path / "sound" / "hdf5")
    expected = (tmp_path / "sound" / "hdf5" / "log.csv").read_bytes()

    def changed(name: str, where: float, says: str) -> None:
        folder = tmp_path / says / "hdf5"
        shutil.copytree(made, folder.parent, ignore=shutil.ignore_patterns("next"))
        file = folder / name
        data = bytearray(file.read_bytes())
        at = next(k for k in range(int(where * len(data)), len(data)) if data[k] in b"12345678")
        data[at] += 1
        file.write_bytes(data)
        plan = resume(folder)
        assert any(says in note for note in plan.notes), plan.notes
        found = (folder / "log.csv").read_bytes()
        assert found == expected or (name == "log.csv" and where == 0.1)
        newest = load_checkpoint(folder / "checkpoint")
        assert newest is not None and newest.header["step"] == 60

    changed("checkpoint/step_000000000000040.npz", 0.5, "passed over")
    changed("log.csv", 0.9, "writes them again")
    changed("log.csv", 0.1, "as they are")


@pytest.mark.parametrize(
    ("timestep", "integrator"), [("60 fs", "langevin-middle"), ("5 fs", "brownian"), ("2 ps", "verlet")]
)
def test_steps_that_no_bond_survives_are_refused(made: Path, timestep: str, integrator: str) -> None:
    overrides = [f"dynamics.timestep={timestep}", f"dynamics.integrator={integrator}", "output.log.interval=60 ps",
                 "output.trajectory.interval=60 ps", "output.colvars.interval=60 ps",
                 "output.checkpoint.interval=5 min"]  # fmt: skip
    with pytest.raises(InputError, match="survives") as error:
        prepare(load_run(made / "hdf5.yaml", overrides))
    assert error.value.key == "dynamics.timestep" and "timestep:" in str(error.value)

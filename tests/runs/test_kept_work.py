"""What stands on the disk outlives a mistake: nothing is deleted, overwritten or waited for in vain."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from mdflash.analysis.open_run import open_run
from mdflash.cli.rebuild import rebuild
from mdflash.core.files import atomic_write
from mdflash.errors import InputError, StorageError
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.io.formats.hdf5 import reading
from mdflash.io.runfolder import RunFolder
from mdflash.sampling.trajectory import TrajectoryWriter, open_trajectory
from mdflash.training.folder import training_folder
from tests.runs.test_run import run


def _dataset_file(file: Path, frames: int = 20) -> Path:
    rng = np.random.default_rng(1)
    with TrajectoryWriter(file, 4, seed=1, aggregation="basic", energy=True) as writer:
        for k in range(frames):
            writer.append(rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), 300.0, 1.0 + k, energy=float(k))
    return file


def test_starting_over_deletes_nothing_before_the_new_run_can_start(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "lock"}
    with pytest.raises(InputError, match="box"):
        run(folder, "box=[5 angstrom, 5 angstrom, 5 angstrom]", fresh=True)
    assert {p: p.read_bytes() for p in before} == before
    assert run(folder).start == "finished"

    # what a damaged manifest says is missed by people alone
    for text in ("", "{}", "[1, 2]"):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(InputError, match=r"manifest\.json: is damaged"):
            open_run(folder).manifest  # noqa: B018
    assert run(folder, steps=1200).start == "resume"
    assert json.loads((folder / "manifest.json").read_text())["step"] == 1200

    file = next((folder / "trajectory").glob("*.h5"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(StorageError, match=r"is 1000 bytes long, but was .* copy it again"), reading(file):
        pass
    (folder / "resolved.yaml").write_text("")
    with pytest.raises(InputError, match=r"resolved\.yaml: is damaged: it has no dynamics\.seed"):
        run(folder, "dynamics.seed=null")


def test_runs_and_trainings_keep_to_their_own_folders(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run"), pytest.raises(InputError, match="holds a run; choose another folder"):
        training_folder(tmp_path / "run").__enter__()
    with training_folder(tmp_path / "training"):
        with pytest.raises(StorageError, match="is in use by process"):
            training_folder(tmp_path / "training").__enter__()
        for name in ("recipe.yaml", "log.csv"):
            (tmp_path / "training" / name).write_text("x")
    with pytest.raises(StorageError, match="holds a training; choose another folder"):
        RunFolder.open(tmp_path / "training")


def test_a_dataset_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    file = _dataset_file(tmp_path / "000.h5")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(StorageError, match=r"000\.h5: is 1000 bytes long, but was"):
        open_trajectory(file, "x")


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("energy", np.zeros(10), "/energy has 10 rows, but 20 frames have a time"),
        ("energy", np.zeros((20, 1)), r"/energy: expected real numbers .frames., found float64 .20, 1."),
        ("energy", np.float64(1.0), r"/energy: expected real numbers .frames., found float64 .."),
        ("temperature", np.array([b"warm"] * 20), r"/temperature: expected real numbers .frames., found .S4"),
        ("positions", np.zeros((20, 12)), r"/positions: expected real numbers .frames, beads, 3., found float64 .20"),
        ("time", None, "/time: expected real numbers .frames., found a group"),
    ],
)  # fmt: skip
def test_columns_of_another_kind_are_named(tmp_path: Path, name: str, values: object, words: str) -> None:
    file = _dataset_file(tmp_path / "000.h5")
    with h5py.File(file, "r+") as f:
        del f[name]
        if values is None:
            f.create_group(name)
        else:
            f[name] = values
    with pytest.raises(InputError, match=words):
        open_trajectory(file, "x")


def test_frames_are_not_rebuilt_for_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder; make it first"):
        rebuild(tmp_path / "beads.pdb", tmp_path / "nowhere" / "all.pdb")


def test_a_force_field_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    ff = load_forcefield("go-chignolin")
    save_forcefield(tmp_path / "ff", ff)
    (tmp_path / "ff" / "forcefield.yaml").rename(tmp_path / "kept.yaml")
    (tmp_path / "ff" / "forcefield.yaml").mkdir()  # whatever keeps it from being written
    with pytest.raises(StorageError, match=r"forcefield\.yaml"):
        save_forcefield(tmp_path / "ff", ff)
    (tmp_path / "ff" / "forcefield.yaml").rmdir()
    (tmp_path / "kept.yaml").rename(tmp_path / "ff" / "forcefield.yaml")
    assert load_forcefield(tmp_path / "ff").digest == ff.digest
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="file"):
        save_forcefield(tmp_path / "file", ff)


@pytest.mark.parametrize("seed", range(6))
def test_files_that_no_training_wrote_are_in_the_way(tmp_path: Path, seed: int) -> None:
    names = ["recipe.yaml", "log.csv", "state.safetensors", "forcefield", "priors", "lock"]
    draw = np.random.default_rng(seed)
    taken = draw.choice(names, size=int(draw.integers(1, 4)), replace=False).tolist()
    for name in (*taken, "notes.txt"):
        (tmp_path / name).write_text(name)
    with pytest.raises(StorageError, match="no training was started here before") as refused:
        training_folder(tmp_path).__enter__()
    assert all(name in str(refused.value) for name in taken) and "notes.txt" not in str(refused.value)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {n: n for n in (*taken, "notes.txt")}
    for name in taken:
        (tmp_path / name).unlink()
    with training_folder(tmp_path):
        (tmp_path / "log.csv").write_text("epoch\n")  # and is killed
    with training_folder(tmp_path):
        pass


def test_a_temporary_name_of_the_user_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt.tmp").write_text("mine")
    atomic_write(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt.tmp").read_text() == "mine" and len(list(tmp_path.iterdir())) == 2

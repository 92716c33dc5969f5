"""Folders made by a stranger: nothing is written through a link, whatever file or folder it stands for."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.core.files import append_at, atomic_write, patch_head, truncate
from mdflash.core.regular import own_folder
from mdflash.errors import MdflashError, StorageError
from mdflash.io.claims import claim
from mdflash.io.events import EventLog
from mdflash.io.formats import WRITTEN
from mdflash.io.hdf5_space import open_to_write
from mdflash.io.runfolder import FolderLock, RunFolder
from mdflash.io.superblock import admit_readers, trim, unlock
from mdflash.sampling.recipe import SampleRecipe
from mdflash.sampling.sample import sample
from mdflash.training.folder import training_folder
from tests.io.test_runfolder import populate

PRECIOUS = b"precious\n"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file and a folder of the user, beside the stranger's folder."""
    file = tmp_path / "victim"
    file.write_bytes(PRECIOUS)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "kept").write_bytes(PRECIOUS)
    return file


def untouched(victim: Path) -> bool:
    home = victim.parent / "home"
    return victim.read_bytes() == PRECIOUS and [f.name for f in home.iterdir()] == ["kept"]


def stranger(folder: Path, format: str) -> Path:
    with RunFolder.open(folder) as run:
        run.fresh(("pep", "other"))
        populate(run, format)
    (folder / "analysis").mkdir()
    return folder


def replaced(path: Path, victim: Path) -> None:
    """Put a link to what is the user's in the place of a file or folder."""
    if path.is_dir():
        path.rename(victim.parent / f"old-{path.name}")
        path.symlink_to(os.path.relpath(victim.parent / "home", path.parent))
    else:
        path.unlink()
        path.symlink_to(os.path.relpath(victim, path.parent))


@pytest.mark.parametrize("format", WRITTEN)
def test_a_link_for_any_file_of_a_run_is_refused_by_name(tmp_path: Path, victim: Path, format: str) -> None:
    first = stranger(tmp_path / "first", format)
    names = [str(p.relative_to(first)) for p in first.rglob("*") if not p.name.startswith(".mdflash-")]
    assert len(names) > 12
    for number, name in enumerate(names):
        folder = stranger(tmp_path / f"run{number}", format)
        replaced(folder / name, victim)
        with pytest.raises(StorageError) as refused:
            RunFolder.open(folder, systems=("pep", "other"))
        assert Path(name).name in str(refused.value), name
        done = CliRunner().invoke(app, ["repair", str(folder)])
        assert isinstance(done.exception, MdflashError) and name in str(done.exception), name
        assert untouched(victim), name


WRITERS: dict[str, Callable[[Path], object]] = {
    "append": lambda p: append_at(p, 0, b"x"),
    "patch": lambda p: patch_head(p, b"x"),
    "truncate": lambda p: truncate(p, 0),
    "events": EventLog,
    "lock": FolderLock,
    "trim": trim,
    "readers": lambda p: admit_readers(p, 10),
    "hdf5": open_to_write,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("there", [True, False])
def test_no_writer_follows_a_link(tmp_path: Path, victim: Path, name: str, there: bool) -> None:
    """The folder may change after it was looked at, so each refuses by itself; the target may be there or not."""
    link = tmp_path / "link"
    target = victim if there else tmp_path / "new"
    link.symlink_to(target)
    with pytest.raises((StorageError, OSError), match="symbolic link"):
        WRITERS[name](link)
    assert untouched(victim) and link.is_symlink() and not (tmp_path / "new").exists()


def test_no_head_of_hdf5_is_mended_through_a_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "link").symlink_to(victim)
    with pytest.raises(StorageError, match="symbolic link"):
        unlock(tmp_path / "link")
    assert untouched(victim)


def test_what_is_replaced_replaces_the_link(tmp_path: Path, victim: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(victim)
    atomic_write(link, "new")
    assert untouched(victim) and not link.is_symlink() and link.read_text() == "new"


def test_no_folder_is_filled_through_a_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "home")
    with pytest.raises(OSError, match="symbolic link"):
        own_folder(tmp_path / "link")


@pytest.mark.parametrize("name", ["lock", "recipe.yaml", "log.csv", "state.safetensors", "priors", "forcefield"])
def test_a_training_refuses_links(tmp_path: Path, victim: Path, name: str) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    claim(folder, "training")
    (folder / name).symlink_to(tmp_path / "home" if "." not in name else victim)
    with pytest.raises(StorageError, match=f"{name}: is a symbolic link"), training_folder(folder):
        pass
    assert untouched(victim)


@pytest.mark.parametrize("name", ["lock", "dataset.yaml", "sampling", "ala2", "sampling/ala2"])
def test_a_sampling_refuses_links(tmp_path: Path, victim: Path, name: str) -> None:
    folder = tmp_path / "data"
    (folder / name).parent.mkdir(parents=True)
    claim(folder, "sampling")
    (folder / name).symlink_to(tmp_path / "home")
    recipe = SampleRecipe.model_construct(folder=folder, molecule=[type("Entry", (), {"name": "ala2"})])
    with pytest.raises(StorageError, match=f"{name}: is a symbolic link"):
        sample(recipe, lambda text: None, lambda progress: None)
    assert untouched(victim)


def test_names_of_a_claim_do_not_climb(tmp_path: Path, victim: Path) -> None:
    """`topology_<name>.pdb` of a name with `..` would lead through a folder `topology_..` to anywhere."""
    folder = tmp_path / "run"
    with RunFolder.open(folder) as run:
        run.fresh(("pep",))
    (folder / "topology_..").mkdir()
    (tmp_path / "victim.pdb").write_bytes(PRECIOUS)
    climbing = [
        "../../victim",
        "../../../victim",
        *("../" * random.Random(1).randint(1, 6) + "victim" for _ in range(3)),
    ]
    claim(folder, "run", climbing)
    with RunFolder.open(folder) as run:
        assert victim.parent / "victim.pdb" not in [file.resolve() for file in run.own_files()]
        run.fresh(("pep",))
    assert (tmp_path / "victim.pdb").read_bytes() == PRECIOUS and untouched(victim)

"""The run folder: where every file of a run is, who may write it, and how it starts over."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from mdflash.core.files import free_bytes, size_text, storage_errors
from mdflash.core.regular import open_own, own_folder, read_json
from mdflash.core.words import is_word
from mdflash.errors import InputError, NoSpaceError, StorageError
from mdflash.io.checkpoint import checkpoint_systems
from mdflash.io.claims import (
    MARK,
    claim,
    claimed,
    drop_unfinished,
    is_lock,
    refuse_in_the_way,
    refuse_links,
    unfinished,
)
from mdflash.io.formats import written_formats
from mdflash.io.lockfile import NO_LOCKS, hold
from mdflash.io.topology import beside_topology, is_own

_OWN_FILES = (
    "input.yaml",
    "resolved.yaml",
    "log.csv",
    "exchange.csv",
    "colvars.csv",
    "hills.csv",
    "walkers.csv",
    "events.jsonl",
    "manifest.json",
)
_OWN_CHECKPOINT = re.compile(r"step_\d{15,}\.npz")


class FolderLock:
    """The right to write a run folder; the system takes it back when the process ends, however it ends.

    Where the file system has no locks, a second file stands for it; see `lockfile`.

    Attributes:
        path: the lock file.
        note: for the user, where the file system has no locks.
    """

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        """Take the lock.

        Args:
            path: the lock file; holds process id and host of its owner, to show to the user.
            folder: locked too, where its file system can: who deletes the file lets nobody in.

        Raises:
            StorageError: a live process holds it, or the folder cannot be written.
        """
        self.path, self.note = path, ""
        self._claimed: Path | None = None
        self._folder = -1
        with storage_errors(path):
            self._fd = open_own(path, "create")
        try:
            self._take(folder)
        except BaseException:
            self._close()
            raise

    def _take(self, folder: Path | None) -> None:
        with storage_errors(self.path):
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder is not None:
                    self._take_folder(folder)
            except BlockingIOError:
                raise StorageError(
                    f"{self.path.parent} is in use by {self._owner()}; wait for it, stop it, or choose another folder"
                ) from None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                self._claim(error.strerror or "no locks")
            os.ftruncate(self._fd, 0)
            os.write(self._fd, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())

    def _take_folder(self, folder: Path) -> None:
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # NFS locks no folders
            os.close(self._folder)
            self._folder = -1

    def _close(self) -> None:
        for handle in (self._fd, self._folder):
            if handle >= 0:
                os.close(handle)
        self._fd = self._folder = -1

    def _claim(self, why: str) -> None:
        held = self.path.with_name(f"{self.path.name}.held")
        hold(held)
        self._claimed = held
        self.note = (
            f"the file system of {self.path.parent} has no locks ({why}); {held.name} stands for one. If this process "
            "is killed, runs on other hosts ask to delete that file"
        )

    def _owner(self) -> str:
        try:
            owner = json.loads(os.read(self._fd, 1000))
            return f"process {owner['pid']} on host {owner['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"  # which has not written its name yet

    @property
    def handle(self) -> int:
        """Its file descriptor; a process that inherits it holds the lock too, as long as it runs."""
        return self._fd

    def release(self) -> None:
        """Give it back. The file stays: removing it would let two others lock two different files."""
        if self._fd >= 0:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
            self._close()
            if self._claimed is not None:
                self._claimed.unlink(missing_ok=True)


class RunFiles:
    """Where every file of a run is.

    Attributes:
        path: the run folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def input(self) -> Path:
        """The run's YAML file as given."""
        return self.path / "input.yaml"

    @property
    def resolved(self) -> Path:
        """The run's YAML file with every default written out."""
        return self.path / "resolved.yaml"

    @property
    def manifest(self) -> Path:
        """Versions, model hash, device, timing."""
        return self.path / "manifest.json"

    @property
    def log(self) -> Path:
        """Energies and temperatures."""
        return self.path / "log.csv"

    @property
    def events(self) -> Path:
        """What happened during the run."""
        return self.path / "events.jsonl"

    @property
    def trajectory(self) -> Path:
        """The folder of the trajectory files."""
        return self.path / "trajectory"

    @property
    def checkpoint(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoint"

    def topology(self, system: str, systems: Sequence[str]) -> Path:
        """The PDB file of one of the run's `systems`."""
        return topology_path(self.path, system, systems)


class RunFolder(RunFiles):
    """The files of a run, to write. Open with `RunFolder.open`; use as a context manager, or call `close`."""

    def __init__(self, path: Path, lock: FolderLock, made: Sequence[Path] = ()) -> None:
        super().__init__(path)
        self._lock, self._made = lock, made

    @classmethod
    def open(cls, path: Path, need_bytes: int = 0, systems: Sequence[str] = ()) -> RunFolder:
        """Create the folder, or open the one that is there, and lock it.

        Args:
            path: the run folder.
            need_bytes: an estimate of what the run is going to write.
            systems: of the run.

        Raises:
            StorageError: it is a file, cannot be written, is in use, holds files that the run would replace and that no
                earlier run wrote, or symbolic links in their place, or the disk has less than `need_bytes` free. What
                had been created until then is removed again.
        """
        may_be_run_folder(path, need_bytes, systems)
        made: list[Path] = []
        try:
            _make_folder(path, made)
            lock = FolderLock(path / "lock", path)
            for folder in (path / "trajectory", path / "checkpoint"):
                if not folder.is_dir():
                    made.append(folder)
                with storage_errors(folder):
                    own_folder(folder)
        except StorageError:
            if path in made:
                (path / "lock").unlink(missing_ok=True)
            for folder in reversed(made):
                with suppress(OSError):
                    folder.rmdir()
            raise
        return cls(path, lock, made)

    @property
    def notes(self) -> tuple[str, ...]:
        """For the user: how it is locked, where that is out of the ordinary."""
        return (self._lock.note,) if self._lock.note else ()

    def own_files(self) -> list[Path]:
        """The files here that mdflash wrote; whatever else a user put into the folder is not among them."""
        systems = own_systems(self.path)
        return [] if systems is None else sorted(_own_files(self.path, systems))

    def fresh(self, systems: Sequence[str]) -> list[Path]:
        """Delete the files that an earlier run wrote, and only those; returns them. The folder is this run's then.

        Args:
            systems: of the run that starts.

        Raises:
            StorageError: one cannot be deleted, or would be replaced and is of no run.
        """
        before = own_systems(self.path)
        if before is None:
            _refuse_foreign(self.path, systems)
        claim(self.path, "run", {*systems, *(before or ())})  # first: what a kill leaves undeleted stays known
        files = [] if before is None else [file for file in self.own_files() if file.name != MARK]
        for file in files:
            with storage_errors(file):
                file.unlink()
        return files

    def drop_unfinished(self) -> None:
        """Delete what was being written when an earlier process was killed."""
        drop_unfinished(_places(self.path))

    def discard(self) -> None:
        """Remove again what `open` created, if nothing was written into it; that gives the lock back."""
        if self.own_files() or self.path not in self._made:
            return
        with suppress(OSError):
            self.trajectory.rmdir()
            self.checkpoint.rmdir()
            (self.path / "lock").unlink()
            self.close()
            self.path.rmdir()

    def close(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def may_be_run_folder(path: Path, need_bytes: int = 0, systems: Sequence[str] = ()) -> None:
    """Whether a run could be written there, as far as that can be told without writing; arguments as of `open`.

    Raises:
        StorageError: it could not.
    """
    with storage_errors(path):  # a name can be too long to ask
        there = path.exists()
    if there and not path.is_dir():
        raise StorageError(f"{path} is a file; choose another name with output.folder")
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        why = "is no folder" if not nearest.is_dir() else "cannot be written"
        raise StorageError(f"{path}: {nearest} {why}; choose another folder with output.folder")
    if is_training_folder(path):
        raise StorageError(f"{path} holds a training; choose another folder with output.folder")
    _refuse_foreign(path, systems)
    refuse_links_of_run(path)
    free = free_bytes(path)
    if free < need_bytes:
        raise NoSpaceError(
            f"{path}: the run is going to write about {size_text(need_bytes)}, but only "
            f"{size_text(free)} are free; make room, choose another folder with output.folder, "
            "or save fewer frames"
        )


def topology_path(folder: Path, system: str, systems: Sequence[str]) -> Path:
    """`topology.pdb`, or `topology_<system>.pdb` where a run has several systems."""
    return folder / ("topology.pdb" if len(systems) == 1 else f"topology_{system}.pdb")


def load_manifest(folder: Path) -> dict[str, Any]:
    """The manifest.json of a run.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    file = folder / "manifest.json"
    try:
        found = read_json(file)
    except OSError as error:
        found, why = None, f"cannot be read ({error.strerror})"
    except ValueError as error:
        found, why = None, f"is damaged: {error}"
    else:
        why = "is damaged: it has no list of systems with names, beads and replicas"
    if not isinstance(found, dict) or not _sound(found):
        raise InputError(f"{why}; it is rewritten when the run resumes", file=file)
    return found


def _sound(manifest: dict[str, Any]) -> bool:
    """Whether the systems are what readers count on."""
    systems, exchange = manifest.get("systems"), manifest.get("exchange")
    return (
        isinstance(systems, list)
        and all(isinstance(s, dict) and isinstance(s.get("name"), str) for s in systems)
        and all(type(s.get(key)) is int and s[key] > 0 for s in systems for key in ("beads", "replicas"))
        and (exchange is None or isinstance(exchange, dict))
    )


def is_run_folder(path: Path) -> bool:
    """Whether mdflash has a run here."""
    return (path / "lock").is_file() and (path / "trajectory").is_dir()


def run_around(file: Path) -> Path | None:
    """The run folder that `file` is or would be a file of, by its name; what users keep there is none of it."""
    file = file.resolve()
    if file.parent.name in ("trajectory", "checkpoint") and is_run_folder(file.parent.parent):
        return file.parent.parent
    beside = r"topology(_.+)?\.(pdb|cif)|masses(_.+)?\.csv"
    own = file.name in (*_OWN_FILES, "lock", MARK) or re.fullmatch(beside, file.name)
    return file.parent if own and is_run_folder(file.parent) else None


def is_training_folder(path: Path) -> bool:
    """Whether mdflash has a training here."""
    return (path / "recipe.yaml").is_file() and (path / "log.csv").is_file() and not is_run_folder(path)


def _make_folder(path: Path, made: list[Path]) -> None:
    """Create `path` and its parents, and note in `made` which were new, outermost first."""
    with storage_errors(path):
        for folder in reversed((path, *path.parents)):
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
                made.append(folder)


def own_systems(path: Path) -> Collection[str] | None:
    """The systems of the run that mdflash began in a folder, as far as known; None where it began none there."""
    found = claimed(path, "run")
    if found is not None or not is_lock(path / "lock"):
        return found
    with suppress(InputError, KeyError, TypeError):  # damaged or of another program
        manifest = load_manifest(path)
        if "mdflash_run" in manifest:
            return {name for system in manifest["systems"] if is_word(name := system["name"])}
    return checkpoint_systems(path / "checkpoint")


def _refuse_foreign(path: Path, systems: Sequence[str]) -> None:
    """Raise StorageError where a run of these systems would replace what no run wrote."""
    if own_systems(path) is None:
        lock = path / "lock"
        foreign = [] if is_lock(lock) else [lock]
        foreign += [path / name for name in ("trajectory", "checkpoint") if not (path / name).is_dir()]
        names = [topology_path(path, system, systems) for system in systems]
        names += [file for name in names for file in beside_topology(name)]
        refuse_in_the_way(path, [*foreign, *names, *_named_files(path, systems)], "run", "output.folder")


def refuse_links_of_run(path: Path) -> None:
    """Raise StorageError where a file or folder of a run is a symbolic link."""
    systems = own_systems(path) or ()
    files = {path / "topology.pdb", *(path / f"topology_{system}.pdb" for system in systems)}
    files |= {beside for file in files for beside in beside_topology(file)}
    folders = ("lock", "lock.held", "trajectory", "checkpoint", "analysis")
    refuse_links(path, folders)
    refuse_links(path, [str(file.relative_to(path)) for file in (*files, *_named_files(path, systems))])


def _named_files(path: Path, systems: Collection[str]) -> Iterator[Path]:
    """What is here under a name that a run of these systems gives to a file, but for the topology's."""
    yield from (file for name in _OWN_FILES if (file := path / name).exists() or file.is_symlink())
    yield from (file for file in (path / "checkpoint").glob("step_*") if _OWN_CHECKPOINT.fullmatch(file.name))
    formats = written_formats()
    for file in (path / "trajectory").glob("*"):
        if any(format.owns(file, systems) for format in formats):
            yield file


def _places(path: Path) -> tuple[Path, ...]:
    """Where a run writes."""
    return path, path / "trajectory", path / "checkpoint"


def _own_files(path: Path, systems: Collection[str]) -> Iterator[Path]:
    """What is here of a run of these systems."""
    yield from (file for file in _named_files(path, systems) if file.is_file() or file.is_symlink())
    topologies = {path / "topology.pdb", *(path / f"topology_{system}.pdb" for system in systems)}
    yield from (file for file in topologies if file.is_file())
    beside = (file for topology in topologies for file in beside_topology(topology))
    yield from (file for file in beside if file.is_file() and is_own(file))
    yield from (file for place in _places(path) for file in unfinished(place))
    if (path / MARK).is_file():
        yield path / MARK

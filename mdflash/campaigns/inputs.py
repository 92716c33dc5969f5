"""A run as a folder of its own: system.yaml with every default written out, and in inputs/ all that it reads.

Structures, start frames and force fields are copied once into the campaign, and linked (hard, so that they are
ordinary files) into the folder of each run; where a file system has no hard links, they are copied. So the campaign
can be moved, and so can each run alone. Of a committee's member all members are copied, whose spread a run may look at.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mdflash.config.input_paths import input_paths
from mdflash.config.load import load_run
from mdflash.config.schema import RunConfig
from mdflash.config.write import commented_yaml, to_data
from mdflash.core.files import replacing
from mdflash.core.regular import open_input
from mdflash.core.words import plain_word
from mdflash.forcefields.committee import FILE as COMMITTEE
from mdflash.forcefields.committee import members_of

SYSTEM, INPUTS = "system.yaml", "inputs"


def system_yaml(config: RunConfig, name: str) -> tuple[str, dict[str, Path]]:
    """The text of a run's system.yaml, and what belongs into inputs/ beside it, by name."""
    names: dict[Path, str] = {}
    copied: dict[str, Path] = {}
    words: dict[Path, str] = {}
    for path in sorted(set(input_paths(config))):
        committee = path.parent.parent
        members = members_of(committee)
        kept = committee if path in members else path
        if kept not in words:
            word = plain_word(kept.name)
            while word in words.values():
                word = f"{hashlib.sha256(str(kept).encode()).hexdigest()[:8]}-{plain_word(kept.name)}"
            words[kept] = word
        names[path] = words[kept]
        if kept is path:
            copied[words[kept]] = path
        else:  # a member needs the others, of which nothing is told in the run
            names[path] += f"/{path.relative_to(committee).as_posix()}"
            for file in (committee / COMMITTEE, *members):
                copied[f"{words[kept]}/{file.relative_to(committee).as_posix()}"] = file
    data = _renamed(to_data(config), {str(path): f"{INPUTS}/{word}" for path, word in names.items()})
    data["name"] = name
    data["output"]["folder"] = "./run"
    return commented_yaml(data), copied


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(part, names) for key, part in value.items()}
    if isinstance(value, list):
        return [_renamed(part, names) for part in value]
    return names.get(value, value) if isinstance(value, str) else value


class Copier:
    """Copies each input once into a folder, and links it from there."""

    def __init__(self, store: Path) -> None:
        self._store, self._kept = store, dict[Path, Path]()

    def put(self, source: Path, target: Path) -> None:
        """Put a file, or a folder with all in it, at `target`, which does not exist yet.

        Raises:
            OSError: it cannot be read or written.
        """
        for file in _files(source):
            place = target / file.relative_to(source) if source.is_dir() else target
            place.parent.mkdir(parents=True, exist_ok=True)
            kept = self._kept.get(file)
            if kept is None:
                kept = self._kept[file] = self._keep(file)
            try:
                os.link(kept, place)
            except OSError:
                shutil.copyfile(kept, place)

    def _keep(self, file: Path) -> Path:
        digest = digest_of_file(file)
        kept = self._store / digest
        if not kept.exists():
            with replacing(kept) as partial:
                shutil.copyfile(file, partial)
        return kept


def _files(path: Path) -> list[Path]:
    """A file itself, or all files below a folder, without hidden ones."""
    if not path.is_dir():
        return [path]
    return [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(part.startswith((".", "__")) for part in file.relative_to(path).parts)
    ]


def digest_of_file(path: Path) -> str:
    """SHA-256 of an ordinary file's content."""
    digest = hashlib.sha256()
    with open_input(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest_of_run(folder: Path) -> str:
    """SHA-256 of all that a run reads: the names and the contents of system.yaml and of what is in inputs/.

    Raises:
        OSError: system.yaml is missing, or something cannot be read.
    """
    digest = hashlib.sha256()
    for file in (folder / SYSTEM, *(_files(folder / INPUTS) if (folder / INPUTS).is_dir() else ())):
        digest.update(f"{file.relative_to(folder).as_posix()} {digest_of_file(file)}\n".encode())
    return digest.hexdigest()


def differences(folder: Path, config: RunConfig) -> Iterator[tuple[str, Any, Any]]:
    """What a run that is planned in a folder has otherwise than `config`: dotted key, there, here; inputs by content.

    Raises:
        InputError: the run in the folder cannot be read.
    """
    there = load_run(folder / SYSTEM)
    yield from _differences(_by_content(there), _by_content(config), "")


def _by_content(config: RunConfig) -> Any:
    """A run as plain data, with a digest in place of each file and folder that it reads."""
    digests = {str(path): f"content {_digest(path)[:16]}" for path in set(input_paths(config))}
    data = _renamed(to_data(config), digests)
    del data["name"], data["output"]["folder"]
    return data


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(f"{file.relative_to(path).as_posix()} {digest_of_file(file)}\n".encode())
    return digest.hexdigest()


def _differences(there: Any, here: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(there, dict) and isinstance(here, dict):
        for word in {**there, **here}:
            yield from _differences(there.get(word), here.get(word), f"{key}.{word}" if key else word)
    elif there != here:
        yield key, there, here

"""A secret that only the processes of one job know, though they meet where anybody on the network may come.

The first rank draws it and puts it into files that only its user can read, in folders that all ranks see; the store
where they meet tells their name, which is a digest of the secret. Whoever cannot read the file knows neither under
which keys the ranks meet, nor what they answer each other then.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from mdflash.errors import MdflashError

SEEN_WITHIN: Final = 90.0
"""Seconds within which a new file must be seen from other machines; file systems of clusters remember for up to 60 s
what was not there."""
_KEY: Final = "secret"
_FORGOTTEN: Final = 86_400.0


def shared_folders() -> list[Path]:
    """Folders that the ranks of a job share: one of them will do."""
    with suppress(RuntimeError):  # a user without a home
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return [Path(home, "mdflash", "jobs"), Path.cwd()]
    return [Path.cwd()]


@contextmanager
def shared_secret(store: Any, rank: int, folders: Sequence[Path]) -> Iterator[bytes]:
    """The secret of this job. The files last as long as the block.

    Args:
        store: where the ranks meet; keys of earlier attempts are not in its way.
        rank: of this process.
        folders: where the files are, the same on all ranks.

    Raises:
        MdflashError: no folder can be written, or none shows the file of the first rank.
    """
    if rank > 0:
        yield _read(store.get(_KEY).decode(errors="replace"), folders)
        return
    secret = secrets.token_bytes(32)
    name = hashlib.sha256(secret).hexdigest()
    files = [file for folder in folders if (file := _write(folder, name, secret)) is not None]
    try:
        if not files:
            raise MdflashError(
                f"the ranks of a job share a secret, and its file cannot be written: neither {_listed(folders)} takes "
                "files; start them in a folder that can be written"
            )
        store.set(_KEY, name)
        yield secret
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def keys_of(secret: bytes) -> str:
    """Under which keys the ranks meet; who lists the keys of the store learns nothing of the secret."""
    return hmac.new(secret, b"keys", "sha256").hexdigest()


def proof(secret: bytes, rank: int) -> str:
    """What a rank shows the others: that it knows the secret."""
    return hmac.new(secret, b"rank %d" % rank, "sha256").hexdigest()


def check_proofs(secret: bytes, shown: Sequence[object]) -> None:
    """Raise MdflashError where a rank does not know the secret."""
    for rank, text in enumerate(shown):
        if not isinstance(text, str) or not hmac.compare_digest(text.encode(), proof(secret, rank).encode()):
            raise MdflashError(
                f"what answered as rank {rank} is no process of this job: another program reached the port where the "
                "ranks meet. Nothing was done; start the job again"
            )


def _listed(folders: Sequence[Path]) -> str:
    return " nor ".join(map(str, folders))


def _file(folder: Path, name: str) -> Path:
    return folder / f".mdflash-{name}.job"


def _write(folder: Path, name: str, secret: bytes) -> Path | None:
    file = _file(folder, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        os.write(handle, secret)
        os.fsync(handle)
    except OSError:
        file.unlink(missing_ok=True)
        return None
    finally:
        os.close(handle)
    for old in folder.glob(".mdflash-*.job"):  # of jobs that were killed while they started
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > _FORGOTTEN:
                old.unlink()
    return file


def _read(name: str, folders: Sequence[Path]) -> bytes:
    end = time.monotonic() + SEEN_WITHIN
    while re.fullmatch("[0-9a-f]{64}", name):
        for folder in folders:
            with suppress(OSError):
                handle = os.open(_file(folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    secret, owner = os.read(handle, 100), os.fstat(handle).st_uid
                finally:
                    os.close(handle)
                if owner == os.getuid() and hashlib.sha256(secret).hexdigest() == name:
                    return secret
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    raise MdflashError(
        f"this rank does not see the file by which the ranks of a job know each other, neither in "
        f"{_listed(folders)}; start them in a folder that all of their machines share"
    )

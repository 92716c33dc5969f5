"""What ranks tell each other is data, and who does not know their secret is told from them."""

from __future__ import annotations

import os
import pickle
import random
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mdflash.core.optional import MissingExtraError
from mdflash.core.signals import Stopped
from mdflash.engine import secret as secrets_of_ranks
from mdflash.engine.job import find_job
from mdflash.engine.messages import describe_error, pack, recall_error, unpack
from mdflash.engine.secret import check_proofs, proof, shared_secret
from mdflash.errors import GpuRefused, InputError, Interrupted, MdflashError, StorageError, UnstableError
from tests.rank_helpers import CLOCK, srun_variables


def drawn(rng: np.random.Generator, depth: int = 0) -> Any:
    """What a rank may send."""
    kind = rng.integers(9 if depth < 3 else 6)
    if kind == 0:
        dtype = rng.choice(["<f8", "<f4", "<i8", "|b1", "<u4"])
        shape = tuple(rng.integers(0, 4, rng.integers(0, 4)).tolist())
        return np.asarray(rng.normal(size=shape) * 100).astype(dtype)
    if kind < 6:
        return [None, True, float(rng.normal()), int(rng.integers(-(2**62), 2**62)), "é\0\n"][kind - 1]
    if kind < 8:
        return [drawn(rng, depth + 1) for _ in range(rng.integers(4))]
    return {f"key {i}": drawn(rng, depth + 1) for i in range(rng.integers(4))}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize("seed", range(30))
def test_data_arrive_to_the_last_bit(seed: int) -> None:
    value = drawn(np.random.default_rng(seed))
    assert same(value, unpack(pack(value)))


class Evil:
    """A pickle that would do something."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


def test_nothing_that_arrives_is_run(tmp_path: Path) -> None:
    rng = random.Random(3)
    for k in range(200):
        data = pickle.dumps(Evil(tmp_path / "owned"), protocol=k % 6)
        if k % 2:
            data = len(data).to_bytes(8, "little") + data
        torn = bytearray(data if k % 3 else pack({"a": np.zeros(3), "b": [1, 2]}))
        for _ in range(k % 5):
            torn[rng.randrange(len(torn))] = rng.randrange(256)
        with suppress(ValueError, TypeError, KeyError):
            unpack(bytes(torn[: rng.randint(1, len(torn))]))
    assert not (tmp_path / "owned").exists()
    with pytest.raises(TypeError, match="not Evil"):
        pack([Evil(tmp_path)])
    with pytest.raises(TypeError, match="not ndarray"):
        pack(np.array([None]))


ERRORS = [
    MdflashError("plain"),
    InputError("wrong", file=Path("a.yaml"), line=3, key="dynamics.timestep"),
    GpuRefused("it is too small", "`count: 3`"),
    StorageError("full"),
    UnstableError("nan"),
    Interrupted("SIGTERM"),
    MissingExtraError("package"),
    Stopped(15).said,
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_errors_arrive(error: MdflashError) -> None:
    found = recall_error(unpack(pack(describe_error(error))))
    assert type(found) is type(error)
    assert (str(found), found.exit_code, found.label) == (str(error), error.exit_code, error.label)
    assert {k: str(v) for k, v in vars(found).items()} == {k: str(v) for k, v in vars(error).items()}


def test_an_error_of_an_unknown_class_is_a_plain_one() -> None:
    said = {"class": "os.system", "text": "what happened", "with": {}}
    assert type(recall_error(said)) is MdflashError and str(recall_error(said)) == "what happened"


class Store(dict[str, bytes]):
    """The place where ranks meet, in this process."""

    def set(self, key: str, value: str) -> None:
        self[key] = value.encode()


def test_a_file_that_others_cannot_read_carries_the_secret(tmp_path: Path) -> None:
    """One folder of several that can be written is enough; nothing of it is left."""
    folders = [Path("/proc/nowhere"), tmp_path / "jobs"]
    store = Store()
    with shared_secret(store, 0, folders) as first:
        (file,) = (tmp_path / "jobs").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and len(first) == 32
        with shared_secret(store, 3, folders) as other:
            assert other == first
        assert first not in b"".join(store.values()) and first.hex().encode() not in b"".join(store.values())
    assert list((tmp_path / "jobs").iterdir()) == []
    with pytest.raises(MdflashError, match="cannot be written"), shared_secret(store, 0, folders[:1]):
        pass


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 63, "0" * 64, "Z" * 64])
def test_what_a_stranger_puts_into_the_store_is_not_believed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets_of_ranks, "SEEN_WITHIN", 0.2)
    (tmp_path / f".mdflash-{'0' * 64}.job").write_bytes(b"guessed")
    with pytest.raises(MdflashError, match="does not see"), shared_secret(Store(secret=name.encode()), 1, [tmp_path]):
        pass


def test_a_file_that_comes_late_is_found(tmp_path: Path) -> None:
    store, entered, leave = Store(), threading.Event(), threading.Event()

    def first() -> None:
        with shared_secret(store, 0, [tmp_path / "jobs"]):
            (file,) = (tmp_path / "jobs").iterdir()
            file.rename(tmp_path / file.name)
            entered.set()
            leave.wait(0.4)
            (tmp_path / file.name).rename(file)
            leave.wait(CLOCK)

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait(CLOCK)
    with shared_secret(store, 1, [tmp_path / "jobs"]) as found:
        assert len(found) == 32
    leave.set()
    thread.join()


def test_who_does_not_know_the_secret_is_named() -> None:
    right = [proof(b"s" * 32, rank) for rank in range(3)]
    check_proofs(b"s" * 32, right)
    for wrong in (proof(b"t" * 32, 1), right[0], "", None, 3, "é"):
        with pytest.raises(MdflashError, match="as rank 1 is no process of this job"):
            check_proofs(b"s" * 32, [right[0], wrong, right[2]])


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
SRUN = srun_variables(1, 4, "77")


@pytest.mark.parametrize(
    ("given", "key"),
    [
        *((TORCHRUN, key) for key in (*TORCHRUN, "TORCHELASTIC_RESTART_COUNT", "SLURM_STEP_NUM_TASKS")),
        *((SRUN, key) for key in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID",
                                  "SLURM_LOCALID", "MASTER_PORT")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["x", "", "-1", "1.5", "9" * 400, "٣", "5 5"])
def test_variables_that_are_no_numbers_are_named(given: dict[str, str], key: str, value: str) -> None:
    with pytest.raises(InputError, match=rf"environment variable {key} must be"):
        find_job({**given, key: value})


@pytest.mark.parametrize(
    "given",
    [
        {**TORCHRUN, "RANK": "2"}, {**TORCHRUN, "LOCAL_RANK": "2"}, {**TORCHRUN, "WORLD_SIZE": "0"},
        {**SRUN, "SLURM_PROCID": "4"}, {**SRUN, "MASTER_PORT": "70000"}, {"RANK": "1", "WORLD_SIZE": "1"},
    ],
)  # fmt: skip
def test_a_rank_beyond_the_others_does_not_wait_for_them(given: dict[str, str]) -> None:
    with pytest.raises(InputError, match="must be a whole number from"):
        find_job(given)


def test_two_launchers_that_disagree() -> None:
    """A size of one that torchrun set, inside a step of four: said, since all four would run the same."""
    assert "WORLD_SIZE=1" in find_job({**SRUN, "RANK": "0", "WORLD_SIZE": "1"}).note
    for given in ({}, SRUN, TORCHRUN, {**SRUN, **TORCHRUN}, {"RANK": "0", "WORLD_SIZE": "1"}):
        assert find_job(given).note == ""

"""Checkpoints: exact, plain, whole or not there, and with one to fall back to."""

from __future__ import annotations

import time

import numpy as np
import pytest

from mdflash.errors import StorageError
from mdflash.io.checkpoint import load_checkpoint, save_checkpoint

from .conftest import run_and_kill


def arrays(seed: int, size: int = 100) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "positions": rng.normal(size=(size, 3)),
        "energy": rng.normal(size=4),
        "key": rng.integers(0, 2**63, size=2).astype(np.uint64),
        "empty": np.zeros((0, 3)),
        "scalar": np.array(2.5),
        "odd": np.array([np.nan, np.inf, -0.0]),
    }


def test_round_trip_is_exact_and_numpy_reads_it(tmp_path):
    header = {"step": 2**40, "seed": 2**63 - 1, "digest": "äb", "nested": {"x": [1, 2.5, None]}}
    path = save_checkpoint(tmp_path, arrays(1), header)
    assert path.name == f"step_{2**40:015d}.npz"
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.header == header and loaded.path == path and loaded.notes == ()
    with np.load(path, allow_pickle=False) as plain:
        for name, array in arrays(1).items():
            assert loaded.arrays[name].dtype == array.dtype
            assert loaded.arrays[name].tobytes() == array.tobytes() == plain[name].tobytes()
    assert set(loaded.arrays) == set(arrays(1))


def test_the_same_content_gives_the_same_bytes(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = save_checkpoint(tmp_path / "a", arrays(1), {"step": 5, "z": 1, "a": 2})
    monkeypatch.setattr(time, "time", lambda: 2e9)
    two = save_checkpoint(tmp_path / "b", dict(reversed(arrays(1).items())), {"a": 2, "step": 5, "z": 1})
    assert one.read_bytes() == two.read_bytes()


def test_the_newest_are_kept(tmp_path):
    for step in (0, 5, 10, 1000, 10**15, 10**16):
        save_checkpoint(tmp_path, arrays(step), {"step": step}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"step_{10**15}.npz", f"step_{10**16}.npz"]
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.header["step"] == 10**16


def test_no_checkpoint_yet(tmp_path):
    assert load_checkpoint(tmp_path) is None
    (tmp_path / "step_000000000000001.npz.tmp").write_bytes(b"half")
    (tmp_path / "step_notes.npz").write_bytes(b"mine")
    assert load_checkpoint(tmp_path) is None


def test_any_damage_falls_back_to_the_one_before(tmp_path):
    save_checkpoint(tmp_path, arrays(1), {"step": 1})
    newest = save_checkpoint(tmp_path, arrays(2), {"step": 2})
    data = newest.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [data[: int(n)] for n in rng.integers(0, len(data), 20)] + [b"", b"text", b"\x80\x04N."]
    for _ in range(20):  # a changed byte inside an array: the CRC finds it
        at = data.index(arrays(2)["positions"].tobytes()) + int(rng.integers(0, 2400))
        damaged.append(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
    for bad in damaged:
        newest.write_bytes(bad)
        loaded = load_checkpoint(tmp_path)
        assert loaded is not None and loaded.header["step"] == 1
        assert len(loaded.notes) == 1 and newest.name in loaded.notes[0]


@pytest.mark.parametrize("what", ["positions", "energy", "seed"])
def test_numbers_that_were_changed_are_noticed(tmp_path, what):
    """By whatever keeps the archive whole: its CRCs fit, and the digest does not."""
    save_checkpoint(tmp_path, arrays(1), {"step": 1, "seed": 3})
    newest = save_checkpoint(tmp_path, arrays(2), {"step": 2, "seed": 3})
    with np.load(newest) as plain:
        changed = dict(plain)
    if what == "seed":
        changed["header"] = np.array(str(changed["header"]).replace('"seed": 3', '"seed": 4'))
    else:
        changed[what].flat[1] += 1e-9
    np.savez(newest, **changed)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded.header["step"] == 1
    assert "its content was changed since it was written" in loaded.notes[0]


def test_nothing_left_to_fall_back_to(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, arrays(step), {"step": step}).write_bytes(b"x")
    with pytest.raises(StorageError, match=r"step_000000000000002\.npz is damaged"):
        load_checkpoint(tmp_path)


def test_objects_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        save_checkpoint(tmp_path, {"x": np.array([{}], dtype=object)}, {"step": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_a_checkpoint_that_can_be_read(tmp_path):
    rng = np.random.default_rng(3)

    def work(report):
        step = 0
        while True:
            step += 1
            save_checkpoint(tmp_path, arrays(step, 20_000), {"step": step})
            report(step)

    for _ in range(6):
        for old in tmp_path.iterdir():
            old.unlink()
        last = run_and_kill(work, float(rng.uniform(0, 0.05)))
        loaded = load_checkpoint(tmp_path)
        assert loaded is not None and loaded.notes == () and loaded.header["step"] in (last, last + 1)
        expected = arrays(loaded.header["step"], 20_000)["positions"]
        assert loaded.arrays["positions"].tobytes() == expected.tobytes()

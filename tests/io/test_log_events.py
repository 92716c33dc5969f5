"""log.csv and events.jsonl."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from mdflash.errors import StorageError
from mdflash.io import table
from mdflash.io.colvars import ColvarsLog
from mdflash.io.events import EventLog, read_events
from mdflash.io.log import COLUMNS, LogWriter
from mdflash.io.repair import repair_file
from mdflash.io.table import last_row


def report(step: int) -> tuple:
    u, k, t = np.random.default_rng(step).normal(size=(3, 4)) * 100
    states, targets = np.array([1, 0, 0, 1]), np.array([330.5, 300.0, 300.0, 330.5])
    return step, step * 0.004, [0, 1, 2, 7], ["a", "a", "b", "b"], states, targets, u, k, t


def test_every_number_is_exact(tmp_path):
    log = LogWriter.start(tmp_path / "log.csv")
    for step in range(5):
        log.append(*report(step))
    log.flush(sync=True)
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 20 == log.rows
    for row, (step, replica) in zip(rows, [(s, r) for s in range(5) for r in range(4)], strict=True):
        _, time, ids, systems, states, targets, u, k, t = report(step)
        assert int(row["step"]) == step and float(row["time_ps"]) == time
        assert int(row["replica"]) == ids[replica] and row["system"] == systems[replica]
        assert int(row["state"]) == states[replica] and float(row["target_K"]) == targets[replica]
        assert float(row["potential_kcal_mol"]) == u[replica]
        assert float(row["kinetic_kcal_mol"]) == k[replica]
        assert float(row["temperature_K"]) == t[replica]


@pytest.mark.parametrize("kept", [0, 1, 4, 9, 20])
@pytest.mark.parametrize("torn", [0, 1, 17])
@pytest.mark.parametrize("piece", [7, 64, 1 << 20])
def test_resume_gives_the_log_of_an_uninterrupted_run(tmp_path, monkeypatch, kept, torn, piece):
    monkeypatch.setattr(table, "_READ", piece)  # the file is read in pieces of any size
    path = tmp_path / "log.csv"
    whole = LogWriter.start(tmp_path / "whole.csv")
    log = LogWriter.start(path)
    for step in range(6):
        whole.append(*report(step))
        if step < 5:
            log.append(*report(step))
    whole.flush()
    log.flush()
    path.write_bytes(path.read_bytes() + b"123,0.4,5,b,1.23456789"[:torn])
    again = LogWriter.resume_rows(path, kept)
    assert again.rows == kept
    text = whole.path.read_bytes().splitlines(keepends=True)
    assert path.read_bytes() == b"".join(text[: kept + 1])
    for step in range(kept // 4, 6):
        if kept % 4 == 0:
            again.append(*report(step))
    again.flush()
    if kept % 4 == 0:
        assert path.read_bytes() == whole.path.read_bytes()


def test_resume_refuses_a_short_or_foreign_log(tmp_path):
    log = LogWriter.start(tmp_path / "log.csv")
    log.append(*report(0))
    log.flush()
    with pytest.raises(StorageError, match=r"holds 4 complete rows.*after 5"):
        LogWriter.resume_rows(log.path, 5)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StorageError, match="first line must be step,time_ps"):
        LogWriter.resume_rows(tmp_path / "other.csv", 1)
    with pytest.raises(StorageError, match=r"none\.csv"):
        LogWriter.resume_rows(tmp_path / "none.csv", 1)
    with pytest.raises(StorageError, match="already exists"):
        LogWriter.start(log.path)


def test_events_are_appended_over_several_sessions(tmp_path):
    path = tmp_path / "events.jsonl"
    for session in range(3):
        events = EventLog(path)
        events.write(session, "start", host="näme", numbers=[1, 2])
        events.close()
    found = read_events(path)
    assert [e["step"] for e in found] == [0, 1, 2]
    assert found[0]["event"] == "start" and found[0]["host"] == "näme" and found[0]["numbers"] == [1, 2]
    assert found[0]["time"].endswith("+00:00")


@pytest.mark.parametrize("tail", [b"{", b'{"time": "2', b"\0" * 40, b"\0\0\n\0\n"])
def test_a_torn_event_is_dropped_on_opening(tmp_path, tail):
    path = tmp_path / "events.jsonl"
    events = EventLog(path)
    events.write(1, "a")
    events.close()
    good = path.read_bytes()
    path.write_bytes(good + tail)
    assert [e["step"] for e in read_events(path)] == [1]
    EventLog(path).close()
    assert path.read_bytes() == good
    path.write_bytes(good + tail)
    assert repair_file(path).done and path.read_bytes() == good
    path.write_bytes(tail)
    assert repair_file(path).kept == 0 and path.read_bytes() == b""


OLD_LOG = "step,time_ps,replica,system,potential_kcal_mol,kinetic_kcal_mol,temperature_K\n"
OLD_COLVARS = "step,time_ps,replica,system,pull_A,pull_kcal_mol\n"


def test_a_log_of_0_1_keeps_its_columns(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(OLD_LOG + "0,0.0,0,a,1.5,2.5,300.0\n" * 4 + "1,0.0,0,a,1.5")
    log = LogWriter.resume_rows(path, 4)
    log.append(*report(1))
    log.flush()
    rows = list(csv.reader(path.open()))
    assert {len(row) for row in rows} == {7} and len(rows) == 9
    _, time, ids, systems, _, _, u, k, t = report(1)
    assert rows[5] == [
        "1",
        repr(time),
        str(ids[0]),
        systems[0],
        *(repr(x[0]) for x in (u.tolist(), k.tolist(), t.tolist())),
    ]
    assert repair_file(path).done == ""


def test_colvars_of_0_1_keep_their_columns(tmp_path):
    path = tmp_path / "colvars.csv"
    path.write_text(OLD_COLVARS + "0,0.0,0,a,1.5,2.5\n0,0.0")
    colvars = ColvarsLog.resume(path, len(OLD_COLVARS) + 18)
    held = (np.array([1]), np.array([330.0]))
    colvars.append(5, 0.02, [0], ["a"], *held, np.array([[1.25]]), np.array([[np.nan]]))
    colvars.flush()
    assert path.read_text() == OLD_COLVARS + "0,0.0,0,a,1.5,2.5\n5,0.02,0,a,1.25,\n"
    assert repair_file(path).kept == 2
    new = ColvarsLog.create(tmp_path / "new.csv", [("pull", "A")])
    new.append(5, 0.02, [0], ["a"], *held, np.array([[1.25]]), np.array([[np.nan]]))
    new.flush()
    header = "step,time_ps,replica,system,state,target_K,pull_A,pull_kcal_mol\n"
    assert new.path.read_text() == header + "5,0.02,0,a,1,330.0,1.25,\n"


def test_the_last_row_of_a_table_that_grows(tmp_path):
    path = tmp_path / "log.csv"
    for text, row in (
        ("", None),
        ("step,a\n", None),
        ("step,a\n1,", None),
        ("step,a\n1,2\n", "1,2"),
        ("step,a\n" + "1,2\n" * 5000 + "3,44\n5", "3,44"),
        ("step,a\n" + "9" * 9000 + "\n", "9" * 9000),
    ):
        path.write_text(text)
        assert last_row(path) == row

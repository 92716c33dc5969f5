"""exchange.csv after a kill: a torn last line goes, whole rows stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mdflash.errors import StorageError
from mdflash.io.exchange_log import ExchangeLog, read_exchange
from mdflash.io.repair import repair_file


def test_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "exchange.csv"
    log = ExchangeLog.create(path, (4, 7))
    for attempt in range(5):
        log.append(500 * attempt, 2.0 * attempt, np.array([attempt % 2, 1 - attempt % 2]))
    log.flush()
    whole = path.read_bytes()
    path.write_bytes(whole + b"2500,10.0,1")
    repaired = repair_file(path)
    assert repaired.kept == 5
    assert path.read_bytes() == whole
    np.testing.assert_array_equal(read_exchange(path).at(np.array([1501]))[0], [1, 0])


def test_another_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "exchange.csv"
    path.write_text("date,rate\n2026-11-22,1.1")
    with pytest.raises(StorageError, match=r"not an exchange\.csv"):
        repair_file(path)
    assert path.read_text() == "date,rate\n2026-11-22,1.1"

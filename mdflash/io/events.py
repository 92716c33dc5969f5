"""events.jsonl: what happened during a run, one JSON object per line, only ever appended to."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mdflash.core.damage import reading
from mdflash.core.files import storage_errors, truncate
from mdflash.core.regular import open_own, parse_json, read_input


def _good_size(data: bytes) -> int:
    """Bytes up to the end of the last complete line."""
    size = data.rfind(b"\n") + 1
    while size:
        start = data.rfind(b"\n", 0, size - 1) + 1
        try:
            parse_json(data[start:size])
        except ValueError:
            size = start  # a line that is complete but not JSON: blocks lost in a power cut
        else:
            return size
    return 0


def repair_events(path: Path) -> tuple[int, int]:
    """Drop a torn end; returns (events kept, bytes dropped).

    Raises:
        StorageError: not readable or not writable.
    """
    with storage_errors(path):
        data = read_input(path)
    size = _good_size(data)
    if size < len(data):
        truncate(path, size)
    return data[:size].count(b"\n"), len(data) - size


class EventLog:
    """Appends events, each written at once. Opening repairs a torn last line."""

    def __init__(self, path: Path) -> None:
        """Open or start the file.

        Raises:
            StorageError: it cannot be written.
        """
        self.path = path
        with storage_errors(path):
            self._fd = open_own(path, "append")  # refuses a link before anything is cut
        try:
            repair_events(path)
        except BaseException:
            self.close()
            raise

    def write(self, step: int, event: str, **fields: Any) -> None:
        """Append {"time": now in UTC, "step": step, "event": event, **fields}.

        Raises:
            StorageError: disk full, for example.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "step": step, "event": event, **fields}, ensure_ascii=False)
        with storage_errors(self.path):
            os.write(self._fd, line.encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_events(path: Path) -> list[dict[str, Any]]:
    """Every complete event of the file, in order.

    Raises:
        StorageError: not readable.
        InputError: a line in it is no event.
    """
    with storage_errors(path):
        data = read_input(path)
    found = []
    for number, line in enumerate(data[: _good_size(data)].splitlines(), start=1):
        with reading(path, f"line {number} is no event"):
            event = json.loads(line)
            if not isinstance(event, dict) or not {"time", "step", "event"} <= event.keys():
                raise ValueError("it has no time, step and event")
        found.append(event)
    return found

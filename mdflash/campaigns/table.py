"""properties.csv of a campaign: what the analysis of every run found, beside what was varied."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mdflash.campaigns.folder import TABLE, Row, read_molecules, read_rows
from mdflash.campaigns.state import stand_of
from mdflash.core.files import atomic_write
from mdflash.core.regular import read_text
from mdflash.errors import StorageError
from mdflash.io.runfolder import FolderLock


def write_table(campaign: Path) -> Path:
    """Write properties.csv: for each run a row, or one for each of its molecules and states.

    A run that has no analysis yet has one row without its columns. Of several runners that end at once, each writes
    after it has the lock, so the last one knows what all the others did.

    Raises:
        InputError: no campaign is there.
        StorageError: the table cannot be written.
    """
    rows = read_rows(campaign)
    with locked(campaign):
        atomic_write(campaign / TABLE, table_text(campaign, rows))
    return campaign / TABLE


def table_text(campaign: Path, rows: Sequence[Row]) -> str:
    """The table as CSV."""
    molecules = read_molecules(campaign)
    lines = [line for row in rows for line in _lines(campaign, row, molecules)]
    columns = list(dict.fromkeys(key for line in lines for key in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _lines(campaign: Path, row: Row, molecules: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, str]]:
    """The lines of one run."""
    place = campaign / "runs" / row.name
    head = {"number": str(row.number), "run": row.name, "status": stand_of(place).state, **row.values}
    found: list[dict[str, str]] = []
    with suppress(OSError, UnicodeDecodeError, csv.Error):
        found = list(csv.DictReader(io.StringIO(read_text(place / "run" / "analysis" / TABLE)), restval=""))
    for line in found or [{}]:
        own = molecules.get(line.get("molecule", ""), {})
        yield {**head, **own, **{key: value for key, value in line.items() if key}}


@contextmanager
def locked(campaign: Path, seconds: float = 60.0) -> Iterator[None]:
    """The lock of the campaign folder, for an instant's work.

    Raises:
        StorageError: another process keeps it, or it cannot be written.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            lock = FolderLock(campaign / "lock")
            break
        except StorageError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
    try:
        yield
    finally:
        lock.release()

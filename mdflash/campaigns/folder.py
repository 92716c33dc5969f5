"""The campaign folder: runs.csv lists the runs, runs/NAME holds each of them.

sweep.yaml          the plan, as given
runs.csv            number, name, digest of the input and swept values of every run
job.slurm           (job.pbs, job.sh) hands the runs to a scheduler
inputs/             what the runs read, each once; the runs have links to it
runs/NAME/          system.yaml, inputs/, attempts.jsonl, output.txt and run/, the run folder
properties.csv      one table over all runs
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mdflash.core.regular import read_text, refuse_link
from mdflash.core.words import is_word, what_a_word_is
from mdflash.errors import InputError
from mdflash.io.claims import claimed

MOLECULES = "molecules.csv"
RUNS, TABLE, SWEEP = "runs.csv", "properties.csv", "sweep.yaml"
_HEAD: Final = ("number", "run", "sha256")


@dataclass(frozen=True)
class Row:
    """A run of a campaign, as runs.csv has it.

    Attributes:
        number: from 1, in the order of planning; never changes.
        name: a plain word, the name of its folder.
        digest: of its input, see `inputs.digest_of_run`.
        values: what is swept, by dotted key.
    """

    number: int
    name: str
    digest: str
    values: dict[str, str] = field(default_factory=dict)


def is_campaign(folder: Path) -> bool:
    """Whether mdflash planned a campaign here."""
    return claimed(folder, "campaign") is not None


def refuse_links(folder: Path, name: str) -> None:
    """Raise OSError where the folder of a run, or the one above it, is a symbolic link."""
    refuse_link(folder / "runs")
    refuse_link(folder / "runs" / name)


def read_rows(folder: Path) -> list[Row]:
    """The runs of a campaign, by number.

    Raises:
        InputError: no campaign is there, or runs.csv is damaged.
    """
    file = folder / RUNS
    if not is_campaign(folder):
        raise InputError("holds no campaign; make one with: mdflash campaign plan sweep.yaml", file=folder)
    try:
        lines = list(csv.DictReader(io.StringIO(read_text(file)), restval=""))
    except FileNotFoundError:
        raise InputError("is missing, so planning did not end; plan the campaign again", file=file) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read: {error}", file=file) from None
    found = []
    for number, line in enumerate(lines, 1):
        name, digest = line.get("run"), line.get("sha256")
        if not is_word(name):
            raise InputError(f"the name of a run {what_a_word_is(name)}", file=file, line=number + 1)
        if line.get("number") != str(number) or not digest or None in line:
            raise InputError(
                f"expected run {number} with its sha256; restore the file, or plan the campaign again",
                file=file,
                line=number + 1,
            )
        found.append(Row(number, str(name), digest, {k: v for k, v in line.items() if k not in _HEAD}))
    if not found:
        raise InputError("lists no runs; plan the campaign again", file=file)
    return found


def rows_text(rows: Iterable[Row]) -> str:
    """runs.csv."""
    rows = list(rows)
    keys = list(dict.fromkeys(key for row in rows for key in row.values))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_HEAD, *keys])
    for row in rows:
        writer.writerow([row.number, row.name, row.digest, *(row.values.get(key, "") for key in keys)])
    return out.getvalue()


def molecules_text(molecules: Mapping[str, Mapping[str, str]]) -> str:
    """molecules.csv."""
    out = io.StringIO()
    keys = list(dict.fromkeys(key for values in molecules.values() for key in values))
    writer = csv.DictWriter(out, ["molecule", *keys], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"molecule": name, **values} for name, values in molecules.items())
    return out.getvalue()


def read_molecules(folder: Path) -> dict[str, dict[str, str]]:
    """The swept values of each molecule that shares its run with others; nothing where none does.

    Raises:
        InputError: molecules.csv cannot be read.
    """
    file = folder / MOLECULES
    try:
        lines = list(csv.DictReader(io.StringIO(read_text(file)), restval=""))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read: {error}", file=file) from None
    return {
        line["molecule"]: {k: v for k, v in line.items() if k != "molecule"} for line in lines if "molecule" in line
    }

"""From sweep.yaml to a campaign folder; and what a plan adds to a campaign that is there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mdflash.campaigns.expand import Planned, expand
from mdflash.campaigns.folder import (
    MOLECULES,
    RUNS,
    SWEEP,
    Row,
    is_campaign,
    molecules_text,
    read_rows,
    refuse_links,
    rows_text,
)
from mdflash.campaigns.inputs import INPUTS, SYSTEM, Copier, differences, digest_of_run, system_yaml
from mdflash.campaigns.jobs import SCHEDULERS, script_values, write_script
from mdflash.campaigns.recipe import Campaign, load_campaign
from mdflash.campaigns.table import locked
from mdflash.core.files import TEMPORARY, atomic_write, new_folder, storage_errors
from mdflash.core.regular import own_folder, read_input
from mdflash.errors import InputError
from mdflash.io import claims

_SHOWN = 5


@dataclass(frozen=True)
class Laid:
    """What planning did.

    Attributes:
        folder: of the campaign.
        rows: all its runs.
        added: how many of them are new.
        scheduler: that the job script is for.
        script: the job script.
    """

    folder: Path
    rows: tuple[Row, ...]
    added: int
    scheduler: str
    script: Path


Progress = Callable[[str, int, int], None]


def lay_out(file: Path, check: Callable[[Sequence[Planned]], None], progress: Progress) -> Laid:
    """Write the campaign that a sweep.yaml describes, or add to the one that is there.

    Args:
        file: the sweep.yaml.
        check: called with the runs before anything is written; raises where one could not start.
        progress: called with what is done, how many, and of how many.

    Raises:
        InputError: the sweep is wrong, or the folder holds runs that it does not describe.
        StorageError: the folder cannot be written, or holds files of others.
    """
    campaign, document = load_campaign(file)
    assert campaign.folder is not None
    folder = campaign.folder
    planned: list[Planned] = []
    for run in expand(campaign, document):
        planned.append(run)
        progress("reading runs", len(planned), 0)
    if is_campaign(folder) and (folder / RUNS).is_file():
        _may_extend(folder, planned, file)
    check(planned)
    with storage_errors(folder):
        _open(folder, campaign)
        with locked(folder):
            return _write(folder, campaign, planned, file, progress)


def _open(folder: Path, campaign: Campaign) -> None:
    """Create the folder, or take one that no other has filled."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [RUNS, SWEEP, MOLECULES, "runs", INPUTS, "jobs", "lock", SCHEDULERS[campaign.job.scheduler]]
    if not is_campaign(folder):
        claims.refuse_in_the_way(folder, [folder / name for name in names], "campaign", "folder")
    claims.refuse_links(folder, names)
    claims.claim(folder, "campaign")
    for name in ("runs", INPUTS, "jobs"):
        own_folder(folder / name)


def _write(folder: Path, campaign: Campaign, planned: Sequence[Planned], file: Path, progress: Progress) -> Laid:
    rows = read_rows(folder) if (folder / RUNS).is_file() else []
    for left in (folder / "runs").glob(".*"):
        if re.fullmatch(TEMPORARY, left.name):  # of a plan that was killed
            shutil.rmtree(left)
    known = {row.name for row in rows}
    before, copier = len(rows), Copier(folder / INPUTS)
    for k, run in enumerate(planned):
        progress("writing runs", k, len(planned))
        if run.name not in known:
            rows.append(Row(len(rows) + 1, run.name, _write_run(folder, run, copier), run.values))
    atomic_write(folder / SWEEP, read_input(file))
    if planned[0].molecules:
        atomic_write(folder / MOLECULES, molecules_text(planned[0].molecules))  # the same in all
    atomic_write(folder / RUNS, rows_text(rows))  # last: what it does not list is not there
    job = campaign.job
    values = script_values(campaign.name, job.time, job.cores, job.gpus, job.at_once)
    script = write_script(folder, job.scheduler, len(rows), values)
    return Laid(folder, tuple(rows), len(rows) - before, job.scheduler, script)


def _write_run(folder: Path, run: Planned, copier: Copier) -> str:
    """Write the folder of a run; returns the digest of its input."""
    refuse_links(folder, run.name)
    place = folder / "runs" / run.name
    text, inputs = system_yaml(run.config, run.name)
    if place.exists():  # of a plan that was killed before it listed its runs
        if next(differences(place, run.config), None) is not None:
            raise InputError("holds a run that runs.csv does not list; move it away", file=place)
        return digest_of_run(place)
    with new_folder(place) as partial:
        (partial / SYSTEM).write_text(text, encoding="utf-8")
        for word, source in inputs.items():
            copier.put(source, partial / INPUTS / word)
        digest = digest_of_run(partial)
    return digest


def _may_extend(folder: Path, planned: Sequence[Planned], file: Path) -> None:
    """Whether a plan holds all runs of the campaign as they are."""
    rows = read_rows(folder)
    names = {run.name for run in planned}
    vanished = [row.name for row in rows if row.name not in names]
    how = (
        f"A plan can be extended: values that are added to {file} add runs, and the others stay. "
        "For another plan choose another folder (or name)"
    )
    if vanished:
        listed = ", ".join(vanished[:_SHOWN]) + (
            f" and {len(vanished) - _SHOWN} more" if len(vanished) > _SHOWN else ""
        )
        raise InputError(
            f"holds a campaign with {len(vanished)} of {len(rows)} runs that {file} does not describe: {listed}. {how}",
            file=folder,
        )
    known = {row.name for row in rows}
    for run in planned:
        if run.name in known:
            for key, old, new in differences(folder / "runs" / run.name, run.config):
                raise InputError(
                    f"the run {run.name} was planned with {key}: {_short(old)}, now it is {_short(new)}. {how}",
                    file=folder,
                )


def _short(value: Any) -> str:
    from mdflash.config.write import scalar

    text = scalar(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

"""The page of `mdflash validate`: simulations against data, looking as the page of a run does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdflash.analysis.against.validate import Validation
from mdflash.analysis.report.document import document, escape, section, table
from mdflash.analysis.report.sections.against import ensemble_figures
from mdflash.analysis.report.sections.base import Section
from mdflash.core.files import atomic_write, atomic_write_json, storage_errors


def write_validation(folder: Path, title: str, about: dict[str, Any], validations: Sequence[Validation]) -> Path:
    """Write report.html and report.json; returns the path of the page.

    Raises:
        StorageError: the folder cannot be written.
    """
    head = table(("", ""), [(k, str(v)) for k, v in about.items()], ' class="facts"')
    several = len(validations) > 1
    body = []
    for k, v in enumerate(validations):
        head += _what(v)
        found = ensemble_figures(v.result)
        if several:
            found = [dataclasses.replace(f, key=f"{v.molecule}-{f.key}") for f in found]
        heading = Section("against", v.molecule, "Free energies that agree within the errors.", lambda _: [])
        body.append(section(heading, found, f"molecule{k}"))
    links = [(f"molecule{k}", v.molecule) for k, v in enumerate(validations)]
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "report.html", document(title, folder.absolute(), head, links, "".join(body)))
    atomic_write_json(folder / "report.json", {**about, "molecules": [v.numbers() for v in validations]})
    return folder / "report.html"


def _what(v: Validation) -> str:
    """What was compared, and what went wrong, in sentences."""
    plan, r = v.plan, v.result
    sentences = [
        f"{v.molecule}: {r.reference_frames:,} frames in {v.data_trajectories} trajectories of data at "
        f"{plan.temperature:g} K; simulated were {r.frames:,} frames of {plan.replicas - v.frozen} replicas, "
        f"{plan.length / 1000:g} ns each after {plan.settling / 1000:g} ns of settling, steps of "
        f"{plan.timestep * 1e3:g} fs. TICA is fitted to the data, at a lag of {r.tica_lag} frames."
    ]
    if v.frozen:
        sentences.append(f"{v.frozen} of {plan.replicas} replicas became unstable (NaN or infinite).")
    if v.coarse:
        sentences.append(f"{v.coarse}.".replace("..", "."))
    return '<div class="verdict">' + "".join(f"<p>{escape(s)}</p>" for s in sentences) + "</div>"

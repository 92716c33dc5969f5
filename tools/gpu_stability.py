"""The section of `gpu_check.py` that runs every shipped force field on, from where the last machine left it.

The runs are in the folder of `--keep` (build/stability). At its end they go into `stability.tar.gz` among the results:
unpack it in build/ of the next machine, and the same section goes on.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tarfile
import time
from typing import Any

from gpu_part import NOTES, OPTIONS, ROOT

sys.path.insert(0, str(ROOT / "studies" / "2026-11-stability"))
import stability as study

SPARE = 25.0
"""Seconds at the end: for the last checkpoint, for reading all frames, and for packing."""


def stability() -> None:
    options = ["--device", "cuda"]
    if OPTIONS.interpret:  # whose kernels take minutes for this
        options = ["--device", "cpu", "--steps", "4000", "--replicas", "2"]
    given = study.arguments().parse_args([str(OPTIONS.keep), *options])
    for name in ("ala2", "calvados2") if OPTIONS.interpret else study.SUBJECTS:
        NOTES.attempt(name, functools.partial(one, name, given))
    if OPTIONS.keep.is_dir():
        with tarfile.open(OPTIONS.out / "stability.tar.gz", "w:gz", compresslevel=1) as archive:
            archive.add(OPTIONS.keep, "stability")


def one(name: str, given: argparse.Namespace) -> None:
    left = OPTIONS.deadline - time.time() - SPARE
    if left < 15.0 and not OPTIONS.interpret:
        NOTES.row(True, f"{name}: goes on another time", what=name)
        return
    found: dict[str, Any] = study.go_on(name, OPTIONS.keep, given, max(left, 60.0 if OPTIONS.interpret else 0.0))
    well = found["steps"] > 0 and not any(found[key] for key in ("broken", "frozen_replicas", "hot_replicas"))
    NOTES.row(
        well,
        f"{name}: {found['steps']:,} of {given.steps:,} steps, broken {len(found.get('broken', []))}, frozen "
        f"{len(found.get('frozen_replicas', []))}, hot {len(found.get('hot_replicas', []))}; mean "
        f"{found.get('temperature_K')} K, bonds {found.get('shortest_bond_change_A')} to "
        f"+{found.get('longest_bond_change_A')} Å of their start, "
        f"{found.get('timing', {}).get('aggregate_ns_per_day')} ns/day",
        what=name, **found,
    )  # fmt: skip

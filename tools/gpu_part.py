"""What the sections of `gpu_check.py` share: options, systems, and the notes that are always on the disk."""

from __future__ import annotations

import argparse
import json
import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = [
    "DEVICE", "HERE", "NOTES", "OPTIONS", "ROOT", "SKIN", "SYSTEMS", "TIMESTEP", "Case", "clock", "synchronize",
]  # fmt: skip
"""Sections take kernels and systems from here, because the interpreter has to be there before they are imported."""

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("section")
    parser.add_argument("--part", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--deadline", type=float, required=True, help="as time.time() says")
    parser.add_argument("--out", type=Path, required=True, help="what is to be taken along")
    parser.add_argument("--keep", type=Path, required=True, help="folder of runs that go on later")
    parser.add_argument("--interpret", action="store_true")
    return parser.parse_args()


OPTIONS = arguments()
if OPTIONS.interpret:
    import interpreter

    interpreter.enable()

import torch  # noqa: E402
from gpu_cases import SKIN, TIMESTEP, Case, Systems  # noqa: E402

SYSTEMS = Systems(OPTIONS.reference, OPTIONS.interpret)
DEVICE = SYSTEMS.device


class Notes:
    """What a section has found so far, always on the disk."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {"passed": False, "rows": []}
        self.good = True
        self._save()

    def set(self, **fields: Any) -> None:
        self.found |= fields
        self._save()

    def row(self, good: bool, text: str, **fields: Any) -> None:
        """One finding: in the file, and on the screen."""
        self.good &= bool(good)
        self.found["rows"].append({"good": bool(good), **fields})
        print(f"  {'  ' if good else 'XX'} {text}", flush=True)
        self._save()

    def attempt(self, what: str, work: Callable[[], None]) -> None:
        """Do it; an error becomes a row. What there is no time for becomes one as well."""
        if time.time() > OPTIONS.deadline and not OPTIONS.interpret:
            self.row(False, f"{what}: left out, no time left", what=what, error="no time left")
            return
        try:
            work()
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            self.row(False, f"{what}: {error}", what=what, error=f"{type(error).__name__}: {error}"[-2000:])

    def end(self) -> None:
        self.set(passed=self.good)

    def _save(self) -> None:
        new = OPTIONS.part.with_suffix(".new")
        new.write_text(json.dumps(self.found, default=str))
        new.replace(OPTIONS.part)


NOTES = Notes()


def clock() -> float:
    """The highest clock of the multiprocessors in Hz; 0 where nothing tells it."""
    own = getattr(torch.cuda.get_device_properties(0), "clock_rate", 0)  # kHz; not every torch has it
    if own:
        return 1e3 * float(own)
    query = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits", "--id=0"]
    try:
        return 1e6 * float(subprocess.run(query, capture_output=True, text=True, check=True).stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return 0.0


def synchronize() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()

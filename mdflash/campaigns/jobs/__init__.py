"""Job scripts: one template for each scheduler beside this file, with what a user would edit at its top.

To add a scheduler: its template, and a line in `SCHEDULERS`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mdflash.core.files import atomic_write
from mdflash.core.regular import read_text

SCHEDULERS: Final[Mapping[str, str]] = MappingProxyType({"slurm": "job.slurm", "pbs": "job.pbs", "shell": "job.sh"})
"""By the names that `job.scheduler` takes, the script."""
SUBMIT: Final[Mapping[str, str]] = MappingProxyType({"slurm": "sbatch", "pbs": "qsub", "shell": "bash"})

_RANGE: Final = re.compile(r"^(#SBATCH --array=|#PBS -J )1-\d+", re.MULTILINE)
_MARGIN: Final = 300.0
"""Seconds that a run has for its last checkpoint and its analysis before the job's time is over."""


def write_script(folder: Path, scheduler: str, runs: int, values: Mapping[str, str]) -> Path:
    """Write the job script of a campaign; of one that is there, only its range of runs is changed.

    Args:
        folder: of the campaign.
        scheduler: one of `SCHEDULERS`.
        runs: how many there are.
        values: from `script_values`.

    Raises:
        OSError: the script that is there cannot be read.
        StorageError: it cannot be written.
    """
    path = folder / SCHEDULERS[scheduler]
    if path.exists():
        before = read_text(path)
        text = _RANGE.sub(rf"\g<1>1-{runs}", before)
        if text == before:
            return path
    else:
        text = read_text(Path(__file__).with_name(f"{scheduler}.sh"))
        for word, value in {**values, "RUNS": str(runs)}.items():
            text = text.replace(f"@{word}@", value)
    atomic_write(path, text)
    return path


def script_values(name: str, seconds: float, cores: int, gpus: int, at_once: int) -> dict[str, str]:
    """What stands in a template between two @."""
    return {
        "NAME": name,
        "SHORT": name[:15],
        "TIME": clock(seconds),
        "UNTIL": f"'{seconds - _MARGIN:.0f} s'",
        "CORES": str(cores),
        "GPU": "#" if gpus else "##",
        "GPUS": f":ngpus={gpus}" if gpus else "",
        "AT_ONCE": str(at_once),
        "PATH": str(Path(sys.executable).parent),
    }


def clock(seconds: float) -> str:
    """As schedulers write a time: 24:00:00."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"

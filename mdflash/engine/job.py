"""Which processes were started together, as the variables of torchrun and srun tell."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mdflash.errors import InputError

LAUNCHER: Final = os.getppid()
"""What started this process, as long as it lives."""


@dataclass(frozen=True)
class Job:
    """Where this process stands among those that were started together.

    Attributes:
        rank: its number; `size` of them in all.
        local_rank: its number among the `local_size` on this machine.
        address: host and port where the first rank listens; None: taken from torchrun's variables.
        attempt: how often torchrun has started the job again; its store still holds the messages of earlier attempts.
        note: for the user, where two launchers say different things.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: tuple[str, int] | None
    attempt: int = 0
    note: str = ""


def find_job(environment: Mapping[str, str]) -> Job:
    """The job that torchrun or srun started this process in; else a job of one.

    Args:
        environment: its variables. torchrun's come first. Of SLURM's, those of a job step decide, which only srun sets:
            a program that a batch script starts without srun is one process.

    Raises:
        InputError: one of them is no number, or out of range; names it.
    """

    def number(key: str, default: int, least: int = 0, most: int = 2**32) -> int:
        text = environment.get(key, str(default)).strip()
        if not re.fullmatch("[0-9]{1,10}", text) or not least <= int(text) <= most:
            raise InputError(
                f"the environment variable {key} must be a whole number from {least} to {most}, found {text!r}; "
                "torchrun and srun set it by themselves, so unset it"
            )
        return int(text)

    tasks = number("SLURM_STEP_NUM_TASKS", 1, 1)
    if "RANK" in environment and "WORLD_SIZE" in environment:
        size = number("WORLD_SIZE", 1, 1)
        local = number("LOCAL_WORLD_SIZE", size, 1, size)
        note = ""
        if size == 1 < tasks:
            note = (
                "this task of srun runs alone: WORLD_SIZE=1, as torchrun sets it, is believed, and not the "
                f"{tasks} tasks of srun's step. For one run by all of them, unset RANK and WORLD_SIZE"
            )
        return Job(
            *(number("RANK", 0, 0, size - 1), size, number("LOCAL_RANK", 0, 0, local - 1), local, None),
            attempt=number("TORCHELASTIC_RESTART_COUNT", 0), note=note,
        )  # fmt: skip
    if tasks == 1:
        return Job(0, 1, 0, 1, None)
    host = environment.get("MASTER_ADDR") or first_host(environment.get("SLURM_STEP_NODELIST", "localhost"))
    # steps of one job may run side by side on a machine
    own = 16 * number("SLURM_JOB_ID", 0) + number("SLURM_STEP_ID", 0)
    port = number("MASTER_PORT", 20_000 + own % 20_000, 1, 65_535)
    here = re.match(r"[1-9]\d{0,8}", environment.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    local = max(int(here[0]) if here else 1, number("SLURM_LOCALID", 0) + 1)  # it may tell of other nodes
    return Job(number("SLURM_PROCID", 0, 0, tasks - 1), tasks, number("SLURM_LOCALID", 0), local, (host, port))


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process that is started on its own from one that was started together with others."""
    told = ("SLURM_STEP_NUM_TASKS", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return {key: value for key, value in environment.items() if key not in told}


def first_host(nodes: str) -> str:
    """The first of SLURM's list of machines: 'gpu[007-009,12],login' -> 'gpu007'."""
    match = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^,]*))?", nodes)
    if match is None:
        return "localhost"
    return "".join(part for part in match.groups() if part)

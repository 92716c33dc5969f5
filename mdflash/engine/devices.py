"""What many ranks compute on: all of them by the same kernels on the same kind of device, so that their number changes
no bit.

Each rank chooses for its share of the replicas, and may come to another choice than the others: its machine has no
GPU, or its molecules do not fit a kernel. Then all take what every rank can have, as one process takes what every
replica can have.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Sequence
from typing import Final, NamedTuple

import torch

from mdflash.core.gpu import describe, identify
from mdflash.core.plural import plural
from mdflash.engine.distributed import Ranks
from mdflash.engine.settings import Backend

ON_GPU: Final = ("cuda", "whole")
"""Kernels of a GPU, see `protocols.Propagator`."""


class Seat(NamedTuple):
    """What a rank computes on.

    Attributes:
        host: its machine.
        gpu: its GPU in words, with the number that this rank knows it by; empty: the CPU.
        which: what tells the GPU from others; empty: unknown.
    """

    host: str
    gpu: str
    which: str


def seat_of(gpu: torch.device | None) -> Seat:
    """The seat of this process."""
    host = socket.gethostname()
    return Seat(host, "", "") if gpu is None else Seat(host, describe(gpu), identify(gpu))


def common(backend: Backend, kernels: Sequence[str]) -> tuple[Backend, str]:
    """What all ranks can have, and a note where it is less than some have.

    Args:
        backend: what was asked for on this rank.
        kernels: those that each rank has chosen, by rank.
    """
    without = [rank for rank, name in enumerate(kernels) if name not in ON_GPU]
    if 0 < len(without) < len(kernels):
        note = f"all ranks run on the CPU, since {_ranks(without)} found no GPU, or no GPU kernels for its replicas"
        return dataclasses.replace(backend, gpu=None), f"{note}; with `device: cuda` that is an error which says why"
    other = [rank for rank, name in enumerate(kernels) if name != "whole"]
    if 0 < len(other) < len(kernels):
        note = f"`kernels: whole` is not for the replicas of {_ranks(other)}: all ranks launch kernels one by one"
        return dataclasses.replace(backend, kernels="auto"), note
    return backend, ""


def seating(seats: Sequence[Seat]) -> list[str]:
    """Notes on ranks that share a GPU, and on GPUs of several models.

    Args:
        seats: by rank.
    """
    at: dict[tuple[str, str], list[int]] = {}
    for rank, seat in enumerate(seats):
        if seat.which:
            at.setdefault((seat.host, seat.which), []).append(rank)
    notes = []
    for host in dict.fromkeys(host for host, _ in at):
        here = [ranks for (there, _), ranks in at.items() if there == host]
        many = sum(map(len, here))
        if many > len(here):
            who = "; ".join(f"{_ranks(ranks)} on {seats[ranks[0]].gpu}" for ranks in here)
            notes.append(
                f"{many} ranks share {plural(len(here), 'GPU')} of {host} and take turns ({who}): start as many ranks "
                "as GPUs, or let the job see more of them (CUDA_VISIBLE_DEVICES, or what the queue was asked for)"
            )
    models = dict.fromkeys(seat.gpu.partition(", ")[2] for seat in seats if seat.which)
    if len(models) > 1:
        notes.append(
            f"the ranks have GPUs of several models ({', '.join(models)}): a replica's last bits depend on its GPU, so "
            "another number of ranks gives other ones"
        )
    return notes


def seats_of(ranks: Ranks, gpu: torch.device | None) -> list[Seat]:
    """The seats of all ranks, by rank; every rank has to call it."""
    return [Seat(*seat) for seat in ranks.all(seat_of(gpu))]


def _ranks(numbers: Sequence[int]) -> str:
    """'rank 3', 'ranks 0 and 2', 'ranks 0, 1, 2 and 5 more'."""
    if len(numbers) == 1:
        return f"rank {numbers[0]}"
    shown, left = list(map(str, numbers[:3])), len(numbers) - 3
    last = f"{left} more" if left > 0 else shown.pop()
    return f"ranks {', '.join(shown)} and {last}"

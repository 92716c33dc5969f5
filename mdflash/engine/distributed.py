"""Many ranks: the processes that run one simulation together, and how they agree.

    torchrun --nproc-per-node 4 -m mdflash run system.yaml
    srun --ntasks 16 mdflash run system.yaml

Every rank holds the state of the whole batch and runs a share of its replicas. After each block of steps the ranks
bring each other up to date (`blocks.ranks`), so what lies between two blocks (exchange, guards, when to report and
when to stop) is the same computation on every rank, and comes to the same decision. The first rank alone reads and
writes the run folder. So the folder of N ranks holds the same bytes as that of one process, any number of ranks can
resume it, and readers of files need not know about ranks.

What fails on one rank fails on all of them, with the same error: a rank that fails reports it at the next meeting, and
every exchange of data begins with a meeting. A killed rank is detected by its broken connection.

The ranks meet in a store that anybody on the network can reach. So they meet under keys that a secret decides, show
each other that they know it (`secret`), and what they exchange is data, never a program (`messages`).
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from mdflash.core.cores import usable_cores
from mdflash.core.signals import Stopped
from mdflash.engine.job import LAUNCHER, Job, find_job
from mdflash.engine.messages import describe_error, pack, recall_error, unpack
from mdflash.engine.secret import check_proofs, keys_of, proof, shared_folders, shared_secret
from mdflash.errors import InputError, Interrupted, MdflashError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

STARTED_WITHIN: Final = timedelta(minutes=5)
"""How long the first ranks wait for the last to start."""
PATIENCE: Final = 10.0
"""Seconds that the first rank stays for the others after one was lost; they notice at the end of their block.

Whoever needs longer finds neither the lost rank nor the first, cannot know who has spoken, and says itself why it ends.
"""

LOST: Final = (
    "another rank ended without a message: killed, out of memory, or its machine is gone. The newest checkpoint is "
    "intact; run the same command again to resume (any number of ranks will do)"
)


class Ranks:
    """One process alone: nothing to agree on. `ManyRanks` is the same for several.

    Attributes:
        rank: the number of this process; the first, 0, keeps the run folder.
        size: how many there are.
        local_rank: the number of this process on its machine; chooses its GPU.
        local_size: how many run on its machine, and share its cores.
        note: for the user; see `Job`.
    """

    rank, size, local_rank, local_size, note = 0, 1, 0, 1, ""

    def all(self, value: T) -> list[T]:
        """The `value` of every rank, by rank: what JSON knows, and NumPy arrays; tuples may become lists."""
        return [value]

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` returns on the first rank (as of `all`), and on no other is it called."""
        return make()

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds on any rank."""
        return flag

    def share(self, step: int, own: Tensor, everyone: Sequence[Tensor]) -> None:
        """Fill `everyone` with the `own` of each rank, all of one shape; `step` must be the same on all."""
        everyone[0].copy_(own)

    @property
    def threads(self) -> int:
        """Default number of threads for each rank of this machine.

        A machine's cores are divided, unless SLURM has done so.
        """
        cores = usable_cores()
        given = os.environ.get("SLURM_CPUS_PER_TASK", "")
        return min(cores, int(given)) if given.isdigit() else max(1, cores // self.local_size)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What fails inside on one rank fails on all, with the same error; all leave at the same time."""
        yield


class ManyRanks(Ranks):
    """The processes of a job; see the module. Everything here waits until every rank has called it.

    Args:
        job: a job of more than one process.

    Raises:
        MdflashError: the others were not found.
    """

    def __init__(self, job: Job) -> None:
        import torch.distributed

        dist: Any = torch.distributed  # which does not export its stores for type checkers
        self.rank, self.size, self.local_rank, self.local_size = job.rank, job.size, job.local_rank, job.local_size
        self._end: MdflashError | None = None  # known to all; nothing is sent after it
        try:
            if job.address is None:
                store = next(iter(dist.rendezvous("env://", timeout=STARTED_WITHIN)))[0]
            else:
                host, port = job.address
                store = dist.TCPStore(host, port, is_master=job.rank == 0, timeout=STARTED_WITHIN)
            store = dist.PrefixStore(f"mdflash/{job.attempt}", store)
            with shared_secret(store, job.rank, shared_folders()) as secret:
                self._store: Any = dist.PrefixStore(keys_of(secret), store)
                dist.init_process_group("gloo", store=self._store, rank=job.rank, world_size=job.size)
                check_proofs(secret, self.all(proof(secret, job.rank)))
        except (RuntimeError, ValueError, OSError) as error:
            raise MdflashError(
                f"rank {job.rank} of {job.size} did not find the others: {error}. Start them together, with "
                "torchrun --nproc-per-node N -m mdflash run ..., or srun --ntasks N mdflash run ..."
            ) from None
        self._store.set_timeout(timedelta(seconds=10))

    def all(self, value: T) -> list[T]:
        self._meet(0)
        return [_understood(text, rank) for rank, text in enumerate(self._texts(pack(value)))]

    def from_first(self, make: Callable[[], T]) -> T:
        own = pack(make()) if self.rank == 0 else b""
        self._meet(0)
        found: T = _understood(self._text_of_first(own), 0)
        return found

    def any(self, flag: bool) -> bool:
        return any(self._meet(int(flag)))

    def share(self, step: int, own: Tensor, everyone: Sequence[Tensor]) -> None:
        steps = self._meet(step)
        if len(set(steps)) > 1:
            raise AssertionError(f"the ranks are at different steps: {steps}")
        self._gather(own, everyone)

    @contextmanager
    def together(self) -> Iterator[None]:
        try:
            yield
            self._meet(0)
        except BaseException as raised:
            error = raised.said if isinstance(raised, Stopped) else raised
            if self._end is None:
                self._tell(error)
            if self._end is None or isinstance(self._end, _Lost) or not isinstance(error, MdflashError):
                raise  # the rank's own error is more precise; a bug shows its traceback where it is
            raise self._end from None

    def speaks(self) -> bool:
        """Whether it is this rank's part to show the error in which all end.

        The first rank may be the lost one, so then who comes first to the store speaks. Where the first rank was the
        keeper of the store (with torchrun it is not), every rank reports its loss; and so does one that comes to the
        store later than the first rank waits (`PATIENCE`).
        """
        if not isinstance(self._end, _Lost):
            return self.rank == 0
        try:
            first = self._store.add("left", 1) == 1
            end = time.monotonic() + PATIENCE
            while self.rank == 0 and self._store.add("left", 0) < self.size - 1 and time.monotonic() < end:
                time.sleep(0.05)  # the others have yet to ask
        except RuntimeError:
            return True
        return bool(first)

    def close(self) -> None:
        """Leave the job."""
        import torch.distributed as dist

        with suppress(RuntimeError):
            dist.destroy_process_group()

    def _gather(self, own: Tensor, everyone: Sequence[Tensor]) -> None:
        import torch.distributed as dist

        try:
            dist.all_gather(list(everyone), own)
        except RuntimeError:
            self._end = _Lost(LOST)
            raise self._end from None

    def _numbers(self, *own: int) -> list[list[int]]:
        import torch

        mine = torch.tensor(own)
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        self._gather(mine, everyone)
        return [numbers.tolist() for numbers in everyone]

    def _texts(self, own: bytes) -> list[bytes]:
        import torch

        sizes = [size for (size,) in self._numbers(len(own))]
        mine = torch.zeros(max(sizes), dtype=torch.uint8)
        mine[: len(own)] = torch.frombuffer(bytearray(own), dtype=torch.uint8)
        everyone = [torch.empty_like(mine) for _ in range(self.size)]
        self._gather(mine, everyone)
        return [text.numpy().tobytes()[:size] for text, size in zip(everyone, sizes, strict=True)]

    def _text_of_first(self, own: bytes) -> bytes:
        import torch
        import torch.distributed as dist

        text = torch.zeros(self._numbers(len(own))[0][0], dtype=torch.uint8)
        if self.rank == 0:
            text[:] = torch.frombuffer(bytearray(own), dtype=torch.uint8)
        try:
            dist.broadcast(text, 0)
        except RuntimeError:
            self._end = _Lost(LOST)
            raise self._end from None
        return text.numpy().tobytes()

    def _meet(self, number: int) -> list[int]:
        """The `number` of every rank; where one has failed, its error is raised instead."""
        if self._end is not None:
            raise self._end
        met = self._numbers(0, number)
        if any(failed for failed, _ in met):
            self._learn(None)
        return [number for _, number in met]

    def _tell(self, error: BaseException) -> None:
        """Let the others know, when they next meet, that this rank has failed."""
        with suppress(MdflashError):
            self._numbers(1, 0)
            self._learn(error)

    def _learn(self, own: BaseException | None) -> NoReturn:
        """Collect the errors of all ranks; the lowest rank's error becomes that of all."""
        if own is not None and not isinstance(own, MdflashError):
            own = MdflashError(f"rank {self.rank} failed: {type(own).__name__}: {own}")
        said = [_understood(text, rank) for rank, text in enumerate(self._texts(pack(describe_error(own))))]
        self._end = recall_error(next(error for error in said if error is not None))
        raise self._end


def _understood(text: bytes, rank: int) -> Any:
    try:
        return unpack(text)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MdflashError(f"rank {rank} sent what no rank of mdflash sends ({error}); start the job again") from None


class _Lost(Interrupted):
    """A rank is gone."""

    label = MdflashError.label


@contextmanager
def join() -> Iterator[Ranks]:
    """The ranks that this process was started with, for as long as the block lasts.

    An error that ends all ranks leaves the block on one of them; the others exit silently with its code.
    """
    job = find_job(os.environ)
    if job.size == 1:
        alone = Ranks()
        alone.note = job.note
        yield alone
        return
    with _while_the_launcher_lives():
        ranks = ManyRanks(job)
    try:
        with ranks.together():
            yield ranks
    except MdflashError as error:
        if ranks.speaks():
            raise
        raise SystemExit(error.exit_code) from None
    finally:
        ranks.close()


@contextmanager
def _while_the_launcher_lives() -> Iterator[None]:
    """End this process if torchrun ends while the ranks wait for each other: nobody else would."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            if os.getppid() != LAUNCHER:
                print(
                    "error: torchrun ended while its ranks were starting; start it again", file=sys.stderr, flush=True
                )
                os._exit(Interrupted.exit_code)

    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=look, name="mdflash-launcher", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def same_run(ranks: Ranks, description: str, name: str) -> None:
    """Refuse ranks that were started for different runs.

    Args:
        ranks: all of them.
        description: the whole run, as text.
        name: what the user calls it, such as its file.

    Raises:
        InputError: the descriptions differ.
    """
    received = ranks.all((description, name))
    first, first_name = received[0]
    for rank, (other, its_name) in enumerate(received):
        if other != first:
            raise InputError(
                f"the ranks of a job share one run, but rank 0 was started with {first_name} and rank {rank} "
                f"with {its_name}, or with other options; start separate runs as separate jobs "
                "(srun --ntasks 1 --exact mdflash run ...)"
            )


def places(ranks: Ranks, replicas: Sequence[Sequence[int]], device: str) -> tuple[str, ...]:
    """For each rank, which replicas it runs and on what: 'rank 1: replicas 4-7, CPU, 2 threads on node3'."""
    here = f"{device} on {socket.gethostname()}"
    found = []
    for rank, (own, where) in enumerate(zip(replicas, ranks.all(here), strict=True)):
        which = f"replica {own[0]}" if len(own) == 1 else f"replicas {own[0]}-{own[-1]}"
        found.append(f"rank {rank}: {which}, {where}")
    return tuple(found)

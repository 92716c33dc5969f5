"""Executors that work off a campaign: each is a `concurrent.futures.Executor`.

To add one: a function like these, and its name in `EXECUTORS`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, Final, TypeVar

from mdflash.core.cores import usable_cores
from mdflash.core.optional import require
from mdflash.errors import InputError
from mdflash.io.claims import refuse_links

T = TypeVar("T")
RUN_DIR: Final = ".parsl"
"""What Parsl writes for itself, in the campaign folder."""


@dataclass(frozen=True)
class Workers:
    """What an executor may use.

    Attributes:
        count: of workers, or None for one of each GPU, or one.
        campaign: the folder.
        config: a Python file that describes the machines, or None.
    """

    count: int | None
    campaign: Path
    config: Path | None = None


def visible_gpus() -> list[str]:
    """The GPUs of this machine that CUDA_VISIBLE_DEVICES leaves, as that variable names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [gpu.strip() for gpu in chosen.split(",") if gpu.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    with suppress(OSError, subprocess.SubprocessError):
        asked = [tool, "--query-gpu=index", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout
        return said.split()
    return []


def count_of(workers: Workers) -> int:
    """How many workers there are on this machine."""
    return workers.count or len(visible_gpus()) or 1


def share_of_cores(workers: Workers) -> int | None:
    """CPU threads of each run where several share this machine; None: as the run says."""
    count = count_of(workers)
    return None if count == 1 or workers.config is not None else max(1, usable_cores() // count)


class LocalExecutor(ThreadPoolExecutor):
    """Workers on this machine, each with a GPU of its own where there are some.

    A worker is a thread that waits for a process; its GPU goes to the process as `environment`.

    Args:
        count: how many there are.
        gpus: as CUDA_VISIBLE_DEVICES names them.
    """

    def __init__(self, count: int, gpus: list[str]) -> None:
        super().__init__(count, thread_name_prefix="campaign")
        self._places: SimpleQueue[dict[str, str]] = SimpleQueue()
        for number in range(count):
            self._places.put({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {})

    def submit(self, work: Callable[..., T], /, *args: Any, **more: Any) -> Future[T]:
        """As `Executor.submit`."""
        return super().submit(self._placed, work, *args, **more)

    def _placed(self, work: Callable[..., T], /, *args: Any, **more: Any) -> T:
        place = self._places.get()
        try:
            return work(*args, environment=place, **more)
        finally:
            self._places.put(place)


def local(workers: Workers) -> Executor:
    """Threads of this process, each with a process of its own to watch."""
    return LocalExecutor(count_of(workers), visible_gpus())


def parsl(workers: Workers) -> Executor:
    """Parsl: on this machine, or wherever the `config` of a Python file says.

    Raises:
        InputError: the file has no `config`, or Parsl refuses it.
        MissingExtraError: Parsl is not installed.
    """
    require("parsl", "parsl", "--executor parsl")
    from parsl.concurrent import ParslPoolExecutor

    beside = sysconfig.get_path("scripts")  # Parsl starts programs of its own, which are found if this one is
    os.environ["PATH"] = f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    config = _on_this_machine(workers) if workers.config is None else _config_of(workers.config)
    return ParslPoolExecutor(config)  # type: ignore[no-any-return]


def _on_this_machine(workers: Workers) -> Any:
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    refuse_links(workers.campaign, [RUN_DIR])
    count, gpus = count_of(workers), visible_gpus()
    return Config(
        executors=[
            HighThroughputExecutor(
                label="local", address="127.0.0.1", max_workers_per_node=count, provider=LocalProvider(max_blocks=1),
                available_accelerators=gpus[:count],
                heartbeat_period=5, heartbeat_threshold=30,
            )
        ],
        run_dir=str(workers.campaign / RUN_DIR),
    )  # fmt: skip


def _config_of(file: Path) -> Any:
    """`config` of a Python file of the user, which runs it."""
    import runpy

    from parsl.config import Config

    if not file.is_file():
        raise InputError("no such file; expected a Python file with `config = parsl.Config(...)`", file=file)
    found = runpy.run_path(str(file)).get("config")
    if not isinstance(found, Config):
        raise InputError("has no `config`, a parsl.Config; see docs/user/campaigns.md", file=file)
    return found


EXECUTORS: Final[Mapping[str, Callable[[Workers], Executor]]] = MappingProxyType({"local": local, "parsl": parsl})
"""By the names that `--executor` takes."""

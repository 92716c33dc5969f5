"""What this machine can do: memory bandwidth and multiply-adds, measured by small kernels."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numba
import numpy as np

from mdflash.bench.kernels import CHAINS, chains, triad
from mdflash.compiled.simd import BYTES
from mdflash.core.cores import usable_cores

_TRIES: Final = 5
_ELEMENTS: Final = 1 << 23
"""float64 numbers of each of the three arrays, 64 MB: far more than a cache holds."""
_ROUNDS: Final = 10_000_000 // CHAINS


@dataclass(frozen=True)
class Machine:
    """A machine and its measured limits, all threads together.

    Attributes:
        cpu: the processor's name.
        cores: cores that the process may use.
        threads: threads of the measurement.
        bandwidth: bytes/s to and from memory (triad a = b + s c; what a cache line fetches before it is overwritten
            is not counted).
        multiply_adds: float32 multiply-adds/s, in the vectors of the kernels.
    """

    cpu: str
    cores: int
    threads: int
    bandwidth: float
    multiply_adds: float


def _best(work: Callable[[], None]) -> float:
    """The shortest of several times in s, after one that compiles."""
    work()
    times = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def measure_machine() -> Machine:
    """Measure bandwidth and multiply-adds with the threads that compiled loops use now; takes about a second."""
    threads = numba.get_num_threads()
    arrays = [np.ones(_ELEMENTS) for _ in range(3)]
    bandwidth = 3 * arrays[0].nbytes / _best(lambda: triad(*arrays))
    data = np.full((threads, CHAINS, BYTES // 4), 0.5, np.float32)
    count = data.size * _ROUNDS
    rate = count / _best(lambda: chains(data.ravel(), threads, _ROUNDS))
    return Machine(cpu_name(), usable_cores(), threads, bandwidth, rate)


def cpu_name() -> str:
    """The processor, as it calls itself."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

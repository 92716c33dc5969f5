"""Replicas shared among threads: each thread runs a compiled function over a range of them.

numba's own parallel loop would compile what it calls a second time, for another kind of index, and wrap it four times.
Compiled functions release Python's lock, so plain threads do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from os import getpid

import numba


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of a process; a fork starts with none."""
    return ThreadPoolExecutor(int(numba.config.NUMBA_NUM_THREADS), thread_name_prefix="mdflash")


def ranges(count: int, threads: int) -> Iterator[tuple[int, int]]:
    """Ranges that make up 0:count, shorter and shorter, so that all threads end at about the same time.

    Each is half of a thread's share of what is left: guided self-scheduling, Polychronopoulos & Kuck, IEEE Trans.
    Comput. C-36, 1425 (1987).
    """
    first = 0
    while first < count:
        last = first - (first - count) // (2 * threads)
        yield first, last
        first = last


def over_ranges(kernel: Callable[..., None], arguments: tuple[object, ...], count: int) -> None:
    """Call `kernel(*arguments, first, last)` for ranges that make up 0:count, on as many threads as numba may use.

    The results must not depend on how the ranges are cut. The calling thread is one of them: there is one less to wake.
    """
    threads = min(int(numba.get_num_threads()), count)
    if threads == 1:
        kernel(*arguments, 0, count)
        return
    kernel(*arguments, 0, 0)  # compiles, or loads, in one thread
    left = iter(list(ranges(count, threads)))

    def work() -> None:
        for first, last in left:  # taking the next one holds Python's lock
            kernel(*arguments, first, last)

    others = [_pool(getpid()).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        wait(others)  # they write into the same arrays
    for other in others:
        other.result()

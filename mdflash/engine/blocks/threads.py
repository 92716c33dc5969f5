"""Replicas shared among threads: each thread runs a compiled function over a range of them.

numba's own parallel loop would compile what it calls a second time, for another kind of index, and wrap it four times.
Compiled functions release Python's lock, so plain threads do.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from os import getpid

import numba

SHARES = 4
"""Ranges for each thread: more than one, since some replicas take longer than others."""


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of a process; a fork starts with none."""
    return ThreadPoolExecutor(int(numba.config.NUMBA_NUM_THREADS), thread_name_prefix="mdflash")


def over_ranges(kernel: Callable[..., None], arguments: tuple[object, ...], count: int) -> None:
    """Call `kernel(*arguments, first, last)` for ranges that make up 0:count, on as many threads as numba may use.

    The results must not depend on how the ranges are cut.
    """
    threads = min(int(numba.get_num_threads()), count)
    if threads == 1:
        kernel(*arguments, 0, count)
        return
    shares = min(threads * SHARES, count)
    ends = [count * share // shares for share in range(shares + 1)]
    kernel(*arguments, 0, 0)  # compiles, or loads, in one thread
    ranges = iter(pairwise(ends))

    def work() -> None:
        for first, last in ranges:  # taking the next one holds Python's lock
            kernel(*arguments, first, last)

    for done in [_pool(getpid()).submit(work) for _ in range(threads)]:
        done.result()

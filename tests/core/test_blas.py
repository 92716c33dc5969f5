"""Linear algebra in one thread, and in as many as before afterwards."""

from __future__ import annotations

import numpy as np
import threadpoolctl

from mdflash.core.blas import one_thread


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


def test_one_thread_within() -> None:
    np.linalg.eigh(np.eye(3))
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        inside = one_thread()(threads)()
        assert inside == {1} and threads() == before

"""Linear algebra in one thread, for work that is made of thousands of small matrices.

Threads of a BLAS wait for each other by spinning. Where other programs have the cores, that costs far more than it
gains: on two cores that ten programs shared, the eigenvectors of a matrix of 150 x 150 took 540 ms by two threads and
10 ms by one (2026-11-30).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mdflash.core.optional import require


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, NumPy and SciPy multiply matrices in one thread.

    Raises:
        MissingExtraError: threadpoolctl is not installed.
    """
    import scipy.linalg  # noqa: F401  # it brings a BLAS of its own, which must be loaded to be limited

    with require("threadpoolctl", "analysis", "mdflash analyze").threadpool_limits(limits=1, user_api="blas"):
        yield

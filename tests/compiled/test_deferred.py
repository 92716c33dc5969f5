"""Functions that are compiled at their first use: from Python, from each other and from other compiled code."""

from __future__ import annotations

import subprocess
import sys

from mdflash.compiled.deferred import DeferredFunction, njit
from mdflash.compiled.jit import njit as at_once


@njit
def twice(x: float) -> float:
    """2 x"""
    return 2.0 * x


@njit
def shifted(x: float) -> float:
    """2 x + 1"""
    return twice(x) + 1.0


@at_once
def outside(x):
    """As code elsewhere."""
    return shifted(x) * 10.0


def test_they_call_each_other() -> None:
    assert isinstance(shifted, DeferredFunction)
    assert (shifted(3.0), outside(3.0)) == (7.0, 70.0)
    assert shifted.compiled.signatures
    assert (shifted.__name__, shifted.__doc__, shifted.__module__) == ("shifted", "2 x + 1", __name__)


def test_division_by_zero_is_as_in_numpy() -> None:
    """As in all kernels of priors and biases: no exception, no branch."""

    @njit
    def inverse(x: float) -> float:
        return 1.0 / x

    assert inverse(0.0) == float("inf")


def test_numba_is_not_imported_before() -> None:
    script = "import sys; import mdflash.potentials.variables; print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"

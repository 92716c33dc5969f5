"""What several test folders share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported: threads that wait use no core

import numba
import pytest
import torch
from hypothesis import HealthCheck, settings

# Tests run in parallel, and torch's threads would fight over the cores. numba sets them too when it starts its own.
numba.set_num_threads(numba.get_num_threads())
torch.set_num_threads(1)

# What starts the tests in the background, a shell or nohup, may have switched them off.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# A machine that others use too may stop a test for longer than any limit of time that hypothesis has.
settings.register_profile("mdflash", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mdflash")


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Models and data computed with mlcg, kept beside the repository; see its README.md."""
    folder = Path(__file__).parents[1] / ".." / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip(f"the reference data is not at {folder}")
    return folder.resolve()

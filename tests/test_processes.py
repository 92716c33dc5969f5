"""Forked processes behave as processes that Python was started for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, Process, python

LOOK = """
import os, sys
print(sys.argv, __name__, os.getcwd(), sorted(k for k in os.environ if k.startswith("MINE")), sys.stdin.read() == "")
print(sys.stdout.isatty(), file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", ["0", "75"])
def test_a_script_sees_what_it_would_see(tmp_path: Path, code: str) -> None:
    env = {**os.environ, "MINE": "1"}
    real = subprocess.run(
        [sys.executable, "-c", LOOK, code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    forked = python("-c", LOOK, code, cwd=tmp_path, env=env)
    assert (forked.returncode, forked.stdout, forked.stderr) == (real.returncode, real.stdout, real.stderr)
    assert forked.returncode == int(code)


def test_an_error_leaves_with_1_and_a_traceback() -> None:
    done = python("-c", "import atexit; atexit.register(print, 'the end'); 1 / 0")
    assert (done.returncode, done.stdout) == (1, "the end\n")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    with pytest.raises(subprocess.CalledProcessError):
        python("-c", "1 / 0", check=True)


def test_signals_reach_it() -> None:
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        process = Process("-c", "import time; print('on', flush=True); time.sleep(60)")
        while "on" not in process.said()[0]:
            assert process.poll() is None, process.said()
        process.send_signal(number)
        assert process.wait(120) == -number
        process.send_signal(number)  # nobody there
    with pytest.raises(subprocess.TimeoutExpired):
        python("-c", "import time; time.sleep(60)", timeout=0.1)


def test_a_module_of_another_folder_is_found_first(tmp_path: Path) -> None:
    """As a copy of the package is in the pages for developers."""
    (tmp_path / "mdflash").mkdir()
    (tmp_path / "mdflash" / "__init__.py").write_text("")
    (tmp_path / "mdflash" / "__main__.py").write_text("print('a copy')")
    assert python("-m", "mdflash", cwd=tmp_path, bare=True).stdout == "a copy\n"
    assert python("-m", "mdflash", "--version", cwd=ROOT).stdout.startswith("mdflash ")

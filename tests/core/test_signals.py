"""Signals that ask to stop are collected; a second of a kind ends the process; afterwards all is as before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from mdflash.core.signals import STOP, Stopped, handling, stop_signals, stoppable


def test_signals_are_collected_and_handlers_restored() -> None:
    before = [signal.getsignal(number) for number in STOP]
    with stop_signals() as received:
        for number in STOP:
            os.kill(os.getpid(), number)
    assert received == ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"]
    assert [signal.getsignal(number) for number in STOP] == before


def test_a_second_signal_of_a_kind_ends_the_process() -> None:
    script = (
        "import os, signal; from mdflash.core.signals import stop_signals\n"
        "with stop_signals():\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == -signal.SIGTERM


def test_a_handler_is_taken_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with handling(signal.SIG_IGN, signal.SIGTERM):
            os.kill(os.getpid(), signal.SIGTERM)  # ignored
            raise KeyError
    except KeyError:
        pass
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_the_system_repeats_ends_no_process() -> None:
    with stop_signals() as received:
        for number in (signal.SIGHUP, signal.SIGXCPU) * 2:
            os.kill(os.getpid(), number)
    assert received == ["SIGHUP", "SIGXCPU"]


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as received:
            os.kill(os.getpid(), signal.SIGHUP)
            assert received == []
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_comes_again_where_a_library_loses_it(number: signal.Signals) -> None:
    class Deaf:
        def __del__(self) -> None:
            os.kill(os.getpid(), number)

    before, end = sys.unraisablehook, time.monotonic() + 10.0
    with pytest.raises(Stopped, match=number.name), stoppable():
        Deaf()
        while time.monotonic() < end:
            time.sleep(0.01)
    assert sys.unraisablehook is before

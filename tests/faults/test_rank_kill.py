"""Runs whose ranks are killed again and again, on changing numbers of ranks, end as one that was left alone."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from mdflash.config.load import load_run
from mdflash.engine.distributed import PATIENCE
from mdflash.io.events import read_events
from mdflash.runs.execute import execute
from tests.rank_helpers import command, finish, newest_step, same_content, start_ranks, write_mixed

STEPS = 400_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_campaign(tmp_path: Path, seed: int) -> None:
    """SIGKILL or SIGTERM for a random rank at a random moment, then another number of ranks, a dozen times."""
    rng = random.Random(seed)
    source, whole, broken = write_mixed(tmp_path), tmp_path / "whole", tmp_path / "broken"
    execute(load_run(source, [f"output.folder={whole}", f"dynamics.steps={STEPS}"]), source)
    for _ in range(12):
        size = rng.randint(2, 5)
        before = newest_step(broken)
        ranks = start_ranks(size, command(source, broken, STEPS))
        if rng.random() < 0.8:  # mostly while steps are done
            while newest_step(broken) <= max(before, 0) and ranks[0].poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 1.5))
        else:
            time.sleep(rng.uniform(1.0, 6.0))
        number = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        victim = rng.randrange(size)
        ranks[victim].send_signal(number)
        sent = time.monotonic()
        end = time.monotonic() + 30.0
        while any(p.poll() is None for p in ranks) and time.monotonic() < end:
            time.sleep(0.1)
        waiting = [process for process in ranks if process.poll() is None]  # for a rank to join
        for process in waiting:  # torchrun and srun do the same
            process.terminate()
        results = finish(ranks)
        codes = {code for code, _, _ in results}
        assert codes <= {0, 75, -signal.SIGKILL, -signal.SIGTERM}, results
        said = [text for _, _, text in results if "error:" in text]
        # one speaks for all; without the first rank, before all have met, or later than it waits for them, each says
        # why it ends, in one sentence
        assert len(said) <= size - 1, results
        assert all(text.count("error:") == 1 for text in said), results
        if victim and not waiting and time.monotonic() - sent < PATIENCE:
            assert len(said) <= 1, results
        assert not any("Traceback" in text for _, _, text in results), results
    (result,) = finish(start_ranks(1, command(source, broken, STEPS)))
    assert result[0] == 0, result
    same_content(whole, broken)
    resumed = {e["step"] for e in read_events(broken / "events.jsonl") if e["event"] == "resume"}
    assert len(resumed) > 4, f"the kills did not fall into the run: {resumed}"

"""What writing costs: frames and log rows of a run, in a folder that is thrown away."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

from mdflash.engine.engine import Engine
from mdflash.io.runfolder import RunFolder
from mdflash.runs.prepare import Prepared
from mdflash.runs.writers import Outputs

_REPORTS = 20


def output_seconds(prepared: Prepared, engine: Engine) -> float:
    """Seconds of writing for one step on average, at the intervals of the run; checkpoints left out.

    All of the work is counted, though a run does most of it in a thread beside its steps.
    """
    config = prepared.config
    with tempfile.TemporaryDirectory(prefix="mdflash-bench-") as place, RunFolder.open(Path(place) / "run") as folder:
        quiet = dataclasses.replace(prepared, config=config.model_copy(update={"exchange": None}))
        outputs = Outputs.create(folder, quiet, {})
        step, total = engine.state.step, 0.0
        try:
            for reporter, every in zip(outputs.reporters, outputs.intervals, strict=True):
                began = time.perf_counter()
                for _ in range(_REPORTS):
                    engine.state.step += every
                    reporter.report(engine)
                outputs.checkpoint(engine)  # waits until all is on the disk
                total += (time.perf_counter() - began) / _REPORTS / every
        finally:
            engine.state.step = step
            outputs.close()
    return total

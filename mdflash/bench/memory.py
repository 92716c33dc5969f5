"""Peak memory of a run, measured in a process of its own.

    python -m mdflash.bench.memory FILE STEPS [--set KEY=VALUE ...]

prints one line of JSON with two numbers of bytes: `imports`, the most that was resident once everything a run imports
had been imported, and `run`, the most until the run had been set up and had done STEPS steps. The difference is what
the run needs: force field, tables, state, what the kernels work in, and their machine code as read from the cache. A
first run on a machine compiles its kernels, which takes some hundred MB more for that one time. Nothing is written.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mdflash.errors import MdflashError


@dataclass(frozen=True)
class Memory:
    """Bytes resident at most: with everything imported, and until the end of the run; and bytes on the GPU, if any."""

    imports: int
    run: int
    gpu: int | None = None

    @property
    def above_imports(self) -> int:
        """What the run itself needs."""
        return self.run - self.imports


def peak_bytes() -> int:
    """The most that this process has had resident.

    On Linux from /proc: `ru_maxrss` begins with the size of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measure_memory(file: Path, overrides: list[str], steps: int) -> Memory:
    """Peak memory of `steps` steps of the run in `file`, in a process of its own.

    Raises:
        MdflashError: the process failed; the message holds its error.
    """
    command = [sys.executable, "-m", "mdflash.bench.memory", str(file), str(steps), *overrides]
    package = Path(__file__).parents[2]
    path = os.pathsep.join(p for p in (str(package), os.environ.get("PYTHONPATH")) if p)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    if done.returncode != 0:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise MdflashError(f"the process that measures memory ended with code {done.returncode}: {last}")
    return Memory(**json.loads(done.stdout.splitlines()[-1]))


def _child(file: str, steps: int, overrides: list[str]) -> None:
    import mdflash.runs.execute  # noqa: F401  (everything that a run imports)
    from mdflash.config.load import load_run
    from mdflash.core.gpu import gpu_bytes
    from mdflash.runs.prepare import prepare

    imports = peak_bytes()
    engine = prepare(load_run(file, overrides).with_seed()).engine(as_placed=True)
    engine.draw_velocities()
    engine.run(steps)
    gpu = engine.gpu
    print(json.dumps({"imports": imports, "run": peak_bytes(), "gpu": None if gpu is None else gpu_bytes(gpu)}))


if __name__ == "__main__":
    _child(sys.argv[1], int(sys.argv[2]), sys.argv[3:])

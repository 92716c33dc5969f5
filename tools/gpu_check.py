"""Everything a GPU has to show: are the kernels right, do whole runs work, and how fast is it.

    python tools/gpu_check.py --command 1 [--out $OUT]       # then 2, then 3: at most 8.7 minutes each
    python tools/gpu_check.py --only graphs bench [--minutes 5]

Each section is a process of its own with a limit of time, so that none hides another, whatever becomes of it. What it
finds is in the file of results two seconds later, row by row: a command that is cut leaves all until then.

--reference: the folder with the real models; without it, systems of the same sizes are made.
--wheels: a folder of wheels (`make gpu-wheels`); those of packages that are missing here are unpacked and used.
--interpret: tiny systems on the CPU through Triton's interpreter, to try this script without a GPU; no number counts.

Results go to benchmarks/results/gpu_DEVICE_DATE[_COMMAND].json. Exit code 0: all right; 1: something failed; 2: no GPU.
This file needs nothing but Python; what the sections do stands in gpu_sections.py.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


class Section(NamedTuple):
    """A question to a GPU.

    Attributes:
        limit: seconds that it may take.
        took: seconds that it took on an H100 on 2026-11-26; None: not run on a GPU yet.
        asks: what.
    """

    limit: int
    took: int | None
    asks: str


SECTIONS = {
    "machine": Section(30, 11, "what is here, and what it copies and multiplies; before all others"),
    "checks": Section(300, 176, "every kernel and whole small runs against the reference (tests/gpu/check_*.py)"),
    "whole": Section(
        140, None, "small molecules by one program a replica: forces, bits, ns/day of four systems against their goals"
    ),
    "graphs": Section(
        50, 35, "a graph gives the bits of launches one by one, of any grouping and batch; no step waits for the host"
    ),
    "split": Section(
        90, None, "filters in parts (far pairs as products of matrices, middle ones gathered) against tables"
    ),
    "run": Section(
        90,
        66,
        "`mdflash run` of one rank, killed and resumed to the same bytes; with hills and networks as impulses too",
    ),
    "ranks": Section(
        170,
        None,
        "a rank for each GPU, two at least, gives the bytes of one: exchange, kills, fewer ranks, training",
    ),
    "classical": Section(
        150, None, "force fields without a network: force errors, bits, 1,024 disordered proteins, a slab; of the limit"
    ),
    "biases": Section(80, None, "forces of every bias; steps/s with biases, and with networks as impulses"),
    "kernels": Section(30, 14, "time by kernel, for the roofline"),
    "counters": Section(50, None, "what ncu counts in a step: instructions, bytes by level, tensor and special units"),
    "stability": Section(
        320, None, "every shipped force field, 64 replicas at 300 K: broken, frozen and hot ones, bonds; goes on later"
    ),
    "bench": Section(90, 84, "steps/s, ns/day, neighbors, memory of the standard systems, and of plain torch"),
    "errors": Section(100, 89, "forces and energies by precision and kind of filter, against float64"),
    "large": Section(60, 51, "1,000 to 100,000 beads: cost per bead, and building lists by all pairs and by boxes"),
    "backbones": Section(40, 28, "steps/s with networks whose blocks are joined by every residual rule"),
    "training": Section(30, 19, "frames/s of force matching by the kernels and by plain torch"),
    "tune": Section(170, None, "other shapes of tiles"),
    "shapes": Section(490, None, "other shapes of the programs of `whole`; each is compiled first"),
}
"""What matters most comes first."""
COMMANDS = {
    1: ("checks", "graphs", "whole"),
    2: ("ranks", "split", "kernels", "counters", "classical"),
    3: ("biases", "bench", "stability"),
    4: ("shapes",),
    5: ("run", "errors", "large", "backbones", "training", "tune"),
}
"""What a machine lent for half an hour is asked: three commands, and two more for the next one.

The last section of a command takes all the time that the others have left.
"""


MINUTES = 8.7
"""Of a command."""


def table() -> str:
    """The sections as docs/dev/measure_on_a_gpu.md shows them."""
    rows = ["| command | section | at most, s | took, s | asks |", "|---|---|---|---|---|"]
    for command, names in COMMANDS.items():
        for name in names:
            limit, took, asks = SECTIONS[name]
            rows.append(f"| {command} | `{name}` | {limit} | {took or 'not run yet'} | {asks} |")
    return "\n".join(rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=table(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--command", type=int, choices=tuple(COMMANDS), help="the sections of the table below")
    what.add_argument("--only", nargs="+", choices=tuple(SECTIONS), help="these sections")
    parser.add_argument("--reference", type=Path, default=ROOT / ".." / "shared" / "reference")
    parser.add_argument("--wheels", type=Path, default=ROOT / ".gpu-wheels")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the results")
    parser.add_argument("--seconds", type=float, default=1.0, help="measured for each benchmark")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for everything")
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "stability", help="runs that go on later")
    parser.add_argument("--interpret", action="store_true")
    return parser.parse_args()


def unpack_missing(wheels: Path, target: Path) -> list[str]:
    """Unpack the wheels of distributions that are not installed; their names."""
    found = []
    for wheel in sorted(wheels.glob("*.whl")):
        name = wheel.name.split("-")[0]
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(target)
            found.append(wheel.name)
    return found


def run_section(
    name: str, options: argparse.Namespace, seconds: float, environment: dict[str, str],
    so_far: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:  # fmt: skip
    """What the section found, complete or not; `so_far` is told all the time."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.json"
        command = [
            sys.executable, str(HERE / "gpu_sections.py"), name, "--part", str(part),
            "--reference", str(options.reference.resolve()), "--seconds", str(options.seconds),
            "--deadline", str(time.time() + 0.95 * seconds), "--out", str(options.out.resolve()),
            "--keep", str(options.keep.resolve()),
        ]  # fmt: skip
        began = time.monotonic()
        child = subprocess.Popen(
            command + ["--interpret"] * options.interpret, cwd=ROOT, env=environment, start_new_session=True
        )
        code: int | str | None = None
        while code is None:
            try:
                code = child.wait(timeout=2.0)
            except subprocess.TimeoutExpired:
                if time.monotonic() - began > seconds:
                    code = "out of time"
                elif part.is_file():
                    so_far(json.loads(part.read_text()) | {"passed": False, "ended_with": "cut"})
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # and whatever it has started
        child.wait()
        found: dict[str, Any] = json.loads(part.read_text()) if part.is_file() else {"passed": False}
        found["seconds"] = round(time.monotonic() - began, 1)
        if code != 0:
            found |= {"passed": False, "ended_with": code}
        return found


def main() -> int:
    options = arguments()
    end = time.monotonic() + 60.0 * options.minutes
    names = options.only or COMMANDS[options.command]
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(), "command": options.command, "interpreted": options.interpret,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as packages:
        results["unpacked_wheels"] = unpack_missing(options.wheels, Path(packages))
        path = [str(ROOT), str(HERE), str(ROOT / "benchmarks"), packages, os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in path if p), "PYTHONUNBUFFERED": "1"}
        options.out.mkdir(parents=True, exist_ok=True)
        out = options.out / "gpu_unknown.json"

        def note(name: str, found: dict[str, Any]) -> None:
            results[name] = found
            new = out.with_suffix(".new")
            new.write_text(json.dumps(results, indent=1) + "\n")
            new.replace(out)

        order = ["machine", *(n for n in names if n != "machine")]
        for name in order:
            left = end - time.monotonic()
            seconds = left if name == order[-1] else min(SECTIONS[name].limit, left)
            print(f"--- {name}", flush=True)
            if seconds < 10.0 and not options.interpret:
                note(name, {"passed": False, "ended_with": "left out: no time left"})
                continue
            limit = 3600.0 if options.interpret else seconds
            found = run_section(name, options, limit, environment, functools.partial(note, name))
            if name == "machine":
                if found.get("no_gpu"):
                    print(f"gpu_check: {found['no_gpu']}; `--interpret` tries this script without a GPU.")
                    return 2
                device = re.sub(r"\W+", "_", str(found.get("device", "unknown")))
                kind = "interpreter" if options.interpret else device
                which = f"_{options.command}" if options.command else ""
                out.unlink(missing_ok=True)
                out = options.out / f"gpu_{kind}_{results['date']}{which}.json"
            note(name, found)
            print(f"    {name}: {found['seconds']} s, {verdict(found)}", flush=True)
    sections = {k: v for k, v in results.items() if isinstance(v, dict)}
    print("\n".join(f"{name:10} {verdict(found)}" for name, found in sections.items()))
    print(f"written to {out}")
    return 0 if all(found["passed"] for found in sections.values()) else 1


def verdict(found: dict[str, Any]) -> str:
    return "passed" if found["passed"] else f"FAILED ({found.get('ended_with', 'see above')})"


if __name__ == "__main__":
    raise SystemExit(main())

"""Everything a GPU has to show, in one command: are the kernels right, do whole runs work, and how fast is it.

    python tools/gpu_check.py [--reference ../shared/reference] [--wheels .gpu-wheels] [--only graphs bench]

    machine   what is here, and what it copies and multiplies
    graphs    a captured graph gives the bits of launches one by one, of any grouping of steps, of any batch; no step
              waits for the host
    errors    forces and energies by precision and kind of filter, against float64
    run       `mdflash run` with device: cuda; killed and resumed, it gives the same bytes; with hills and impulses too
    ranks     a rank for each GPU, two of them at least: the bytes of one rank, with exchange, killed and resumed by
              another number of ranks, with one program a replica; training too
    bench     steps/s, ns/day, neighbors, edges, peak memory of the standard systems, and of plain torch
    biases    forces of every bias against plain torch; steps/s with biases, and with networks as impulses
    split     steps/s with filters in two parts (far pairs as products of matrices) against tables, and which is faster
    classical force fields without a network: force errors in fp32, bits, 1,024 disordered proteins in one batch and a
              slab of 100 x 137 beads in steps/s, ns/day and fractions of the limit
    whole     small molecules by one program a replica: forces against the other kernels, bits, ns/day of four systems
              against their goals
    large     1,000 to 100,000 beads: cost per bead, and building lists by all pairs and by boxes
    kernels   time by kernel
    backbones steps/s with networks whose blocks are joined by every residual rule
    training  frames/s of force matching by the kernels and by plain torch
    checks    every kernel and whole small runs against the reference (tests/gpu/check_*.py)
    tune      other shapes of tiles; only where asked for
    shapes    other shapes of the programs of `whole`; only where asked for

Each section is a process of its own with a limit of time, so that none hides another, whatever becomes of it; what it
had found until then is kept. All together stay below --minutes.

--reference: the folder with the real models; without it, systems of the same sizes are made.
--wheels: a folder of wheels (`make gpu-wheels`); those of packages that are missing here are unpacked and used.
--interpret: tiny systems on the CPU through Triton's interpreter, to try this script without a GPU; no number counts.

Results go to benchmarks/results/gpu_DEVICE_DATE.json. Exit code 0: all right; 1: something failed; 2: no GPU.
This file needs nothing but Python; what the sections do stands in gpu_sections.py.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
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
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

LIMITS = {
    "machine": 60, "graphs": 80, "errors": 130, "run": 160, "ranks": 160, "bench": 110, "biases": 110, "split": 110,
    "classical": 110, "whole": 150, "large": 60,
    "kernels": 40, "backbones": 60, "training": 60, "checks": 300, "tune": 300, "shapes": 500,
}  # fmt: skip
"""Seconds that a section may take."""
ALWAYS = tuple(name for name in LIMITS if name not in ("tune", "shapes"))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=tuple(LIMITS), default=ALWAYS)
    parser.add_argument("--reference", type=Path, default=ROOT / ".." / "shared" / "reference")
    parser.add_argument("--wheels", type=Path, default=ROOT / ".gpu-wheels")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the results")
    parser.add_argument("--seconds", type=float, default=1.0, help="measured for each benchmark")
    parser.add_argument("--minutes", type=float, default=8.8, help="for everything")
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


def run_section(name: str, options: argparse.Namespace, seconds: float, environment: dict[str, str]) -> dict[str, Any]:
    """What the section found, complete or not."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.json"
        command = [
            sys.executable, str(HERE / "gpu_sections.py"), name, "--part", str(part),
            "--reference", str(options.reference.resolve()), "--seconds", str(options.seconds),
            "--deadline", str(time.time() + 0.95 * seconds),
        ]  # fmt: skip
        began = time.monotonic()
        child = subprocess.Popen(
            command + ["--interpret"] * options.interpret, cwd=ROOT, env=environment, start_new_session=True
        )
        try:
            code: int | str = child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = "out of time"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # and whatever it has started
        child.wait()
        found = json.loads(part.read_text()) if part.is_file() else {"passed": False}
        found["seconds"] = round(time.monotonic() - began, 1)
        if code != 0:
            found |= {"passed": False, "ended_with": code}
        return found


def main() -> int:
    options = arguments()
    end = time.monotonic() + 60.0 * options.minutes
    results: dict[str, Any] = {"date": datetime.date.today().isoformat(), "interpreted": options.interpret}
    with tempfile.TemporaryDirectory() as packages:
        results["unpacked_wheels"] = unpack_missing(options.wheels, Path(packages))
        path = [str(ROOT), str(HERE), str(ROOT / "benchmarks"), packages, os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in path if p), "PYTHONUNBUFFERED": "1"}
        options.out.mkdir(parents=True, exist_ok=True)
        out = None
        for name in ["machine", *(n for n in options.only if n != "machine")]:
            seconds = min(LIMITS[name], end - time.monotonic())
            print(f"--- {name}", flush=True)
            if seconds < 10.0 and not options.interpret:
                results[name] = {"passed": False, "ended_with": "left out: no time left"}
                continue
            results[name] = run_section(name, options, 3600.0 if options.interpret else seconds, environment)
            print(f"    {name}: {results[name]['seconds']} s, {verdict(results[name])}", flush=True)
            if name == "machine":
                if results[name].get("no_gpu"):
                    print(f"gpu_check: {results[name]['no_gpu']}; `--interpret` tries this script without a GPU.")
                    return 2
                device = re.sub(r"\W+", "_", str(results[name].get("device", "unknown")))
                kind = "interpreter" if options.interpret else device
                out = options.out / f"gpu_{kind}_{results['date']}.json"
            assert out is not None
            out.write_text(json.dumps(results, indent=1) + "\n")
    sections = {k: v for k, v in results.items() if isinstance(v, dict)}
    print("\n".join(f"{name:10} {verdict(found)}" for name, found in sections.items()))
    print(f"written to {out}")
    return 0 if all(found["passed"] for found in sections.values()) else 1


def verdict(found: dict[str, Any]) -> str:
    return "passed" if found["passed"] else f"FAILED ({found.get('ended_with', 'see above')})"


if __name__ == "__main__":
    raise SystemExit(main())

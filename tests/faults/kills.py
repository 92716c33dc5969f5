"""Kills: everything that can be resumed, killed at random moments and started again, ends as one that was left alone.

    PYTHONPATH=. python -m tests.faults.kills --kills 200 --report docs/reliability.md

Of each kind one is left alone, and others are killed (SIGKILL; now and then SIGTERM or SIGINT, which must leave with
75) at moments drawn from the time that a whole one takes, start and resuming included. Between kills a second process
may try to use the folder, which must be refused, and a reader may hold the files open. At the end every file and array
must be the same to the last bit. Exit code 1 where one is not.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from tests.faults.kinds import KINDS, Kind
from tests.processes import Process, python
from tools.same_bits import content, digests

A_FOLDER: int = 10
"""Kills of one folder at most; then it may end."""
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"
HEAD = "| killed | whole ones | SIGKILL | SIGTERM, SIGINT | a second process refused | files that differ |"
SIGNALS = (signal.SIGKILL,) * 6 + (signal.SIGTERM, signal.SIGINT)


def left(kind: Kind, out: Path) -> dict[str, str]:
    """A digest of every file and array that must be the same: of checkpoints the newest, for a stop writes one more."""
    found = digests(content(out))
    older = sorted({name.split()[0] for name in found if name.startswith("checkpoint/step_")})[:-1]
    return {name: digest for name, digest in found.items()
            if not kind.volatile & {*re.split(r"[/ ]", name)} and name.split()[0] not in older}  # fmt: skip


def hold(out: Path) -> list[BinaryIO]:
    """What a reader does: hold every file of a folder open, and read of it."""
    held = [path.open("rb") for path in sorted(out.rglob("*")) if path.is_file() and path.name != "lock"]
    for file in held:
        file.read(100)
    return held


def kill(kind: Kind, inputs: Path, out: Path, seconds: float, rng: random.Random, counts: Counter[str]) -> bool:
    """Start or resume, and kill at a random moment; returns whether it ended before that.

    Raises:
        AssertionError: it ended in another way than by the signal, or a second process was let in.
    """
    process = Process(*kind.command(inputs, out))
    end = time.monotonic() + rng.uniform(0.0, 0.7 * seconds)
    held: list[BinaryIO] = []
    number = rng.choice(SIGNALS)
    if rng.random() < 0.1:
        time.sleep(seconds / 3)
        held = hold(out)
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    if rng.random() < 0.05 and process.poll() is None:
        second = python(*kind.command(inputs, out))
        in_use = second.returncode == 2 and "in use" in second.stderr
        # the first one may have ended meanwhile, or not begun
        assert in_use or process.poll() is not None or second.returncode in (0, 2), second.stderr
        counts["refused"] += in_use
    ended = process.poll() is not None
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    for file in held:
        file.close()
    code = process.wait()
    if ended or code == 0:
        assert code in (0, 2), errors  # 2: a second process was faster
        return code == 0
    assert code == -number if number == signal.SIGKILL else code in (75, -number), (code, errors)
    assert "Traceback" not in errors, errors
    counts["SIGKILL" if number == signal.SIGKILL else "asked to stop"] += 1
    return False


def try_kind(kind: Kind, kills: int, seed: int) -> Counter[str]:
    """Kill one kind so many times; counts what happened."""
    rng, counts = random.Random(f"{seed} {kind.name}"), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="mdflash-faults-") as folder:
        inputs = Path(folder)
        kind.prepare(inputs)
        python("-c", "pass")  # the first one waits until the libraries are imported
        began = time.monotonic()
        whole = python(*kind.command(inputs, inputs / "whole"))
        assert whole.returncode == 0, whole.stderr
        seconds, expected = time.monotonic() - began, left(kind, inputs / "whole")
        assert expected
        while counts["SIGKILL"] + counts["asked to stop"] < kills:
            out = inputs / f"killed{counts['whole']}"
            for _ in range(A_FOLDER):
                if kill(kind, inputs, out, seconds, rng, counts):
                    break
                if counts["SIGKILL"] + counts["asked to stop"] >= kills:
                    break
            end = time.monotonic() + 60.0
            while (last := python(*kind.command(inputs, out))).returncode == 2 and time.monotonic() < end:
                assert "in use" in last.stderr, last.stderr  # helpers of a killed process notice within a moment
                time.sleep(0.2)
            assert last.returncode == 0, last.stderr
            found = left(kind, out)
            different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            counts["whole"] += 1
            counts["differ"] += len(different)
            if different:
                print(f"  {kind.name}: {', '.join(different)} differ", flush=True)
    return counts


def report(page: Path, tallies: dict[str, Counter[str]], seconds: float) -> None:
    """Put the table between its two marks in a page; rows of kinds that were not tried stay."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    old, after = rest.split(END)
    rows = {m[1]: m[0] for m in re.finditer(r"^\| ([^|*]+) \|[ \d,|]+\|$", old, re.MULTILINE)}
    columns = ("whole", "SIGKILL", "asked to stop", "refused", "differ")
    rows |= {name: f"| {name} | {' | '.join(str(c[k]) for k in columns)} |" for name, c in tallies.items()}
    listed = [rows[kind.name] for kind in KINDS if kind.name in rows]
    totals = [[int(cell) for cell in line.split("|")[2:-1]] for line in listed]
    total = f"| **sum** | {' | '.join(str(sum(column)) for column in zip(*totals, strict=True))} |"
    table = "\n".join([HEAD, "|---|" + "---|" * 5, *listed, total])
    tried = f"{', '.join(tallies)}: last tried in {seconds:.0f} s."
    page.write_text(f"{before}{BEGIN}\n{table}\n\n{tried}\n{END}{after}", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Try, print, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="in all; each kind has its share")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="*", default=[kind.name for kind in KINDS])
    parser.add_argument("--report", type=Path, help="the page whose table is written")
    given = parser.parse_args(arguments)
    began, tallies = time.monotonic(), dict[str, Counter[str]]()
    chosen = [kind for kind in KINDS if kind.name in given.kinds]
    share = -(-given.kills // len(chosen))
    print(f"{share} kills of each of {len(chosen)} kinds; the first of each is left alone", flush=True)
    for kind in chosen:
        mine = time.monotonic()
        tallies[kind.name] = try_kind(kind, share, given.seed)
        print(f"{kind.name}: {dict(tallies[kind.name])}, {time.monotonic() - mine:.0f} s", flush=True)
        if given.report is not None:
            report(given.report, tallies, time.monotonic() - began)
    return 1 if any(counts["differ"] for counts in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The long form: many thousand damaged files, counted, and the table of docs/reliability.md written.

    PYTHONPATH=. python -m tests.garbage.long --inputs 100000 --report docs/reliability.md

Exit code 1 where one of them was a finding; each kind of finding is printed once, with an input that shows it.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hypothesis import given, seed
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

from tests.garbage.judge import FINDINGS
from tests.garbage.kinds import KINDS, Kind
from tests.garbage.worker import drawing, sound, worker

HEAD = "| input | tried | taken | refused with its place | traceback | over 10 s | no place | others' files touched |"
_BATCH = 1000


class Tally(NamedTuple):
    """Of one kind: how often what happened, and of each finding an input."""

    counts: Counter[str]
    findings: dict[str, tuple[str, bytes]]


def try_kind(kind: Kind, inputs: int, number: int) -> Tally:
    """Damage the sound files of a kind `inputs` times."""
    counts: Counter[str] = Counter()
    findings: dict[str, tuple[str, bytes]] = {}
    with tempfile.TemporaryDirectory(prefix="garbage-") as folder:
        seeds = list(kind.seeds(Path(folder)))
        if not seeds:
            return Tally(counts, findings)
        sound(seeds)
        damaged = [one.damaged for one in seeds]
        with worker(seeds) as helper:
            batch = 0
            while sum(counts.values()) < inputs:
                left = min(_BATCH, inputs - sum(counts.values()))

                @seed(number * 1000 + batch)
                @drawing(left)
                @given(st.data())
                def read(data: st.DataObject) -> None:
                    k = data.draw(st.integers(0, len(seeds) - 1))
                    content = data.draw(damaged[k])
                    outcome = helper.try_(k, content)
                    counts[outcome.verdict] += 1
                    if outcome.verdict in FINDINGS:
                        findings.setdefault(f"{outcome.verdict}: {outcome.where}", (seeds[k].file.name, content))

                read()
                batch += 1
    return Tally(counts, findings)


def row(name: str, counts: Counter[str]) -> str:
    """A row of the table."""
    shown = (sum(counts.values()), *(counts[v] for v in ("taken", "refused", *FINDINGS)))
    return f"| {name} | {' | '.join(f'{n:,}' for n in shown)} |"


def report(file: Path, tallies: dict[str, Counter[str]], seconds: float) -> None:
    """Put the table between its two marks in a page; rows of kinds that were not tried stay."""
    begin, end = "<!-- garbage -->", "<!-- /garbage -->"
    text = file.read_text(encoding="utf-8")
    before, rest = text.split(begin)
    old, after = rest.split(end)
    rows = {m[1]: m[0] for m in re.finditer(r"^\| ([^|]+) \|[ \d,|]+\|$", old, re.MULTILINE)}
    rows |= {name: row(name, counts) for name, counts in tallies.items()}
    listed = [rows[kind.name] for kind in KINDS if kind.name in rows]
    totals = [[int(cell.replace(",", "")) for cell in line.split("|")[2:-1]] for line in listed]
    total = f"| **sum** | {' | '.join(f'{sum(column):,}' for column in zip(*totals, strict=True))} |"
    table = "\n".join([HEAD, "|---|" + "---|" * 7, *listed, total])
    tried = f"{', '.join(tallies)}: last tried by Python {platform.python_version()}, in {seconds:.0f} s."
    file.write_text(f"{before}{begin}\n{table}\n\n{tried}\n{end}{after}", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Try, print, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all; each kind has its share of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="*", default=[kind.name for kind in KINDS])
    parser.add_argument("--report", type=Path, help="the page whose table is written")
    parser.add_argument("--keep", type=Path, help="a folder for the inputs of findings")
    given_ = parser.parse_args(arguments)
    warnings.simplefilter("ignore", HypothesisWarning)
    began, tallies, bad = time.monotonic(), {}, 0
    for kind in KINDS:
        if kind.name not in given_.kinds:
            continue
        mine = time.monotonic()
        tally = try_kind(kind, round(given_.inputs * kind.weight / 1000), given_.seed)
        tallies[kind.name] = tally.counts
        print(f"{kind.name}: {dict(tally.counts)}, {time.monotonic() - mine:.0f} s", flush=True)
        for what, (name, content) in tally.findings.items():
            bad += 1
            print(f"  {what}\n    {name}: {content[:300]!r}", flush=True)
            if given_.keep is not None:
                given_.keep.mkdir(parents=True, exist_ok=True)
                (given_.keep / f"{kind.name.replace(' ', '-')}-{bad}-{name}").write_bytes(content)
    if given_.report is not None:
        report(given_.report, tallies, time.monotonic() - began)
    print(f"{sum(sum(c.values()) for c in tallies.values()):,} inputs, {bad} kinds of findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

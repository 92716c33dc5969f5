"""Every mutant of the list, one at a time, in a copy of the tree: the test that is named must fail.

    PYTHONPATH=. python -m tests.mutants.campaign --report docs/mutants.md

First all those tests must pass without a mutant. Kernels that a mutant changes are compiled into a cache of the copy,
which begins with hard links to the user's; nothing of the working tree or of that cache is changed. Exit code 1 where
one survived.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mdflash.compiled.cache import cache_folder
from tests.mutants.listed import MUTANTS
from tests.mutants.mutant import ROOT, Mutant
from tests.processes import python

LONGEST = 600.0
"""Seconds that the tests of one mutant may take; a mutant that hangs them is not taken for caught."""
_FAILED = re.compile(r"^(?:FAILED|ERROR) tests/(\S+)", re.MULTILINE)
BEGIN, END = "<!-- mutants -->", "<!-- /mutants -->"


class Outcome(NamedTuple):
    """What became of a mutant.

    Attributes:
        verdict: "caught", "SURVIVED", "HUNG" or "BROKEN": no test ran.
        test: the one that failed.
        seconds, said: how long the test took, and pytest's output.
    """

    verdict: str
    test: str
    seconds: float
    said: str


@contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    """A copy to break, with a cache of kernels beside it."""
    with tempfile.TemporaryDirectory(prefix="mdflash-mutants-") as folder:
        tree = Path(folder) / "tree"
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, check=True,
            capture_output=True, text=True,
        ).stdout  # fmt: skip
        for file in filter(lambda name: (ROOT / name).is_file(), listed.split("\0")):
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, tree / file)
        kernels = Path(folder) / "kernels"
        kernels.mkdir()
        for kept in cache_folder().glob("*.nbc"):
            try:
                os.link(kept, kernels / kept.name)
            except OSError:
                shutil.copy2(kept, kernels)
        yield tree


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """pytest's exit code and what it said; -1 where it took too long."""
    env = os.environ | {
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",  # two changes within a second could leave the code of the first
        "NUMBA_CACHE_DIR": str(tree.parent / "kernels"),
    }
    options = ("-x", "-q", "-rfE", "--tb=short", "-p", "no:cacheprovider")
    chosen = [f"tests/{test}" for test in dict.fromkeys(tests)]
    try:
        done = python("-m", "pytest", *options, *chosen, env=env, cwd=tree, timeout=LONGEST, bare=True)
    except subprocess.TimeoutExpired:
        return -1, ""
    return done.returncode, done.stdout + done.stderr


def try_mutant(tree: Path, mutant: Mutant) -> Outcome:
    """Apply it, run its test, take it back."""
    began = time.monotonic()
    before = mutant.apply(tree)
    try:
        code, said = run_tests(tree, [mutant.caught_by])
    finally:
        mutant.restore(tree, before)
    failed = _FAILED.search(said)
    verdict = {0: "SURVIVED", 1: "caught", -1: "HUNG"}.get(code, "BROKEN")
    return Outcome(verdict, failed[1] if failed else mutant.caught_by, time.monotonic() - began, said)


def row(mutant: Mutant, outcome: Outcome) -> str:
    """A row of the table."""
    test = outcome.test.replace("|", "\\|")
    return f"| {mutant.breaks} | `{mutant.file}` | {outcome.verdict} | `{test}` |"


def report(page: Path, outcomes: dict[Mutant, Outcome], seconds: float) -> None:
    """Put the table between its two marks in a page; rows of mutants that were not tried stay."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    old, after = rest.split(END)
    rows = {line.split("|")[1].strip(): line for line in old.splitlines() if line.startswith("| ")}
    rows |= {mutant.breaks: row(mutant, outcome) for mutant, outcome in outcomes.items()}
    listed = [rows[mutant.breaks] for mutant in MUTANTS if mutant.breaks in rows]
    caught = sum("| caught |" in line for line in listed)
    table = "\n".join(["| what is broken | where | outcome | the test that fails |", "|---|---|---|---|", *listed])
    tried = f"{caught} of {len(MUTANTS)} caught; the last {len(outcomes)} that were tried took {seconds:.0f} s."
    page.write_text(f"{before}{BEGIN}\n{tried}\n\n{table}\n{END}{after}", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Try, print, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[""], metavar="WORD", help="mutants with a word in file or text")
    parser.add_argument("--sound", action="store_true", help="skip the tests without a mutant: they passed before")
    parser.add_argument("--report", type=Path, help="the page whose table is written")
    given = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if any(word in f"{m.file} {m.breaks}" for word in given.only)]
    began, outcomes = time.monotonic(), dict[Mutant, Outcome]()
    with copy_of_the_tree() as tree:
        print(f"{len(chosen)} mutants in a copy of the tree", flush=True)
        if not given.sound:
            print("first their tests without a mutant", flush=True)
            code, said = run_tests(tree, [mutant.caught_by for mutant in chosen])
            if code != 0:
                print(said)
                return 1
            print(f"they pass, in {time.monotonic() - began:.0f} s", flush=True)
        for k, mutant in enumerate(chosen, start=1):
            outcome = outcomes[mutant] = try_mutant(tree, mutant)
            print(f"{k:3d}/{len(chosen)} {outcome.verdict:<8} {outcome.seconds:6.1f} s  {mutant.breaks}", flush=True)
            if outcome.verdict != "caught":
                print(outcome.said[-2000:], flush=True)
            if given.report is not None:
                report(given.report, outcomes, time.monotonic() - began)
    left = [mutant.breaks for mutant, outcome in outcomes.items() if outcome.verdict != "caught"]
    print(f"{len(outcomes) - len(left)} of {len(outcomes)} caught, in {time.monotonic() - began:.0f} s")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Members of a committee: the same training from other seeds, and how far they disagree on what they learned from.

Member k + 1 has the seed of the recipe plus k (its first weights and the order of its batches), the same frames and the
same frames held out, and a folder of its own in the folder of the recipe. It is a training like any other: `mdflash
train RECIPE --set training.seed=SEED` makes the same bits.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from mdflash.engine.spread import evaluate_members
from mdflash.errors import Interrupted, MdflashError
from mdflash.forcefields.committee import Own, own_spread, save_committee
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.training.run import PreparedTraining, new_network, with_its_interactions
from mdflash.training.trainer import TrainingLog

LOOKED_AT = 2000
"""Frames of a molecule, at even distances, from which the members' spread on their data is taken."""
SEEDS = 2**32
PROGRAM = (sys.executable, "-m", "mdflash")
_LONGEST = 4000
"""Letters of what a member said last, such as a traceback."""
POLL = 0.5
"""Seconds between two looks at the members."""


def make_members(prepared: PreparedTraining, count: int) -> Iterator[PreparedTraining]:
    """The trainings of the members, in order.

    Args:
        prepared: the training that they vary, by force matching.
        count: how many.
    """
    recipe = prepared.recipe
    for k in range(count):
        seed = (recipe.training.seed + k) % SEEDS
        own = recipe.model_copy(
            update={
                "training": recipe.training.model_copy(update={"seed": seed}),
                "folder": recipe.output / f"member-{k + 1}",
            }
        )
        network = prepared.network if prepared.start else new_network(own, prepared.priors)
        yield replace(prepared, recipe=own, network=network, fits=() if k else prepared.fits)


def write_committee(prepared: PreparedTraining, members: Sequence[Path]) -> Path:
    """Measure the members on the frames they learned from, and write the file of the committee.

    Args:
        prepared: the training that they vary.
        members: their force field folders.

    Raises:
        StorageError: it cannot be written.
    """
    read = [load_forcefield(path) for path in members]
    own: dict[str, Own] = {}
    for molecule in prepared.data.molecules:
        frames = molecule.positions[:: -(-len(molecule.positions) // LOOKED_AT)].astype(np.float64)
        system = with_its_interactions(molecule.system, prepared.priors)
        own[molecule.system.name] = own_spread(*evaluate_members(read, system, frames))
    return save_committee(prepared.recipe.output, members, own)


@dataclass
class Standing:
    """Where a member stands.

    Attributes:
        number: from 1.
        epochs: done.
        loss: the last validation loss, (kcal/mol/Å)^2; NaN before the first.
    """

    number: int
    epochs: int = 0
    loss: float = math.nan


def train_members(
    file: Path,
    overrides: Sequence[str],
    members: Sequence[PreparedTraining],
    threads: int,
    report: Callable[[Standing], None] = lambda standing: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Path]:
    """Train the members, or resume them, as processes side by side: each is a `mdflash train` of its own.

    A training of a small network gains little from a second core, so every member at work has cores of its own. Its
    bits are those of a plain training with as many threads.

    Args:
        file: the recipe.
        overrides: of it.
        members: from `make_members`.
        threads: of all members at work together. On a GPU one member is at work at a time.
        report: called when a member has done an epoch.
        should_stop: asked now and then.

    Returns:
        the force field folders.

    Raises:
        Interrupted: was asked to stop; every member saved its state.
        MdflashError: what stopped a member; the others saved their states.
    """
    at_a_time = 1 if members[0].recipe.training.device == "cuda" else min(threads, len(members))
    standing = [Standing(k + 1) for k in range(len(members))]
    waiting = list(range(len(members)))
    running: dict[int, _Member] = {}
    stopped = False
    try:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                k = waiting.pop(0)
                running[k] = _start(command(file, overrides, members[k], max(1, threads // at_a_time)))
            time.sleep(POLL)
            for k in list(running):
                ended = running[k].process.poll() is not None
                if _look(members[k].recipe.output / TrainingLog.name, standing[k]):
                    report(standing[k])
                if ended:
                    _end(k + 1, running.pop(k))
            if should_stop():
                stopped = True
                break
    finally:
        for member in running.values():
            member.process.terminate()  # it saves its state
        for member in running.values():
            member.process.wait()
            member.said.close()
    if stopped:
        raise Interrupted("stopped; every member saved its state. Run the same command again to resume")
    return [member.recipe.output / "forcefield" for member in members]


def command(file: Path, overrides: Sequence[str], member: PreparedTraining, threads: int) -> list[str]:
    """What trains a member alone."""
    folder = json.dumps(str(member.recipe.output), ensure_ascii=False)
    own = (f"training.seed={member.recipe.training.seed}", f"folder={folder}")
    words = [word for said in (*overrides, *own) for word in ("--set", said)]
    return [*PROGRAM, "train", str(file), *words, "--threads", str(threads)]


class _Member(NamedTuple):
    """A member at work, and what it says on stderr: a file, since a pipe that nobody reads would stop it when full."""

    process: subprocess.Popen[bytes]
    said: IO[bytes]


def _start(words: Sequence[str]) -> _Member:
    said = tempfile.TemporaryFile()  # noqa: SIM115  (closed when the member ends)
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
    )
    return _Member(process, said)


def _end(number: int, member: _Member) -> None:
    member.said.seek(0)
    with member.said:
        said = member.said.read().decode(errors="replace").strip()
    if code := member.process.returncode:
        last = f"\n{said}".rpartition("\nerror:")[2].strip()  # after notes
        message = last[-_LONGEST:] or f"its process exited with {code}"
        raise MdflashError(f"member {number}: {message}")


def _look(log: Path, standing: Standing) -> bool:
    """Read what a member has logged; whether that is more than before."""
    try:
        rows = log.read_text().splitlines()[1:]
        epochs, loss = int(rows[-1].split(",")[0]), float(rows[-1].split(",")[-1])
    except (OSError, ValueError, IndexError):  # not begun, or a row that is being written
        return False
    more = epochs > standing.epochs
    standing.epochs, standing.loss = epochs, loss
    return more

"""Where to sample: the frames of a run that a committee knows least of.

Frames go down from the largest spread of the members' forces (`mdflash.forcefields.committee`). One is taken if its
RMSD from every frame taken before is at least `apart`, so that not all are neighbors of one. It stops at `count` of
them, or where the spread falls to what 99 of 100 frames of the members' data stay below: there is nothing to learn.
Configurations beyond what the data covers, chosen by what is known of them: L. Zhang et al., Phys. Rev. Materials 3,
023804 (2019).

Frames that were chosen like this say what the force is there and nothing of how often the molecule is: datasets of them
are marked (attribute `chosen`), forces are learned from them, and no weight is ever computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from mdflash.config.load import load_run
from mdflash.core.plural import plural
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.engine.spread import CHUNK, SpreadOnFrames
from mdflash.errors import InputError
from mdflash.forcefields.committee import committee_folder, load_committee
from mdflash.io.claims import refuse_campaign
from mdflash.io.export import trajectories
from mdflash.io.formats import no_trajectory
from mdflash.io.formats.base import Source
from mdflash.io.read import iter_frames, read_times
from mdflash.potentials.variables.rmsd import Rmsd
from mdflash.runs.entries import read_entry
from mdflash.sampling.restraint import values_of

LOOKED_AT = 20_000
"""Frames of a run that are looked at, at even distances."""
APART = 1.0
"""Å of RMSD between frames that are chosen."""
COUNT = 50
"""Frames that are chosen."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """Frames of a run.

    Attributes:
        system: their molecule.
        positions: [C, N, 3] Å, the least certain first.
        spread: [C] kcal/mol/Å, of the members' forces.
        labels: of each frame, where it is from, as words.
        known: kcal/mol/Å, the spread that 99 of 100 frames of the members' data stay below.
        looked_at: how many frames there were to choose from.
        beyond: how many of them had more than `known`.
    """

    system: System
    positions: FloatArray
    spread: FloatArray
    labels: tuple[str, ...]
    known: float
    looked_at: int
    beyond: int


def pick(
    system: System, positions: FloatArray, spread: FloatArray, count: int, apart: float, known: float
) -> list[int]:
    """Which frames are chosen, by the rule of the module, the least certain first.

    Args:
        system: the molecule.
        positions: [F, N, 3] Å.
        spread: [F] kcal/mol/Å.
        count: at most so many.
        apart: Å of RMSD between any two.
        known: a spread up to which nothing is to be learned.
    """
    left = np.flatnonzero(spread > known)
    left = left[np.argsort(-spread[left], kind="stable")]
    found: list[int] = []
    while len(left) and len(found) < count:
        found.append(int(left[0]))
        distance = Rmsd(system, list(range(system.n_beads)), positions[left[0]])
        left = left[1:][values_of(distance, positions[left[1:]]) >= apart]
    return found


def choose(
    run: Path,
    committee: Path | None = None,
    count: int = COUNT,
    apart: float = APART,
    tell: Callable[[str], None] = lambda said: None,
) -> Chosen:
    """Choose frames of a run.

    Args:
        run: its folder.
        committee: a committee's folder; default: that of which the run's force field is a member.
        count, apart: as of `pick`.
        tell: called with what is being done.

    Raises:
        InputError: no run, no trajectory, no committee, a run of several molecules, or no frame beyond what is known.
        ForceFieldError: a damaged committee, or one of another molecule.
    """
    if not (run / "manifest.json").is_file():
        refuse_campaign(run)
        raise InputError("no run there; give the folder of a run", file=run, key="--where")
    config = load_run(str(run)).with_seed()
    if len(config.system) > 1 or config.box is not None:
        what = "a periodic box" if config.box is not None else f"{len(config.system)} molecules"
        raise InputError(f"is a run of {what}; frames are chosen of one molecule alone", file=run, key="--where")
    entry = read_entry(config, 0, {}, [], 1)
    system, ff = entry.system, entry.forcefield
    folder = committee or committee_folder(ff)
    if folder is None:
        raise InputError(
            f"ran by {ff.folder}, which is no member of a committee; train one (mdflash train RECIPE --committee 4) "
            "and run a member of it, or name it: --committee FOLDER",
            file=run,
            key="--where",
        )
    members = load_committee(folder)
    known = members.own_of(system.name, "--where").forces
    labels, positions = _frames(run)
    tell(f"spread of {plural(len(members.members), 'member')} on {plural(len(labels), 'frame')} of {run}")
    spread = SpreadOnFrames(members, system, min(CHUNK, len(labels)))(positions).forces
    sound = np.isfinite(spread)
    if not sound.all():
        tell(f"{plural(int((~sound).sum()), 'frame')} left out: a member has no finite energy there")
        labels, positions, spread = list(compress(labels, sound)), positions[sound], spread[sound]
    if not labels:
        raise InputError("has no frame at which all members have a finite energy", file=run, key="--where")
    chosen = pick(system, positions, spread, count, apart, known)
    beyond = int((spread > known).sum())
    if not chosen:
        raise InputError(
            f"no frame is less certain than the data of the committee: the largest spread of forces is "
            f"{spread.max():.3g} kcal/mol/Å, and 1 of 100 frames of the data has {known:.3g}: nothing to choose",
            file=run,
            key="--where",
        )
    return Chosen(
        system, positions[chosen], spread[chosen], tuple(labels[k] for k in chosen), known, len(labels), beyond
    )  # fmt: skip


def _frames(run: Path) -> tuple[list[str], FloatArray]:
    """At most `LOOKED_AT` finite frames of all replicas: their labels and positions [F, N, 3] Å."""
    sources = trajectories(run)
    if not sources:
        raise no_trajectory(run)
    total = sum(len(read_times(source.path)[0]) for source in sources)
    stride = max(1, -(-total // LOOKED_AT))
    labels: list[str] = []
    parts: list[FloatArray] = []
    for source in sources:
        parts += list(_of_replica(source, stride, labels))
    if not labels:
        raise InputError("has no complete frame yet", file=run, key="--where")
    return labels, np.concatenate(parts)


def _of_replica(source: Source, stride: int, labels: list[str]) -> Sequence[FloatArray]:
    found = []
    for frames in iter_frames(source.path, source.replica, stride=stride):
        good = np.isfinite(frames.positions).all(axis=(1, 2))
        labels += [f"replica {source.replica} step {step}" for step in frames.steps[good].tolist()]
        found.append(frames.positions[good])
    return found

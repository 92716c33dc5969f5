"""Whether replicas are where their force field learned, by the spread of its committee, at every frame that is written.

That costs one evaluation by every member for each frame: with 4 members and a frame every 1,000 steps 4 beside 1,000.
Members are evaluated on the CPU, whatever makes the steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mdflash.core.state import Layout
from mdflash.engine.engine import Engine
from mdflash.engine.guards import Listener
from mdflash.engine.spread import SpreadOnFrames
from mdflash.errors import InputError, UnstableError
from mdflash.forcefields.committee import Committee, committee_folder, load_committee
from mdflash.forcefields.model import ForceField
from mdflash.reporters import Periodic

KEY = "guards.spread"


class LeftTerritory(UnstableError):
    """A replica is where its force field learned nothing; all that was due at this step is written."""


def committees_of(layout: Layout, forcefields: tuple[ForceField, ...], boxed: bool) -> dict[int, Committee]:
    """For each system, the committee of its force field.

    Raises:
        InputError: a force field that is in none, a molecule that it never saw, or a periodic box.
        ForceFieldError: a committee that cannot be read.
    """
    if boxed:
        raise InputError("is of molecules alone, not of a periodic box; remove it", key=KEY)
    read: dict[str, Committee] = {}
    found = {}
    for s, (system, ff) in enumerate(zip(layout.systems, forcefields, strict=True)):
        folder = committee_folder(ff)
        if folder is None:
            raise InputError(
                f"needs a member of a committee, and {ff.folder or ff.name} is none; train one (mdflash train RECIPE "
                "--committee 4) and write for example `forcefield: runs/train-protein/member-1/forcefield`, or remove "
                "this",
                key=KEY,
            )
        if str(folder) not in read:
            read[str(folder)] = load_committee(folder)
        found[s] = read[str(folder)]
        found[s].own_of(system.name, KEY)
    return found


class Territory(Periodic):
    """Notes where a replica leaves what its committee knows, or ends the run there.

    Args:
        every: steps between looks.
        layout: the batch.
        committees: by the number of the system.
        limit: times the spread that 99 of 100 frames of the members' data stay below.
        stop: whether to end the run.

    Attributes:
        listeners: called with every event, "unknown territory".
    """

    def __init__(
        self, every: int, layout: Layout, committees: Mapping[int, Committee], limit: float, stop: bool
    ) -> None:
        super().__init__(every)
        self.listeners: list[Listener] = []
        self._layout, self._stop = layout, stop
        counts = np.diff(layout.replica_offset)
        self._limits = {s: limit * c.own_of(layout.systems[s].name, KEY).forces for s, c in committees.items()}
        self._measure = {s: SpreadOnFrames(c, layout.systems[s], int(counts[s])) for s, c in committees.items()}
        self._beyond: npt.NDArray[np.bool_] = np.zeros(layout.n_replicas, bool)

    def report(self, engine: Engine) -> None:
        """Look at every replica; at step 0 there is nothing to be done about it.

        Raises:
            LeftTerritory: a replica is beyond the limit, and the run shall stop.
        """
        step, layout = engine.state.step, self._layout
        if step == 0:
            return
        for s, measure in self._measure.items():
            first = int(layout.replica_offset[s])
            spread = measure(layout.view(engine.state.positions, s).numpy()).forces
            over = ~(spread <= self._limits[s])
            mine = slice(first, first + len(over))
            for k in np.flatnonzero(over & ~self._beyond[mine]):
                about: dict[str, Any] = {
                    "replica": layout.replica_ids[first + int(k)],
                    "system": layout.systems[s].name,
                    "spread_kcal_mol_A": float(spread[k]) if math.isfinite(spread[k]) else None,  # no finite energy
                    "limit_kcal_mol_A": self._limits[s],
                }
                for listener in self.listeners:
                    listener(step, "unknown territory", **about)
                if self._stop:
                    raise _left(step, about)
            self._beyond[mine] = over


def _left(step: int, about: Mapping[str, Any]) -> LeftTerritory:
    what = "a member of it has no finite energy there"
    if about["spread_kcal_mol_A"] is not None:
        what = (
            f"the members' forces differ by {about['spread_kcal_mol_A']:.3g} kcal/mol/Å, and the limit (guards.spread) "
            f"is {about['limit_kcal_mol_A']:.3g}"
        )
    return LeftTerritory(
        f"replica {about['replica']} ({about['system']}) left what its committee knows at step {step:,}: {what}. "
        "Sample there (mdflash sample RECIPE --where RUN) and train again, or write `beyond: note` to go on"
    )

"""mdflash as the propagator of WESTPA: all segments of an iteration are one batch of replicas.

WESTPA decides who is split and merged, and keeps weights and progress coordinates in west.h5. This class moves the
walkers, and keeps their last positions and velocities in states/, a file for each iteration, from which the next one
starts. Noise is a function of the seed, the place in the batch and the step, and the step follows from the number of
the iteration: given what WESTPA decides (it draws its own random numbers), a walker has the same bits. To simulate
another molecule, change the settings below and west.cfg.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from westpa.core.propagators import WESTPropagator
from westpa.core.segment import Segment

from mdflash import Simulation
from mdflash.units import ACCELERATION, kT

KELVIN, EVERY, SEED = 340.0, "4 ps", 2026
VARIABLE = {"name": "q", "variable": "native_contacts"}
STATES = Path("states")


@functools.cache
def simulation(replicas: int) -> Simulation:
    """A batch of replicas at the source."""
    return Simulation(
        "chignolin", "go-chignolin", replicas=replicas, temperatures=KELVIN, timestep="10 fs", seed=SEED,
        monitor=[VARIABLE],
    )  # fmt: skip


class Propagator(WESTPropagator):  # type: ignore[misc]
    """What WESTPA calls; named as `propagator` in west.cfg."""

    def get_pcoord(self, state: Any) -> None:
        """The variable of a basis state: the source."""
        state.pcoord = simulation(1).variables()["q"]

    def propagate(self, segments: Sequence[Segment]) -> Sequence[Segment]:
        """Move the segments of one iteration."""
        iteration = segments[0].n_iter
        sim = simulation(len(segments))
        steps = sim.steps_in(EVERY)
        sim.state.step = (iteration - 1) * steps
        sim.positions, velocities = self.starts(iteration, segments)
        sim.state.velocities.numpy()[:] = np.concatenate(velocities)
        sim.run(steps)
        values = sim.variables()["q"]
        for segment, value in zip(segments, values, strict=True):
            segment.pcoord[-1] = value
            segment.status = Segment.SEG_STATUS_COMPLETE
        STATES.mkdir(exist_ok=True)
        np.savez(
            STATES / f"{iteration:06d}.npz",
            ids=[segment.seg_id for segment in segments],
            positions=sim.positions,
            velocities=sim.state.velocities.numpy().reshape(len(segments), -1, 3),
        )
        return segments

    def starts(self, iteration: int, segments: Sequence[Segment]) -> tuple[list[Any], list[Any]]:
        """Positions and velocities: those of the parent, or the source with new velocities."""
        source = simulation(1)
        masses = source.layout.systems[0].masses[:, None]
        before = None if iteration == 1 else np.load(STATES / f"{iteration - 1:06d}.npz")
        place = {} if before is None else {seg_id: k for k, seg_id in enumerate(before["ids"].tolist())}
        positions, velocities = [], []
        for segment in segments:
            if segment.initpoint_type == Segment.SEG_INITPOINT_CONTINUES:
                assert before is not None
                parent = place[segment.parent_id]
                positions.append(before["positions"][parent])
                velocities.append(before["velocities"][parent])
            else:
                drawn = np.random.default_rng([SEED, iteration, segment.seg_id]).normal(size=(len(masses), 3))
                positions.append(np.array(source.replicas[0].positions))
                velocities.append(drawn * np.sqrt(kT(KELVIN) * ACCELERATION / masses))
        return positions, velocities

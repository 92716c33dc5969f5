"""What a TrajectoryReporter of a Simulation has written, read as a run is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdflash import __version__
from mdflash.analysis.open_run import Run
from mdflash.core.state import Layout
from mdflash.core.types import Box, FloatArray
from mdflash.errors import InputError
from mdflash.io.formats import written_formats
from mdflash.io.formats.base import Source

if TYPE_CHECKING:
    import pandas

    from mdflash.analysis.molecule import Found
    from mdflash.forcefields.model import ForceField


class Recorded(Run):
    """Frames of a Simulation in a folder, without the files of a run: log, exchange and most settings are missing.

    Args:
        folder: of the TrajectoryReporter.
        layout: of the simulation.
        forcefields: of each system.
        kelvin: [R] temperatures of the replicas.
        about: step, seed and device of the simulation, as a manifest has them.
        box: edges of its periodic box, Å, or None.
        biased: whether biases act on it.
        dynamics: its settings, as the section of this name in resolved.yaml.
    """

    def __init__(
        self, folder: Path, layout: Layout, forcefields: Sequence[ForceField], kelvin: FloatArray,
        about: dict[str, Any], box: Box | None, biased: bool, dynamics: dict[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(folder)
        self._layout, self._forcefields, self._kelvin, self._about = layout, forcefields, kelvin, about
        self._box, self._biased, self._dynamics = box, biased, dynamics

    @property
    def manifest(self) -> dict[str, Any]:
        """As far as a simulation knows."""
        counts = np.bincount(self._layout.system_of_replica, minlength=len(self._layout.systems)).tolist()
        return {
            "name": self.folder.absolute().name,
            "status": "finished",
            "total_steps": self._about["step"],
            "systems": [
                {"name": s.name, "replicas": n, "beads": s.n_beads, "sha256": s.digest}
                for s, n in zip(self._layout.systems, counts, strict=True)
            ],
            "forcefields": [{"name": f.name, "sha256": f.digest} for f in dict.fromkeys(self._forcefields)],
            "versions": {"mdflash": __version__},
            **self._about,
        }

    @property
    def config(self) -> dict[str, Any]:
        """How it moves; there is no run file."""
        return {"dynamics": self._dynamics}

    @property
    def temperatures(self) -> FloatArray:
        """[R] K."""
        return self._kelvin

    @property
    def box(self) -> Box | None:
        """Å."""
        return self._box

    @property
    def biased(self) -> bool:
        """Whether biases act on its frames."""
        return self._biased

    @property
    def log(self) -> pandas.DataFrame:
        """There is none.

        Raises:
            InputError: always.
        """
        raise InputError("a TrajectoryReporter writes no log.csv", file=self.folder)

    def sources(self) -> list[Source]:
        """For each replica, the file that holds its positions.

        Raises:
            InputError: there is no frame yet.
        """
        found = {
            source.replica: source
            for format in written_formats()
            for path in self.folder.glob(f"*{format.suffix}")
            for source in format.sources(path)
        }
        if not found:
            raise InputError("holds no frame yet: run the simulation with its TrajectoryReporter", file=self.folder)
        return [found[r] for r in sorted(found)]

    def described(self) -> Found:
        """Its molecules; each started where the first frame of its first replica is."""
        first = {s.system: s.replica for s in reversed(self.sources())}
        positions = self.positions
        return {
            s.name: (s, positions[first[s.name]][0] if s.name in first else None, f, None)
            for s, f in zip(self._layout.systems, self._forcefields, strict=True)
        }

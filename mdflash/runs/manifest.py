"""manifest.json: what ran where, with what, and how fast."""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

from mdflash import __version__
from mdflash.core.files import atomic_write_json, patch_head, storage_errors
from mdflash.core.regular import read_input
from mdflash.engine.engine import Engine
from mdflash.errors import InputError, StorageError
from mdflash.io.runfolder import load_manifest
from mdflash.potentials.variables import VARIABLES
from mdflash.runs.identity import recorded_starts, start_digests
from mdflash.runs.prepare import Prepared
from mdflash.runs.writers import Outputs


def _variables(prepared: Prepared) -> dict[str, dict[str, str]]:
    """What the columns of colvars.csv are."""
    entries = [(entry.name, entry.variable) for entry in (*prepared.biases, *prepared.monitored)]
    entries += [(axis.name, axis.variable) for bias in prepared.grid_biases for axis in bias.axes]
    return {
        name: {"variable": v.name, "unit": v.unit, **({"about": v.about} if v.about else {})}
        for name, v in entries
        if v.name in VARIABLES
    }


def _gpu_versions() -> dict[str, str | None]:
    import triton

    return {"triton": triton.__version__, "cuda": torch.version.cuda}


class Manifest:
    """manifest.json: what ran where, with what, and how fast."""

    def __init__(self, path: Path, prepared: Prepared, engine: Engine, ranks: int, source: Path) -> None:
        self.path, self.engine = path, engine
        made_from: str | None = os.path.relpath(source, path.parent)  # so that both may move together
        self._begun = time.monotonic()
        self._first_step = engine.state.step
        self._seconds_before = 0.0
        if path.is_file():
            with suppress(InputError, KeyError, TypeError, ValueError):  # damaged: it knows nothing else that matters
                before = load_manifest(path.parent)
                if source.parent.samefile(path.parent):  # a file of the folder itself
                    made_from = before.get("source")
                self._seconds_before = float(before["timing"]["wall_seconds"])
        config, layout = prepared.config, prepared.layout
        if engine.state.step == 0 and not path.is_file():
            starts = dict(zip((s.name for s in layout.systems), start_digests(prepared), strict=True))
        else:
            starts = recorded_starts(path.parent)
        started = {name: {"start_sha256": digest} for name, digest in starts.items()}
        self._fixed = {
            "mdflash_run": 1,
            "name": config.name,
            "source": made_from,
            "versions": {
                "mdflash": __version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "torch": torch.__version__,
                "numba": numba.__version__,
                **({} if engine.gpu is None else _gpu_versions()),
            },
            "device": engine.device_kind,
            "device_name": engine.device,
            "machine": platform.machine(),
            "ranks": ranks,
            "threads": numba.get_num_threads(),
            "kernels": engine.propagator.kernels,
            "precision": config.model.precision,
            "seed": engine.seed,
            "systems": [
                {"name": s.name, "beads": s.n_beads, "replicas": n, "sha256": s.digest} | started.get(s.name, {})
                for s, n in zip(layout.systems, layout.counts, strict=True)
            ],
            "forcefields": [{"name": f.name, "sha256": f.digest} for f in dict.fromkeys(prepared.forcefields)],
            "total_steps": config.total_steps,
            **({"variables": variables} if (variables := _variables(prepared)) else {}),
        }

    def write(self, status: str, outputs: Outputs) -> None:
        atomic_write_json(self.path, self.content(status, outputs))

    def fail(self, outputs: Outputs) -> None:
        """Note that the run ended by an error; where a full disk takes no new file, in the one that is there."""
        try:
            self.write("failed", outputs)
        except StorageError:
            with storage_errors(self.path):
                before = read_input(self.path)
            patch_head(self.path, before.replace(b'"status": "running"', b'"status": "failed" ', 1))

    def content(self, status: str, outputs: Outputs) -> dict[str, Any]:
        """As of this moment."""
        seconds = time.monotonic() - self._begun
        steps = self.engine.state.step - self._first_step
        ns = steps * self.engine.integrator.timestep * 1e-3 * self.engine.layout.n_replicas
        return {
            **self._fixed,
            "status": status,
            "step": self.engine.state.step,
            **self._counted(),
            "updated": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "timing": {
                "wall_seconds": round(self._seconds_before + seconds, 3),
                "aggregate_ns_per_day": round(ns / seconds * 86400, 3) if steps else None,
                "writer_stall_seconds": round(outputs.stall_seconds, 3),
            },
        }

    def _counted(self) -> dict[str, Any]:
        """What exchange, metadynamics and guard have counted, where there is any."""
        found: dict[str, Any] = {}
        guard, exchange, ids = self.engine.guard, self.engine.exchange, self.engine.layout.replica_ids
        if exchange is not None:
            found["exchange"] = exchange.summary()
        if self.engine.deposits.biases:
            found["metadynamics"] = self.engine.deposits.summary()
        if self.engine.ensemble is not None:
            found["weighted_ensemble"] = self.engine.ensemble.summary()
        if guard.frozen.any():
            since = guard.frozen_since.tolist()
            found["frozen_since_step"] = {str(r): step for r, step in zip(ids, since, strict=True) if step >= 0}
        return found

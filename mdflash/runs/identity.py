"""What makes a run the same run: settings that may not change, and digests that its checkpoints hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from mdflash.config.metadynamics import BIAS_FACTOR
from mdflash.config.schema import RunConfig
from mdflash.config.write import to_data
from mdflash.core.yamlfile import load_yaml
from mdflash.errors import InputError
from mdflash.io.checkpoint import Checkpoint
from mdflash.io.runfolder import RunFiles, load_manifest
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.schnet.tables import SIZED_BY
from mdflash.runs.prepare import Prepared

MAY_CHANGE: Final = frozenset(
    {
        "dynamics.length",
        "dynamics.steps",
        "output.folder",
        "output.checkpoint",
        "guards",
        "neighbors.skin",
        "hardware",
        "structure",
        "start",
        "forcefield",
        "reference",
    }
)
"""Keys (dotted, or the last word) that a resumed run may change.

None of them changes a bit of what was written. Files may have moved: what is in them is compared by digest.
"""


def with_recorded_seed(config: RunConfig, fresh: bool) -> RunConfig:
    """The seed that an earlier start of this run drew."""
    resolved = config.folder / "resolved.yaml"
    if fresh or config.dynamics.seed is not None or not resolved.is_file():
        return config
    data = load_yaml(resolved).data
    dynamics = data.get("dynamics") if isinstance(data, dict) else None
    if not isinstance(dynamics, dict) or not isinstance(seed := dynamics.get("seed"), int):
        raise InputError(
            "is damaged: it has no dynamics.seed; restore it from a copy, or start over with --fresh", file=resolved
        )
    return config.model_copy(update={"dynamics": config.dynamics.model_copy(update={"seed": seed})})


def check_same_run(folder: RunFiles, config: RunConfig) -> None:
    for key, old, new in changed(folder.path, config):
        raise InputError(
            f"the run in {folder.path} was made with {key}: {old}, now it is {new}; "
            f"`mdflash run {folder.path}` resumes it as it was made. Or put the value back, choose another "
            "output.folder, or start over with --fresh",
            key=key,
        )


def changed(folder: Path, config: RunConfig) -> Iterator[tuple[str, Any, Any]]:
    """Every setting of the run in a folder that `config` has otherwise, and that may not change: key, then, now."""
    yield from _differences(as_now_written(load_yaml(folder / "resolved.yaml").data), to_data(config))


def as_now_written(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a resolved.yaml of any version, as this version writes them."""
    found = {"monitor": "none", "metadynamics": "none", "weighted_ensemble": "none", **resolved}  # older runs had none
    if isinstance(dynamics := found.get("dynamics"), dict):
        found["dynamics"] = {"annealing": "none", **dynamics}
    if isinstance(exchange := found.get("exchange"), dict) and exchange.get("scheme") == "neighbours":
        found["exchange"] = {**exchange, "scheme": "neighbors"}
    if isinstance(entries := found["metadynamics"], list):
        found["metadynamics"] = [
            {**e, "bias_factor": BIAS_FACTOR}
            if isinstance(e, dict) and e.get("method") == "well-tempered" and e.get("bias_factor") == "none"
            else e
            for e in entries
        ]
    return found


def _differences(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every value that differs, by dotted key, save those that `MAY_CHANGE`."""
    if key in MAY_CHANGE or key.rpartition(".")[2] in MAY_CHANGE:
        return
    if isinstance(before, dict) and isinstance(now, dict):
        for word in before.keys() & now.keys():
            yield from _differences(before[word], now[word], f"{key}.{word}" if key else word)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _differences(old, new, f"{key}.{i}")
    elif before != now:
        yield key, before, now


def identity_of(prepared: Prepared) -> dict[str, Any]:
    """What a checkpoint must agree with."""
    monitored = {entry.name: entry.variable.digest for entry in prepared.monitored}
    hills = {bias.name: _digest(bias) for bias in prepared.grid_biases}
    walkers = prepared.walkers
    return {
        "forcefields": {f.name: f.digest for f in prepared.forcefields},
        "systems": {s.name: s.digest for s in prepared.layout.systems},
        "bias variables": {bias.name: bias.variable.digest for bias in prepared.biases},
        **({"monitored variables": monitored} if monitored else {}),
        **({"metadynamics variables": hills} if hills else {}),
        **({"walker variables": {walkers.name: walkers.variable.digest}} if walkers is not None else {}),
    }


def _digest(bias: GridBias) -> str:
    """Of what a grid is over."""
    return hashlib.sha256(" ".join(variable.digest for variable in bias.variables).encode()).hexdigest()


def table_rule(prepared: Prepared) -> int | None:
    """How the filter tables of a run are sized; None for a run without any."""
    model = prepared.config.model
    exact = model.filters == "exact" or model.kernels == "reference"
    return None if exact or not any(ff.networks for ff in prepared.forcefields) else SIZED_BY


def check_identity(folder: RunFiles, checkpoint: Checkpoint, prepared: Prepared) -> None:
    for kind, now in identity_of(prepared).items():
        before = checkpoint.header.get(kind, {})
        for name, digest in now.items():
            if before.get(name) != digest:
                raise InputError(
                    f"the {kind[:-1]} '{name}' has changed since {checkpoint.path.name} was written "
                    f"(it was {str(before.get(name))[:12]}, now it is {digest[:12]}); put the old one back, choose "
                    f"another output.folder, or start over with --fresh",
                    file=folder.path,
                )


def start_digests(prepared: Prepared) -> list[str]:
    """SHA-256 of the start frames of each system, to 0.001 Å: what a structure file tells, on whatever machine."""
    layout = prepared.layout
    frames = (layout.view(prepared.start, s).numpy() for s in range(len(layout.systems)))
    return [hashlib.sha256(np.rint(x * 1000).astype("<i8").tobytes()).hexdigest() for x in frames]


def other_starts(folder: RunFiles, prepared: Prepared) -> Iterator[str]:
    """Notes on systems whose start frames are others now; of runs before 0.2 they are not known."""
    known = recorded_starts(folder.path)
    for entry, system, digest in zip(
        prepared.config.system, prepared.layout.systems, start_digests(prepared), strict=True
    ):
        if known.get(system.name, digest) != digest:
            file = entry.structure if entry.start is None else entry.start.file
            yield (
                f"{system.name}: the start frames{f' of {file}' if file else ''} are others than those that this run "
                "started from; it goes on from its checkpoint and does not use them (to start from them, choose "
                "another output.folder, or start over with --fresh)"
            )


def recorded_starts(folder: Path) -> dict[str, str]:
    """By system, the digest of the start frames in the manifest; nothing where it is damaged or does not tell."""
    try:
        return {s["name"]: s["start_sha256"] for s in load_manifest(folder)["systems"] if "start_sha256" in s}
    except (OSError, InputError, KeyError, TypeError):
        return {}

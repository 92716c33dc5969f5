"""A system.yaml for a force field that holds for any sequence: the published way to sample disordered proteins.

Frames are saved every 7,000 steps for chains of less than 150 residues, else every ceil(3e-4 N^2) thousand; a run has
1,010 of them, of which averages leave out the first 10, and 20 replicas (Tesei et al., Nature 626, 897 (2024), and the
programs of CALVADOS).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mdflash.config.load import parse_run
from mdflash.config.write import commented_yaml, to_data
from mdflash.core.quantity import show_quantity
from mdflash.forcefields.forcefield import ForceField

FRAMES: Final = 1010
REPLICAS: Final = 20
MINIMIZE: Final = 1000


def sampling_rule(residues: int) -> tuple[int, int]:
    """Steps between frames, and steps in all, for a chain of that many residues."""
    every = 7000 if residues < 150 else math.ceil(3e-4 * residues**2) * 1000
    return every, FRAMES * every


def compose(
    name: str,
    molecules: Sequence[Mapping[str, Any]],
    residues: int,
    forcefield: ForceField,
    out: Path,
    *,
    model: str,
    folder: str,
    overrides: Sequence[str] = (),
) -> str:
    """The text of a commented system.yaml.

    Args:
        name: of the run.
        molecules: entries of `system:`, their paths relative to `out`.
        residues: of the longest chain, which decides the length.
        forcefield: gives time step, friction and environment.
        out: the file that will hold the text.
        model: how the file names the force field.
        folder: the run folder.
        overrides: "dynamics.temperature=310 K", each replaces what would be written.

    Raises:
        InputError: an override that is no sound value; names the key.
    """
    every, steps = sampling_rule(residues)
    dynamics = {"timestep": "4 fs", "friction": "1 /ps", **forcefield.dynamics}
    around = forcefield.environment
    kelvin = "300 K" if around is None else show_quantity(around.temperature, "temperature", ("K",))
    given: dict[str, Any] = {
        "mdflash": 1,
        "name": name,
        "system": molecules[0] if len(molecules) == 1 else list(molecules),
        "model": {"forcefield": model},
        "dynamics": {**dynamics, "temperature": kelvin, "steps": steps, "minimize": MINIMIZE},
        "replicas": {"count": REPLICAS},
        "output": {"trajectory": {"format": "none"}, "log": {"interval": dynamics["timestep"]}},
    }
    if around is not None:
        own = around.describe()
        given["environment"] = {key: own[key] for key in ("ionic_strength", "pH") if key in forcefield.needs}
    interval = f"{every * parse_run(json.dumps(given), out, [*_timestep(overrides)]).dynamics.timestep:.15g} ps"
    given["output"] = {"folder": folder, "trajectory": {"interval": interval}, "log": {"interval": interval}}
    data = to_data(parse_run(json.dumps(given), out, overrides))
    set_ = {text.partition("=")[0].strip() for text in overrides}
    data["system"], data["model"]["forcefield"] = given["system"], model
    data["dynamics"] |= {key: value for key, value in dynamics.items() if f"dynamics.{key}" not in set_}
    if "output.folder" not in set_:
        data["output"]["folder"] = folder
    return commented_yaml(data)


def _timestep(overrides: Sequence[str]) -> list[str]:
    found = [text for text in overrides if text.partition("=")[0].strip() == "dynamics.timestep"]
    return [*found, *(f"output.log.interval={text.partition('=')[2]}" for text in found[-1:])]

"""A system.yaml for sequences: the published way to sample a disordered protein, written out.

Frames are saved every 7,000 steps for chains of less than 150 residues, else every ceil(3e-4 N^2) thousand; a run has
1,010 of them, of which the first 10 are left out of averages, and 20 replicas (Tesei et al., Nature 626, 897 (2024),
and the programs of CALVADOS).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mdflash.config.load import parse_run
from mdflash.config.write import commented_yaml, to_data
from mdflash.core.quantity import show_quantity
from mdflash.forcefields.forcefield import ForceField

FRAMES: Final = 1010
REPLICAS: Final = 20
MINIMIZE: Final = 1000


@dataclass(frozen=True)
class Wishes:
    """What the user asks for beside molecules and force field; None: the default.

    Attributes:
        length: "auto" (the published rule), or a time with its unit.
        replicas: of each molecule.
        temperature, ionic_strength: as text with units.
        pH: a number.
    """

    length: str = "auto"
    replicas: int = REPLICAS
    temperature: str | None = None
    ionic_strength: str | None = None
    pH: float | None = None


def sampling_rule(residues: int) -> tuple[int, int]:
    """Steps between frames and steps in all, for a chain of that many residues."""
    every = 7000 if residues < 150 else math.ceil(3e-4 * residues**2) * 1000
    return every, FRAMES * every


def compose(
    name: str, molecules: Sequence[Mapping[str, Any]], residues: int, forcefield: ForceField, model: str, out: Path,
    wishes: Wishes,
) -> str:  # fmt: skip
    """The text of a commented system.yaml.

    Args:
        name: of the run.
        molecules: entries of `system:`, their paths relative to `out`.
        residues: of the longest chain, which decides the length.
        forcefield: gives time step, friction and environment.
        model: how the file names the force field.
        out: the file that will hold the text.
        wishes: of the user.

    Raises:
        InputError: a wish that is no sound value; names the key.
    """
    around = forcefield.environment
    dynamics = {"timestep": "4 fs", "friction": "1 /ps", **forcefield.dynamics}
    kelvin = "300 K" if around is None else show_quantity(around.temperature, "temperature", ("K",))
    given: dict[str, Any] = {
        "mdflash": 1,
        "name": name,
        "system": molecules[0] if len(molecules) == 1 else list(molecules),
        "model": {"forcefield": model},
        "dynamics": {**dynamics, "temperature": wishes.temperature or kelvin, "minimize": MINIMIZE},
        "replicas": {"count": wishes.replicas},
    }
    if around is not None:
        own = around.describe()
        wanted = {
            "ionic_strength": wishes.ionic_strength or own["ionic_strength"],
            "pH": own["pH"] if wishes.pH is None else wishes.pH,
        }
        given["environment"] = {key: value for key, value in wanted.items() if key in forcefield.needs}
    every, steps = sampling_rule(residues)
    given["dynamics"] |= {"steps": steps} if wishes.length == "auto" else {"length": wishes.length}
    step = parse_run(json.dumps({**given, "output": {"log": {"interval": dynamics["timestep"]},
                                                     "trajectory": {"format": "none"}}}), out).dynamics.timestep  # fmt: skip
    interval = show_quantity(float(f"{every * step:.15g}"), "time", ("ps", "ns"))
    given["output"] = {"trajectory": {"interval": interval}, "log": {"interval": interval}}
    data = to_data(parse_run(json.dumps(given), out))
    data["system"], data["model"]["forcefield"] = given["system"], model
    data["output"]["folder"] = os.path.join(os.path.relpath(out.parent), "run")
    return commented_yaml(data)

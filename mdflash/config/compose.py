"""A system.yaml for a force field that holds for any sequence: the published ways to sample disordered proteins.

One chain: frames are saved every 7,000 steps for chains of less than 150 residues, else every ceil(3e-4 N^2) thousand;
a run has 1,010 of them, of which averages leave out the first 10, and 20 replicas (Tesei et al., Nature 626, 897
(2024), and the programs of CALVADOS).

Many chains: 3,000 frames, one every 50,000 steps; a slab has 100 chains in a box of 15 x 15 x 150 nm, or larger for
long chains (CALVADOS's example of a slab, and Tesei & Lindorff-Larsen, Open Res. Europe 2, 94 (2023)).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from mdflash.config.load import parse_run
from mdflash.config.overrides import apply_overrides
from mdflash.config.write import commented_yaml, to_data
from mdflash.core.quantity import show_quantity
from mdflash.forcefields.model import ForceField

FRAMES: Final = 1010
REPLICAS: Final = 20
MINIMIZE: Final = 1000


COMPRESS: Final = "1 ns"
"""Time in which a box shrinks that is too dense to be filled at once."""
COPIES: Final = 100
"""Of a molecule in a slab."""


class Sampling(NamedTuple):
    """How long a run is: steps between frames, steps in all, replicas."""

    every: int
    steps: int
    replicas: int


MANY: Final = Sampling(50_000, 150_000_000, 1)
"""Of a box of many chains."""


def slab_box(residues: int) -> tuple[str, str, str]:
    """The published box of a slab of chains of that many residues."""
    short, long = (
        ("15 nm", "150 nm") if residues < 200 else ("17 nm", "300 nm") if residues <= 350 else ("25 nm", "300 nm")
    )
    return short, short, long


def of_chain(residues: int) -> Sampling:
    """How long a run of single chains is, the longest of them of that many residues."""
    return Sampling(*sampling_rule(residues), REPLICAS)


def sampling_rule(residues: int) -> tuple[int, int]:
    """Steps between frames, and steps in all, for a chain of that many residues."""
    every = 7000 if residues < 150 else math.ceil(3e-4 * residues**2) * 1000
    return every, FRAMES * every


def compose(
    name: str,
    molecules: Sequence[Mapping[str, Any]],
    sampling: Sampling,
    forcefield: ForceField,
    out: Path,
    *,
    model: str,
    folder: str,
    box: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> str:
    """The text of a commented system.yaml.

    Args:
        name: of the run.
        molecules: entries of `system:`, their paths relative to `out`.
        sampling: how long the run is.
        forcefield: gives time step, friction and environment.
        out: the file that will hold the text.
        model: how the file names the force field.
        folder: the run folder.
        box: edges of the periodic box, with units; (): none.
        overrides: "dynamics.temperature=310 K", each replaces what would be written.

    Raises:
        InputError: an override that is no sound value; names the key.
    """
    dynamics = {"timestep": "4 fs", "friction": "1 /ps", **forcefield.dynamics}
    around = forcefield.environment
    kelvin = "300 K" if around is None else show_quantity(around.temperature, "temperature", ("K",))
    given: dict[str, Any] = {
        "mdflash": 1,
        "name": name,
        "system": molecules[0] if len(molecules) == 1 else list(molecules),
        "model": {"forcefield": model},
        "dynamics": {**dynamics, "temperature": kelvin, "steps": sampling.steps, "minimize": MINIMIZE},
        "replicas": {"count": sampling.replicas},
        "output": {"trajectory": {"format": "none"}, "log": {"interval": dynamics["timestep"]}},
    }
    if box:
        given["box"] = list(box)
    if around is not None:
        own = around.describe()
        given["environment"] = {key: own[key] for key in ("ionic_strength", "pH") if key in forcefield.needs}
    interval = (
        f"{sampling.every * parse_run(json.dumps(given), out, [*_timestep(overrides)]).dynamics.timestep:.15g} ps"
    )
    given["output"] = {"folder": folder, "trajectory": {"interval": interval}, "log": {"interval": interval}}
    data = to_data(parse_run(json.dumps(given), out, overrides))
    set_ = {text.partition("=")[0].strip() for text in overrides}
    as_given, _ = apply_overrides(given, overrides)
    data["system"], data["box"], data["model"]["forcefield"] = as_given["system"], as_given.get("box", "none"), model
    data["dynamics"] |= {key: value for key, value in dynamics.items() if f"dynamics.{key}" not in set_}
    if "output.folder" not in set_:
        data["output"]["folder"] = folder
    return commented_yaml(data)


def _timestep(overrides: Sequence[str]) -> list[str]:
    found = [text for text in overrides if text.partition("=")[0].strip() == "dynamics.timestep"]
    return [*found, *(f"output.log.interval={text.partition('=')[2]}" for text in found[-1:])]

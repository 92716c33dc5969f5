"""What the weights of frames say: the plan of `mdflash train`, and the free energy along windows as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mdflash.core.plural import plural

if TYPE_CHECKING:
    from mdflash.analysis.free_energy import Surface
    from mdflash.training.weights import Along, FrameWeights

SHOWN = 8
"""Values of a free energy in one line."""
_UNIT = {"length": (1.0, "Å"), "angle": (180.0 / math.pi, "°"), None: (1.0, "")}


def rows(name: str, found: FrameWeights) -> dict[str, str]:
    """Rows of the plan, for the weights of one molecule."""
    import numpy as np

    link = f", weakest overlap {found.overlap:.2g}" if len(found.states) > 1 else ""
    said = {
        f"weights of {name}": f"{found.effective:,.0f} effective frames of {len(found.values):,} at "
        f"{found.temperature:g} K, from {plural(len(found.states), 'state')}{link}"
    }
    for along, profile in profiles(found):
        size, unit = _UNIT[along.dimension]
        seen = np.flatnonzero(np.isfinite(profile.energy))
        pick = seen[np.unique(np.linspace(0, len(seen) - 1, SHOWN).round().astype(int))]
        middle = 0.5 * size * (profile.edges[0][1:] + profile.edges[0][:-1])
        noise = found.error(along.values, profile.edges[0])[pick]
        noise = math.sqrt(float(np.square(noise[np.isfinite(noise)]).mean())) if np.isfinite(noise).any() else math.nan
        said[f"free energy of {name} along {along.variable}"] = (
            ", ".join(f"{profile.energy[k]:.1f} at {middle[k]:.3g}{' ' if unit != '°' else ''}{unit}" for k in pick)
            + f" (kcal/mol, ± {noise:.2g})"
        )
    return said


def profiles(found: FrameWeights) -> Iterator[tuple[Along, Surface]]:
    """The free energy at the temperature of the weights, along each variable of windows."""
    from mdflash.analysis.free_energy import surface

    used = found.values > 0
    for along in found.along:
        yield (
            along,
            surface((along.variable,), (along.values[used],), found.temperature, found.values[used]),
        )


def draw(folder: Path, named: Sequence[tuple[str, FrameWeights]]) -> list[Path]:
    """Write the free energies as MOLECULE-VARIABLE.png; returns their paths.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    import numpy as np

    from mdflash.analysis.report.figure import Line, Plot
    from mdflash.analysis.report.files import png
    from mdflash.core.files import atomic_write
    from mdflash.core.optional import require
    from mdflash.core.regular import own_folder

    if any(found.along for _, found in named):
        require("matplotlib", "analysis", "a picture of the weights")
        own_folder(folder)
    written = []
    for name, found in named:
        for along, profile in profiles(found):
            size, unit = _UNIT[along.dimension]
            x = 0.5 * size * (profile.edges[0][1:] + profile.edges[0][:-1])
            plot = Plot(
                "weights", f"{name}: free energy of the weighted frames at {found.temperature:g} K", "",
                along.variable + (f" / {unit}" if unit else ""), "free energy / kcal/mol",
                [Line("", x, np.asarray(profile.energy))],
            )  # fmt: skip
            file = folder / f"{name}-{along.variable.replace(' ', '-')}.png"
            atomic_write(file, png(plot))
            written.append(file)
    return written

"""How long mapped forces remember themselves: what `interval` of a sampling recipe is worth its frames.

    python studies/2026-11-force-noise/force_noise.py RECIPE [--length 160]

Simulates the recipe's first molecule all-atom from each of its starts, maps forces every 20 fs, and writes their
autocorrelation (of the fluctuation about the mean, summed over components) to force_noise.json beside this
file. Frames farther apart than the memory are as good as independent samples of the noise.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path

import numpy as np

from mdflash import __version__
from mdflash.mapping.allatom import create_context, frame
from mdflash.sampling.recipe import load_recipe
from mdflash.sampling.setup import prepare_molecule

EVERY, SETTLING = 0.02, 20.0  # ps
LAGS = (1, 2, 3, 4, 5, 10, 15, 25, 50, 100, 500)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--length", type=float, default=160.0, help="ps from each start")
    options = parser.parse_args()
    recipe = load_recipe(options.recipe)
    molecule = prepare_molecule(recipe.molecule[0], recipe.mapping)
    starts, temperature = molecule.relaxed(), recipe.temperatures[0]
    force_map = molecule.force_map(starts, recipe, print)
    found = []
    for k, start in enumerate(starts):
        context = create_context(molecule.system, temperature, recipe.timestep, recipe.friction, recipe.seed + k)
        context.setPositions(start / 10.0)
        context.setVelocitiesToTemperature(temperature, recipe.seed + k)
        context.getIntegrator().step(recipe.steps(SETTLING))
        forces = []
        for _ in range(round(options.length / EVERY)):
            context.getIntegrator().step(recipe.steps(EVERY))
            forces.append(force_map @ frame(context)[1])
        f = np.array(forces) - np.mean(forces, axis=0)
        variance = float((f**2).mean())
        memory = {f"{lag * EVERY:g}": round(float((f[lag:] * f[:-lag]).mean()) / variance, 4) for lag in LAGS}
        found.append({"start": k, "variance": round(variance, 1), "autocorrelation_by_ps": memory})
        print(found[-1])
    result = {
        "date": datetime.date.today().isoformat(),
        "mdflash": __version__,
        "recipe": recipe.name,
        "mapping": recipe.mapping,
        "aggregation": recipe.aggregation,
        "temperature_K": temperature,
        "ps_from_each_start": options.length,
        "starts": found,
    }
    file = Path(__file__).parent / "force_noise.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(f"wrote {file}")

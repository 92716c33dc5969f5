"""What the moving molecule of the page needs: positions in 16 bits, turned onto one structure, and what colors them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from mdflash.analysis.measures import superpose
from mdflash.analysis.result import MoleculeAnalysis
from mdflash.core.geometry import long_axis
from mdflash.core.types import FloatArray

MOST_REPLICAS = 64


def view(m: MoleculeAnalysis) -> dict[str, Any] | None:
    """For the page's script; None without frames."""
    molecule = m.sample.molecule
    tracks = [t for t in m.sample.tracks if len(t.positions)][:MOST_REPLICAS]
    if not tracks:
        return None
    target = next((x for x in (molecule.reference, molecule.start) if x is not None), tracks[0].positions[0])
    center = target.mean(axis=0)
    if molecule.many and molecule.box is not None:
        axis, center = long_axis(molecule.box), np.array(molecule.box) / 2
        along = [axis, (axis + 1) % 3, (axis + 2) % 3]  # of the screen, as wide as it is
        turned = [(t.positions - center)[:, :, along] for t in tracks]
    elif molecule.system.n_beads > 2:
        turned = [superpose(t.positions, target) - center for t in tracks]
    else:
        turned = [t.positions - center for t in tracks]
    largest = max(float(np.abs(x).max()) for x in (*turned, target - center)) or 1.0
    kelvin = m.sample.temperatures
    bonds = molecule.system.bonds
    if not len(bonds):
        bonds = np.array(
            [
                [a, b]
                for _, rows in molecule.chains
                for a, b in zip(molecule.trace[rows[:-1]], molecule.trace[rows[1:]], strict=True)
            ]
        )
    chains = [k for k, (_, rows) in enumerate(molecule.chains) for _ in rows]
    return {
        "name": molecule.name,
        "beads": molecule.system.n_beads,
        "scale": largest / 32767.0,
        "bonds": bonds.reshape(-1, 2).tolist(),
        "residue": molecule.system.residue_index.tolist(),
        "chain": [chains[r] for r in molecule.system.residue_index],
        "labels": [molecule.label(r) for r in range(molecule.system.n_residues)],
        "rmsf": _fluctuation(m),
        "reference": None if molecule.reference is None else _pack(molecule.reference - center, largest),
        "observables": [{"name": o.name, "title": o.title, "unit": o.unit} for o in m.sample.observables],
        "replicas": [
            {
                "id": t.replica,
                "time": np.round(t.times[t.view], 4).tolist(),
                "kelvin": [
                    float(k) if np.isfinite(k) and (not m.annealed or time > m.annealed) else None
                    for k, time in zip(kelvin[t.states[t.view]], t.times[t.view], strict=True)
                ],
                "values": {o.name: np.round(t.values[o.name][t.view], 4).tolist() for o in m.sample.observables}
                | _components(m, t.positions),
                "positions": _pack(x, largest),
            }
            for t, x in zip(tracks, turned, strict=True)
        ],
    }


def _components(m: MoleculeAnalysis, positions: FloatArray) -> dict[str, list[float]]:
    """The slow components of the shown frames."""
    if m.kinetics is None:
        return {}
    first, second = np.round(m.kinetics.project(positions), 4).T.tolist()
    return {"tic1": first, "tic2": second}


def _fluctuation(m: MoleculeAnalysis) -> list[float] | None:
    found = m.sample.profiles.get("fluctuation", {})
    if m.focus in found:
        return [round(float(x), 3) for x in found[m.focus].values["rmsf"]]
    return None


def _pack(x: FloatArray, largest: float) -> str:
    """Positions as base64 of little-endian 16-bit numbers."""
    return base64.b64encode((x / largest * 32767.0).round().astype("<i2").tobytes()).decode()

"""Radii of gyration of short disordered proteins in CALVADOS 2, against those that its authors published.

    python studies/2026-11-calvados-rg/calvados_rg.py --folder data/calvados-rg --length '10 ns'
    python studies/2026-11-calvados-rg/calvados_rg.py --folder data/calvados-rg --analyze-only

Each protein runs at its own temperature, pH and ionic strength: 20 replicas from different coils. Rg is weighted by the
masses of the table (ends of the chain without their two and sixteen Da), as in the published data; <Rg> is its mean. The
error is that of the mean over replicas, which are independent.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import mdflash
from mdflash.config.compose import compose
from mdflash.config.load import load_run
from mdflash.runs.execute import execute

PUBLISHED = {
    # name: T (K), pH, I (M), <Rg> (nm), its error, the same of five runs (nm), sequence
    "NLS": (296, 7.4, 0.15, 1.90343, 0.01172, 1.90607, "ACETNKRKREQISTDNEAKMQIQEEKSPKKKRKKRSSKANKPPECA"),
    "TRF2_BR": (277, 7.0, 0.15, 1.72738, 0.01032, 1.72529, "GPPGSMAGGGGSSDGSGRAAGRRASRSSGRARRGRHEPGLGGPAERGAG"),
    "HMPVP_NTD": (
        293, 7.5, 0.17, 2.16632, 0.01602, 2.16998, "MSFPEGKDILFMGNEAAKLAEAFQKSLRKPSHKRSQSIIGEKVNTVSETLELPTISRPTKP",
    ),
}  # fmt: skip
"""conf_rg_test_set.csv and rg_test_data.csv of Tesei et al., Nature 626, 897 (2024), doi 10.1038/s41586-023-07004-5."""


def write(folder: Path, name: str) -> Path:
    """A run of one protein."""
    temperature, ph, salt, *_, sequence = PUBLISHED[name]
    ff, file = mdflash.load_forcefield("calvados2"), folder / name / "system.yaml"
    if not file.exists():
        file.parent.mkdir(parents=True)
        file.write_text(compose(
            name, [{"name": name, "sequence": sequence}], len(sequence), ff, file, model="calvados2",
            folder=str(folder.absolute() / name / "run"),
            overrides=[f"dynamics.temperature={temperature} K", f"environment.pH={ph}",
                       f"environment.ionic_strength={salt} M", "dynamics.seed=1"],
        ))  # fmt: skip
    return file


def radii(run: Path, name: str, skip: int) -> np.ndarray:
    """[replicas, frames] Rg in nm, without the first frames."""
    ff = mdflash.load_forcefield("calvados2")
    masses = {t.name: t.mass for t in ff.bead_types}
    system, _ = mdflash.chain_of(PUBLISHED[name][-1], ff, name)
    w = np.array([masses[t] for t in system.types])
    w = w / w.sum()
    found = []
    for x in mdflash.open_run(run).positions.values():
        x = np.asarray(x[skip:])
        center = np.einsum("n,fnx->fx", w, x)
        found.append(np.sqrt(np.einsum("n,fnx->f", w, (x - center[:, None]) ** 2)) / 10.0)
    shortest = min(map(len, found))
    return np.stack([r[:shortest] for r in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--length", default="10 ns")
    parser.add_argument("--skip", type=int, default=10, help="frames left out, 70 ps each")
    parser.add_argument("--analyze-only", action="store_true")
    options = parser.parse_args()
    results = {}
    for name, (*_, rg, error, five, _sequence) in PUBLISHED.items():
        if not options.analyze_only:
            file = write(options.folder, name)
            execute(load_run(file, [f"dynamics.length={options.length}"]), file)
        found = radii(options.folder / name / "run", name, options.skip)
        mean, own = found.mean(), found.mean(axis=1).std(ddof=1) / np.sqrt(len(found))
        both = float(np.hypot(own, error))
        results[name] = {
            "replicas": len(found), "frames": found.shape[1], "rg_nm": float(mean), "error_nm": float(own),
            "published_nm": rg, "published_error_nm": error, "published_five_runs_nm": five,
            "difference_in_errors": float((mean - rg) / both),
        }  # fmt: skip
        halves = [float(h.mean()) for h in np.array_split(found, 2, axis=1)]
        results[name]["halves_nm"] = halves
        print(
            f"{name}: {len(found)} replicas x {found.shape[1]} frames, Rg {mean:.4f} +- {own:.4f} nm (halves {halves[0]:.4f}, "
            f"{halves[1]:.4f}), published {rg:.4f} +- {error:.4f}: {(mean - rg) / both:+.1f} combined errors"
        )
    (options.folder / "calvados_rg.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

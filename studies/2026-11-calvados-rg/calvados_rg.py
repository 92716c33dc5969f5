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
from mdflash.config.compose import compose, of_chain
from mdflash.config.load import load_run
from mdflash.runs.execute import execute

PUBLISHED = {
    # name: T (K), pH, I (M), <Rg> (nm), its error, the same of five runs (nm), sequence
    "NLS": (
        296, 7.4, 0.15, 1.90343, 0.01172, 1.90607,
        "ACETNKRKREQISTDNEAKMQIQEEKSPKKKRKKRSSKANKPPECA",
    ),
    "TRF2_BR": (
        277, 7.0, 0.15, 1.72738, 0.01032, 1.72529,
        "GPPGSMAGGGGSSDGSGRAAGRRASRSSGRARRGRHEPGLGGPAERGAG",
    ),
    "HMPVP_NTD": (
        293, 7.5, 0.17, 2.16632, 0.01602, 2.16998,
        "MSFPEGKDILFMGNEAAKLAEAFQKSLRKPSHKRSQSIIGEKVNTVSETLELPTISRPTKP",
    ),
    "NWASPV": (
        288, 7.0, 0.2, 2.23366, 0.01553, 2.23711,
        "GAMGTAGNKAALLDQIREGAQLKKVEQNSRPVSCSGRDALLDQIRQGIQLKSVADGQESTPPTPAPT",
    ),
    "RpII215_CTD2": (
        293, 7.5, 0.12, 2.27472, 0.02017, 2.24190,
        "YSPGNAYSPSSSNYSPNSPSYSPTSPSYSPSSPSYSPTSPCYSPTSPSYSPTSPNYTPVTPSYSPTSPNYSASPQ",
    ),
    "HeV_PNT3_CTD": (
        293, 7.2, 0.12, 2.24586, 0.01961, 2.26102,
        "MSYYHHHHHHLESTSLYKKAGFTPTEEPPVIPEYYYGSGRRGDLSKSPPRGNVNLDSIKIYTSDDEDENQLEYEDEF",
    ),
    "NUS": (
        296, 7.4, 0.15, 2.40189, 0.01816, 2.40537,
        "GCPSASPAFGANQTPTFGQSQGASQPNPPGFGSISSSTALFPTGSQPAPPTFGTVSSSSQPPVFGQQPSQSAFGSGTTPNCA",
    ),
    "SMAD_linker": (
        283, 7.2, 0.17, 2.85341, 0.02147, 2.82451,
        "GPLPPVLVPRHTEILTELPPLDDYTHSIPENTNFPAGIEPQSNYIPETPPPGYISEDGETSDQQLNQSMDTGSPAELSPTTLSPVNHSLD",
    ),
    "GRB14_PIR": (
        293, 8.0, 0.13, 2.64658, 0.02353, None,
        "YGMQLYQNYMHPYQGRSGCSSQSISPMRSISENSLVAMDFSGQKSRVIENPTEALSVAVEEGLAWRKKGCLRLGTHGSPTASSQSSATNMAIHRSQPW",
    ),
    "IBB": (
        296, 7.4, 0.15, 2.81444, 0.02753, None,
        "GCTNENANTPAARLHRFKNKGKDSTEMRRRRIEVNVELRKAKKDDQMLKRRNVSSFPDDATSPLQENRNNQGTVNWSVDDIVKGINSSNVENQLQATCA",
    ),
    "Fez1": (
        293, 7.4, 0.15, 3.76892, 0.02674, None,
        "QIQEEEETLQDEEVWDALTDNYIPSLSEDWRDPNIEALNGNCSDTEIHEKEEEEFNEKSENDSGINEEPLLTADQVIEEIEEMMQNSPDPEEEEEVLEEEDGG",
    ),
    "P300": (
        293, 7.5, 0.17, 3.31064, 0.03558, None,
        "MRGSHHHHHHGMASMTGGQQMGRDLYDDDDKDHPSTISPLKPGTVSQQALQNLLRTLRSPSSPLQQQQVLSILHANPQLLAAFIKQRAAKYANSNPQPIPGQPGMPQGQPGLQPPTMPGQQGVHSNPAMQNMNPMQAGVQR",
    ),
}  # fmt: skip
"""conf_rg_test_set.csv and rg_test_data.csv of Tesei et al., Nature 626, 897 (2024), doi 10.1038/s41586-023-07004-5."""

A1S = "GSMASASSSQRGRSGSGNFGGGRGGGFGGNDNFGRGGNFSGRGGFGGSRGGGGYGGSGDGYNGFGNDGSNFGGGGNYNNQSSNFGPMKGGNFGGRSSGPYGGGGQYFAKPRNQGGYGGSSSSSSYGSGRRF"
MEASURED = {f"A1S_{round(1000 * salt):03d}mM": (293, 7.5, salt, rg, error, A1S)
            for salt, rg, error in ((0.05, 2.645, 0.02), (0.15, 2.65, 0.02), (0.3, 2.62, 0.02), (0.5, 2.528, 0.02))}  # fmt: skip
"""A1-LCD with fewer aromatic residues in salt, by SAXS: the values that CALVADOS's authors compare with (`src/rawdata.py` of
KULL-Centre/_2024_Cao_CALVADOSCOM)."""
PROTEINS = PUBLISHED | MEASURED


def write(folder: Path, name: str) -> Path:
    """A run of one protein."""
    temperature, ph, salt, *_, sequence = PROTEINS[name]
    ff, file = mdflash.load_forcefield("calvados2"), folder / name / "system.yaml"
    if not file.exists():
        file.parent.mkdir(parents=True)
        file.write_text(compose(
            name, [{"name": name, "sequence": sequence}], of_chain(len(sequence)), ff, file, model="calvados2",
            folder=str(folder.absolute() / name / "run"),
            overrides=[f"dynamics.temperature={temperature} K", f"environment.pH={ph}",
                       f"environment.ionic_strength={salt} M", "dynamics.seed=1"],
        ))  # fmt: skip
    return file


def radii(run: Path, name: str, skip: int) -> np.ndarray:
    """[replicas, frames] Rg in nm, without the first frames."""
    ff = mdflash.load_forcefield("calvados2")
    masses = {t.name: t.mass for t in ff.bead_types}
    system, _ = mdflash.chain_of(PROTEINS[name][-1], ff, name)
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
    parser.add_argument("--only", nargs="+", choices=PROTEINS, default=list(PROTEINS))
    options = parser.parse_args()
    results = {}
    for name in options.only:
        rg, error = PROTEINS[name][3:5]
        if not options.analyze_only:
            file = write(options.folder, name)
            execute(load_run(file, [f"dynamics.length={options.length}"]), file)
        found = radii(options.folder / name / "run", name, options.skip)
        mean, own = found.mean(), found.mean(axis=1).std(ddof=1) / np.sqrt(len(found))
        both = float(np.hypot(own, error))
        against = "published" if name in PUBLISHED else "experiment"
        results[name] = {
            "replicas": len(found), "frames": found.shape[1], "rg_nm": float(mean), "error_nm": float(own),
            f"{against}_nm": rg, f"{against}_error_nm": error,
            "difference_in_errors": float((mean - rg) / both), "difference_in_percent": float(100 * (mean / rg - 1)),
        }  # fmt: skip
        if name in PUBLISHED:
            results[name]["published_five_runs_nm"] = PUBLISHED[name][5]
        halves = [float(h.mean()) for h in np.array_split(found, 2, axis=1)]
        results[name]["halves_nm"] = halves
        print(
            f"{name}: {len(found)} replicas x {found.shape[1]} frames, Rg {mean:.4f} +- {own:.4f} nm (halves {halves[0]:.4f}, "
            f"{halves[1]:.4f}), {against} {rg:.4f} +- {error:.4f}: {(mean - rg) / both:+.1f} combined errors, "
            f"{100 * (mean / rg - 1):+.1f} %", flush=True,
        )  # fmt: skip
    (options.folder / "calvados_rg.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Prove that a refactoring changed no bit: runs, energies, forces and trainings, with the code before and after it.

    python tools/same_bits.py record OUT.json [--folder DIR] [--reference ../shared/reference] [--only NAME ...]
    python tools/same_bits.py compare OUT.json [--folder DIR] [--only NAME ...]

`record` writes inputs into the folder (run files, force fields, frames, a dataset), does every task with the code
before, and keeps a SHA-256 of each file and array that must stay the same in OUT.json, and the arrays in OUT.npz. It
leaves runs in the folder that were stopped halfway, by SIGKILL, by SIGTERM and by fewer steps. `compare` does the tasks
again with the code after, from the same inputs, continues copies of those runs, and prints what differs.

The tool knows the command line and the public names of `mdflash`, not its modules, so it fits any version. It takes the
one that Python imports; PYTHONPATH chooses another checkout. NAME may be a pattern: 'go/*'.

Digests are valid on one machine only: compilers use what its processor has, and libraries sum in an order of their own.
Kernels that a process has just compiled may round otherwise than the same kernels from numba's cache (those of training
do). So `record` does each task until it leaves the same twice in a row, and `compare` does what differs a second time.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import h5py
import mdtraj
import numpy as np
import numpy.typing as npt
import torch
import yaml
from safetensors.numpy import load_file

import mdflash

Found = dict[str, npt.NDArray[Any]]
"""What a task leaves, by name; text and files as bytes."""

SHIPPED: Final = ("go-chignolin", "teacher-chignolin", "chignolin-ca", "ala2", "teacher-1enh")
NO_MOLECULE: Final = "mlcg-trpcage-5b"
MLCG: Final = {
    "mlcg-cln-ca": "schnet_cln_ca_specialized_model_and_config.pt",
    "mlcg-cln-ca-priors": "sparse_prior_cln_ca.pt --structures structures_cln_ca.pt",
    "mlcg-cln-5b": "prior.pt --structures structures_cln_5b.pt",
    "mlcg-cln-5b-sparse": "sparse_prior_cln_5b.pt --structures cln_configurations_demo.pt",
    "mlcg-1enh-5b": "1enh_5b_random_schnet_exp_schnet.pt prior.pt --structures 1enh_5b_configurations.pt",
    NO_MOLECULE: "prior_tag_prior_model.pt",
}
"""Models in the reference folder, as `mdflash import mlcg` takes them."""

RUNS: Final = """
go/middle: {of: {go-chignolin: 3}, dynamics: {remove_com_motion: true, temperature: [300 K, 350 K, 400 K]}}
go/baoab: {dynamics: {integrator: langevin-baoab, friction: 5 /ps}, output: {trajectory: {format: dcd}}}
go/verlet: {dynamics: {integrator: verlet}}
go/brownian: {dynamics: {integrator: brownian, friction: 20 /ps}, output: {trajectory: {format: xtc}}}
go/minimized: {start: true, dynamics: {minimize: 40}}
go/reference: {dynamics: {steps: 100}, model: {kernels: reference}}
go/box: {box: [32 angstrom, 30 angstrom, 34 angstrom], dynamics: {temperature: 600 K, steps: 4000},
         output: {trajectory: {format: xtc}}}
go/exchange: {of: {go-chignolin: 8}, dynamics: {temperature: none, steps: 40000}, half: {signal: SIGKILL, at: 6000},
              exchange: {temperatures: {min: 300 K, max: 450 K, count: 4}, interval: 0.8 ps},
              output: {trajectory: {format: xtc, interval: 8 ps}, log: {interval: 8 ps}, checkpoint: {interval: 8 ps}}}
go/scale: {of: {go-chignolin: 8}, hardware: {threads: 2}, exchange: {scheme: gibbs, interval: 0.2 ps,
           scale: {contacts: {min: 0.7, max: 1, count: 4}}}}
go/hamiltonian: {of: {go-chignolin: 4}, dynamics: {temperature: none},
                 biases: [{name: pull, variable: distance, beads: [0, 9], force_constant: 0.5 kcal/mol/angstrom^2,
                           center: {min: 5 angstrom, max: 14 angstrom, count: 4}}],
                 exchange: {temperatures: [300 K, 310 K, 325 K, 340 K], biases: [pull], interval: 0.2 ps,
                            scale: {contacts: [1, 0.95, 0.9, 0.8]}}}
go/biased: {of: {go-chignolin: 4}, dynamics: {steps: 20000}, half: {signal: SIGTERM, at: 2000},
            output: {trajectory: {interval: 4 ps}, log: {interval: 4 ps}, colvars: {interval: 0.8 ps},
                     checkpoint: {interval: 4 ps}},
            biases: [{name: ends, variable: distance, beads: [[0, 1], [8, 9]], center: {min: 4 angstrom,
                      max: 20 angstrom, count: 4}, force_constant: 1 kcal/mol/angstrom^2},
                     {name: bend, variable: angle, beads: [0, 4, 9], center: 60 degree,
                      force_constant: 4 kcal/mol/rad^2},
                     {name: twist, variable: dihedral, beads: [1, 3, 6, 8], center: -170 degree, form: flat-bottom,
                      width: 20 degree, force_constant: 3 kcal/mol/rad^2},
                     {name: place, variable: position, beads: [4, 5], force_constant: 0.2 kcal/mol/angstrom^2},
                     {name: shape, variable: rmsd, center: 3 angstrom, force_constant: 0.5 kcal/mol/angstrom^2},
                     {name: size, variable: radius_of_gyration, form: linear, force_constant: -0.3 kcal/mol/angstrom},
                     {name: fold, variable: native_contacts, center: 0.6, force_constant: 9 kcal/mol}]}
go/hills: {of: {go-chignolin: 6}, dynamics: {steps: 20000}, half: {signal: SIGKILL, at: 2000}, hardware: {threads: 2},
           output: {trajectory: {interval: 4 ps}, log: {interval: 1 ps}, colvars: {interval: 0.8 ps},
                    checkpoint: {interval: 1.6 ps}},
           metadynamics: [{name: fold, walkers: 3, height: 0.1 kcal/mol, bias_factor: 6, every: 0.4 ps, variables:
                           [{name: q, variable: native_contacts, width: 0.02}]},
                          {name: shape, height: 0.1 kcal/mol, bias_factor: 5, every: 0.6 ps, variables: &two
                           [{name: ends, variable: distance, beads: [0, 9], width: 0.5 angstrom,
                             grid: {min: 2 angstrom, max: 25 angstrom}},
                            {name: twist, variable: dihedral, beads: [0, 3, 6, 9], width: 15 degree}]}]}
go/opes: {of: {go-chignolin: 4}, dynamics: {steps: 20000}, half: {signal: SIGTERM, at: 2000},
          output: {trajectory: {interval: 4 ps}, log: {interval: 1 ps}, colvars: {interval: 0.8 ps},
                   checkpoint: {interval: 1.6 ps}}, guards: {nonfinite: freeze},
          metadynamics: [{name: fold, method: opes, walkers: 2, barrier: 6 kcal/mol, every: 0.4 ps, variables: *two},
                         {name: q, method: opes, barrier: 4 kcal/mol, every: 0.2 ps, variables:
                          [{name: contacts, variable: native_contacts, width: 0.02}]}]}
go/ensemble: {of: {go-chignolin: 12}, dynamics: {steps: 10000}, hardware: {threads: 2},
              weighted_ensemble: {name: ends, variable: distance, beads: [0, 9], every: 0.2 ps,
                                  bins: {min: 4 angstrom, max: 20 angstrom, count: 4}}}
net/hills: {of: {chignolin-ca: 4}, dynamics: {steps: 400}, hardware: {threads: 2}, metadynamics:
            [{name: fold, height: 0.1 kcal/mol, bias_factor: 6, every: 80 fs, variables: [{name: ends,
              variable: distance, beads: [0, 9], width: 0.5 angstrom, grid: {min: 2 angstrom, max: 35 angstrom}}]}]}
go/retry: {of: {go-chignolin: 4}, guards: {nonfinite: retry, max_force: 20 kcal/mol/angstrom}, dynamics: &long
           {timestep: 44 fs, steps: 3000}, output: &longer {trajectory: {interval: 4.4 ps}, log: {interval: 4.4 ps},
                                                            checkpoint: {interval: 44 ps}}}
go/freeze: {of: {go-chignolin: 3}, dynamics: {temperature: [320 K, 100000 K, 300 K]}, guards: {nonfinite: freeze}}
go/pair: &pair {of: {go-chignolin: 4, go-helix: 8}, dynamics: {temperature: none, minimize: 3},
                exchange: {temperatures: [300 K, 340 K, 390 K, 450 K], interval: 0.2 ps},
                biases: [{name: ends, variable: distance, beads: [0, 5], system: go-helix, center: 8 angstrom,
                          force_constant: 0.1 kcal/mol/angstrom^2}]}
go/pair-2-ranks: {<<: *pair, ranks: 2}
net/ca: {of: {chignolin-ca: 2}, dynamics: {steps: 4000}, half: {signal: SIGKILL, at: 600},
         output: {trajectory: {interval: 0.4 ps}, log: {interval: 0.8 ps}, checkpoint: {interval: 0.4 ps}}}
net/ala2: {of: {ala2: 3}, dynamics: {timestep: 2 fs, integrator: langevin-baoab}, model: {precision: fp64},
           output: {trajectory: {format: xtc}}}
net/mixed16: {of: {teacher-chignolin: 2}, model: {precision: mixed16}, output: {trajectory: {format: dcd}}}
net/large: {of: {teacher-1enh: 1}, dynamics: {steps: 40}, hardware: {threads: 2}}
net/respa: {of: {teacher-chignolin: 2}, dynamics: {network_every: 2, steps: 600}, half: {steps: 200}}
net/retry: {of: {teacher-chignolin: 2}, guards: {nonfinite: retry}, dynamics: {<<: *long, network_every: 2},
            output: *longer}
net/exact: {of: {ala2: 2}, dynamics: {timestep: 2 fs, steps: 40}, model: {filters: exact}}
net/reference: {of: {chignolin-ca: 2}, dynamics: {steps: 20}, model: {kernels: reference, precision: fp64}}
net/biased: {of: {chignolin-ca: 2}, dynamics: {network_every: 2}, box: [60 angstrom, 60 angstrom, 60 angstrom],
             biases: [{name: shape, variable: rmsd, center: [0 angstrom, 3 angstrom],
                       force_constant: 2 kcal/mol/angstrom^2}]}
net/pair: {of: {chignolin-ca: 2, ala2: 2, go-helix: 1}, dynamics: {timestep: 2 fs}, hardware: {threads: 2}}
net/exchange-2-ranks: {of: {teacher-chignolin: 4}, dynamics: {temperature: none}, ranks: 2,
                       exchange: {temperatures: [300 K, 310 K, 320 K, 330 K], interval: 80 fs}}
net/backbones: {of: {net-geometric: 2, net-hyper: 2, net-delta: 2, net-mgt: 2, net-prenorm: 2}}
net/geometric: {of: {net-geometric: 1}, model: {precision: mixed16}, dynamics: {network_every: 2}}
net/mlcg: {of: {mlcg-cln-ca: 2}, dynamics: {integrator: langevin-baoab}, model: {precision: fp64}}
train/geometric: {backbone: {rule: geometric, streams: 3, mixing: sinkhorn, accumulate: true},
                  training: {optimizer: soap}}
train/hyper: {backbone: {rule: hyper, streams: 2}, data: {decoys: {share: 0.2}}}
train/delta: {backbone: {rule: delta, streams: 2}, training: {energy_weight: 0.01, contact_weight: 100}}
train/mgt: {backbone: {rule: mgt}, priors: {key: types}, training: {torsion_weight: 20, learn_torsions: true}}
train/prenorm: {backbone: {rule: prenorm, tied: true}, training: {kernels: reference}}
"""
"""What a run file or a recipe says beside `DEFAULTS`. `of`: replicas by force field; `half`: how it is also stopped."""

DEFAULTS: Final = """
go: {mdflash: 1, of: {go-chignolin: 2}, dynamics: {timestep: 4 fs, seed: 7, temperature: 320 K, steps: 1200},
     output: {trajectory: {interval: 0.4 ps}, log: {interval: 0.2 ps}, colvars: {interval: 0.2 ps},
              checkpoint: {interval: 1.6 ps}}, hardware: {device: cpu, threads: 1}}
net: {mdflash: 1, dynamics: {timestep: 4 fs, seed: 7, temperature: 320 K, steps: 120},
      output: {trajectory: {interval: 80 fs}, log: {interval: 40 fs}, colvars: {interval: 40 fs},
               checkpoint: {interval: 160 fs}}, hardware: {device: cpu, threads: 1}}
train: {mdflash: 1, data: {validation: 0.3}, priors: {key: beads},
        network: {cutoff: 10 angstrom, features: 16, blocks: 4, basis_size: 12},
        training: {epochs: 2, batch: 16, learning_rate: 5.0e-3, warmup: 5, seed: 3}}
"""


def merged(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """`base` with what `more` says, section by section."""
    sections = {key for key in base.keys() & more.keys() if isinstance(more[key], dict) and key != "of"}
    return base | more | {key: merged(base[key], more[key]) for key in sections}


SPECS: Final = {
    name: merged(yaml.safe_load(DEFAULTS)[name.partition("/")[0]], spec) for name, spec in yaml.safe_load(RUNS).items()
}


# --- what tasks leave --------------------------------------------------------------------------------------------


def as_bytes(what: object) -> npt.NDArray[np.uint8]:
    """Bytes as they are, all else as the text of its JSON."""
    data = what if isinstance(what, bytes) else json.dumps(what, sort_keys=True, default=repr).encode()
    return np.frombuffer(data, np.uint8)


def content(folder: Path) -> Found:
    """Every file below a folder, and every array in it, but those with dates, speeds and paths."""
    skipped = ("manifest.json", "resolved.yaml", "input.yaml", "recipe.yaml", "lock")
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name not in skipped and f.suffix != ".png")
    return {
        f"{file.relative_to(folder).as_posix()} {name}".strip(): np.asarray(value)
        for file in files
        for name, value in file_content(file).items()
    }


def file_content(file: Path) -> Found:
    """The arrays of a file by name; "" is the file itself."""
    if file.suffix == ".npz":
        with np.load(file) as archive:
            found = {name: archive[name] for name in archive.files}
        if "header" in found:  # of a checkpoint
            header = json.loads(str(found["header"]))
            found["header"] = as_bytes({key: value for key, value in header.items() if key != "version"})
        return found
    if file.suffix == ".h5":
        found = {}

        def visit(name: str, item: Any) -> None:
            found[f"{name} attributes"] = as_bytes({key: np.asarray(item.attrs[key]).tolist() for key in item.attrs})
            if isinstance(item, h5py.Dataset):
                value = np.asarray(item[()])
                found[name] = as_bytes(value.tolist()) if value.dtype.kind in "OSU" else value

        with h5py.File(file) as h5:
            visit("", h5)
            h5.visititems(visit)
        return found
    if file.suffix == ".safetensors":
        tensors = [tensor.ravel().astype(np.float64) for _, tensor in sorted(load_file(file).items())]
        return {"": as_bytes(file.read_bytes()), "numbers": np.concatenate(tensors)}
    data = file.read_bytes()
    if file.name == "events.jsonl":  # those that do not depend on where a run was stopped
        events = [json.loads(line) for line in data.splitlines()]
        kept = [e | {"time": ""} for e in events if e["event"] not in ("start", "resume", "stopped", "finished")]
        return {"": as_bytes(kept)}
    if file.suffix == ".xtc":
        with mdtraj.open(str(file)) as trajectory:
            return {"": as_bytes(data), "positions": trajectory.read()[0]}
    if file.suffix == ".yaml":
        data = re.sub(rb"\n *mdflash: \d+\.\d+.*", b"", data)  # a version
    return {"": as_bytes(data)}


def digests(found: Found) -> dict[str, str]:
    """SHA-256 of each array, its type and its shape."""
    return {
        name: hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).hexdigest()
        for name, array in found.items()
    }


def difference(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> str:
    """How far two arrays, or the numbers in two texts, are apart."""
    if old.dtype == new.dtype == np.uint8:
        texts = [a.tobytes().decode(errors="replace") for a in (old, new)]
        old, new = (np.array(re.findall(r"(?<![\w.])-?\d+\.?\d*(?:[eE][-+]?\d+)?", t), np.float64) for t in texts)
    if old.shape != new.shape or old.dtype != new.dtype:
        return f"was {old.dtype} {old.shape}, is {new.dtype} {new.shape}"
    if old.dtype.kind not in "fiu" or not old.size:
        return ""
    return f"max abs difference {np.abs(old.astype(np.float64) - new.astype(np.float64)).max():.3g}"


# --- tasks -------------------------------------------------------------------------------------------------------


def start(*words: object, ranks: int = 1, threads: int = 1) -> subprocess.Popen[str]:
    """`mdflash WORDS`, of the package that is imported here."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "mdflash", *map(str, words)], text=True, cwd=tempfile.gettempdir(),
        env=os.environ | {"PYTHONPATH": str(Path(str(mdflash.__file__)).parents[1]), "NUMBA_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def call(*words: object, ranks: int = 1, threads: int = 1) -> None:
    """`mdflash WORDS`, to its end."""
    process = start(*words, ranks=ranks, threads=threads)
    said = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"mdflash {' '.join(map(str, words))}: exit code {process.returncode}\n{said[-3000:]}")


def newest_step(run: Path) -> int:
    return max((int(f.stem[5:]) for f in (run / "checkpoint").glob("step_*.npz")), default=-1)


@dataclasses.dataclass(frozen=True)
class Tasks:
    """Tasks by name. Inputs lie in `folder`; those that are missing are made, which happens while recording."""

    folder: Path
    reference: Path | None

    def attempt(self, name: str) -> Found:
        """Do a task in a folder that is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="same-bits-") as work:
            return self.do(name, Path(work) / "out")

    def do(self, name: str, out: Path) -> Found:
        """Do a task; `out` is a folder that does not exist yet."""
        kind, _, rest = name.partition("/")
        if kind == "continue":
            shutil.copytree(self.half(rest), out)
            return {key: value for key, value in self.run(rest, out).items() if not key.startswith("events")}
        if kind in ("go", "net"):
            return self.run(name, out)
        return {"train": self.train, "points": self.points, "python": self.python, "verb": self.verb}[kind](rest, out)

    def forcefield(self, name: str) -> Path:
        """A force field folder."""
        path = self.folder / "forcefields" / name
        if path.is_dir():
            return path
        if name in SHIPPED:
            mdflash.save_forcefield(path, mdflash.load_forcefield(name))
        elif name == "go-helix" or name in MLCG:
            self.make(name, path)
        else:  # a trained network, all of whose weights are shaken, so that no part is idle
            ff = mdflash.load_forcefield(self.train_to(name.replace("net-", ""), self.folder / name))
            network, rng = ff.networks[0], np.random.default_rng(5)
            shaken = {
                key: w if key.startswith("basis") else np.asarray(w + 0.05 * rng.normal(size=w.shape), w.dtype)
                for key, w in sorted(network.weights.items())
            }
            network = dataclasses.replace(network, weights=shaken)
            mdflash.save_forcefield(path, dataclasses.replace(ff, name=name, networks=(network,)))
        return path

    def make(self, name: str, out: Path) -> None:
        """A force field by a verb."""
        if name == "go-helix":
            angle = np.radians(100.0) * np.arange(12)
            x = np.stack([2.3 * np.cos(angle), 2.3 * np.sin(angle), 1.5 * np.arange(12)], axis=1)
            row = "ATOM  {0:5d}  CA  ALA A{0:4d}    {1:8.3f}{2:8.3f}{3:8.3f}  1.00  0.00           C"
            pdb = self.folder / "helix.pdb"
            pdb.write_text("\n".join(row.format(k + 1, *bead) for k, bead in enumerate(x)) + "\nEND\n")
            call("go", pdb, "--out", out, "--epsilon", "0.4 kcal/mol")
        else:
            assert self.reference is not None
            files = [self.reference / "mlcg" / w if w.endswith(".pt") else w for w in MLCG[name].split()]
            call("import", "mlcg", *files, "--out", out, "--name", name)

    def frames(self, name: str) -> Path:
        """Four frames [F, N, 3] about the start of a force field's molecule."""
        path = self.folder / "frames" / f"{name}.npy"
        if not path.is_file():
            start = mdflash.load_forcefield(self.forcefield(name)).systems[0][1]
            assert start is not None
            path.parent.mkdir(exist_ok=True)
            np.save(path, start[0] + 0.1 * np.random.default_rng(11).normal(size=(4, *start[0].shape)))
        return path

    def dataset(self) -> Path:
        """Frames, forces and energies of Gō chignolin."""
        path = self.folder / "data"
        if path.is_dir():
            return path
        ff = mdflash.load_forcefield(self.forcefield("go-chignolin"))
        system, native = ff.system()
        sim = mdflash.Simulation(system, ff, replicas=3, friction="20 /ps", seed=5, device="cpu")
        seen = []
        for _ in range(200):
            sim.run(100)
            seen.append([(r.positions.copy(), r.forces.copy(), 300.0, r.energy, sim.time) for r in sim.replicas])
        (path / "chignolin").mkdir(parents=True)
        for r in range(3):
            with h5py.File(path / "chignolin" / f"{r:03d}.h5", "w") as h5:
                h5.attrs.update({"mdflash_data": 1, "seed": 5, "aggregation": "basic", "biased": False})
                columns = zip(*(frame[r] for frame in seen), strict=True)
                for key, column in zip(("positions", "forces", "temperature", "energy", "time"), columns, strict=True):
                    h5[key] = np.array(column, np.float64 if key in ("energy", "time") else np.float32)
        mdflash.save_system(path / "chignolin" / "system.safetensors", system, native)
        head = {"mdflash_dataset": 1, "mapping": ff.mapping, "molecules": ["chignolin"], "provenance": {}}
        (path / "dataset.yaml").write_text(yaml.safe_dump(head))
        return path

    def run_file(self, name: str) -> Path:
        """The system.yaml of a run; its paths are relative, so the folder may move."""
        path = self.folder / "inputs" / f"{name.replace('/', '-')}.yaml"
        if not path.is_file():
            spec = {key: value for key, value in SPECS[name].items() if key not in ("half", "ranks")}
            start, spec["system"] = spec.pop("start", False), []
            for ff, replicas in spec.pop("of").items():
                (structure,) = (self.forcefield(ff) / "systems").iterdir()
                place = f"../forcefields/{ff}"
                entry = {"name": ff, "replicas": replicas, "forcefield": place}
                entry |= {"structure": f"{place}/systems/{structure.name}"}
                entry |= {"start": f"../frames/{self.frames(ff).name}"} if start else {}
                spec["system"].append(entry)
            path.parent.mkdir(exist_ok=True)
            path.write_text(yaml.safe_dump(spec, sort_keys=False))
        return path

    def run(self, name: str, out: Path) -> Found:
        """A run, or the rest of one."""
        ranks, threads = SPECS[name].get("ranks", 1), SPECS[name]["hardware"]["threads"]
        call("run", self.run_file(name), "--set", f"output.folder={out}", ranks=ranks, threads=threads)
        return content(out)

    def half(self, name: str) -> Path:
        """The folder of a run that was stopped."""
        return self.folder / "half" / name.replace("/", "-")

    def stop_halfway(self, name: str) -> None:
        """Leave a run that is not finished."""
        out, how = self.half(name), SPECS[name]["half"]
        shutil.rmtree(out, ignore_errors=True)
        words = ("run", self.run_file(name), "--set", f"output.folder={out}")
        if "steps" in how:
            call(*words, "--steps", how["steps"])
            return
        process = start(*words)
        while newest_step(out) < how["at"] and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.Signals[how["signal"]])
        said = process.communicate()[0]
        if not how["at"] <= newest_step(out) < SPECS[name]["dynamics"]["steps"]:
            raise RuntimeError(f"{name} ended before it was stopped:\n{said[-3000:]}")

    def train_to(self, name: str, out: Path) -> Path:
        """Train; returns the force field's folder."""
        recipe = out.with_suffix(".yaml")
        where = {"data": {"dataset": str(self.dataset().absolute())}, "folder": str(out)}
        recipe.write_text(yaml.safe_dump(merged(SPECS[f"train/{name}"], where)))
        call("train", recipe, "--threads", 1)
        return out / "forcefield"

    def train(self, name: str, out: Path) -> Found:
        """A training: losses, the state to resume from, the force field."""
        self.train_to(name, out)
        return content(out)

    def points(self, name: str, out: Path) -> Found:
        """Energies and forces: each term in plain torch, and the sum by the compiled kernels, without and in a box."""
        ff, x = mdflash.load_forcefield(self.forcefield(name)), np.load(self.frames(name))
        system, found = ff.systems[0][0], Found()
        layout = mdflash.Layout((system,), (len(x),))
        potential = mdflash.build_potential([ff], layout)
        flat = torch.from_numpy(x - x.mean(axis=1, keepdims=True)).reshape(-1, 3)
        pairs = torch.triu_indices(system.n_beads, system.n_beads, 1)
        first, second = torch.cat([pairs + r * system.n_beads for r in range(len(x))], dim=1)
        near, reach = (flat[second] - flat[first]).norm(dim=1), potential.cutoff or 0.0
        listed = mdflash.Pairs(first[near < reach], second[near < reach], None, reach)
        for dtype in (torch.float64, torch.float32):
            for term, (energy, forces) in potential.by_term(flat.to(dtype), layout, listed).items():
                label = f"plain {str(dtype).removeprefix('torch.')} {term}"
                found |= {f"{label} energy": energy.numpy(), f"{label} forces": forces.numpy()}
        edge = float(max(2.0 * reach, 40.0))
        for precision in ("fp64", "fp32", "mixed16") if ff.networks else ("fp64",):
            evaluate = mdflash.Evaluator(ff, system, len(x), precision)
            for label, box in ((precision, None), (f"{precision} in a box", (edge, edge + 1.0, edge + 2.0))):
                energies, total = evaluate(x.reshape(-1, 3), box)
                found |= {f"{label} energy": energies, f"{label} forces": total}
        return found

    def python(self, name: str, out: Path) -> Found:
        """`Simulation`: with its reporters, or with potentials written in Python, which take the plain loop."""

        class Spring(mdflash.Potential):
            name = "spring"

            def energy_and_forces(self, positions: Any, layout: Any, pairs: Any) -> mdflash.EnergyForces:
                squares = positions.reshape(layout.n_replicas, -1).square().sum(dim=1)
                return mdflash.EnergyForces(0.05 * squares, -0.1 * positions)

        out.mkdir(parents=True)
        if name == "reporters":
            ff = mdflash.load_forcefield(self.forcefield("go-chignolin"))
            sim = mdflash.Simulation(ff.systems[0][0], ff, replicas=3, temperatures="340 K", seed=4, device="cpu")
            sim.minimize(20)
            with mdflash.TrajectoryReporter(out, 100, "xtc") as frames:
                sim.reporters += [mdflash.StateDataReporter(out / "state.csv", 50, 1), frames]
                sim.run(1000)
        else:
            reach = mdflash.FunctionBias("reach", lambda x: 0.02 * (x[:, -1] - x[:, 0]).square().sum(dim=-1))
            ff = mdflash.load_forcefield(self.forcefield("teacher-chignolin"))
            sim = mdflash.Simulation(
                ff.systems[0][0], ff, replicas=2, biases=[Spring(), reach], seed=3, network_every=2, guard="retry",
                exchange={"temperatures": ["300 K", "320 K"], "interval": "80 fs"}, device="cpu",
                kernels={"plain": "auto"}.get(name, name),
            )  # fmt: skip
            sim.run(100)
        names = ("positions", "velocities", "forces", "energy", "temperature")
        return content(out) | {key: getattr(sim.state, key).numpy().copy() for key in names}

    def verb(self, name: str, out: Path) -> Found:
        """Other commands, and files they write."""
        out.mkdir(parents=True)
        if name == "shipped":
            steps = ("dynamics.steps=1200", "dynamics.length=null", "replicas.count=3", "hardware.device=cpu")
            every = [f"output.{what}.interval=1 ps" for what in ("trajectory", "log")]
            given = (*steps, *every, "output.checkpoint.interval=4 ps", f"output.folder={out}")
            call("run", "chignolin", *(word for key in given for word in ("--set", key)))
        elif name == "energy":
            for ff, precision in (("ala2", "fp64"), ("chignolin-ca", "mixed16")):
                files = ("--frames", self.frames(ff), "--out", out / f"{ff}.npz")
                call("energy", self.forcefield(ff), *files, "--precision", precision)
        elif name == "export":
            state = ("--by", "temperature", "--state", 1, "--ladder", 1)
            call("export", self.half("go/exchange"), *state, "--out", out / "state.dcd")
        else:
            self.make("go-helix" if name == "go" else name, out / "ff")
        return content(out)


# --- the two commands --------------------------------------------------------------------------------------------


def task_names(patterns: list[str] | None, without: str | None) -> list[str]:
    """Those that fit a pattern and do not contain `without`, the cheap ones first."""
    runs = [name for name in SPECS if name.startswith("go/")]
    nets = [name for name in SPECS if not name.startswith("go/")]
    fields = [*SHIPPED, *(name.replace("train/", "net-") for name in nets if name.startswith("train/")), *MLCG]
    names = [
        *runs, *(f"verb/{word}" for word in ("shipped", "go", "energy", "export")), "python/reporters", *nets,
        *(f"continue/{name}" for name in SPECS if "half" in SPECS[name]), *(f"verb/{name}" for name in MLCG),
        *("python/plain", "python/reference"), *(f"points/{name}" for name in fields if name != NO_MOLECULE),
    ]  # fmt: skip
    found = [name for name in names if any(fnmatch(name, pattern) for pattern in patterns or ["*"])]
    skipped = [name for name in found if without is not None and without in name]
    if skipped:
        print(f"skipped, for there is no reference folder: {', '.join(skipped)}")
    return [name for name in found if name not in skipped]


def machine() -> dict[str, str]:
    """What digests depend on beside the code."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.is_file() else None
    versions = {name: metadata.version(name) for name in ("numpy", "torch", "numba", "scipy", "h5py", "mdtraj")}
    return {"processor": found[1] if found else platform.processor(), "python": platform.python_version(), **versions}


def record(file: Path, tasks: Tasks, patterns: list[str] | None) -> None:
    """Do the tasks and keep what they leave."""
    kept: dict[str, Any] = {"tasks": {}}
    arrays: dict[str, Any] = {}
    if patterns is None and tasks.folder.exists():
        sys.exit(f"{tasks.folder} exists; remove it, or record single tasks into it with --only")
    if patterns is not None and file.is_file():
        kept = json.loads(file.read_text())
        with np.load(file.with_suffix(".npz")) as archive:
            arrays = dict(archive)
    tasks.folder.mkdir(parents=True, exist_ok=True)
    kept |= {"machine": machine(), "reference": str(tasks.reference.absolute()) if tasks.reference else None}
    try:
        for name in task_names(patterns, None if tasks.reference else "mlcg"):
            if name.startswith("continue/"):  # recorded with the run itself
                continue
            began = time.monotonic()
            (tasks.folder / "inputs" / f"{name.replace('/', '-')}.yaml").unlink(missing_ok=True)
            found, before, tries = tasks.attempt(name), Found(), 1
            while digests(found) != digests(before):
                if tries == 4:
                    raise RuntimeError(f"{name} leaves something else each time")
                found, before, tries = tasks.attempt(name), found, tries + 1
            kept["tasks"][name] = digests(found)
            arrays = {key: value for key, value in arrays.items() if not key.startswith(f"{name}: ")}
            arrays |= {f"{name}: {key}": value for key, value in found.items()}
            if "half" in SPECS.get(name, ()):
                tasks.stop_halfway(name)
                own = {key: value for key, value in kept["tasks"][name].items() if not key.startswith("events")}
                kept["tasks"][f"continue/{name}"] = own
            print(f"{name:<28}{len(found):4d} items {time.monotonic() - began:8.1f} s, {tries} times", flush=True)
    finally:
        file.write_text(json.dumps(kept, indent=1) + "\n")
        np.savez_compressed(file.with_suffix(".npz"), **arrays)


def compare(file: Path, tasks: Tasks, patterns: list[str] | None) -> bool:
    """Do the tasks again, and print what is the same; says whether all is."""
    kept = json.loads(file.read_text())
    for key, value in machine().items():
        if kept["machine"][key] != value:
            print(f"warning: recorded with {key} {kept['machine'][key]}, this is {value}: digests may differ")
    if not tasks.folder.is_dir():
        sys.exit(f"the inputs are not in {tasks.folder}; name their folder with --folder")
    tasks = dataclasses.replace(tasks, reference=Path(kept["reference"] or "nowhere"))
    with np.load(file.with_suffix(".npz")) as archive:
        arrays = dict(archive)

    def check(name: str) -> list[bool]:
        began, wanted, lines = time.monotonic(), kept["tasks"][name], []
        found, now, tries = Found(), dict[str, str](), 0
        while now != wanted and tries < 2:
            try:
                found = tasks.attempt(name)
            except Exception as error:  # the code after cannot do it: a difference like any other
                lines.append(f"{name} failed: {error}")
                found = Found()
            now, tries = digests(found), tries + 1
        keys = sorted(wanted | now)
        for key in keys:
            verdict = "same" if tries == 1 else "same (the second time)"
            if key not in wanted or key not in now:
                verdict = "DIFFERENT: " + ("was not there" if key in now else "is missing")
            elif now[key] != wanted[key]:
                before = arrays[f"{name.removeprefix('continue/')}: {key}"]
                verdict = f"DIFFERENT: {difference(before, found[key])}"
            lines.append(f"{name:<28} {key:<60} {verdict}")
        print(*lines, f"{name:<28} {time.monotonic() - began:.1f} s", sep="\n", flush=True)
        return [now.get(key) == wanted.get(key) for key in keys]

    without = None if tasks.reference and tasks.reference.is_dir() else "verb/mlcg"
    names = [name for name in task_names(patterns, without) if name in kept["tasks"]]
    inner = [name for name in names if name.startswith(("points/", "python/"))]  # in this process, one by one
    with ThreadPoolExecutor(2) as pool:
        outer = pool.map(check, [name for name in names if name not in inner])
    results = [same for task in (*outer, *map(check, inner)) for same in task]
    print(f"{sum(results)} of {len(results)} the same")
    return bool(results) and all(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("record", "compare"))
    parser.add_argument("file", type=Path, metavar="OUT.json")
    parser.add_argument("--folder", type=Path, help="of inputs and unfinished runs; default: OUT, beside OUT.json")
    parser.add_argument("--reference", type=Path, help="folder with models of mlcg, when recording")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these tasks; patterns such as 'go/*'")
    given = parser.parse_args()
    # With more threads plain torch in float32 sums in any order; and what numba starts, OpenMP gives to torch as well.
    os.environ |= {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    torch.set_num_threads(1)
    print(f"mdflash {mdflash.__version__} of {Path(str(mdflash.__file__)).parent}")
    reference = given.reference if given.reference and given.reference.is_dir() else None
    tasks = Tasks((given.folder or given.file.with_suffix("")).absolute(), reference)
    if given.command == "record":
        record(given.file, tasks, given.only)
    elif not compare(given.file, tasks, given.only):
        sys.exit(1)


if __name__ == "__main__":
    main()

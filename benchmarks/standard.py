"""The standard benchmark: `make bench`, or

    python benchmarks/standard.py [--reference ../shared/reference] [--threads N] [--quick] [--out benchmarks/results]

measures on this machine, in one run:

- `1enh-5b`, 269 beads at the published CGSchNet size, folded and extended, 1 to 128 replicas, with time by term, peak
  memory and the error of the forces;
- `chignolin-ca`, 10 beads, mlcg's trained model, 1 to 512 replicas;
- `large`, chains at protein density in a periodic box, 1,000 to 100,000 beads, 1 replica;
- baselines: the same models in plain torch with autograd, and a classical Gō force field on the same beads in OpenMM.

Numbers are whole Langevin steps: neighbors, network, priors, thermostat. The first two systems need mlcg's published
models (the folder --reference) and are left out without them. Results go to a JSON file, and the tables in README.md
are written anew. `--quick` is a smoke test: it takes the smallest sizes and leaves README.md alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from cases import Case, chignolin, homeodomain, large
from classical import go_forcefield, openmm_speed

from mdflash import __version__
from mdflash.bench.machine import Machine, measure_machine
from mdflash.bench.memory import measure_memory
from mdflash.bench.report import measure_roofline
from mdflash.bench.speed import Speed, measure_speed, with_replicas
from mdflash.bench.terms import measure_terms
from mdflash.config.load import load_run
from mdflash.engine.blocks.compiled import CompiledPropagator, set_threads
from mdflash.engine.engine import Engine
from mdflash.neighbors.verlet import VerletList
from mdflash.potentials.base import Potential
from mdflash.potentials.precision import Recentered
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.tabulated import FlashSchNet
from mdflash.runs.prepare import Prepared, prepare

HERE = Path(__file__).parent
MEMORY_REPLICAS, MEMORY_STEPS = 64, 20
BEGIN, END = "<!-- standard benchmark: begin -->", "<!-- standard benchmark: end -->"


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much to measure: replicas of each system, beads of `large`, seconds of a measurement."""

    homeodomain: tuple[int, ...] = (1, 8, 64, 128)
    chignolin: tuple[int, ...] = (1, 64, 512)
    large: tuple[int, ...] = (1_000, 10_000, 100_000)
    seconds: float = 6.0


QUICK = Plan((1,), (1, 2), (1_000,), 0.05)


class Bench:
    """One run of the standard benchmark on one machine."""

    def __init__(self, plan: Plan, machine: Machine, folder: Path) -> None:
        self.plan, self.machine, self.folder = plan, machine, folder
        self._began = time.perf_counter()

    def _say(self, text: str) -> None:
        print(f"{time.perf_counter() - self._began:6.0f} s  {text}", flush=True)

    def relaxed(self, case: Case, steps: int) -> Case:
        """The case from a minimized start."""
        file = case.write(self.folder / f"{case.name}-start")
        simulation = with_replicas(prepare(load_run(file, [f"dynamics.minimize={steps}"])), 1)
        return dataclasses.replace(case, start=simulation.state.positions.numpy())

    def case(self, case: Case, replicas: tuple[int, ...], *, baselines: bool) -> dict[str, Any]:
        """All numbers of one system."""
        file = case.write(self.folder / case.name)
        prepared = prepare(load_run(file))
        found: dict[str, Any] = {"beads": case.system.n_beads, "replicas": {}}
        for count in replicas:
            simulation = with_replicas(prepared, count)
            speed = measure_speed(simulation, self.plan.seconds)
            found["replicas"][str(count)] = self._batch(simulation, speed)
            rate = speed.step_replicas_per_second
            self._say(f"{case.name}, {count} replicas: {rate:,.1f} step·replicas/s")
            if count == MEMORY_REPLICAS and baselines:
                memory = measure_memory(file, [f"replicas.count={count}"], MEMORY_STEPS)
                found["memory"] = {
                    **dataclasses.asdict(memory),
                    "replicas": count,
                    "above_imports": memory.above_imports,
                }
                self._say(f"{case.name}, {count} replicas: {memory.above_imports / 1e6:.0f} MB above the imports")
        if baselines:
            found["baselines"] = self._baselines(prepared, case, simulation)
        return found

    def _batch(self, simulation: Engine, speed: Speed) -> dict[str, Any]:
        terms = measure_terms(simulation, self.plan.seconds / 12)
        roofline = measure_roofline(simulation, speed, self.machine)
        return {
            **dataclasses.asdict(speed),
            "step_replicas_per_second": speed.step_replicas_per_second,
            "aggregate_ns_per_day": speed.aggregate_ns_per_day,
            "terms": dataclasses.asdict(terms),
            "terms_explain": terms.total * speed.steps_per_second,
            "roofline": None if roofline is None else dataclasses.asdict(roofline),
        }

    def _baselines(self, prepared: Prepared, case: Case, simulation: Engine) -> dict[str, Any]:
        config = prepared.config
        plain_config = config.model_copy(update={"model": config.model.model_copy(update={"kernels": "reference"})})
        plain = measure_speed(with_replicas(dataclasses.replace(prepared, config=plain_config), 1), self.plan.seconds)
        self._say(f"{case.name}, plain torch, 1 replica: {plain.steps_per_second:,.2f} steps/s")
        go = go_forcefield(case.system, case.start)
        classical = openmm_speed(go, case.system, case.start, self.plan.seconds / 3)
        self._say(f"{case.name}, Gō in OpenMM, 1 replica: {classical['steps_per_second']:,.0f} steps/s")
        own = dataclasses.replace(case, name=f"{case.name}-go", forcefield=go)
        twin = with_replicas(prepare(load_run(own.write(self.folder / own.name))), 1)
        twin.evaluate()
        classical["energy_in_mdflash"] = float(twin.state.energy[0])
        return {
            "plain_torch": dataclasses.asdict(plain),
            "go_openmm": classical,
            "go_mdflash": dataclasses.asdict(measure_speed(twin, self.plan.seconds / 3)),
            "evaluation": self._evaluation(simulation),
        }

    def _evaluation(self, simulation: Engine) -> dict[str, Any]:
        """Energy and forces of the network alone, one replica: plain torch against compiled, and how they differ."""
        prop = simulation.propagator
        assert isinstance(prop, CompiledPropagator) and prop.packed.networks is not None
        (reference,) = (t for t in simulation.potential.terms if isinstance(t, SchNetPotential))  # type: ignore[attr-defined]
        layout = dataclasses.replace(simulation.layout, counts=(1,), replica_ids=())
        x = simulation.state.positions[layout.rows(0)].clone()
        pairs = VerletList(layout, reference.cutoff, 0.0, simulation.state.box).pairs(x)
        flash = FlashSchNet(prop.packed.networks, simulation.state.box)

        def shortest(potential: Potential) -> float:
            times = []
            end = time.perf_counter() + self.plan.seconds / 2
            while len(times) < 2 or time.perf_counter() < end:
                began = time.perf_counter()
                potential.energy_and_forces(x, layout, pairs)
                times.append(time.perf_counter() - began)
            return min(times)

        exact = reference.energy_and_forces(x, layout, pairs).forces
        error = flash.energy_and_forces(x, layout, pairs).forces - exact
        return {
            "plain_torch_seconds": shortest(Recentered(reference, torch.float32)),
            "compiled_seconds": shortest(flash),
            "force_error": float((error.square().mean() / exact.square().mean()).sqrt()),
        }

    def large(self, n: int) -> dict[str, Any]:
        """A large system, one replica."""
        case = large(n)
        simulation = with_replicas(prepare(load_run(case.write(self.folder / case.name))), 1)
        speed = measure_speed(simulation, self.plan.seconds)
        roofline = measure_roofline(simulation, speed, self.machine)
        assert roofline is not None
        per_bead = 1.0 / (speed.steps_per_second * n)
        self._say(f"large, {n} beads: {per_bead * 1e6:.1f} µs a bead and step")
        return {
            **dataclasses.asdict(speed),
            "seconds_per_bead": per_bead,
            "seconds_per_edge": 1.0 / (speed.steps_per_second * roofline.edges),
            "roofline": dataclasses.asdict(roofline),
        }


def measure(plan: Plan, reference: Path, machine: Machine) -> dict[str, Any]:
    """Every number of the standard set."""
    found: dict[str, Any] = {"cases": {}, "large": {}}
    with tempfile.TemporaryDirectory(prefix="mdflash-bench-") as place:
        bench = Bench(plan, machine, Path(place))
        if reference.is_dir():
            folded, stretched = homeodomain(reference)
            found["cases"]["1enh-5b folded"] = bench.case(folded, plan.homeodomain, baselines=True)
            extended = tuple(n for n in plan.homeodomain if n in (1, 64))
            found["cases"]["1enh-5b extended"] = bench.case(bench.relaxed(stretched, 300), extended, baselines=False)
            found["cases"]["chignolin-ca"] = bench.case(chignolin(reference), plan.chignolin, baselines=True)
        else:
            print(f"1enh-5b and chignolin-ca are left out: no models in {reference} (give --reference FOLDER)")
        for n in plan.large:
            found["large"][str(n)] = bench.large(n)
    return found


def tables(report: dict[str, Any]) -> str:
    """The results as Markdown."""
    machine = report["machine"]
    lines = [
        f"`make bench`, {report['date']}, {machine['cpu']}, {machine['threads']} threads of {machine['cores']} cores, "
        f"{machine['bandwidth'] / 1e9:.0f} GB/s and {machine['multiply_adds'] / 1e9:.0f} G fp32 multiply-adds/s "
        f"measured ([result](results/{report['file']})). Whole Langevin steps of 4 fs, fp32 tables, wall time.",
        "",
        "| case | replicas | neighbors/bead | edges | step·replicas/s | ns/day, all | × plain torch | of FMA rate |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    plain = {name: case["baselines"]["plain_torch"]["steps_per_second"] for name, case in report["cases"].items()
             if "baselines" in case}  # fmt: skip
    for name, case in report["cases"].items():
        for count, row in case["replicas"].items():
            roofline = row["roofline"]
            ratio = f"{row['step_replicas_per_second'] / plain[name]:.0f}" if name in plain else "-"
            lines.append(
                f"| `{name}` | {count} | {roofline['neighbors_per_bead']:.0f} | {roofline['edges']:,} "
                f"| {row['step_replicas_per_second']:,.0f} | {row['aggregate_ns_per_day']:,.0f} | {ratio} "
                f"| {100 * roofline['multiply_add_fraction']:.0f} % |"
            )
    lines += ["", *_baseline_lines(report["cases"]), ""]
    lines += ["| `large`, 1 replica | neighbors/bead | ms/step | µs/bead | ns/edge |", "|---|---|---|---|---|"]
    for n, row in report["large"].items():
        lines.append(
            f"| {int(n):,} beads | {row['roofline']['neighbors_per_bead']:.0f} | {1e3 / row['steps_per_second']:,.1f} "
            f"| {row['seconds_per_bead'] * 1e6:.1f} | {row['seconds_per_edge'] * 1e9:.1f} |"
        )
    return "\n".join(lines)


def _baseline_lines(cases: dict[str, Any]) -> list[str]:
    lines = ["Baselines of the same run, one replica (the reference evaluates half lists with torch's threads):", ""]
    lines += [
        "| case | plain torch, steps/s | Gō, OpenMM | Gō, mdflash | network: plain, compiled | force error | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, case in cases.items():
        if "baselines" not in case:
            continue
        base = case["baselines"]
        run = base["evaluation"]
        ratio = run["plain_torch_seconds"] / run["compiled_seconds"]
        memory = case.get("memory")
        lines.append(
            f"| `{name}` | {base['plain_torch']['steps_per_second']:,.1f} "
            f"| {base['go_openmm']['steps_per_second']:,.0f} | {base['go_mdflash']['steps_per_second']:,.0f} "
            f"| {run['plain_torch_seconds'] * 1e3:.3g} ms, {run['compiled_seconds'] * 1e3:.3g} ms: {ratio:.0f}x "
            f"| {run['force_error']:.1e} | "
            + (f"{memory['above_imports'] / 1e6:.0f} MB at {memory['replicas']} replicas |" if memory else "- |")
        )
    return lines


def rewrite_readme(readme: Path, text: str) -> None:
    """Put `text` between the two marks."""
    before, _, rest = readme.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{readme} has lost its marks {BEGIN} and {END}")
    readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, default=HERE.parents[1] / "shared" / "reference")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(set_threads(arguments.threads))
    began = time.perf_counter()
    machine = measure_machine()
    report: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": dataclasses.asdict(machine),
        "load_average": os.getloadavg()[0],
        "versions": {"mdflash": __version__, "torch": torch.__version__, "numpy": np.__version__},
        **measure(QUICK if arguments.quick else Plan(), arguments.reference, machine),
    }
    report["minutes"] = (time.perf_counter() - began) / 60
    name = "quick" if arguments.quick else "standard"
    report["file"] = f"{name}_{report['date']}_{machine.threads}threads.json"
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / report["file"]).write_text(json.dumps(report, indent=2) + "\n")
    text = tables(report)
    print(text)
    if not arguments.quick:
        rewrite_readme(HERE / "README.md", text)
    print(f"written to {arguments.out / report['file']}, after {report['minutes']:.1f} minutes")


if __name__ == "__main__":
    main()

"""Compile every GPU kernel ahead of time, as the standard benchmark launches it, for GPUs that need not be here.

    PYTHONPATH=. python tools/aot.py [--targets 80 90 120] [--only split] [--out benchmarks/results/aot_DATE.json]

Records registers, stack (spills), shared memory and counts of the instructions that tell how memory is read, for each
kernel and target. Nothing runs; what the numbers say about speed is for a GPU to show.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
from gpu_systems import PUBLISHED, biases_for, excluded_volume, near_forms, synthetic
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from mdflash.core.state import Layout, State
from mdflash.core.types import Box, FloatArray, Precision
from mdflash.engine.gpu import forces as device
from mdflash.engine.gpu.loop import CudaPropagator
from mdflash.engine.gpu.whole import WholePropagator
from mdflash.engine.settings import Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.integrators.langevin import LangevinBAOAB
from mdflash.mapping.chain import chain_of
from mdflash.neighbors import mapped as mapped_lists
from mdflash.neighbors import tiles as tile_lists
from mdflash.potentials.backbones.backbone import Backbone
from mdflash.potentials.base import Potential
from mdflash.potentials.bias import triton as bias_kernels
from mdflash.potentials.schnet.network import SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.split import SplitFilters, fit_far_field
from mdflash.potentials.schnet.tables import in_double, tabulate
from mdflash.potentials.schnet.triton import far as far_kernels
from mdflash.potentials.schnet.triton import gathered as gathered_kernels
from mdflash.potentials.schnet.triton.network import Tiles
from mdflash.training import triton as convolution
from mdflash.training.convolution import Pairs
from mdflash.training.forces import Batch, FlashForces, Topology

TYPES = {
    torch.float16: "*fp16", torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32", torch.int64: "*i64",
}  # fmt: skip
COUNTED = ("LDG", "LDG.128", "LDG.64", "STG", "LDS", "STS", "LDL", "STL", "BAR", "SHFL", "FFMA", "DFMA", "MUFU", "HMMA",
           "HGMMA", "DMMA")  # fmt: skip

BACKBONES = (
    Backbone(rule="mgt"), Backbone(rule="delta", streams=4), Backbone(rule="hyper", streams=4),
    Backbone(rule="geometric"), Backbone(rule="geometric", streams=4),
)  # fmt: skip
RECORDED: tuple[tuple[Precision, bool, tuple[Backbone | None, ...]], ...] = (
    ("fp32", False, (None, *BACKBONES)), ("mixed16", False, (None,)), ("fp32", True, (None,)),
    ("fp64", False, (None, *BACKBONES)),
)  # fmt: skip
"""Precision, whether filters are exact, and how blocks are joined."""

SPLIT: tuple[tuple[Precision, int, int], ...] = (
    ("mixed16", 16, 32), ("mixed16", 32, 16), ("fp32", 16, 32), ("fp32", 32, 16),
)  # fmt: skip
"""Precision, and cosines of far and of middle pairs, of filters in parts."""

WHOLE: tuple[Precision, ...] = ("fp32", "mixed16")
CLASSICAL: tuple[Precision, ...] = ("fp32", "fp64")

Place = tuple[int, ...]
"""Which parameter; inside a tuple, which of its items."""


@dataclass(frozen=True)
class Launch:
    """One kernel with the types and constants it was launched with."""

    kernel: JITFunction[Any]
    signature: tuple[tuple[str, Any], ...]
    constants: tuple[tuple[Place, Any], ...]
    divisible: tuple[Place, ...]
    warps: int
    stages: int
    fusion: bool

    @property
    def name(self) -> str:
        return str(self.kernel.__name__)


@contextmanager
def recorded() -> Iterator[dict[Launch, None]]:
    """What is launched meanwhile, instead of running it."""
    launches: dict[Launch, None] = {}

    def remember(self: JITFunction[Any], *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        launches[_launch(self, args, options)] = None

    run, JITFunction.run = JITFunction.run, remember  # type: ignore[method-assign]
    try:
        yield launches
    finally:
        JITFunction.run = run  # type: ignore[method-assign]


def record_split(precision: Precision, rank: int, middle: int) -> list[Launch]:
    """The kernels that filters in parts add to a step of 1ENH in five beads; near pairs have those of tables."""
    layout, terms, network, positions = synthetic(269, PUBLISHED, replicas=2)
    far, between = (
        fit_far_field(in_double(network), 6.0, rank),
        fit_far_field(in_double(network), 4.0, middle, stop=6.0),
    )
    split = SplitFilters(tabulate(network, 512, 4.0), far, np.ones((len(network.blocks), 2)), 0.0, 0.0, between)
    with recorded() as launches:
        propagator = CudaPropagator(
            layout, terms, Dynamics(LangevinBAOAB(0.004, 1.0), 1), None,
            tables={id(network): split}, precision=precision, device="cpu", tiles=Tiles(),
        )  # fmt: skip
        propagator.advance(State.at(layout, positions, 300.0), 1)
    added = (far_kernels, gathered_kernels, tile_lists, mapped_lists)
    return [x for x in launches if x.kernel.__module__ in {module.__name__ for module in added}]


def record(precision: Precision, exact: bool, boxes: bool, backbone: Backbone | None) -> list[Launch]:
    """The kernels of a step of 1ENH in five beads: the published CGSchNet size, all its priors and one with a list."""
    layout, terms, network, positions = synthetic(269, replace(PUBLISHED, backbone=backbone), replicas=2)
    terms = [*terms, *build_potential([excluded_volume()], layout).terms]
    device.BOXES_FROM = 1 if boxes else 10**9
    tables = None if exact else {id(network): tabulate(network, 1024)}
    with recorded() as launches:
        propagator = CudaPropagator(
            layout, terms, Dynamics(LangevinBAOAB(0.004, 1.0), 1, remove_com_motion=True), None,
            tables=tables, precision=precision, device="cpu", tiles=Tiles(),
        )  # fmt: skip
        state = State.at(layout, positions, 300.0)
        propagator.advance(state, 1)
    return list(launches)


def record_classical(precision: Precision) -> Iterator[tuple[str, list[Launch]]]:
    """The kernels of a step without a network: every form of near pairs in a box, and force fields as shipped."""
    layout, _, _, positions = synthetic(269, PUBLISHED, replicas=2)
    yield "every form, in a box", _step(layout, near_forms(), positions, precision, (90.0, 90.0, 90.0))
    for name in ("calvados2", "go-chignolin"):
        ff = load_forcefield(name)
        system, x = ff.system() if name.startswith("go") else chain_of("MKDGREYS", ff, "chain")
        assert x is not None
        yield name, _step(Layout((system,), (1,)), ff, x[0], precision, None)


def _step(layout: Layout, ff: ForceField, x: FloatArray, precision: Precision, box: Box | None) -> list[Launch]:
    terms = build_potential([ff], layout).terms
    with recorded() as launches:
        propagator = CudaPropagator(
            layout, terms, Dynamics(LangevinBAOAB(0.004, 1.0), 1), box, tables={}, precision=precision, device="cpu"
        )
        propagator.advance(State.at(layout, x, 300.0, box), 1)
    return list(launches)


def record_biases() -> list[Launch]:
    """The kernels that biases add to a step: every variable by itself, all together, and grids of one and two."""
    layout, terms, _, positions = synthetic(269, PUBLISHED, replicas=2)
    found: dict[Launch, None] = {}
    for acting in biases_for(layout, terms, positions[:269]).values():
        with recorded() as launches:
            propagator = CudaPropagator(
                layout, acting, Dynamics(LangevinBAOAB(0.004, 1.0), 1), None, tables={}, precision="fp32", device="cpu"
            )
            propagator.advance(State.at(layout, positions, 300.0), 1)
        found |= {x: None for x in launches if x.kernel.__module__ == bias_kernels.__name__}
    return list(found)


def whole_systems() -> Iterator[tuple[str, Layout, Sequence[Potential], SchNet, FloatArray]]:
    """Small molecules that a program owns: shipped force fields, and one of the size of mlcg's chignolin."""
    for name in ("chignolin-ca", "teacher-1enh"):
        ff = load_forcefield(name)
        system = ff.system()[0] if ff.systems else chain_of("YYDPETGTWY", ff, "chain")[0]
        layout, n = Layout((system,), (2,)), system.n_beads
        terms = build_potential([ff], layout).terms
        network = next(t for t in terms if isinstance(t, SchNetPotential)).networks[0]
        assert network is not None
        yield name, layout, terms, network, np.zeros((2 * n, 3))
    wide = replace(PUBLISHED, features=256, filters=128, blocks=3, basis_size=33)
    yield "mlcg chignolin", *synthetic(10, wide, 2)


def record_whole(precision: Precision) -> Iterator[tuple[str, list[Launch]]]:
    """The program that runs all steps of a small molecule."""
    for name, layout, terms, network, x in whole_systems():
        with recorded() as launches:
            propagator = WholePropagator(
                layout, terms, Dynamics(LangevinBAOAB(0.004, 1.0), 1), tables={id(network): tabulate(network, 1024)},
                precision=precision, device="cpu",
            )  # fmt: skip
            propagator.advance(State.at(layout, x, 300.0), 1)
        yield name, list(launches)


def record_training() -> list[Launch]:
    """The kernels of a step of training at the published size."""
    model = SchNet(PUBLISHED)
    first, second = torch.triu_indices(54, 54, 1)
    topology = Topology(torch.arange(54) % PUBLISHED.types, Pairs(first, second, 54))
    x = 7.0 * torch.randn(32, 54, 3)
    with recorded() as launches:
        FlashForces(model, [topology], 0.1, 60.0, convolution).backward([Batch(0, x, torch.randn_like(x))], x.numel())
    return list(launches)


def _launch(kernel: JITFunction[Any], args: tuple[Any, ...], options: dict[str, Any]) -> Launch:
    warps, fusion = options.pop("num_warps", 4), options.pop("enable_fp_fusion", True)
    stages = options.pop("num_stages", 3)
    values = dict(zip(kernel.arg_names, args, strict=False)) | options
    signature: list[tuple[str, Any]] = []
    constants: list[tuple[Place, Any]] = []
    divisible: list[Place] = []
    for index, parameter in enumerate(kernel.params):
        value = values[parameter.name]
        if parameter.is_constexpr:
            kind: Any = "constexpr"
            constants.append(((index,), value))
        else:
            kind = _kind(value, (index,), not parameter.do_not_specialize, constants, divisible)
        signature.append((parameter.name, kind))
    return Launch(kernel, tuple(signature), tuple(constants), tuple(divisible), warps, stages, fusion)


def _kind(
    value: Any, path: Place, specialize: bool, constants: list[tuple[Place, Any]], divisible: list[Place]
) -> Any:  # fmt: skip
    """Triton's type of an argument; Triton specializes what is in a tuple, whatever its parameter says."""
    if isinstance(value, tuple):
        kinds = [_kind(v, (*path, k), True, constants, divisible) for k, v in enumerate(value)]
        return type(value)(*kinds) if hasattr(value, "_fields") else tuple(kinds)
    if isinstance(value, torch.Tensor):
        divisible.append(path)
        return TYPES[value.dtype]
    assert isinstance(value, int)
    if specialize and value == 1:
        constants.append((path, value))
        return "constexpr"
    if specialize and value % 16 == 0:
        divisible.append(path)
    return "i32"


def compile_for(launch: Launch, target: int) -> dict[str, Any]:
    """Compile; what the machine code needs."""
    source = ASTSource(
        launch.kernel, dict(launch.signature), dict(launch.constants),
        attrs={path: [["tt.divisibility", 16]] for path in launch.divisible},
    )  # fmt: skip
    compiled = triton.compile(source, target=GPUTarget("cuda", target, 32),
                              options={"num_warps": launch.warps, "num_stages": launch.stages,
                                       "enable_fp_fusion": launch.fusion})  # fmt: skip
    return {
        "kernel": launch.name,
        "target": f"sm_{target}",
        "warps": launch.warps,
        "constants": {
            launch.kernel.arg_names[path[0]]: v
            for path, v in launch.constants
            if len(path) == 1 and isinstance(v, (int, float, str, bool, tuple))
        },
        "shared_bytes": compiled.metadata.shared,
        **_read_cubin(compiled.asm["cubin"]),
    }


def _read_cubin(cubin: bytes) -> dict[str, Any]:
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True).stdout
        sass = subprocess.run([tool, "--dump-sass", file.name], capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", usage)
    assert found, usage
    counts = dict.fromkeys(COUNTED, 0)
    for opcode in _opcodes(sass):
        base = opcode.split(".")[0]
        if base in counts:
            counts[base] += 1
        if base == "LDG" and ".128" in opcode:
            counts["LDG.128"] += 1
        elif base == "LDG" and ".64" in opcode:
            counts["LDG.64"] += 1
    return {
        "registers": int(found[1]), "stack_bytes": int(found[2]), "local_bytes": int(found[4]),
        "instructions": {k: v for k, v in counts.items() if v},
    }  # fmt: skip


def _opcodes(sass: str) -> Iterator[str]:
    for line in sass.splitlines():
        match = re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)", line)
        if match:
            yield match[1]


def recordings(only: Sequence[str]) -> Iterator[tuple[str, str, list[Launch]]]:
    """What is compiled, for which kind of filters, and the kernels; `only` words in the kinds, or everything."""

    def wanted(kind: str) -> bool:
        return not only or any(word in kind for word in only)

    if wanted("table"):
        yield "training", "table", record_training()
    if wanted("biases"):
        yield "biases", "biases", record_biases()
    if wanted("whole"):
        for precision in WHOLE:
            for name, launches in record_whole(precision):
                yield f"{precision}, {name}", "whole", launches
    if wanted("classical"):
        for precision in CLASSICAL:
            for name, launches in record_classical(precision):
                yield f"{precision}, {name}", "classical", launches
    for precision, exact, backbones in RECORDED:
        if wanted("exact" if exact else "table"):
            launches = record(precision, exact, True, None)
            for backbone in backbones:
                launches += record(precision, exact, False, backbone)
            yield precision, "exact" if exact else "table", launches
    for precision, rank, middle in SPLIT:
        kind = f"split, {rank}, gathered {middle}"
        if wanted(kind):
            yield precision, kind, record_split(precision, rank, middle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    today = datetime.date.today().isoformat()
    parser.add_argument("--targets", type=int, nargs="+", default=[80, 90, 120])
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "benchmarks" / "results" / f"aot_{today}.json"
    )
    parser.add_argument("--only", nargs="+", help="kinds of filters: table, exact, split; or classical, biases, whole")
    options = parser.parse_args()
    np.random.seed(0)
    rows, done = [], set()
    for what, filters, launches in recordings(options.only or []):
        for launch in launches:
            for target in options.targets:
                if (launch, target) in done:
                    continue
                done.add((launch, target))
                row = compile_for(launch, target) | {"precision": what, "filters": filters}
                rows.append(row)
                if target == options.targets[0] or row["stack_bytes"]:
                    print(f"{what:8} {row['target']:7} {row['kernel']:26} {row['warps']} warps "
                          f"{row['registers']:4} registers, stack {row['stack_bytes']:4} B, "
                          f"shared {row['shared_bytes']:6} B  {row['instructions']}", flush=True)  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    header = {"date": today, "triton": triton.__version__, "torch": torch.__version__}
    options.out.write_text(json.dumps(header | {"kernels": rows}, indent=1) + "\n")
    spilled = sum(bool(r["stack_bytes"]) for r in rows)
    print(f"{len(rows)} compilations, {spilled} with a stack frame; written to {options.out}")


if __name__ == "__main__":
    main()

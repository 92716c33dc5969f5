"""What a bead's sweeps cost by the machine code of their kernels, with the neighbors that it has.

    PYTHONPATH=.:tools python studies/2026-12-near-field/instructions.py five-bead teacher-1enh chignolin-ca

Kernels are compiled ahead of time for 128 filters and sm_90. A program executes what stands outside of its loop once,
and the loop as often as its neighbors ask for: rows that are filled up count, and so does what a bead costs whatever
its neighbors. One sweep forward and one back, with gradients of features; bytes are those that are asked of the L1.
Nothing here has run on a GPU.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import triton
from aot import Launch, record, record_split
from gpu_cases import FOLDED
from gpu_systems import PUBLISHED, synthetic
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mdflash import load_forcefield
from mdflash.forcefields.distances import distances_of
from mdflash.forcefields.networks import load_schnet
from mdflash.forcefields.shipped import find_shipped
from mdflash.neighbors.tiles import COLUMNS
from mdflash.potentials.schnet.split import MIDDLE, split_filters
from mdflash.potentials.schnet.tables import in_double, samples_of
from mdflash.potentials.schnet.tabulated import TABLE_ERROR

SWEEPS = ("gather_messages", "scatter_gradients", "far_messages", "far_gradients", "gathered_messages",
          "gathered_gradients")  # fmt: skip
SHAPES = ((4, 32), (4, 16), (2, 32), (2, 16), (1, 16))
"""Warps and edges of gathered rows."""
F = 128


def measured(launch: Launch, target: int = 90) -> dict[str, int]:
    """Registers, bytes of stack, and instructions of a warp: of the longest loop, and outside of it."""
    source = ASTSource(
        launch.kernel, dict(launch.signature), dict(launch.constants),
        attrs={path: [["tt.divisibility", 16]] for path in launch.divisible},
    )  # fmt: skip
    options = {"num_warps": launch.warps, "num_stages": launch.stages, "enable_fp_fusion": launch.fusion}
    built = triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)
    tools = Path(triton.__file__).parent / "backends/nvidia/bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        text, usage = (
            subprocess.run([tools / tool, option, file.name], capture_output=True, text=True, check=True).stdout
            for tool, option in (("nvdisasm", "-c"), ("cuobjdump", "--dump-resource-usage"))
        )
    used = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    labels, code = {}, []
    for line in map(str.strip, text.splitlines()):
        if line.startswith(".L") and line.endswith(":"):
            labels[line[:-1]] = len(code)
        elif (found := re.match(r"^/\*[0-9a-f]+\*/\s+(.*?);", line)) is not None:
            code.append(found[1])
    jumps = ((labels.get(f[1], at), at) for at, c in enumerate(code) if (f := re.search(r"BRA.*?(\.L\w+)", c)))
    loop = max(at + 1 - begin for begin, at in jumps)
    count = len([c for c in code if not c.startswith("NOP")])
    return {"registers": int(used[1]), "stack": int(used[2]), "loop": loop, "once": count - loop, "warps": launch.warps}


def shaped(launch: Launch, warps: int, edges: int) -> Launch:
    at = (launch.kernel.arg_names.index("E"),)
    return replace(launch, warps=warps, constants=tuple((p, edges if p == at else v) for p, v in launch.constants))


def compiled() -> list[dict]:
    rows = []
    for precision in ("mixed16", "fp32"):
        launches = record(precision, False, False, None)
        for rank in (16, 32):
            launches += record_split(precision, rank, MIDDLE)
        done = set()
        for launch in launches:
            constants = {launch.kernel.arg_names[p[0]]: v for p, v in launch.constants if len(p) == 1}
            if launch.name not in SWEEPS or launch in done or constants["F"] != F:
                continue
            done.add(launch)
            if not constants.get("FEATURES", True) or constants.get("ADD", False):
                continue
            gathered = launch.name.startswith("gathered")
            for warps, edges in SHAPES if gathered else ((launch.warps, constants.get("E", 0)),):
                row = {"kernel": launch.name, "precision": precision, "rank": constants.get("R", 0), "edges": edges,
                       "channels": constants.get("LANES", 0) * constants.get("DEPTH", 0),
                       **measured(shaped(launch, warps, edges) if gathered else launch)}  # fmt: skip
                rows.append(row)
                print(row, flush=True)
    return rows


class Costs:
    """Instructions of warps that a bead's sweep takes, by kernels."""

    def __init__(self, rows, precision, shape=SHAPES[-2]):
        own = [r for r in rows if r["precision"] == precision]
        self._tables = [r for r in own if r["edges"] and not r["rank"]]
        self._far = [r for r in own if r["kernel"].startswith("far")]
        self._gathered = [r for r in own if r["kernel"].startswith("gathered")
                          and (r["warps"], r["edges"]) == shape]  # fmt: skip

    def tables(self, n):
        return sum(F // r["channels"] * r["warps"] * (r["once"] + r["loop"] * np.ceil(n / r["edges"])).mean()
                   for r in self._tables)  # fmt: skip

    def far(self, rank, tiles):
        """`tiles`: of each row of 128 / rank beads."""
        own = [r for r in self._far if r["rank"] == rank]
        return sum(r["warps"] * (r["once"] + r["loop"] * tiles).mean() for r in own) * rank / 128

    def gathered(self, n):
        return sum(r["warps"] * (r["once"] + r["loop"] * np.ceil(n / r["edges"])).mean() for r in self._gathered)


def bytes_of(mixed, tables, gathered):
    """Of the L1 for a bead, forward and back: coefficients and rows of h and g; the far field's are not counted."""
    table, h = (4 * 2 * F, 2 * F) if mixed else (4 * 4 * F, 4 * F)  # fp32: halves of 2 bytes each, two of them
    near = tables * (2 * table + 2 * h + 4 * F)
    rows = gathered * 2 * (2 * F if mixed else 4 * F) * 1.5
    return near, rows + 4 * 4 * MIDDLE * F * (gathered > 0)


def neighbors(x, low, high):
    d = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(d, np.inf)
    return ((d >= low) & (d < high)).sum(axis=1)


def tiles_of(x, low, high, rank):
    d = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(d, np.inf)
    hit, height = (d >= low) & (d < high), 128 // rank
    return np.array([
        sum(hit[i:i + height, j:j + COLUMNS].any() for j in range(0, len(x), COLUMNS)) for i in range(0, len(x), height)
    ])  # fmt: skip


def network_of(name):
    """A network, what its filters are chosen by, and positions."""
    if name == "five-bead":
        _, _, network, x = synthetic(269, PUBLISHED, replicas=1, density=FOLDED)
        return in_double(network), (), {"folded": x}
    ff = load_forcefield(find_shipped("forcefields", name))
    network = in_double(load_schnet(ff.networks[0]))
    samples = [s.core() for s in samples_of(network, distances_of(ff))]
    return network, samples, {f"chain {k}": s.positions for k, s in enumerate(samples)}


def counted(name, rows):
    network, samples, frames = network_of(name)
    cutoff = network.hyper.cutoff
    for precision in ("mixed16", "fp32"):
        kinds = {kind: split_filters(network, TABLE_ERROR[precision], samples, middle=middle)
                 for kind, middle in (("split", 0), ("gathered", MIDDLE))}  # fmt: skip
        for frame, x in frames.items():
            costs = Costs(rows, precision)
            every = neighbors(x, 0, cutoff)
            row = {"network": name, "precision": precision, "frame": frame, "beads": len(x),
                   "neighbors": every.mean(), "table": costs.tables(every)}  # fmt: skip
            for kind, split in kinds.items():
                first, far = split.near.cutoff, split.far
                near, middle = neighbors(x, 0, first), neighbors(x, first, far.start)
                row |= {f"{kind}_near": near.mean(), f"{kind}_far_start": far.start, f"{kind}_rank": far.rank}
                tiles = tiles_of(x, far.start, cutoff, far.rank)
                row[f"{kind}_parts"] = [costs.tables(near), costs.far(far.rank, tiles)]
                if split.middle is not None:
                    row["middle"], row["middle_start"] = middle.mean(), first
                    row["gathered_rows"] = {f"{w} warps, {e}": Costs(rows, precision, (w, e)).gathered(middle)
                                            for w, e in SHAPES}  # fmt: skip
                    row["middle_in_tables"] = costs.tables(near + middle) - costs.tables(near)
                    row["middle_bytes_tables"], row["middle_bytes_gathered"] = (
                        bytes_of(precision == "mixed16", middle.mean(), 0)[0],
                        bytes_of(precision == "mixed16", 0, middle.mean())[1],
                    )
            print(row, flush=True)
            yield row


def main():
    torch.set_num_threads(1)
    rows = compiled()
    result = {"target": "sm_90", "triton": triton.__version__, "kernels": rows,
              "beads": [r for name in sys.argv[1:] for r in counted(name, rows)]}  # fmt: skip
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()

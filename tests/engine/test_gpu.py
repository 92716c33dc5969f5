"""Which GPU a process gets, the message where there is none, and batches in parts; no GPU needed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mdflash import Backend, Simulation
from mdflash.cli.app import app
from mdflash.config.load import load_run
from mdflash.core import gpu
from mdflash.core.partition import by_memory
from mdflash.core.state import Layout, State
from mdflash.engine.distributed import Ranks
from mdflash.errors import GpuRefused, InputError
from mdflash.forcefields.shipped import find_shipped
from mdflash.runs.prepare import prepare
from tests.helpers import beads

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")


def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)


@needs_triton
def test_device_cuda_without_a_gpu_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    without_cuda(monkeypatch)
    text = f"no usable GPU: this torch ({torch.__version__}) is a build without CUDA; write `device: cpu`"
    done = CliRunner().invoke(app, ["check", "chignolin", "--set", "hardware.device=cuda"])
    assert isinstance(done.exception, InputError) and str(done.exception).endswith(f"key 'hardware.device': {text}")
    with pytest.raises(InputError) as caught:
        Simulation("chignolin", "go-chignolin", device="cuda")
    assert str(caught.value) == f"argument 'device' of Simulation: {text}".replace("`device: cpu`", "`device='cpu'`")
    shown = CliRunner().invoke(app, ["doctor"]).output  # a table, which may break lines anywhere
    assert "without CUDA" in " ".join(shown.replace("│", " ").split())


@needs_triton
def test_what_torch_reports_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    without_cuda(monkeypatch)
    monkeypatch.setattr(torch.version, "cuda", "13.0")

    def init() -> None:
        raise RuntimeError("Found no NVIDIA driver\n on your system.")

    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(InputError, match=r"reports: Found no NVIDIA driver on your system\.; write"):
        gpu.find_gpu()


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"triton.*pip install 'mdflash\[gpu\]'"):
        gpu.find_gpu()


@needs_triton
def test_ranks_of_a_machine_share_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(gpu, "_open", lambda device: None)
    assert [gpu.find_gpu(rank) for rank in (0, 3, 5)] == [torch.device("cuda", k) for k in (0, 3, 1)]

    class Third(Ranks):
        local_rank = 2

    file = find_shipped("systems", "chignolin")
    assert file is not None
    prepared = prepare(load_run(file, ["hardware.device=cuda"]).with_seed())
    assert prepared.backend(Third().local_rank).gpu == torch.device("cuda", 2)


@needs_triton
def test_auto_takes_a_gpu_for_a_network_that_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the CPU, and a note says why; `cuda` insists."""
    monkeypatch.setattr("mdflash.runs.prepare.gpu_is_there", lambda: True)
    monkeypatch.setattr("mdflash.runs.prepare.find_gpu", lambda rank: torch.device("cuda", 0))
    asked = []

    def refuse(layout: object, terms: object, state: object, dynamics: object, backend: Backend) -> None:
        asked.append(backend.gpu)
        raise GpuRefused("its memory is too small")

    monkeypatch.setattr("mdflash.engine.gpu.choose.choose_on_gpu", refuse)
    sim = Simulation("chignolin", "teacher-chignolin")
    assert asked == [torch.device("cuda", 0)]
    assert sim.gpu is None and sim.propagator.kernels == "compiled"
    assert "running on the CPU: its memory is too small" in sim.notes
    with pytest.raises(InputError, match="its memory is too small; write `device='cpu'`"):
        Simulation("chignolin", "teacher-chignolin", device="cuda")
    asked.clear()
    for options in ({"device": "cpu"}, {"kernels": "reference"}, {"forcefield": "go-chignolin"}):
        Simulation("chignolin", **({"forcefield": "teacher-chignolin"} | options))
    assert not asked


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_parts_hold_every_replica_once(count: int) -> None:
    layout = Layout((beads("a", 3), beads("b", 2)), (5, 2), (9, 8, 7, 6, 5, 4, 3))
    state = State.at(layout, np.arange(57.0).reshape(19, 3), [300.0 + r for r in range(7)])
    state.energy[:] = torch.arange(7.0)
    target = State.at(layout, np.zeros((19, 3)), 1.0)
    found: list[int] = []
    for part in by_memory(layout, count):
        own = part.take(state)
        assert own.temperature.tolist() == [300.0 + r for r in part.rows.replica.tolist()]
        assert part.layout.replica_ids == tuple(layout.replica_ids[r] for r in part.rows.replica.tolist())
        assert part.layout.n_beads == len(own.positions)
        found += part.replicas
        own.positions[~part.own.bead] = torch.nan  # what is lent comes to nothing
        part.put(target, own)
    assert sorted(found) == list(range(7))
    assert torch.equal(target.positions, state.positions) and torch.equal(target.energy, state.energy)

"""What many ranks compute on: tables of cases, and ranks that would choose differently; no GPU needed."""

from __future__ import annotations

import importlib.util
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from mdflash.config.load import load_run
from mdflash.config.schema import Hardware
from mdflash.core import gpu
from mdflash.core.partition import by_rank
from mdflash.core.state import Layout, State
from mdflash.engine.blocks.plain import PlainPropagator
from mdflash.engine.blocks.ranks import across_ranks
from mdflash.engine.choose import choose_propagator
from mdflash.engine.devices import Seat, common, seating
from mdflash.engine.protocols import Chosen
from mdflash.engine.settings import Backend, Dynamics
from mdflash.errors import InputError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.base import Potential
from mdflash.runs.prepare import prepare
from tests.engine.test_ranks import InThreads
from tests.helpers import go_helix, helix
from tests.rank_helpers import write_network

CUDA = Backend(precision="fp32", kernels="whole", gpu=torch.device("cuda", 1), gpu_must=False)
A, B = "GPU 0, NVIDIA H200", "GPU 1, NVIDIA H200"


@pytest.mark.parametrize(
    ("kernels", "device", "taken", "words"),
    [
        (["whole", "whole"], "cuda", "whole", ""),
        (["cuda", "cuda"], "cuda", "whole", ""),
        (["compiled", "python"], "cuda", "whole", ""),  # nobody has a GPU: nothing to agree on
        (["cuda", "compiled"], "cpu", "whole", "all ranks run on the CPU, since rank 1 found no GPU"),
        (["python", "whole", "cuda", "compiled"], "cpu", "whole", "since ranks 0 and 3 found no GPU"),
        (["compiled"] * 5 + ["cuda"], "cpu", "whole", "since ranks 0, 1, 2 and 2 more found"),
        (["whole", "cuda", "cuda"], "cuda", "auto", "not for the replicas of ranks 1 and 2: all ranks launch"),
    ],
)
def test_all_ranks_take_what_each_can_have(kernels: list[str], device: str, taken: str, words: str) -> None:
    found, note = common(CUDA, kernels)
    assert ("cpu" if found.gpu is None else "cuda") == device and found.kernels == taken
    assert words in note and bool(words) == bool(note)


@pytest.mark.parametrize(
    ("seats", "words"),
    [
        ([Seat("n1", A, "u1"), Seat("n1", B, "u2")], []),
        ([Seat("n1", A, "u1"), Seat("n1", A, "u2")], []),  # each is shown a GPU of its own, as its number 0
        ([Seat("n1", A, "u1"), Seat("n2", A, "u1")], []),
        ([Seat("n1", "", ""), Seat("n1", "", "")], []),
        (
            [Seat("n1", A, "u1")] * 2,
            [f"2 ranks share 1 GPU of n1 and take turns (ranks 0 and 1 on {A}): start as many"],
        ),
        (
            [Seat("n1", A, "u1"), Seat("n1", B, "u2")] * 2 + [Seat("n2", A, "u3")],
            [f"4 ranks share 2 GPUs of n1 and take turns (ranks 0 and 2 on {A}; ranks 1 and 3 on {B})"],
        ),
        (
            [Seat("n1", A, "u1"), Seat("n2", "GPU 0, NVIDIA A100", "u2")],
            ["GPUs of several models (NVIDIA H200, NVIDIA A100): a replica's last bits depend on its GPU"],
        ),
    ],
)
def test_what_is_said_of_shared_gpus(seats: list[Seat], words: list[str]) -> None:
    notes = seating(seats)
    assert len(notes) == len(words)
    assert all(text in note for text, note in zip(words, notes, strict=True)), notes


needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")


@needs_triton
@pytest.mark.parametrize(
    ("local_rank", "visible", "number"), [(0, 1, 0), (3, 4, 3), (3, 1, 0), (5, 4, 1), (1, 2, 1), (7, 2, 1)]
)
def test_which_of_the_visible_gpus(local_rank: int, visible: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a machine's, or those that a queue shows to one process."""
    monkeypatch.setattr(gpu, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setattr(gpu, "_open", lambda device: None)
    assert gpu.find_gpu(local_rank) == torch.device("cuda", number)


@needs_triton
def test_a_gpu_that_another_process_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")

    def taken(device: torch.device) -> None:
        raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel errors might be")

    monkeypatch.setattr(gpu, "_open", taken)
    with pytest.raises(
        InputError, match=r"GPU 1 cannot be used by process 3 .*unavailable \(CUDA_VISIBLE_DEVICES is '2,3'\)"
    ):
        gpu.find_gpu(3)


@needs_triton
def test_hidden_gpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InputError, match=r"finds no GPU \(CUDA_VISIBLE_DEVICES is ''\); write `device: cpu`"):
        gpu.find_gpu()


def test_a_number_of_a_gpu_is_refused() -> None:
    with pytest.raises(ValueError, match=r"write `device: cuda`, and start with CUDA_VISIBLE_DEVICES=1"):
        Hardware.model_validate({"device": "cuda:1"})


class OnGpu(PlainPropagator):
    """Stands for one."""

    kernels, gpu = "cuda", None  # type: ignore[assignment]

    def __init__(self) -> None:
        pass


def test_ranks_that_choose_differently_agree() -> None:
    """Rank 1 has no kernels for its share: both take the CPU's, with the same notes."""
    (one, ff1), (two, ff2) = go_helix(8, "one", 0.4), go_helix(6, "two", 0.4)
    layout = Layout((one, two), (1, 1))
    parts = by_rank(layout, 2)
    state = State.at(layout, np.concatenate([helix(8), helix(6)]), 300.0)
    board, barrier = [torch.empty(0)] * 2, threading.Barrier(2, timeout=60)

    def run(rank: int) -> tuple[Chosen, list[object]]:
        asked: list[object] = []
        part = parts[rank]
        potential = build_potential([(ff1, ff2)[s] for s in part.systems], part.layout)

        def own(there: State, dynamics: Dynamics, backend: Backend) -> Chosen:
            asked.append(backend.gpu)
            if rank == 0 and backend.gpu is not None:
                return Chosen(OnGpu(), ())
            found = choose_propagator(part.layout, potential, there, dynamics, Backend())
            return Chosen(found.propagator, (f"of {part.layout.systems[0].name}", "of all"))

        choose = across_ranks(InThreads(rank, board, barrier), parts, own)
        backend = Backend(gpu=torch.device("cuda", 0) if rank == 0 else None, gpu_must=False)
        return choose(state.copy(), Dynamics(LangevinMiddle(0.004, 1.0), seed=1), backend), asked

    with ThreadPoolExecutor(2) as pool:
        (first, asked), (second, other) = pool.map(partial(run), range(2))
    assert asked == [torch.device("cuda", 0), None] and other == [None]
    assert first.propagator.kernels == second.propagator.kernels == "compiled"
    assert first.notes[0].startswith("all ranks run on the CPU, since rank 1 found no GPU")
    assert first.notes[1:] == second.notes[1:] == ("of one", "of all", "of two")


def test_a_share_without_a_network_is_float64_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in one process, whose batch has a network; a batch without any has the precision that was asked for."""
    write_network(tmp_path)
    _, plain = go_helix(6, "two", 0.4)
    save_forcefield(tmp_path / "two", plain)
    paths = {name: next((tmp_path / name / "systems").glob("*.safetensors")) for name in ("net", "two")}
    asked: list[Backend] = []

    def record(layout: Layout, potential: Potential, state: State, dynamics: Dynamics, backend: Backend) -> Chosen:
        asked.append(backend)
        return Chosen(OnGpu(), ())

    monkeypatch.setattr("mdflash.runs.prepare.choose_propagator", record)
    for names in (("net", "two"), ("two", "two")):
        entries = [f"{{structure: {paths[n]}, forcefield: {n}, name: m{k}, replicas: 1}}" for k, n in enumerate(names)]
        file = tmp_path / "mixed.yaml"
        dynamics = "dynamics: {temperature: 300 K, steps: 9, seed: 1}"
        file.write_text(f"mdflash: 1\nsystem: [{', '.join(entries)}]\n{dynamics}\n")
        prepared = prepare(load_run(file))
        board, barrier = [torch.empty(0)] * 2, threading.Barrier(2, timeout=60)
        with ThreadPoolExecutor(2) as pool:
            choices = [prepared._across(InThreads(rank, board, barrier)) for rank in range(2)]
            gpu_backend = Backend(precision="fp32", gpu=torch.device("cpu"))
            arguments = (prepared.state(), prepared.dynamics(), gpu_backend)
            list(pool.map(lambda choose: choose(*arguments), choices))  # noqa: B023
    found = [backend.precision for backend in asked]
    assert sorted(found[:2]) == ["fp32", "fp64"] and found[2:] == ["fp32", "fp32"]

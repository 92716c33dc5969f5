"""Which GPU a process uses, and why it cannot.

Triton's interpreter stands in for a GPU: in a process where it is on (TRITON_INTERPRET=1 before triton is imported),
every kernel runs on the CPU, slowly, and all that lies between `device: cuda` and the kernels can be tested.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import AbstractContextManager, nullcontext

import torch

from mdflash.errors import InputError


def interpreted() -> bool:
    """Whether Triton's interpreter is on in this process."""
    if importlib.util.find_spec("triton") is None:
        return False
    import triton

    return bool(triton.knobs.runtime.interpret)


def why_no_gpu() -> str | None:
    """What stands between this process and a GPU, in a few words; None where nothing does."""
    if importlib.util.find_spec("triton") is None:
        return "triton, which compiles the kernels, is not installed: pip install 'mdflash[gpu]'"
    if interpreted() or torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) is a build without CUDA"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return f"torch {torch.__version__} reports: {' '.join(str(error).split())}{_hidden()}"
    return f"torch {torch.__version__} finds no GPU{_hidden()}"


def _hidden() -> str:
    """What may hide GPUs from CUDA."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if given is None else f" (CUDA_VISIBLE_DEVICES is '{given}')"


def gpu_is_there() -> bool:
    """Whether a GPU can be used; the interpreter is none."""
    return torch.cuda.is_available() and why_no_gpu() is None and not interpreted()


def find_gpu(local_rank: int = 0, key: str = "hardware.device") -> torch.device:
    """The GPU of a process, ready for work.

    The GPUs that a process sees are dealt out by its number on the machine; more processes than GPUs share them. Where
    a queue shows each process GPUs of its own (`srun --gpus-per-task`, an instance of MIG), it gets one of those.

    Args:
        local_rank: the number of the process on its machine.
        key: where the device was asked for.

    Raises:
        InputError: there is none, or it cannot be used; the message is CUDA's reason.
    """
    reason = why_no_gpu()
    if reason is not None:
        raise InputError(f"no usable GPU: {reason}; write `device: cpu`", key=key)
    if interpreted():
        return torch.device("cpu")
    device = torch.device("cuda", local_rank % torch.cuda.device_count())
    try:
        _open(device)
    except RuntimeError as error:
        first = next(iter(str(error).splitlines()), "no reason given")
        raise InputError(
            f"GPU {device.index} cannot be used by process {local_rank} of this machine: {first}{_hidden()}. Another "
            "process may hold it alone (`nvidia-smi` shows its compute mode); start one rank for each GPU, or write "
            "`device: cpu`",
            key=key,
        ) from None
    return device


def _open(device: torch.device) -> None:
    """Make the process known to the driver, which refuses it where the GPU is taken."""
    torch.empty(1, device=device)


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Where kernels are launched: Triton asks for the current device, not for that of its arrays."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def describe(device: torch.device) -> str:
    """'GPU 0, NVIDIA H100 80GB HBM3'."""
    if device.type == "cpu":
        return "CPU, GPU kernels through Triton's interpreter"
    return f"GPU {device.index}, {torch.cuda.get_device_name(device)}"


def identify(device: torch.device) -> str:
    """What tells a GPU, or an instance of MIG, from all others; empty for the interpreter."""
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""


def gpu_bytes(device: torch.device) -> int:
    """The most that torch has had allocated on the GPU in this process."""
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0

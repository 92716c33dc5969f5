"""`mdflash doctor`: what this machine offers, and what is missing."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import import_module, metadata
from typing import NamedTuple

import typer

from mdflash.cli.lines import PlainConsole, styled
from mdflash.core.cores import usable_cores
from mdflash.core.plural import plural

REQUIRED = ("torch", "numba", "numpy", "h5py", "mdtraj", "gemmi", "pydantic", "safetensors")
OPTIONAL = {"openmm": "openmm", "triton": "gpu"}
"""Package -> the extra that installs it."""


class Finding(NamedTuple):
    """One row of the report."""

    what: str
    found: str
    good: bool = True
    required: bool = False


def doctor() -> None:
    """Show versions, hardware, and what is missing; exit code 2 if a required package is."""
    from rich.table import Table

    findings = [*packages(), *hardware()]
    table = Table(title="mdflash doctor", show_header=False)
    for finding in findings:
        color = "green" if finding.good else "red" if finding.required else "yellow"
        table.add_row(styled(("ok" if finding.good else "--", color)), finding.what, finding.found)
    PlainConsole().print(table)
    if any(finding.required and not finding.good for finding in findings):
        raise typer.Exit(2)


def packages() -> Iterator[Finding]:
    """Versions, from importing each package: an installed one may still be broken."""
    from mdflash import __version__

    yield Finding("python", platform.python_version())
    yield Finding("mdflash", __version__)
    for name in (*REQUIRED, *OPTIONAL):
        required = name in REQUIRED
        try:
            import_module(name)
            yield Finding(name, metadata.version(name), required=required)
        except ModuleNotFoundError as error:
            cure = "pip install mdflash" if required else f"pip install 'mdflash[{OPTIONAL[name]}]'"
            missing = "not installed" if error.name == name else f"needs {error.name}, which is not installed"
            yield Finding(name, f"{missing}: {cure}", good=False, required=required)
        except (ImportError, OSError) as error:
            text = f"is installed but cannot be loaded: {str(error).splitlines()[0]}"
            yield Finding(name, text, good=False, required=required)


def hardware() -> Iterator[Finding]:
    """Cores, threads, memory, compiled kernels, GPU."""
    yield Finding("CPU", f"{os.cpu_count()} cores, {usable_cores()} usable, {platform.machine()}")
    yield _memory()
    yield from _kernels()
    try:
        import torch
    except (ImportError, OSError):
        yield Finding("GPU", "unknown without torch", good=False)
        return
    from mdflash.core.gpu import why_no_gpu

    reason = why_no_gpu()
    if reason is not None:
        yield Finding("GPU", f"none usable: {reason}")
        return
    for k in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(k)
        text = f"{about.name}, {about.total_memory / 2**30:.0f} GiB, sm_{about.major}{about.minor}"
        yield Finding(f"GPU {k}", text)


def _kernels() -> Iterator[Finding]:
    """Where compiled kernels are kept, and whether those of this version are there."""
    try:
        numba, cache = import_module("numba"), import_module("mdflash.compiled.cache")
    except (ImportError, OSError):
        yield Finding("kernel cache", "unknown without numba", good=False)
        return
    yield Finding("threads", f"{numba.config.NUMBA_NUM_THREADS} (numba)")
    usage = cache.usage()
    text = f"{usage.folder}: {plural(usage.entries, 'function')}, {usage.size / 1e6:.0f} MB"
    yield Finding("kernel cache", text if usage.writable else f"{text}; it cannot be written", good=usage.writable)
    try:
        loops = import_module("mdflash.engine.blocks.compiled"), import_module("mdflash.engine.blocks.network")
    except (ImportError, OSError):
        return
    target = import_module("mdflash.compiled.processor").processor()
    kept = loops[0].run_each._cache.kept(), loops[1].run_each_by_one_thread._cache.kept()
    missing = [name for name, there in zip(("Gō models", "networks"), kept, strict=True) if not there]
    if missing:
        found = f"{' and '.join(missing)} not compiled yet for {target}: the first run does it, or mdflash compile"
        yield Finding("kernels", found, good=False)
    else:
        yield Finding("kernels", f"compiled for {target}")


def _memory() -> Finding:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return Finding("memory", "unknown")
    return Finding("memory", f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free")

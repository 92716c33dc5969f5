"""Where modules of 0.1 are now. Their old names work for one release, with a DeprecationWarning."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

_MOVED = {
    "analysis.tica": "analysis.tics",
    "analysis.validate": "analysis.against.validate",
    "analysis.validate_compare": "analysis.against.compare",
    "analysis.validate_coordinates": "analysis.against.coordinates",
    "analysis.validate_simulate": "analysis.against.simulate",
    "arguments": "config.from_call",
    "cli.arguments": "cli.options",
    "cli.follow": "cli.terminal",
    "config.quantity": "core.quantity",
    "config.shipped": "forcefields.shipped",
    "config.yamlfile": "core.yamlfile",
    "data": "sampling",
    "distributed": "engine.distributed",
    "evaluator": "engine.evaluator",
    "exchange": "engine.exchange",
    "exchange.permute": "engine.exchange.permute",
    "exchange.replica_exchange": "engine.exchange.replica_exchange",
    "exchange.suggest": "runs.ladder",
    "extras": "core.optional",
    "forcefield": "forcefields.forcefield",
    "go": "importers.go_model",
    "gpu": "core.gpu",
    "guards": "engine.guards",
    "integrators.period": "integrators.timestep_check",
    "integrators.random": "compiled.philox",
    "io.dcd": "io.formats.dcd",
    "io.files": "core.files",
    "io.hdf5": "io.formats.hdf5",
    "io.writer": "io.formats.base",
    "io.xtc": "io.formats.xtc",
    "kept": "compiled.held_arguments",
    "kernels": "compiled.jit",
    "minimize": "engine.minimize",
    "outputs": "runs.writers",
    "potentials.build": "forcefields.build",
    "potentials.geometric": "potentials.backbones",
    "potentials.priors.forms": "potentials.forms",
    "potentials.priors.pack": "potentials.pack",
    "potentials.schnet.dense": "compiled.panels",
    "potentials.schnet.flash": "potentials.schnet.tabulated",
    "potentials.schnet.simd": "compiled.simd",
    "potentials.schnet.triton.joined": "potentials.schnet.triton.with_backbone",
    "prepare": "runs.prepare",
    "prepare_biases": "runs.biases",
    "propagate": "engine.blocks",
    "propagate.compiled": "engine.blocks.compiled",
    "propagate.cuda": "engine.gpu.loop",
    "propagate.device": "engine.gpu.forces",
    "propagate.evaluate": "engine.blocks.evaluate",
    "propagate.lists": "engine.blocks.list_cache",
    "propagate.network": "engine.blocks.network",
    "propagate.on_gpu": "engine.gpu.choose",
    "propagate.parts": "engine.gpu.memory_parts",
    "propagate.plain": "engine.blocks.plain",
    "propagate.replica": "engine.blocks.prior_forces",
    "propagate.shared": "engine.blocks.ranks",
    "record": "runs.session",
    "run": "runs.execute",
    "state": "core.state",
    "system": "core.system",
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module by its old name, as the module itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if _new_name(fullname) else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the new name in the place of `module`."""
        new = _new_name(module.__name__)
        assert new is not None
        warnings.warn(
            f"{module.__name__} is now {new}; the old name goes with the next release", DeprecationWarning, stacklevel=2
        )
        sys.modules[module.__name__] = importlib.import_module(new)


def _new_name(old: str) -> str | None:
    package, _, name = old.partition(".")
    if package != "mdflash":
        return None
    if name in _MOVED:
        return f"mdflash.{_MOVED[name]}"
    parent, _, last = name.rpartition(".")
    return f"mdflash.{_MOVED[parent]}.{last}" if parent in _MOVED else None


def keep_old_names() -> None:
    """Let modules be imported by the names they had in 0.1."""
    sys.meta_path.insert(0, _Finder())  # before the finder that would load a file twice, under two names

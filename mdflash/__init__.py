"""mdflash: molecular dynamics of coarse-grained proteins with neural potentials.

The public names below are imported on first use, so `import mdflash` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mdflash.core.moved import keep_old_names
from mdflash.integrators import INTEGRATORS

if TYPE_CHECKING:
    from mdflash import integrators as _integrators
    from mdflash.analysis.contacts import native_contacts as native_contacts
    from mdflash.analysis.open_run import open_run as open_run
    from mdflash.analysis.tables import term_table as term_table
    from mdflash.config.load import load_run as load_run
    from mdflash.core.state import Layout as Layout
    from mdflash.core.state import State as State
    from mdflash.core.system import System as System
    from mdflash.core.system import load_system as load_system
    from mdflash.core.system import save_system as save_system
    from mdflash.engine.engine import Engine as Engine
    from mdflash.engine.evaluator import Evaluator as Evaluator
    from mdflash.engine.exchange.replica_exchange import ReplicaExchange as ReplicaExchange
    from mdflash.engine.guards import Guard as Guard
    from mdflash.engine.settings import Backend as Backend
    from mdflash.engine.settings import Dynamics as Dynamics
    from mdflash.errors import MdflashError as MdflashError
    from mdflash.forcefields.build import build_potential as build_potential
    from mdflash.forcefields.environment import Environment as Environment
    from mdflash.forcefields.forcefield import load_forcefield as load_forcefield
    from mdflash.forcefields.forcefield import save_forcefield as save_forcefield
    from mdflash.forcefields.model import ForceField as ForceField
    from mdflash.integrators import *  # noqa: F403
    from mdflash.mapping.chain import chain_of as chain_of
    from mdflash.mapping.many import Copies as Copies
    from mdflash.mapping.many import fill_box as fill_box
    from mdflash.potentials.base import EnergyForces as EnergyForces
    from mdflash.potentials.base import Pairs as Pairs
    from mdflash.potentials.base import Potential as Potential
    from mdflash.potentials.base import SumPotential as SumPotential
    from mdflash.potentials.bias.bias import Bias as Bias
    from mdflash.potentials.bias.function import FunctionBias as FunctionBias
    from mdflash.reporters import StateDataReporter as StateDataReporter
    from mdflash.reporters import TrajectoryReporter as TrajectoryReporter
    from mdflash.simulation import Simulation as Simulation

__version__ = "0.2.0"

keep_old_names()

_HOME = {
    "native_contacts": "mdflash.analysis.contacts",
    "open_run": "mdflash.analysis.open_run",
    "term_table": "mdflash.analysis.tables",
    "load_run": "mdflash.config.load",
    "MdflashError": "mdflash.errors",
    "Guard": "mdflash.engine.guards",
    "Evaluator": "mdflash.engine.evaluator",
    "ReplicaExchange": "mdflash.engine.exchange.replica_exchange",
    "ForceField": "mdflash.forcefields.model",
    "load_forcefield": "mdflash.forcefields.forcefield",
    "save_forcefield": "mdflash.forcefields.forcefield",
    **{scheme.__name__: scheme.__module__ for scheme in INTEGRATORS.values()},
    "EnergyForces": "mdflash.potentials.base",
    "Pairs": "mdflash.potentials.base",
    "Potential": "mdflash.potentials.base",
    "SumPotential": "mdflash.potentials.base",
    "Bias": "mdflash.potentials.bias.bias",
    "FunctionBias": "mdflash.potentials.bias.function",
    "build_potential": "mdflash.forcefields.build",
    "Environment": "mdflash.forcefields.environment",
    "chain_of": "mdflash.mapping.chain",
    "Copies": "mdflash.mapping.many",
    "fill_box": "mdflash.mapping.many",
    "Engine": "mdflash.engine.engine",
    "Dynamics": "mdflash.engine.settings",
    "Backend": "mdflash.engine.settings",
    "StateDataReporter": "mdflash.reporters",
    "TrajectoryReporter": "mdflash.reporters",
    "Simulation": "mdflash.simulation",
    "Layout": "mdflash.core.state",
    "State": "mdflash.core.state",
    "System": "mdflash.core.system",
    "load_system": "mdflash.core.system",
    "save_system": "mdflash.core.system",
}

__all__ = ["__version__", *_HOME]
if TYPE_CHECKING:
    __all__ += _integrators.__all__


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mdflash' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

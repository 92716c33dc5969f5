"""mdflash and OpenMM: a force field as an OpenMM force, and an OpenMM System as an mdflash potential.

    import openmm.app as app
    from mdflash.openmm import create_system

    system = create_system("go-chignolin", app.PDBFile("runs/chignolin/topology.pdb").topology)  # beads

The public names below are imported on first use; importing this package needs neither openmm, torch nor numba.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdflash.openmm.computation import original_errors as original_errors
    from mdflash.openmm.force import create_system as create_system
    from mdflash.openmm.force import mdflash_force as mdflash_force
    from mdflash.openmm.potential import OpenMMPotential as OpenMMPotential
    from mdflash.openmm.safe_load import load_system as load_system
    from mdflash.openmm.topology import beads_of as beads_of
    from mdflash.openmm.topology import make_topology as make_topology

_HOME = {
    "beads_of": "mdflash.openmm.topology",
    "create_system": "mdflash.openmm.force",
    "load_system": "mdflash.openmm.safe_load",
    "make_topology": "mdflash.openmm.topology",
    "mdflash_force": "mdflash.openmm.force",
    "OpenMMPotential": "mdflash.openmm.potential",
    "original_errors": "mdflash.openmm.computation",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mdflash.openmm' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""The ready system.yaml that comes with an imported force field."""

from __future__ import annotations

from mdflash.config.write import commented_yaml
from mdflash.forcefields.model import ForceField


def ready_run(ff: ForceField) -> str:
    """A commented system.yaml for the force field: its systems, a short run as it suggests or as mlcg does."""
    entries = [{"structure": f"systems/{system.name}.safetensors"} for system, _ in ff.systems]
    return commented_yaml(
        {
            "mdflash": 1,
            "name": ff.name,
            "system": entries[0] if len(entries) == 1 else entries,
            "model": {"forcefield": "."},
            "dynamics": {
                "integrator": "langevin-baoab",
                "timestep": "4 fs",
                "friction": "1 /ps",
                "temperature": ff.provenance.get("temperature", "300 K"),
                "length": "10 ps",
                **ff.dynamics,
            },
            "replicas": {"count": 1},
            "output": {"trajectory": {"interval": "0.4 ps"}, "log": {"interval": "0.4 ps"}},
        }
    )

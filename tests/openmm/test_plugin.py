"""mdflash in OpenMM-ML."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app

from mdflash.core.system import System
from mdflash.errors import InputError
from mdflash.openmm import create_system, make_topology
from tests.openmm.contexts import context, energy_forces, relative

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

openmmml = pytest.importorskip("openmmml", reason="needs OpenMM-ML (pip install 'mdflash[openmmml]')")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def registered() -> None:
    """As the entry point does where mdflash is installed and not only on the path."""
    from mdflash.openmm.plugin import MdflashFactory

    openmmml.MLPotential.registerImplFactory("mdflash", MdflashFactory())


def test_create_system(chignolin: System, folded: np.ndarray) -> None:
    system = openmmml.MLPotential("mdflash", forcefield="go-chignolin").createSystem(make_topology(chignolin))
    assert [system.getParticleMass(i)._value for i in range(10)] == chignolin.masses.tolist()
    expected = energy_forces(context(create_system("go-chignolin", chignolin), folded))
    found = energy_forces(context(system, folded))
    assert found[0] == expected[0]
    assert np.array_equal(found[1], expected[1])


def two_chains(chignolin: System, rng: np.random.Generator, folded: np.ndarray) -> tuple[app.Topology, np.ndarray]:
    """Chain A is chignolin, chain B three beads elsewhere."""
    topology = make_topology(chignolin)
    chain = topology.addChain("B")
    for i in range(3):
        topology.addAtom("CA", app.element.carbon, topology.addResidue("ALA", chain, str(i)))
    return topology, np.concatenate([folded, folded[:3] + 15.0 + rng.normal(size=(3, 3))])


def repelling(n: int) -> openmm.System:
    """Lennard-Jones beads."""
    system = openmm.System()
    force = openmm.NonbondedForce()
    for i in range(n):
        system.addParticle(100.0 + i)
        force.addParticle(0.0, 0.4, 1.0)
    system.addForce(force)
    return system


@pytest.mark.parametrize("interpolate", [False, True])
def test_mixed_system(chignolin: System, rng: np.random.Generator, folded: np.ndarray, interpolate: bool) -> None:
    topology, x = two_chains(chignolin, rng, folded)
    classical = repelling(13)
    potential = openmmml.MLPotential("mdflash", forcefield="go-chignolin", precision="fp64")
    mixed = potential.createMixedSystem(topology, classical, list(range(10)), interpolate=interpolate)
    assert [mixed.getParticleMass(i)._value for i in range(13)] == [100.0 + i for i in range(13)]
    made = context(mixed, x)
    whole = energy_forces(context(classical, x))[1]
    inside = context(repelling(10), folded)
    expected = whole.copy()
    expected[:10] += energy_forces(context(create_system("go-chignolin", chignolin), folded))[1]
    expected[:10] -= energy_forces(inside)[1]
    if interpolate:
        made.setParameter("lambda_interpolate", 0.0)
        assert relative(energy_forces(made)[1], whole) < 1e-9
        made.setParameter("lambda_interpolate", 1.0)
    assert relative(energy_forces(made)[1], expected) < 1e-9


def test_wrong_arguments(chignolin: System) -> None:
    with pytest.raises(InputError, match=r"which force field\? Write MLPotential\('mdflash', forcefield="):
        openmmml.MLPotential("mdflash")
    potential = openmmml.MLPotential("mdflash", forcefield="go-chignolin", cutoff=3)
    with pytest.raises(InputError, match=r"unknown option 'cutoff'.*known: replicas, device, precision"):
        potential.createSystem(make_topology(chignolin))


def test_the_entry_point_loads_nothing_heavy(tmp_path: Path) -> None:
    """OpenMM-ML finds it through the metadata of an installed mdflash, and its import stays light."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    info = tmp_path / "mdflash-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mdflash\nVersion: 0\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in groups.items()]
    (info / "entry_points.txt").write_text("".join(lines))
    code = (
        "import sys, openmmml; f = openmmml.MLPotential._implFactories['mdflash']; "
        "print(type(f).__module__, [m for m in ('torch', 'numba', 'scipy', 'mdtraj') if m in sys.modules])"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "mdflash.openmm.plugin []"

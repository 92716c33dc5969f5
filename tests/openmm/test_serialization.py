"""Systems in XML: by reference, checked on reading."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import openmm
import pytest

from mdflash.core.system import System
from mdflash.errors import ForceFieldError, InputError, UnsafePickleError
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.openmm import create_system, load_system, make_topology
from tests.openmm.contexts import context, energy_forces
from tests.processes import ROOT, python

IN_ANOTHER_PROCESS = """
import sys, numpy, openmm
from mdflash.openmm import original_errors
from tests.openmm.contexts import context, energy_forces
system = openmm.XmlSerializer.deserialize(open(sys.argv[1]).read())
with original_errors():
    numpy.save(sys.argv[3], energy_forces(context(system, numpy.load(sys.argv[2])))[1])
"""


def write(path: Path, system: openmm.System) -> Path:
    path.write_text(openmm.XmlSerializer.serialize(system))
    return path


def pickled(xml: str) -> bytes:
    """The pickle of the one Python force in a System."""
    return bytes.fromhex(xml.partition('function="')[2].partition('"')[0])


def elsewhere(file: Path, x: np.ndarray) -> subprocess.CompletedProcess[str]:
    """Read a System with OpenMM's own function in a fresh process and write its forces to forces.npy."""
    np.save(file.parent / "x.npy", x)
    return python("-c", IN_ANOTHER_PROCESS, file, file.parent / "x.npy", file.parent / "forces.npy", cwd=ROOT)


def test_xml_holds_a_reference_and_works_in_another_process(
    go_folder: Path, chignolin: System, folded: np.ndarray, tmp_path: Path
) -> None:
    system = create_system(go_folder, make_topology(chignolin))
    file = write(tmp_path / "system.xml", system)
    assert len(file.read_text()) < 3000
    done = elsewhere(file, folded)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "forces.npy"), energy_forces(context(system, folded))[1])


def test_a_molecule_of_ones_own_is_written_too(
    go: ForceField, go_folder: Path, chignolin: System, folded: np.ndarray, tmp_path: Path
) -> None:
    """One that did not come with the force field is in the XML itself."""
    import dataclasses

    other = dataclasses.replace(chignolin, name="mine", bonds=chignolin.bonds[:-1])
    system = create_system(go_folder, other)
    done = elsewhere(write(tmp_path / "system.xml", system), folded)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "forces.npy"), energy_forces(context(system, folded))[1])


def test_a_force_field_that_changed_or_went_is_named(
    go: ForceField, go_folder: Path, chignolin: System, folded: np.ndarray, tmp_path: Path
) -> None:
    file = write(tmp_path / "system.xml", create_system(go_folder, chignolin))
    assert load_system(file).getNumParticles() == 10
    text = (go_folder / "forcefield.yaml").read_text()
    row = next(line for line in text.splitlines() if line.strip().startswith("- [0, 1,"))
    number = row.rstrip("]").rpartition(" ")[2]
    (go_folder / "forcefield.yaml").write_text(text.replace(row, row.replace(number, "3.9")))
    with pytest.raises(ForceFieldError, match=r"ff: has changed since .*make the System again"):
        load_system(file)
    done = elsewhere(file, folded)
    assert done.returncode == 1  # OpenMM's own function reads it, but it does not compute
    assert "ForceFieldError" in done.stderr
    assert "has changed since" in done.stderr
    go_folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ForceFieldError, match=r"'go-chignolin' of this OpenMM System: .*ff: is not a "):
        load_system(file)
    save_forcefield(go_folder, go)
    assert load_system(file).getNumParticles() == 10


def test_copies_within_the_process(go: ForceField, chignolin: System, folded: np.ndarray, tmp_path: Path) -> None:
    """A force field in memory can be copied, but not read elsewhere."""
    system = create_system(go, chignolin)
    expected = energy_forces(context(system, folded))[1]
    del (another := [create_system(go, chignolin)])[0]  # which ends before its twin
    assert not another
    for again in (copy.deepcopy(system), pickle.loads(pickle.dumps(system))):
        assert np.array_equal(energy_forces(context(again, folded))[1], expected)
    done = elsewhere(write(tmp_path / "system.xml", system), folded)
    assert done.returncode == 1
    assert "mdflash.save_forcefield(FOLDER, forcefield)" in done.stderr


class Stranger:
    """What a System from a stranger may hold."""

    def __init__(self, command: str = "") -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)

    def __call__(self, state: object) -> tuple[float, np.ndarray]:
        return 0.0, np.zeros((10, 3))


def test_a_stranger_runs_nothing(chignolin: System, tmp_path: Path) -> None:
    system = create_system("go-chignolin", chignolin)
    inner = openmm.CustomCVForce("a")
    inner.addCollectiveVariable("a", openmm.PythonForce(Stranger(f"touch {tmp_path}/ran")))
    system.addForce(inner)
    (tmp_path / "ran").unlink(missing_ok=True)  # copying the force into the other ran it
    file = write(tmp_path / "system.xml", system)
    with pytest.raises(UnsafePickleError, match=r"asks for 'posix.system'.*Nothing of the file was run"):
        load_system(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "attack",
    [
        lambda text: b"cos\nsystem\n(S'true'\ntR.",
        lambda text: pickle.dumps((text, text)),
        lambda text: pickle.dumps(Stranger("true"), protocol=4),
        lambda text: pickle.dumps("mdflash.openmm.computation"),
        lambda text: text[:-1] + b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",  # the true one, then another
        lambda text: text[:-1] + b"}b.",  # its state changed
        lambda text: b"junk",
        lambda text: b"",
    ],
)
def test_other_pickles_are_refused(attack: object, chignolin: System, tmp_path: Path) -> None:
    file = write(tmp_path / "system.xml", create_system("go-chignolin", chignolin))
    load_system(file)
    text = file.read_text()
    file.write_text(text.replace(pickled(text).hex(), attack(pickled(text)).hex()))  # type: ignore[operator]
    with pytest.raises(UnsafePickleError, match="Python force that is"):
        load_system(file)


def test_spaced_digits_are_refused(chignolin: System, tmp_path: Path) -> None:
    """Two readers of hexadecimal digits could see different pickles."""
    text = openmm.XmlSerializer.serialize(create_system("go-chignolin", chignolin))
    (tmp_path / "spaced.xml").write_text(text.replace('function="80', 'function="80 '))
    with pytest.raises(UnsafePickleError, match="digits are not as OpenMM writes them"):
        load_system(tmp_path / "spaced.xml")


def test_other_files_are_refused(chignolin: System, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_system(tmp_path / "none.xml")
    (tmp_path / "a.xml").write_text("no xml")
    with pytest.raises(InputError, match="is no XML"):
        load_system(tmp_path / "a.xml")
    write(tmp_path / "b.xml", openmm.VerletIntegrator(0.001))
    with pytest.raises(InputError, match="no OpenMM System but 'VerletIntegrator'"):
        load_system(tmp_path / "b.xml")
    text = openmm.XmlSerializer.serialize(create_system("go-chignolin", chignolin))
    own = pickled(text)
    (tmp_path / "c.xml").write_text(text.replace(own.hex(), own.replace(b'"replicas":1', b'"replicas":x').hex()))
    with pytest.raises(InputError, match="does not describe an mdflash force"):
        load_system(tmp_path / "c.xml")

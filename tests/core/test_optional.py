"""What a user reads where an optional package is missing."""

from __future__ import annotations

import os

import pytest

from tests.processes import ROOT, python

HIDE = """
import sys
for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
    del sys.modules[name]
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == PACKAGE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=PACKAGE)
sys.meta_path.insert(0, Hidden())
from mdflash.errors import MdflashError
try:
    CODE
except MdflashError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("package", "extra", "code"),
    [
        ("openmm", "openmm", "from mdflash.openmm import create_system; create_system('go-chignolin', None)"),
        ("openmm", "openmm", "from mdflash.openmm import OpenMMPotential; OpenMMPotential(None)"),
        ("openmm", "openmm", "from mdflash.openmm import load_system; load_system('x.xml')"),
        ("ase", "ase", "from mdflash.ase import MdflashCalculator"),
        ("torch_sim", "torchsim", "from mdflash.torchsim import MdflashModel"),
        ("openmmml", "openmmml", "from mdflash.openmm.plugin import MdflashFactory"),
    ],
)
def test_one_sentence_names_the_extra(package: str, extra: str, code: str) -> None:
    program = HIDE.replace("PACKAGE", repr(package)).replace("CODE", code)
    done = python("-c", program, env=os.environ | {"PYTHONPATH": str(ROOT)}, bare=True)
    assert done.returncode == 0, done.stderr
    (sentence,) = done.stdout.splitlines()
    assert sentence.endswith(f"needs the package '{package}', which is not installed: pip install 'mdflash[{extra}]'")

"""docs/dev/add_a_prior_form.md, word for word: the new form passes the tests of every form."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import apply_page, copy_of_the_repository


def run(folder: Path, *arguments: str, interpret: str = "0") -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "TRITON_INTERPRET": interpret, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_the_new_form_passes_the_tests_of_every_form(tmp_path: Path) -> None:
    folder = copy_of_the_repository(tmp_path)
    apply_page("add_a_prior_form.md", folder)
    table = run(folder, "-m", "mdflash.potentials.forms.document")
    assert "`morse_bond`" in table
    (folder / "docs" / "forms.md").write_text(table, encoding="utf-8")
    pytest_options = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k")
    run(folder, *pytest_options, "morse or listed or table or coordinate", "tests/potentials/test_forms.py")
    pytest.importorskip("triton")
    run(folder, *pytest_options, "morse", "tests/gpu/check_priors.py", interpret="1")

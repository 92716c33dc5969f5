"""docs/dev/add_a_prior_form.md, done as it says."""

from __future__ import annotations

from pathlib import Path

from tests.docs.dev_page import DevPage


def test_two_files_make_a_form(tmp_path: Path) -> None:
    page = DevPage("add_a_prior_form.md", tmp_path)
    assert len(page.touched) == 2
    table = page.python("-m", "mdflash.potentials.forms.document")
    assert "`morse_bond`" in table
    (page.folder / "docs" / "forms.md").write_text(table, encoding="utf-8")
    page.run_tests("tests/potentials/test_forms.py", "-k", "morse or listed or table or coordinate")
    page.run_kernel_tests("tests/gpu/check_priors.py", "-k", "morse")

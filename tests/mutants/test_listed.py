"""The list of mutants fits the sources and the tests; `make mutants` tries them."""

from __future__ import annotations

from tests.mutants.campaign import BEGIN
from tests.mutants.listed import MUTANTS
from tests.mutants.mutant import ROOT


def test_every_mutant_changes_one_place_and_names_a_test() -> None:
    wrong = []
    for mutant in MUTANTS:
        text = (ROOT / "mdflash" / mutant.file).read_text(encoding="utf-8")
        file, function = mutant.caught_by.split("[")[0].split("::")
        named = f"def {function}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")
        if text.count(mutant.old) != 1 or mutant.new == mutant.old or not named:
            wrong.append(mutant)
    assert wrong == []


def test_the_page_holds_mutants_of_the_list_as_caught() -> None:
    assert len({mutant.breaks for mutant in MUTANTS}) == len(MUTANTS) >= 40
    page = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8").split(BEGIN)[1]
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ") and "`" in line]
    assert {row[0].removeprefix("| ") for row in rows} <= {mutant.breaks for mutant in MUTANTS}
    assert {row[2] for row in rows} == {"caught"}

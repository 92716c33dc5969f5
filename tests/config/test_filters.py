"""What `model.filters`, `model.precision` and `model.kernels` say together."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdflash.config.load import load_run
from mdflash.errors import InputError

SYSTEM = Path(__file__).parents[2] / "systems" / "chignolin.yaml"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (["kernels=reference", "filters=table"], "model.filters'.*have no tables; write `filters: auto`"),
        (["precision=mixed16", "filters=exact"], "`filters: exact` has none; write `precision: fp32`"),
        (["precision=mixed16", "kernels=reference"], "`kernels: reference` has none; write `precision: fp32`"),
        (
            ["filters=split", "kernels=reference"],
            "model.filters'.*split is for the kernels of a GPU; write `filters: auto`",
        ),
        (
            ["filters=gathered", "precision=fp64"],
            "model.filters'.*16 bits; write `filters: auto`, or `precision: fp32`",
        ),
        (["filters=spline"], "model.filters'"),
    ],
)
def test_what_has_no_tables(settings: list[str], match: str) -> None:
    with pytest.raises(InputError, match=match):
        load_run(SYSTEM, [f"model.{text}" for text in settings])


def test_defaults_and_what_goes_together() -> None:
    assert load_run(SYSTEM).model.filters == "auto"
    model = load_run(SYSTEM, ["model.precision=mixed16", "model.filters=table"]).model
    assert (model.precision, model.filters) == ("mixed16", "table")
    assert load_run(SYSTEM, ["model.filters=split"]).model.filters == "split"


def test_a_cpu_takes_no_split() -> None:
    with pytest.raises(InputError, match="split is for the kernels of a GPU"):
        load_run(SYSTEM, ["model.filters=split", "hardware.device=cpu"])

"""`model:` and `hardware:`: kernels, filters and devices that fit each other."""

from __future__ import annotations

from collections.abc import Iterator

from mdflash.config.rules.problem import Problem
from mdflash.config.schema import RunConfig
from mdflash.core.types import IN_PARTS


def filter_rules(config: RunConfig) -> Iterator[Problem]:
    model = config.model
    if model.kernels == "reference" and model.filters == "table":
        yield Problem(("model", "filters"), "the reference kernels have no tables; write `filters: auto`")
    if model.filters in IN_PARTS:
        if model.kernels == "reference" or config.hardware.device == "cpu":
            yield Problem(("model", "filters"), f"{model.filters} is for the kernels of a GPU; write `filters: auto`")
        elif model.precision == "fp64":
            yield Problem(
                ("model", "filters"),
                f"{model.filters} multiplies numbers in 16 bits; write `filters: auto`, or `precision: fp32` or "
                "`mixed16`",
            )
    for key, value in (("kernels", "reference"), ("filters", "exact")):
        if model.precision == "mixed16" and getattr(model, key) == value:
            yield Problem(
                ("model", "precision"),
                f"mixed16 is a format of filter tables, and `{key}: {value}` has none; write `precision: fp32`",
            )
            break


def device_rules(config: RunConfig) -> Iterator[Problem]:
    if config.hardware.device == "cpu" and config.model.kernels == "whole":
        yield Problem(("model", "kernels"), "whole is for a GPU; write `kernels: auto`, or `device: auto`")
    if config.hardware.device == "cuda" and config.model.kernels == "reference":
        yield Problem(
            ("hardware", "device"), "the reference kernels run in plain torch on the CPU; write `device: cpu`"
        )

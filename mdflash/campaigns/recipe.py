"""sweep.yaml: the run that a campaign copies, and what varies between the copies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError

from mdflash.campaigns.jobs import SCHEDULERS
from mdflash.config.explain import explain
from mdflash.config.load import input_error
from mdflash.config.section import Folder, SchemaVersion, as_entries
from mdflash.config.write import scalar
from mdflash.core.quantity import Quantity, Whole, Word, describe, plain_word
from mdflash.core.section import Section
from mdflash.core.yamlfile import MOST_OF_A_PLAN, Document, load_yaml
from mdflash.errors import InputError

MOST_RUNS: Final = 100_000

Axis: TypeAlias = dict[str, tuple[Any, ...]]
"""Values by dotted key of system.yaml."""


def _read_values(key: str, given: object) -> tuple[Any, ...]:
    """The values of one key: a list of them, or {from: 1, to: 24} for whole numbers."""
    if isinstance(given, dict):
        first, last = given.get("from"), given.get("to")
        if set(given) != {"from", "to"} or type(first) is not int or type(last) is not int or first > last:
            raise ValueError(f"{key}: expected a list of values, or whole numbers as in `{key}: {{from: 1, to: 24}}`")
        given = list(range(first, min(last, first + MOST_RUNS) + 1))
    if not isinstance(given, list) or not given:
        example = scalar("300 K" if isinstance(given, list) or given is None else given)
        raise ValueError(
            f"{key}: expected a list of values, found {'none' if given == [] else describe(given)}; "
            f"for example `{key}: [{example}]`"
        )
    if len(given) > MOST_RUNS:
        raise ValueError(f"{key}: more than {MOST_RUNS:,} values")
    return tuple(given)


def _refuse_twice(axis: Axis) -> None:
    """ValueError where the same values are given again: two runs would be one."""
    often = Counter(tuple(map(scalar, row)) for row in zip(*axis.values(), strict=True))
    if often and often.total() > len(often):
        raise ValueError(f"{', '.join(axis)}: {', '.join(often.most_common(1)[0][0])} is given twice; keep one of them")


def _read_sweep(given: object) -> Axis:
    axis = _read_axis(given)
    for key, values in axis.items():
        _refuse_twice({key: values})
    return axis


def _read_axis(given: object) -> Axis:
    if given is None or given == "none":
        return {}
    if not isinstance(given, dict):
        raise ValueError(
            f"expected keys of system.yaml, each with a list of values, found {describe(given)}; "
            "for example `dynamics.temperature: [300 K, 320 K]`"
        )
    return {key: _read_values(key, values) for key, values in given.items()}


def _read_set(given: object) -> object:
    if given is None or given == "none":
        return {}
    if not isinstance(given, dict):
        raise ValueError(
            f"expected keys of system.yaml, found {describe(given)}; for example `set: {{dynamics.length: 50 ns}}`"
        )
    return given


def _read_together(given: object) -> object:
    entries = as_entries(given)
    assert isinstance(entries, (list, tuple))
    found = []
    for entry in entries:
        axis = _read_axis(entry)
        counts = {key: len(values) for key, values in axis.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{key} has {count}" for key, count in counts.items())
            raise ValueError(f"keys that change together need lists of one length; {listed}")
        _refuse_twice(axis)
        found.append(axis)
    return tuple(axis for axis in found if axis)


def _read_run(given: object) -> object:
    if not isinstance(given, str) or not given.strip() or "\0" in given:
        raise ValueError(f"expected a system.yaml or the name of a shipped system, found {describe(given)}")
    return given


if TYPE_CHECKING:
    Scheduler = str
else:
    Scheduler = Literal[tuple(SCHEDULERS)]


class Job(Section):
    """The job script; its first lines are there to be edited."""

    scheduler: Scheduler = Field(
        default="slurm", description="slurm | pbs (an array, one job for each run) | shell (this machine)"
    )
    time: Annotated[float, Quantity("wall", "24 h", ("h", "min", "s"), least=600.0)] = Field(
        default=86400.0, description="wall time of a job; a run that takes longer goes on in the next one"
    )
    cores: Annotated[int, Whole(1, 4096)] = Field(default=1, description="CPU cores of each run")
    gpus: Annotated[int, Whole(0, 1)] = Field(default=0, description="GPUs of each run: 0 | 1")
    at_once: Annotated[int, Whole(1, MOST_RUNS)] = Field(default=16, description="at most so many runs at a time")


class Campaign(Section):
    """Many runs of one plan: what they share, and what varies between them."""

    mdflash: SchemaVersion = Field(description="version of this file's schema", examples=[1])
    name: Word = Field(default="", description="names the campaign; default: the file's name")
    run: Annotated[str, BeforeValidator(_read_run)] = Field(
        description="what all runs start from: a system.yaml relative to this file, or a shipped system",
        examples=["system.yaml"],
    )
    set: Annotated[dict[str, Any], BeforeValidator(_read_set)] = Field(
        default={},
        description="what all runs have otherwise than that file, by dotted key of system.yaml",
        examples=["{dynamics.length: 50 ns}"],
    )
    sweep: Annotated[Axis, BeforeValidator(_read_sweep)] = Field(
        default={},
        description="any keys of system.yaml, each with a list of values; every combination is a run. Paths are "
        "relative to the system.yaml",
        examples=["{dynamics.temperature: [300 K, 320 K], dynamics.seed: {from: 1, to: 4}}"],
    )
    together: Annotated[tuple[Axis, ...], BeforeValidator(_read_together)] = Field(
        default=(),
        description="none, or keys whose values change together, as lists of one length; combined with sweep",
        examples=["[{system.structure: [a.pdb, b.pdb], model.forcefield: [a-go, b-go]}]"],
    )
    share: Literal["none", "batch"] = Field(
        default="none",
        description="none | batch (runs that differ in system.* and model.forcefield alone are one run with several "
        "systems, which is faster; its table has a row for each)",
    )
    folder: Folder | None = Field(
        default=None, description="default: campaigns/<name>, relative to where the command is given"
    )
    job: Job = Job()

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What varies; within an axis, keys change together, and axes are combined."""
        return (*self.together, *({key: values} for key, values in self.sweep.items()))

    def shared(self, axis: Axis) -> bool:
        """Whether the values of an axis share a run, as its systems."""
        ours = all(key.split(".")[0] == "system" or key == "model.forcefield" for key in axis)
        return self.share == "batch" and ours


def load_campaign(file: Path) -> tuple[Campaign, Document]:
    """Read a sweep.yaml.

    Raises:
        InputError: anything wrong, with file, line and dotted key.
    """
    document = load_yaml(file, MOST_OF_A_PLAN)
    data: Any = {} if document.data is None else document.data
    if isinstance(data, dict) and "system" in data and "run" not in data:
        raise InputError(
            f"is a system.yaml, expected a sweep of it; make one with: mdflash init {file} --campaign", file=file
        )
    context = {"folder": file.parent.absolute(), "cwd": Path.cwd()}
    try:
        found = Campaign.model_validate(data, context=context)
    except ValidationError as error:
        raise input_error(explain(error, data, Campaign), document, ()) from None
    if not found.axes:
        raise InputError(
            "nothing varies; write for example `sweep: {dynamics.temperature: [300 K, 320 K]}`", file=file, key="sweep"
        )
    swept = [key.strip() for axis in found.axes for key in axis]
    keys = [*(key.strip() for key in found.set), *swept]
    for key in keys:
        if keys.count(key) > 1:
            raise InputError(f"'{key}' stands in two places; keep one of them", file=file, line=1, key=key)
        inside = next((k for k in (keys if key in swept else found.set) if k.startswith(f"{key}.")), None)
        if inside is not None:
            raise InputError(f"'{key}' would replace '{inside}'; write all keys inside '{key}' as '{key}.KEY'",
                             file=file, line=1, key=key)  # fmt: skip
        if key in ("name", "output.folder"):
            raise InputError("is not for a sweep: every run has its own", file=file, line=1, key=key)
    name = found.name or plain_word(file.stem)
    folder = found.folder or Path.cwd() / "campaigns" / name
    return found.model_copy(update={"name": name, "folder": folder}), document

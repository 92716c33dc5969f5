"""The experiment file: what was measured, by key; see docs/user/analysis.md.

To add a kind of data: write a file that describes it as a `Kind`, and list it here. Schema, errors, chi², reweighting,
figures and tables follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError, create_model

from mdflash.analysis.experiment.data import Kind
from mdflash.analysis.experiment.fret import FRET
from mdflash.analysis.experiment.saxs import SAXS
from mdflash.analysis.experiment.size import RG, RH
from mdflash.config.explain import explain
from mdflash.config.load import input_error
from mdflash.config.section import as_list
from mdflash.core.quantity import Temperature, describe
from mdflash.core.section import Section
from mdflash.core.yamlfile import Document, load_yaml, parse_yaml
from mdflash.errors import InputError

KINDS: Final[tuple[Kind, ...]] = (SAXS, FRET, RG, RH)


class _Head(Section):
    """Which frames data is compared with, and how."""

    mdflash_experiment: Annotated[int, Field(ge=1, le=1)] = Field(default=1, description="version of this format")
    molecule: str | None = Field(default=None, description="name of the molecule, where a run has several")
    temperature: Temperature | None = Field(default=None, description="of the measurement", examples=["298 K"])
    theta: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="how much the simulation is trusted; default: chosen, and shown", examples=["20"]
    )


_FIELDS: Final[dict[str, Any]] = {
    k.name: (k.annotation, Field(default=k.nothing, description=k.description, examples=[k.example.partition(": ")[2]]))
    for k in KINDS
}
Experiment: Final[type[_Head]] = create_model(
    "Experiment",
    __base__=_Head,
    __doc__="What was measured of one molecule, and which frames it is compared with.",
    **_FIELDS,
)
"""What was measured of one molecule; has a field for each of `KINDS`."""
Experimental = _Head


def load_experiment(given: Sequence[str]) -> Experimental:
    """From a file, from texts such as 'rg=2.1 +- 0.1 nm', or both, where texts add to the file; `fret=` may repeat.

    Paths in a file start at its folder, those in a text at the folder of the shell.

    Raises:
        InputError: anything wrong, with file, line and key.
    """
    files = [Path(text) for text in given if "=" not in text or Path(text).is_file()]
    texts = [text for text in given if "=" in text and not Path(text).is_file()]
    if len(files) > 1:
        raise InputError(
            f"names {len(files)} files; write all that was measured of a molecule into one", key="--experiment"
        )
    found = Experiment()
    if files:
        document = load_yaml(files[0])
        found = _validated({} if document.data is None else document.data, document, files[0].parent.absolute())
    if texts:
        added = _validated(_from_texts(texts), None, Path.cwd())
        update = {key: getattr(added, key) for key in added.model_fields_set}
        if FRET.name in update:
            update[FRET.name] = (*getattr(found, FRET.name), *update[FRET.name])
        found = found.model_copy(update=update)
    if all(getattr(found, k.name) == k.nothing for k in KINDS):
        examples = "; ".join(f"`{k.example}`" for k in KINDS)
        raise InputError(f"nothing was measured; write for example {examples}", file=files[0] if files else None)
    return found


def _from_texts(texts: Sequence[str]) -> dict[str, Any]:
    """As a mapping of YAML; what is given twice becomes a list."""
    data: dict[str, Any] = {}
    for text in texts:
        key, _, value = (part.strip() for part in text.partition("="))
        try:
            new = parse_yaml(value, Path()).data
        except InputError as error:
            raise InputError(error.message, file=f"--experiment {text}", key=key) from None
        if key in data and key == FRET.name:
            new = [*as_list(data[key]), *as_list(new)]  # type: ignore[misc]
        data[key] = new
    return data


def _validated(data: Any, document: Document | None, folder: Path) -> Experimental:
    """`data` of a file, or of texts without one."""
    if not isinstance(data, dict):
        raise InputError(
            f"expected keys such as `{RG.example}`, found {describe(data)}", file=document.file if document else None
        )
    data = {key: value for key, value in data.items() if value not in (None, "none")}
    try:
        return Experiment.model_validate(data, context={"folder": folder, "cwd": Path.cwd()})
    except ValidationError as error:
        found = explain(error, data, Experiment)
        if document is not None:
            raise input_error(found, document, ()) from None
        more = "".join(f"\nalso: key '{'.'.join(map(str, p.path))}': {p.message}" for p in found[1:])
        raise InputError(found[0].message + more, file="--experiment", key=".".join(map(str, found[0].path))) from None

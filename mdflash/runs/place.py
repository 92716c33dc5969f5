"""Where a run is that was started from another folder.

A relative `output.folder` starts where the command is given. Where no run is there, the same command may have been
given elsewhere before: beside the YAML file, or in a folder above it. A run that this file made, with the same
settings, is resumed in its place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mdflash.config.overrides import apply_overrides
from mdflash.config.schema import RunConfig
from mdflash.core.regular import read_input
from mdflash.core.yamlfile import load_yaml
from mdflash.errors import InputError
from mdflash.io.runfolder import is_run_folder, load_manifest
from mdflash.runs.identity import changed, with_recorded_seed


def at_its_folder(config: RunConfig, source: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """`config`, or the same with the folder in which an earlier command put this run.

    Args:
        config: the run, as loaded.
        source: its YAML file.
        overrides: what replaced values of the file.
    """
    here, place = Path.cwd(), _place(config, source, overrides)
    if is_run_folder(config.folder) or place is None:
        return config
    for above in Path(os.path.abspath(source)).parents:
        output = config.output.model_copy(update={"folder": Path(os.path.abspath(above / place))})
        moved = config.model_copy(update={"output": output})
        if above != here and _is_this_run(moved, source):
            return moved
    return config


def other_run(config: RunConfig, source: Path, overrides: Sequence[str] = ()) -> Path | None:
    """A run of this name where an earlier command may have put it, which is not resumed; None: there is none.

    It was made from another file, or with other settings. Arguments: as of `at_its_folder`, which found nothing.
    """
    place = _place(config, source, overrides)
    if is_run_folder(config.folder) or place is None:
        return None
    above = (Path(os.path.abspath(parent / place)) for parent in Path(os.path.abspath(source)).parents)
    return next((folder for folder in above if is_run_folder(folder)), None)


def _place(config: RunConfig, source: Path, overrides: Sequence[str]) -> Path | None:
    """`output.folder` as it was given; None where it is the same from every folder."""
    data, _ = apply_overrides(load_yaml(source).data, overrides)
    given = (data.get("output") or {}).get("folder")
    place = Path("runs", config.name) if given is None else Path(given).expanduser()
    return place if config.folder == Path(os.path.abspath(place)) and not place.is_absolute() else None


def _is_this_run(config: RunConfig, source: Path) -> bool:
    """Whether the run in the folder of `config` was made from the file `source`, with these settings."""
    folder = config.folder
    if not (is_run_folder(folder) and (folder / "resolved.yaml").is_file()):
        return False
    with suppress(InputError, OSError):
        named = load_manifest(folder).get("source")
        same = named is not None and (folder / named).is_file() and source.samefile(folder / named)
        if same or read_input(folder / "input.yaml") == read_input(source):
            return next(changed(folder, with_recorded_seed(config, fresh=False)), None) is None
    return False

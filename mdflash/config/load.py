"""Read system.yaml into a `RunConfig`; every mistake becomes one error with file, line and key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mdflash.config.explain import explain
from mdflash.config.molecules import Source
from mdflash.config.overrides import Override, apply_overrides
from mdflash.config.rules import Problem, problems
from mdflash.config.schema import RunConfig
from mdflash.config.section import BESIDE
from mdflash.core.quantity import plain_word
from mdflash.core.yamlfile import MOST_OF_A_PLAN, Document, load_yaml, parse_yaml
from mdflash.errors import InputError
from mdflash.forcefields.shipped import find_shipped, list_shipped
from mdflash.io.runfolder import is_run_folder
from mdflash.mapping.formats import bare_name, is_structure


def locate(file: Path | str) -> Path:
    """The system.yaml meant by `file`: a path, the bare name of a shipped system, or the resolved.yaml of a run folder.

    Raises:
        InputError: there is no such file (the message lists the shipped systems), or it is a structure.
    """
    path = Path(file)
    if path.is_file():
        if is_structure(path):
            raise InputError(
                f"is a structure, expected a system.yaml; make one with: mdflash init {path} --forcefield FORCEFIELD "
                "(mdflash go makes a force field of a structure)",
                file=path,
            )
        return path
    if is_run_folder(path):
        if not (path / "resolved.yaml").is_file():
            raise InputError("holds no run yet: it has no resolved.yaml; give the system.yaml of the run", file=path)
        return path / "resolved.yaml"
    shipped = find_shipped("systems", str(file))
    if shipped is not None:
        return shipped
    if (path / "runs.csv").is_file() and (path / "runs").is_dir():
        raise InputError(
            f"is a campaign; `mdflash campaign run {path}` works on its runs, and `campaign status` shows them",
            file=path,
        )
    if path.is_dir():
        inside = sorted((p.name for p in path.glob("*.yaml")), key=lambda name: (name != "system.yaml", name))
        hint = f"; give the file inside it: {path / inside[0]}" if inside else ""
        raise InputError(f"is a directory; expected a system.yaml file{hint}", file=path)
    beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=1)
    hint = f"did you mean '{path.parent / near[0]}'?" if near else list_shipped("systems", path.stem)
    raise InputError(f"no such file; {hint}", file=path)


def load_run(file: Path | str, overrides: Sequence[str] = ()) -> RunConfig:
    """The run that a system.yaml describes.

    Args:
        file: a path, the bare name of a shipped system ("chignolin"), or a run folder: the run in it goes on there,
            wherever it was when it was started.
        overrides: "dynamics.timestep=2 fs", each replaces what the file has.

    Raises:
        InputError: anything wrong, with file, line and dotted key (or the override as given).
    """
    path = locate(file)
    config = _validate(load_yaml(path, MOST_OF_A_PLAN), overrides)
    if is_run_folder(Path(file)) and not any(text.startswith("output.folder=") for text in overrides):
        return config.model_copy(update={"output": config.output.model_copy(update={"folder": Path(file).absolute()})})
    return config


def parse_run(text: str, file: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """As `load_run`, from text; `file` is named in errors, and its folder is where relative paths start."""
    return _validate(parse_yaml(text, file), overrides)


def _validate(document: Document, overrides: Sequence[str]) -> RunConfig:
    data = {} if document.data is None else document.data
    data, given = apply_overrides(data, overrides)
    beside, here = document.file.parent.absolute(), Path.cwd()
    typed = any(override.path == ("output", "folder") for override in given)  # in a shell, `./` is the shell's folder
    context = {"folder": beside, "cwd": here, BESIDE: here if typed else beside}
    try:
        config = RunConfig.model_validate(data, context=context)
    except ValidationError as error:
        raise input_error(explain(error, data), document, given) from None
    config = _with_names(config, document.file)
    found = [*problems(config), *_idle_overrides(config, given)]
    if found:
        raise input_error(_as_written(found, data), document, given)
    return _with_box(config)


def _as_written(found: Sequence[Problem], data: Any) -> list[Problem]:
    """The same with paths of the file.

    A system (or bias) given as one mapping stands there without its index, and a box may stand in a system.
    """
    single = {key for key in ("system", "biases", "metadynamics", "monitor") if not isinstance(data.get(key), list)}
    systems = data["system"] if isinstance(data.get("system"), list) else [data.get("system")]
    boxed = next((s for s, entry in enumerate(systems) if isinstance(entry, dict) and "box" in entry), None)

    def written(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
        if path[:1] == ("box",) and "box" not in data and boxed is not None:
            path = ("system", boxed, *path)
        return path[:1] + path[2:] if path[0] in single else path

    return [Problem(written(p.path), p.message) for p in found]


@contextmanager
def naming_lines(file: Path | str, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Give errors about a key, found once the molecules are there, their file and line, as `load_run` does.

    Args:
        file: as of `load_run`.
        overrides: as of `load_run`.
    """
    try:
        yield
    except InputError as error:
        if error.key is None or error.file is not None:
            raise
        document = load_yaml(locate(file))
        data, given = apply_overrides(document.data, overrides)
        path = tuple(int(word) if word.isdigit() else word for word in error.key.split("."))
        raise input_error(_as_written([Problem(path, error.message)], data), document, given) from None


def _with_names(config: RunConfig, file: Path) -> RunConfig:
    """`config` with the defaults that depend on file names: of the run, its systems and molecules, its folder."""
    name = config.name or plain_word(file.stem)

    def named(entry: Source, default: str) -> str:
        return entry.name or (plain_word(bare_name(entry.structure)) if entry.structure else default)

    entries = []
    for entry in config.system:
        molecules = tuple(
            molecule.model_copy(update={"name": named(molecule, f"molecule-{i}")})
            for i, molecule in enumerate(entry.molecules, start=1)
        )
        entries.append(entry.model_copy(update={"name": named(entry, name), "molecules": molecules}))
    folder = config.output.folder or Path.cwd() / "runs" / name
    output = config.output.model_copy(update={"folder": folder})
    return config.model_copy(update={"name": name, "system": tuple(entries), "output": output})


def _with_box(config: RunConfig) -> RunConfig:
    """`config` with the box that its systems have; `rules` sees to it that there is one."""
    boxes = [entry.box for entry in config.system if entry.box is not None]
    if not boxes:
        return config
    entries = tuple(entry.model_copy(update={"box": None}) for entry in config.system)
    return config.model_copy(update={"box": boxes[0], "system": entries})


def _idle_overrides(config: RunConfig, given: Sequence[Override]) -> list[Problem]:
    """An override that changes nothing would mislead: the count, where every system has its own."""
    path = ("replicas", "count")
    if any(o.path == path for o in given) and all(entry.replicas is not None for entry in config.system):
        return [Problem(path, "has no effect: every system sets its own `replicas`; set system.replicas instead")]
    return []


def input_error(found: Sequence[Problem], document: Document, given: Sequence[Override]) -> InputError:
    """The first problem as the error, the others below it, each with its place."""

    def single(problem: Problem) -> InputError:
        key = ".".join(map(str, problem.path))
        for override in given:
            below = problem.path[: len(override.path)] == override.path
            above = override.path[: len(problem.path)] == problem.path and problem.path not in document.lines
            if below or above:
                return InputError(problem.message, file=f"--set {override.text}", key=key)
        line = document.line(problem.path) or 1
        return InputError(problem.message, file=document.file, line=line, key=key)

    first, *others = [single(problem) for problem in found]
    more = "".join(f"\nalso: {other}" for other in others)
    return InputError(first.message + more, file=first.file, line=first.line, key=first.key)

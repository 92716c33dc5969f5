"""Find one's way in an mlcg checkpoint: modules, tensors, models of a sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mdflash.core.damage import DAMAGE
from mdflash.errors import ForceFieldError, InputError
from mdflash.importers.unpickle import Inert, SparseTensor, StateDict, load_torch

Tensor = npt.NDArray[Any] | SparseTensor


@dataclass(frozen=True)
class Model:
    """One summand of a checkpoint.

    Attributes:
        name: its name there: a prior's is also the name of its neighbor list.
        module: the network or prior.
        file: the file it came from.
    """

    name: str
    module: Inert
    file: Path


@dataclass(frozen=True)
class Checkpoint:
    """What a model file holds: models to be summed and, if it was specialized, its configurations."""

    models: tuple[Model, ...]
    configurations: tuple[Inert, ...]


def child(module: Inert, *path: str) -> Inert | None:
    """The submodule at `path`, or None."""
    found: object = module
    for name in path:
        if not isinstance(found, Inert):
            return None
        found = found.state.get("_modules", {}).get(name)
    return found if isinstance(found, Inert) else None


def children(module: Inert) -> list[tuple[str, Inert]]:
    """The submodules in order."""
    return [(str(k), m) for k, m in module.state.get("_modules", {}).items() if isinstance(m, Inert)]


def tensor(module: Inert, name: str) -> Tensor | None:
    """The parameter or buffer `name`, or None."""
    for group in ("_parameters", "_buffers"):
        found = module.state.get(group, {}).get(name)
        if isinstance(found, (np.ndarray, SparseTensor)):
            return found
    return None


def is_configuration(thing: object) -> bool:
    return isinstance(thing, Inert) and thing.name == "AtomicData"


def configurations(content: object) -> tuple[Inert, ...]:
    """`content` as a list of AtomicData; empty if it is anything else."""
    items: Sequence[object] = content if isinstance(content, (list, tuple)) else [content]
    return tuple(i for i in items if isinstance(i, Inert)) if all(map(is_configuration, items)) else ()


@contextmanager
def translating(file: Path) -> Iterator[None]:
    """Turn whatever the content of a file leads to into one sentence: a number where a table is expected, a key of the
    wrong kind, a layer without its parts."""
    try:
        yield
    except InputError as error:
        if error.file is not None:
            raise
        raise type(error)(error.message, file=file, key=error.key) from None
    except DAMAGE as error:
        raise ForceFieldError(
            f"holds something else than mlcg writes ({type(error).__name__}: {str(error)[:200]}); it is damaged, or of "
            "another version of mlcg",
            file=file,
        ) from error


def read_models(file: Path) -> Checkpoint:
    """The models of a file: a network, priors, a sum, a specialized model, a Lightning checkpoint.

    Raises:
        InputError, UnsafePickleError: as `load_torch`.
        ForceFieldError: it holds no model.
    """
    content = load_torch(file)
    with translating(file):
        return _checkpoint(content, file)


def _checkpoint(content: Any, file: Path) -> Checkpoint:
    given: tuple[Inert, ...] = ()
    if isinstance(content, tuple) and len(content) == 2 and configurations(content[1]):
        content, given = content[0], configurations(content[1])
    if isinstance(content, dict) and "state_dict" in content:
        content = _lightning(content, file)
    if content and configurations(content):
        raise ForceFieldError(
            "holds structures (AtomicData), not a model; give it as `--structures " + str(file) + "`", file=file
        )
    if not isinstance(content, Inert):
        raise ForceFieldError(f"holds no mlcg model, but a {type(content).__name__}", file=file)
    return Checkpoint(tuple(_flatten(content, "", file)), given)


def _flatten(module: Inert, key: str, file: Path) -> list[Model]:
    """The summands inside the wrappers SumOut, ModuleDict, GradientsOut, EnergyOut."""
    if module.name == "SumOut":
        inner = child(module, "models")
        return _flatten(inner, key, file) if inner is not None else []
    if module.name == "ModuleDict":
        return [model for name, m in children(module) for model in _flatten(m, name, file)]
    if module.name in ("GradientsOut", "EnergyOut"):
        inner = child(module, "model")
        return _flatten(inner, key or str(module.state.get("name", "")), file) if inner is not None else []
    own = module.state.get("name")
    name = own if isinstance(own, str) and own else key or module.name.removeprefix("Standard")
    return [Model(name, module, file)]


def _lightning(content: dict[Any, Any], file: Path) -> Inert:
    """The model of a Lightning checkpoint: the module kept with the hyper-parameters, with the trained weights."""
    parameters = content.get("hyper_parameters")
    model = parameters.get("model") if isinstance(parameters, dict) else None
    state = content["state_dict"]
    if not isinstance(model, Inert) or not isinstance(state, (dict, StateDict)):
        raise ForceFieldError(
            "is a training checkpoint without the model's description (hyper_parameters.model); save the model "
            "itself with torch.save(trainer_module.model, 'model.pt') and import that",
            file=file,
        )
    for key, value in state.items():
        first, *path, last = str(key).split(".")
        if first != "model":
            continue
        owner = child(model, *path)
        group = next((g for g in ("_parameters", "_buffers") if owner and last in owner.state.get(g, {})), None)
        if owner is None or group is None:
            raise ForceFieldError(f"has the trained weight '{key}', but no place for it in its model", file=file)
        owner.state[group][last] = value
    return model

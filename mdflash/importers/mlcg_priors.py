"""mlcg's priors -> terms of a force field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import ForceFieldError
from mdflash.forcefields.model import Term
from mdflash.importers.mlcg_objects import Model, Tensor, tensor
from mdflash.importers.unpickle import SparseTensor
from mdflash.potentials.forms import FORMS


@dataclass(frozen=True)
class _Counterpart:
    """Our form of an mlcg prior class, and which of its buffers is which of our parameters."""

    form: str
    buffers: Mapping[str, str]


def _harmonic(form: str) -> _Counterpart:
    return _Counterpart(form, {"k": "k", "x0": "x_0"})


_POLYNOMIAL = {"v0": "v_0", "ks": "ks"}
COUNTERPARTS: Final[Mapping[str, _Counterpart]] = MappingProxyType(
    {
        "HarmonicBonds": _harmonic("harmonic_bond"),
        "GeneralBonds": _harmonic("harmonic_bond"),
        "HarmonicAngles": _harmonic("harmonic_angle_cosine"),
        "GeneralAngles": _harmonic("harmonic_angle_cosine"),
        "HarmonicAnglesRaw": _harmonic("harmonic_angle"),
        "HarmonicImpropers": _harmonic("harmonic_improper"),
        "ShiftedPeriodicHarmonicImpropers": _harmonic("shifted_harmonic_improper"),
        "Dihedral": _Counterpart("fourier_dihedral", {"v0": "v_0", "k1": "k1s", "k2": "k2s"}),
        "QuarticAngles": _Counterpart("polynomial_angle_cosine", _POLYNOMIAL),
        "QuarticRawAngles": _Counterpart("polynomial_angle", _POLYNOMIAL),
        "RestrictedQuartic": _Counterpart(
            "restricted_quartic_angle", {"a": "a", "b": "b", "c": "c", "d": "d", "k": "k", "v0": "v_0"}
        ),
        "Repulsion": _Counterpart("repulsion", {"sigma": "sigma"}),
    }
)  # fmt: skip
"""By class name in mlcg."""


def is_static(model: Model) -> bool:
    """Whether this is a specialized prior: parameters per interaction, not per bead type."""
    return model.module.name.startswith("Static")


def counterpart(model: Model) -> _Counterpart:
    """
    Raises:
        ForceFieldError: mdflash has no such prior.
    """
    kind = model.module.name
    found = COUNTERPARTS.get(kind.removeprefix("Static"))
    if found is None:
        raise ForceFieldError(
            f"the model '{model.name}' is of mlcg's class {model.module.kind}, which has no counterpart here; "
            f"known: SchNet, StandardSchNet, {', '.join(COUNTERPARTS)}",
            file=model.file,
        )
    return found


def _buffer(model: Model, name: str) -> Tensor:
    found = tensor(model.module, name)
    if found is None:
        raise ForceFieldError(
            f"the prior '{model.name}' ({model.module.kind}) has no '{name}'; a file of another version of mlcg?",
            file=model.file,
        )
    return found


def allowed_keys(model: Model) -> IntArray:
    """[K, order] the type numbers that the prior has parameters for, in the file's order."""
    kind = counterpart(model)
    order = FORMS[kind.form].order
    listed = model.module.state.get("allowed_interaction_keys")
    if isinstance(listed, (list, tuple)) and listed:
        keys = np.array([tuple(map(int, key)) for key in listed], np.int64)
        if keys.shape[1:] != (order,):
            raise ForceFieldError(
                f"the prior '{model.name}' has keys of {keys.shape[1:]} types; {order} expected", file=model.file
            )
        return keys
    found = set()
    for name in kind.buffers.values():
        where = _nonzero(_buffer(model, name))[:, -order:]
        found |= set(map(tuple, where.tolist()))
    return np.array(sorted(found), np.int64).reshape(-1, order)


def _nonzero(table: Tensor) -> npt.NDArray[Any]:
    if isinstance(table, SparseTensor):
        there: npt.NDArray[Any] = table.indices.T[table.values.reshape(len(table.values), -1).any(axis=1)]
        return there
    return np.argwhere(table)


def _lookup(model: Model, name: str, keys: IntArray, series: bool) -> FloatArray:
    """The buffer at `keys` [K, order]: [K], or [K, degree] for a series; exactly the file's numbers."""
    table = _buffer(model, name)
    order = keys.shape[1]
    if len(table.shape) != order + series or (keys.size and keys.max() >= min(table.shape[series:])):
        raise ForceFieldError(
            f"the prior '{model.name}' has '{name}' of shape {list(table.shape)}, which does not fit its keys",
            file=model.file,
        )
    if isinstance(table, np.ndarray):
        at_keys = (Ellipsis, *keys.T)
        dense: FloatArray = np.ascontiguousarray(table[at_keys].T, np.float64)  # [K] or [K, degree]
        return dense
    degree = table.shape[0] if series else 1
    rows = np.repeat(keys, degree, axis=0)
    if series:
        rows = np.column_stack([np.tile(np.arange(degree), len(keys)), rows])
    stored, place = np.unique(np.ravel_multi_index(tuple(table.indices), table.shape), return_inverse=True)
    sums = np.zeros(len(stored))
    np.add.at(sums, place, table.values)  # an uncoalesced tensor may name an element twice
    wanted = np.ravel_multi_index(tuple(rows.T), table.shape)
    found: FloatArray = np.zeros(len(wanted))
    if len(stored):
        at = np.minimum(np.searchsorted(stored, wanted), len(stored) - 1)
        found = np.where(stored[at] == wanted, sums[at], 0.0)
    return found.reshape(-1, degree) if series else found


def typed_term(model: Model, positions: Mapping[int, int]) -> Term:
    """A prior keyed by bead types.

    Of two rows that are each other's mirror and have the same numbers, as mlcg stores them, one is kept.

    Args:
        positions: for each of mlcg's type numbers, its place among the force field's bead types.
    """
    kind = counterpart(model)
    form = FORMS[kind.form]
    keys = allowed_keys(model)
    columns = {p: _lookup(model, b, keys, p in form.series) for p, b in kind.buffers.items()}
    flat = np.column_stack([c.reshape(len(keys), -1) for c in columns.values()])
    seen: dict[tuple[int, ...], int] = {}
    keep = []
    for k, key in enumerate(map(tuple, keys.tolist())):
        mirror = seen.get(key[::-1])
        if key in seen or (mirror is not None and np.array_equal(flat[mirror], flat[k])):
            continue
        seen[key] = k
        keep.append(k)
    chosen = np.array(keep, np.int64)
    local = np.vectorize(positions.__getitem__, otypes=[np.int64])(keys[chosen])
    return Term(model.name, form.name, "types", local, {p: c[chosen] for p, c in columns.items()})


def static_term(model: Model, lists: Sequence[IntArray]) -> Term:
    """A specialized prior: its parameters are those of all configurations one after the other.

    Args:
        lists: for each configuration its interactions [M, order].

    Raises:
        ForceFieldError: the configurations are not copies of one molecule, or the numbers do not fit them.
    """
    kind = counterpart(model)
    form = FORMS[kind.form]
    index = lists[0]
    if any(not np.array_equal(index, other) for other in lists[1:]):
        raise ForceFieldError(
            f"the prior '{model.name}' was specialized for several different molecules; import the model as it "
            "was before mlcg specialized it, with its structures",
            file=model.file,
        )
    m, copies = len(index), len(lists)
    parameters: dict[str, FloatArray] = {}
    for p in form.parameters:
        table = _buffer(model, p if p == "x0" else kind.buffers[p])
        if isinstance(table, SparseTensor) or len(table) != m * copies:
            raise ForceFieldError(
                f"the specialized prior '{model.name}' has {table.shape[0]} rows of '{p}', but its "
                f"{copies} configurations have {m} interactions each",
                file=model.file,
            )
        values = table.astype(np.float64).reshape(copies, m, -1)
        if not (values == values[0]).all():
            raise ForceFieldError(
                f"the specialized prior '{model.name}' has other parameters in each configuration", file=model.file
            )
        parameters[p] = values[0] if p in form.series else values[0, :, 0]  # mlcg repeats or pads scalars
    offset = tensor(model.module, "V0")
    if isinstance(offset, np.ndarray) and offset.any():
        raise ForceFieldError(
            f"the prior '{model.name}' has energy offsets V0, which is not supported", file=model.file
        )
    return Term(model.name, form.name, "beads", index, parameters)

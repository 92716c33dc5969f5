"""The list of functional forms.

A form is one file of this package, which holds everything there is to know of it. Here it has its line in `MODULES`
and a line in the function of its coordinate, once for each machine. (Functions chosen at run time would be compiled
again in every process: numba cannot keep a closure over compiled functions.) All else follows: what forcefield.yaml may
name, what `mdflash info` prints, docs/forms.md, the tables of the kernels, and the tests that compare the twins.
docs/dev/add_a_prior_form.md shows how a form is added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import Real
from mdflash.compiled.optional_triton import constexpr, tl, triton_jit
from mdflash.core.types import FloatArray
from mdflash.potentials.forms import (
    ashbaugh_hatch,
    contact,
    contact_gaussian,
    excluded_volume,
    fourier,
    harmonic,
    near_contact,
    polynomial,
    repulsion,
    restricted,
    shifted_improper,
    wang_frenkel,
    yukawa,
)
from mdflash.potentials.forms.form import Form

MODULES: Final[tuple[Any, ...]] = (
    harmonic,
    repulsion,
    contact,
    polynomial,
    restricted,
    fourier,
    shifted_improper,
    excluded_volume,
    ashbaugh_hatch,
    yukawa,
    wang_frenkel,
    contact_gaussian,
    near_contact,
)
_NUMBERS = range(len(MODULES))
HARMONIC, REPULSION, CONTACT, POLYNOMIAL, RESTRICTED, FOURIER, SHIFTED, VOLUME, STICKY, YUKAWA, WANG, WELL, NEAR = (
    _NUMBERS
)
(
    _HARMONIC,
    _REPULSION,
    _CONTACT,
    _POLYNOMIAL,
    _RESTRICTED,
    _FOURIER,
    _SHIFTED,
    _VOLUME,
    _STICKY,
    _YUKAWA,
    _WANG,
    _WELL,
    _NEAR,
) = (constexpr(1 << code) for code in _NUMBERS)

FORMS: Final[Mapping[str, Form]] = MappingProxyType({form.name: form for m in MODULES for form in m.FORMS})
"""Every form by name."""
CODES: Final[Mapping[str, int]] = MappingProxyType({f.name: code for code, m in enumerate(MODULES) for f in m.FORMS})
"""By form: its number in the kernels' tables; those of a GPU hold 1 << number."""
ON_GPU: Final = frozenset(form.name for m in MODULES if hasattr(m, "gpu_value_slope") for form in m.FORMS)
"""The forms with a Triton twin."""
NATIVE: Final = frozenset(form.name for m in (contact, contact_gaussian) for form in m.FORMS)
"""The forms of native contacts: r0 is the distance in the native structure."""
ONE_BY_ONE: Final = frozenset(form.name for form in excluded_volume.FORMS)
"""The forms of near pairs that are evaluated pair by pair, not eight at a time: the bits of runs that exist."""


@njit(inline="always")
def distance(code: int, r2: float, p: FloatArray) -> tuple[float, float]:
    """u and (du/dr) / r from r^2; most forms are functions of r^2 and need no root."""
    if code == REPULSION:
        return repulsion.value_pull(r2, p)
    if code == CONTACT:
        return contact.value_pull(r2, p)
    if code == HARMONIC:
        return harmonic.value_pull(r2, p)
    if code == WELL:
        return contact_gaussian.value_pull(r2, p)
    return math.nan, math.nan


@njit(inline="always")
def angle(code: int, q: float, p: FloatArray) -> tuple[float, float]:
    """u and du/dq of an angle or the cosine of one."""
    if code == POLYNOMIAL:
        return polynomial.value_slope(q, p)
    if code == RESTRICTED:
        return restricted.value_slope(q, p)
    if code == HARMONIC:
        return harmonic.value_slope(q, p)
    return math.nan, math.nan


@njit(inline="always")
def dihedral(code: int, q: float, p: FloatArray) -> tuple[float, float]:
    """u and du/dphi of a torsion."""
    if code == FOURIER:
        return fourier.value_slope(q, p)
    if code == SHIFTED:
        return shifted_improper.value_slope(q, p)
    if code == HARMONIC:
        return harmonic.value_slope(q, p)
    return math.nan, math.nan


@njit(inline="always")
def pair(code: int, r2: Real, p: Sequence[Real], cutoff: float) -> tuple[Real, Real]:
    """u and (du/dr) / r of a near pair from r^2, for r < cutoff; or of a vector of pairs."""
    if code == VOLUME:
        return excluded_volume.value_pull(r2, p, cutoff)
    if code == STICKY:
        return ashbaugh_hatch.value_pull(r2, p, cutoff)
    if code == YUKAWA:
        return yukawa.value_pull(r2, p, cutoff)
    if code == WANG:
        return wang_frenkel.value_pull(r2, p, cutoff)
    if code == NEAR:
        return near_contact.value_pull(r2, p, cutoff)
    return r2 * math.nan, r2 * math.nan


@triton_jit
def _choose(mine: tl.tensor, new: tl.tuple, old: tl.tuple) -> tuple[tl.tensor, tl.tensor]:
    return tl.where(mine, new[0], old[0]), tl.where(mine, new[1], old[1])


@triton_jit
def gpu_distance(r: tl.tensor, code: tl.tensor, p: tl.tuple, OCCUR: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dr; OCCUR: the codes that are compiled for."""
    u = (r * 0.0, r * 0.0)
    if _HARMONIC & OCCUR:
        u = _choose(code == _HARMONIC, harmonic.gpu_value_slope(r, p), u)
    if _REPULSION & OCCUR:
        u = _choose(code == _REPULSION, repulsion.gpu_value_slope(r, p), u)
    if _CONTACT & OCCUR:
        u = _choose(code == _CONTACT, contact.gpu_value_slope(r, p), u)
    if _WELL & OCCUR:
        u = _choose(code == _WELL, contact_gaussian.gpu_value_slope(r, p), u)
    return u


@triton_jit
def gpu_angle(
    q: tl.tensor, cosine: tl.tensor, sine: tl.tensor, code: tl.tensor, p: tl.tuple, OCCUR: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dq of an angle or the cosine of one."""
    u = (q * 0.0, q * 0.0)
    if _HARMONIC & OCCUR:
        u = _choose(code == _HARMONIC, harmonic.gpu_value_slope(q, p), u)
    if _POLYNOMIAL & OCCUR:
        u = _choose(code == _POLYNOMIAL, polynomial.gpu_value_slope(q, p), u)
    if _RESTRICTED & OCCUR:
        u = _choose(code == _RESTRICTED, restricted.gpu_value_slope(cosine, sine, p), u)
    return u


@triton_jit
def gpu_dihedral(
    phi: tl.tensor, cosine: tl.tensor, sine: tl.tensor, code: tl.tensor, p: tl.tuple, OCCUR: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dphi of a torsion."""
    u = (phi * 0.0, phi * 0.0)
    if _HARMONIC & OCCUR:
        u = _choose(code == _HARMONIC, harmonic.gpu_value_slope(phi, p), u)
    if _FOURIER & OCCUR:
        u = _choose(code == _FOURIER, fourier.gpu_value_slope(sine, cosine, p), u)
    if _SHIFTED & OCCUR:
        u = _choose(code == _SHIFTED, shifted_improper.gpu_value_slope(phi, p), u)
    return u


@triton_jit
def gpu_pair(
    r: tl.tensor, code: tl.tensor, p: tl.tuple, cutoff: tl.tensor, OCCUR: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dr of a near pair, for r < cutoff."""
    u = (r * 0.0, r * 0.0)
    if _VOLUME & OCCUR:
        u = _choose(code == _VOLUME, excluded_volume.gpu_value_slope(r, p, cutoff), u)
    if _STICKY & OCCUR:
        u = _choose(code == _STICKY, ashbaugh_hatch.gpu_value_slope(r, p, cutoff), u)
    if _YUKAWA & OCCUR:
        u = _choose(code == _YUKAWA, yukawa.gpu_value_slope(r, p, cutoff), u)
    if _WANG & OCCUR:
        u = _choose(code == _WANG, wang_frenkel.gpu_value_slope(r, p, cutoff), u)
    if _NEAR & OCCUR:
        u = _choose(code == _NEAR, near_contact.gpu_value_slope(r, p, cutoff), u)
    return u

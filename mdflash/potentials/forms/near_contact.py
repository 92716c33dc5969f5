"""Contact between copies of a molecule, of all near pairs: u(r) = epsilon [ 5 (r0/r)^12 - 6 (r0/r)^10 ] - u_end.

    u_end is that value at r = 2.5 r0 (-0.00055 epsilon), where u ends; it is 0 from there on

The native contact of Clementi, Nymeyer & Onuchic, J. Mol. Biol. 298, 937 (2000), eq. 1, through the neighbor list: so
it acts on nearest images in a periodic box. A pair of bead types without a contact has epsilon 0. The force jumps by
0.0021 epsilon/r0 where u ends.

| symbol  | parameter | unit     |
|---------|-----------|----------|
| r       |           | Å        |
| epsilon | epsilon   | kcal/mol |
| r0      | r0        | Å, distance in the native structure |

The compiled twins read epsilon, r0^2 and u_end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import Real, where
from mdflash.compiled.optional_triton import tl, triton_jit
from mdflash.core.ranges import DISTANCE, NOT_NEGATIVE
from mdflash.core.types import FloatArray
from mdflash.potentials.forms.form import Form

if TYPE_CHECKING:
    from torch import Tensor

END: Final = 2.5
"""Native distances, where u ends."""
_X2_END: Final = END**-2
_U_END: Final = 5.0 * END**-12 - 6.0 * END**-10


def energy(q: Tensor, epsilon: Tensor, r0: Tensor, cutoff: float) -> Tensor:
    """u(r), elementwise."""
    x2 = (r0 / q) ** 2
    u = epsilon * (5 * x2**6 - 6 * x2**5 - _U_END)
    return u.where(q < END * r0, 0.0)


def columns(parameters: Mapping[str, FloatArray], cutoff: float) -> tuple[FloatArray, ...]:
    """What the compiled twins read."""
    return parameters["epsilon"], parameters["r0"] ** 2, parameters["epsilon"] * _U_END


@njit(cache=True, error_model="numpy")
def value_pull(r2: Real, p: Sequence[Real], cutoff: float) -> tuple[Real, Real]:
    """u and (du/dr) / r from r^2; p = `columns`."""
    inverse = 1.0 / r2
    x2 = p[1] * inverse
    x10 = x2 * x2 * x2 * x2 * x2
    inside = x2 > _X2_END
    u = where(inside, p[0] * x10 * (5.0 * x2 - 6.0) - p[2], 0.0)
    return u, where(inside, 60.0 * p[0] * x10 * (1.0 - x2) * inverse, 0.0)


@triton_jit
def gpu_value_slope(r: tl.tensor, p: tl.tuple, cutoff: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dr; p = `columns`."""
    inverse = 1.0 / r
    x2 = p[1] * inverse * inverse
    x10 = x2 * x2 * x2 * x2 * x2
    inside = 6.25 * x2 > 1.0
    u = tl.where(inside, p[0] * x10 * (5.0 * x2 - 6.0) - p[2], 0.0)
    return u, tl.where(inside, 60.0 * p[0] * x10 * (1.0 - x2) * inverse, 0.0)


FORMS = (
    Form(
        name="near_contact_12_10",
        on="pair",
        scalars={"epsilon": "kcal/mol", "r0": "Å"},
        ranges={"epsilon": NOT_NEGATIVE, "r0": DISTANCE},
        strength="epsilon",
        equation="epsilon [5 (r0/r)^12 - 6 (r0/r)^10 + 0.000545] for r < 2.5 r0",
        source="Clementi, Nymeyer & Onuchic, J. Mol. Biol. 298, 937 (2000), eq. 1, shifted to end at 2.5 r0",
        energy=energy,
        columns=columns,
        ends=lambda parameters: END * parameters["r0"],
    ),
)

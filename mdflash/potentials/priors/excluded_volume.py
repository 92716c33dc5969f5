"""Excluded volume of all near pairs: u(r) = epsilon (sigma/r)^12, force-shifted to end at the cutoff.

    u_c(r) = u(r) - u(rc) - (r - rc) u'(rc)   for r < rc, else 0

so that energy and force are both continuous at rc. The non-native repulsion of Clementi, Nymeyer & Onuchic,
J. Mol. Biol. 298, 937 (2000), eq. 1, evaluated through the neighbour list.

| symbol  | parameter | unit     |
|---------|-----------|----------|
| r       |           | Å        |
| epsilon | epsilon   | kcal/mol |
| sigma   | sigma     | Å        |
| rc      | the term's cutoff | Å |
"""

from __future__ import annotations

from torch import Tensor

from mdflash.compiled.jit import njit


def energy(q: Tensor, epsilon: Tensor, sigma: Tensor, cutoff: float) -> Tensor:
    """u_c(r) for r < cutoff, elementwise."""
    at_cutoff = epsilon * (sigma / cutoff) ** 12
    return epsilon * (sigma / q) ** 12 - at_cutoff + (q - cutoff) * 12 * at_cutoff / cutoff


@njit(cache=True, error_model="numpy")
def value_slope(q, epsilon, sigma, cutoff):
    """u_c and du_c/dr for r < cutoff."""
    x = sigma / q
    x2 = x * x
    u = epsilon * x2 * x2 * x2 * x2 * x2 * x2
    y = sigma / cutoff
    y2 = y * y
    slope = 12.0 * epsilon * y2 * y2 * y2 * y2 * y2 * y2 / cutoff
    return u - slope * cutoff / 12.0 + (q - cutoff) * slope, slope - 12.0 * u / q

"""Neighbor lists, priors, networks, biases and variables."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_LISTS = "neighbors/test_lists.py"
_FORMS = "potentials/test_forms.py::test_compiled_value_and_slope_are_torchs"
_BIAS = "potentials/test_bias.py"
_SURFACE = "potentials/test_surface.py"

MUTANTS: Final = (
    # --- neighbor lists ---------------------------------------------------------------------------------------------
    Mutant(
        "A list is kept until a bead has moved by the whole skin",
        "neighbors/cpu.py",
        "limit = 0.25 * skin * skin",
        "limit = skin * skin",
        f"{_LISTS}::test_one_fast_bead_is_enough_to_rebuild",
    ),
    Mutant(
        "A list is never built again",
        "neighbors/cpu.py",
        "        if not dx * dx + dy * dy + dz * dz <= limit:\n            return True",
        "        if not dx * dx + dy * dy + dz * dz <= limit and limit < 0.0:\n            return True",
        f"{_LISTS}::test_one_fast_bead_is_enough_to_rebuild",
    ),
    Mutant(
        "Pairs with the last cell of an axis are lost",
        "neighbors/cpu.py",
        "return d, 0 <= d < cells",
        "return d, 0 <= d < cells - 1",
        f"{_LISTS}::test_beads_exactly_at_the_cutoff",
    ),
    Mutant(
        "Periodic pairs are lost between the last cell of an axis and the first",
        "neighbors/cpu.py",
        "return (d + cells) % cells, True",
        "return (d + cells) % cells, d < cells",
        f"{_LISTS}::test_beads_exactly_at_the_cutoff",
    ),
    Mutant(
        "The nearest image is that of the cell from 0 to the edge",
        "neighbors/cpu.py",
        "np.floor(d * (1.0 / edge) + 0.5)",
        "np.floor(d * (1.0 / edge))",
        f"{_LISTS}::test_beads_exactly_at_the_cutoff",
    ),
    Mutant(
        "The first excluded pair of every bead is kept",
        "neighbors/cpu.py",
        "for e in range(exclusion_start[i], exclusion_start[i + 1]):",
        "for e in range(exclusion_start[i] + 1, exclusion_start[i + 1]):",
        f"{_LISTS}::test_exclusions_are_left_out_and_nothing_else",
    ),
    Mutant(
        "Lists of eights hold each bead as a neighbor of itself",
        "neighbors/eights.py",
        "later = -(np.int64(2) << (i & 7))",
        "later = -(np.int64(1) << (i & 7))",
        "potentials/test_eights.py::test_a_list_of_eights_holds_the_pairs_within_reach",
    ),
    Mutant(
        "Lists of eights look into windows up to half the reach only",
        "neighbors/boxes.py",
        "first = (a >> 3) * 2 * size",
        "first, reach2 = (a >> 3) * 2 * size, 0.25 * reach2",
        "potentials/test_eights.py::test_strands_beside_each_other_are_neighbors",
    ),
    Mutant(
        "Lists of eights exclude the bead behind the one that is meant",
        "neighbors/eights.py",
        "row[q] &= ~(np.int64(1) << (bead & 7))",
        "row[q] &= ~(np.int64(2) << (bead & 7))",
        "potentials/test_eights.py::test_a_list_of_eights_holds_the_pairs_within_reach",
    ),
    # --- priors -----------------------------------------------------------------------------------------------------
    Mutant(
        "Harmonic terms have a factor 1/2",
        "potentials/forms/harmonic.py",
        '"""u and du/dq; p = (k, x0)."""\n    d = q - p[1]\n    return p[0] * d * d, 2.0 * p[0] * d',
        '"""u and du/dq; p = (k, x0)."""\n    d = q - p[1]\n    return 0.5 * p[0] * d * d, p[0] * d',
        f"{_FORMS}[harmonic_bond]",
    ),
    Mutant(
        "Repulsion attracts",
        "potentials/forms/repulsion.py",
        "return u, -6.0 * u * inverse",
        "return u, 6.0 * u * inverse",
        f"{_FORMS}[repulsion]",
    ),
    Mutant(
        "The force of a native contact vanishes at another distance than its minimum",
        "potentials/forms/contact.py",
        "60.0 * p[0] * x10 * (1.0 - x2) * inverse",
        "12.0 * p[0] * x10 * (6.0 - 5.0 * x2) * inverse",
        f"{_FORMS}[contact_12_10]",
    ),
    Mutant(
        "The slope of a polynomial lacks its linear term",
        "potentials/forms/polynomial.py",
        "du = du * q + n * p[n]",
        "du = du * q + (n - 1) * p[n]",
        f"{_FORMS}[polynomial_angle]",
    ),
    Mutant(
        "Restricted bending grows as 1 / sin, not 1 / sin^2",
        "potentials/forms/restricted.py",
        "k / torch.sin(q) ** 2",
        "k / torch.sin(q)",
        f"{_FORMS}[restricted_quartic_angle]",
    ),
    Mutant(
        "The higher terms of a torsion have another period",
        "potentials/forms/fourier.py",
        "s, c = s * c1 + c * s1, c * c1 - s * s1",
        "s, c = s * c1 - c * s1, c * c1 + s * s1",
        f"{_FORMS}[fourier_dihedral]",
    ),
    Mutant(
        "Improper torsions below 0 are shifted the wrong way",
        "potentials/forms/shifted_improper.py",
        "d = (q + math.pi if q < 0.0 else q - math.pi) - p[1]",
        "d = (q - math.pi) - p[1]",
        f"{_FORMS}[shifted_harmonic_improper]",
    ),
    Mutant(
        "The force of excluded volume jumps at the cutoff",
        "potentials/forms/excluded_volume.py",
        "(slope - 12.0 * u / r) / r",
        "(-12.0 * u / r) / r",
        f"{_FORMS}[excluded_volume]",
    ),
    Mutant(
        "The repulsive branch of Ashbaugh-Hatch is not shifted",
        "potentials/forms/ashbaugh_hatch.py",
        "epsilon * (1.0 - scale) - shift",
        "epsilon * (1.0 - scale)",
        f"{_FORMS}[ashbaugh_hatch]",
    ),
    Mutant(
        "The force of Debye and Hückel lacks the slope of 1/r",
        "potentials/forms/yukawa.py",
        "u * w * (-1.0 * (p[1] + w))",
        "u * w * (-1.0 * p[1])",
        f"{_FORMS}[yukawa]",
    ),
    Mutant(
        "The well of Wang and Frenkel is not epsilon deep",
        "potentials/forms/wang_frenkel.py",
        'return parameters["sigma"] ** 2, parameters["epsilon"] * a,',
        'return parameters["sigma"] ** 2, parameters["epsilon"],',
        f"{_FORMS}[wang_frenkel]",
    ),
    Mutant(
        "Torsions have the other sign",
        "potentials/priors/geometry.py",
        "sine, cosine = _norm(b) * (a * n).sum(-1), (m * n).sum(-1)",
        "sine, cosine = -_norm(b) * (a * n).sum(-1), (m * n).sum(-1)",
        "potentials/test_priors.py::test_coordinates_are_mdtrajs",
    ),
    Mutant(
        "Beads one bond farther apart than stated are excluded",
        "forcefields/build.py",
        "for _ in range(bonds):",
        "for _ in range(bonds + 1):",
        "potentials/test_priors.py::test_exclusions",
    ),
    Mutant(
        "Pairs of types mix by the sum, not the mean, of their sizes",
        "forcefields/mixing.py",
        "(x[:, None] + x[None]) / 2.0",
        "x[:, None] + x[None]",
        "forcefields/test_models.py::test_energies_of_pairs",
    ),
    Mutant(
        "Like charges attract",
        "forcefields/mixing.py",
        "product: FloatArray = q[:, None] * q[None]",
        "product: FloatArray = -q[:, None] * q[None]",
        "forcefields/test_models.py::test_energies_of_whole_chains",
    ),
    # --- SchNet -----------------------------------------------------------------------------------------------------
    Mutant(
        "The envelope of filters ends at twice the cutoff",
        "potentials/schnet/network.py",
        "0.5 * (torch.cos(d * math.pi / upper) + 1.0) * (d < upper)",
        "0.5 * (torch.cos(d * math.pi / (2.0 * upper)) + 1.0) * (d < upper)",
        "potentials/test_schnet.py::test_energy_and_force_vanish_smoothly_at_the_cutoff",
    ),
    Mutant(
        "Filter tables are not smooth between their knots",
        "potentials/schnet/tables.py",
        "3.0 * np.diff(value, axis=0) - 2.0 * s[:-1] - s[1:]",
        "3.0 * np.diff(value, axis=0) - s[:-1] - 2.0 * s[1:]",
        "potentials/test_tables.py::test_the_error_falls_with_the_third_power_of_the_interval",
    ),
    Mutant(
        "Half of the channels of a message are not added up for the second bead",
        "potentials/schnet/messages.py",
        "                store(m, m0 + j, fma(w, yi, load(m, m0 + j)))\n\n\n@njit",
        "\n\n@njit",
        "test_conformance.py::test_flash_schnet_conforms[fp64]",
    ),
    Mutant(
        "A dense layer lacks its bias",
        "potentials/schnet/cpu.py",
        "u2.forward, u2.bias, work.x, ZERO, u2.n_out, rows, begin, end, True)",
        "u2.forward, NONE, work.x, ZERO, u2.n_out, rows, begin, end, True)",
        "test_conformance.py::test_flash_schnet_conforms[fp64]",
    ),
    Mutant(
        "A network pushes both beads of a pair the same way",
        "potentials/schnet/messages.py",
        "force[1, j, c] -= pull",
        "force[1, j, c] += pull",
        "test_conformance.py::test_flash_schnet_conforms[fp64]",
    ),
    # --- biases and variables ---------------------------------------------------------------------------------------
    Mutant(
        "An umbrella has its force constant without the factor 1/2",
        "potentials/bias/cpu.py",
        "return 0.5 * slope * over, slope if d > 0.0 else -slope",
        "return slope * over, slope if d > 0.0 else -slope",
        f"{_BIAS}::test_conformance",
    ),
    Mutant(
        "An upper wall acts below it",
        "potentials/bias/cpu.py",
        "(form == UPPER_WALL and d < 0.0)",
        "(form == UPPER_WALL and d > 0.0)",
        f"{_BIAS}::test_conformance",
    ),
    Mutant(
        "A flat bottom is half as wide",
        "potentials/bias/cpu.py",
        "over = max(abs(d) - width, 0.0)",
        "over = max(abs(d) - 0.5 * width, 0.0)",
        f"{_BIAS}::test_flat_bottom",
    ),
    Mutant(
        "A torsion is pulled the long way round",
        "potentials/bias/cpu.py",
        "d -= 2.0 * math.pi * np.rint(d / (2.0 * math.pi))",
        "d -= 0.0",
        f"{_BIAS}::test_a_dihedral_is_pulled_the_short_way_round",
    ),
    Mutant(
        "The slope of the radius of gyration ignores masses",
        "potentials/variables/radius_of_gyration.py",
        "g[m, d] = v.weight[m] * away",
        "g[m, d] = away / len(v.beads)",
        "potentials/test_variables.py::test_compiled_is_torch_and_its_gradient_is_the_slope",
    ),
    Mutant(
        "The slope of a hill has the wrong sign",
        "potentials/bias/surface_cpu.py",
        "return e, -x / w * e",
        "return e, x / w * e",
        f"{_SURFACE}::test_what_is_interpolated_is_the_sum_of_hills",
    ),
    Mutant(
        "Hills on a periodic variable end at its boundary",
        "potentials/bias/surface_cpu.py",
        "    if axis[PERIODIC] == 0.0:\n        first, stop = max(first, 0)",
        "    if axis[PERIODIC] >= 0.0:\n        first, stop = max(first, 0)",
        f"{_SURFACE}::test_what_is_interpolated_is_the_sum_of_hills",
    ),
)

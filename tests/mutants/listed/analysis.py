"""Analysis, prior fits and mapped forces."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_MEASURES = "analysis/test_measures.py"
_STATISTICS = "analysis/test_statistics.py"
_REWEIGHT = "analysis/test_reweight.py"
_INVERSION = "training/test_inversion.py"

MUTANTS: Final = (
    Mutant(
        "The mixture of MBAR has the wrong sign of reduced energies",
        "core/mbar.py",
        "np.log(counts[used])[:, None] + free[used][:, None] - reduced[used]",
        "np.log(counts[used])[:, None] + free[used][:, None] + reduced[used]",
        f"{_REWEIGHT}::test_melting_of_two_states",
    ),
    Mutant(
        "Free energies of MBAR have the wrong sign",
        "core/mbar.py",
        "return np.asarray(free - free[0])",
        "return np.asarray(free[0] - free)",
        f"{_REWEIGHT}::test_free_energies_are_pymbars",
    ),
    Mutant(
        "The heat capacity is divided by T, not T^2",
        "analysis/reweight.py",
        "(BOLTZMANN * grid**2)",
        "(BOLTZMANN * grid)",
        f"{_REWEIGHT}::test_melting_of_two_states",
    ),
    Mutant(
        "Free energies over a variable have the wrong sign",
        "analysis/free_energy.py",
        "f[some] = -kT(kelvin) * np.log(p[some])",
        "f[some] = kT(kelvin) * np.log(p[some])",
        "analysis/test_hills.py::test_a_torsion_with_a_known_free_energy",
    ),
    Mutant(
        "The radius of gyration counts every bead alike",
        "analysis/measures.py",
        'square = np.einsum("fnx,fnx->fn", positions, positions) @ w',
        'square = np.einsum("fnx,fnx->fn", positions, positions).mean(axis=1)',
        f"{_MEASURES}::test_against_mdtraj",
    ),
    Mutant(
        "Beads three residues apart are native contacts",
        "analysis/measures.py",
        "> CONTACT_RANGE) & (r < CONTACT)",
        ">= CONTACT_RANGE) & (r < CONTACT)",
        f"{_MEASURES}::test_native_contacts_against_mdtraj",
    ),
    Mutant(
        "A native contact stretches by a factor of its own when Q is a share",
        "analysis/contacts.py",
        "over = distances(positions, pairs) - stretch * r0",
        "over = distances(positions, pairs) - r0",
        "analysis/test_contacts.py::test_it_is_the_variable_of_biases",
    ),
    Mutant(
        "The RMSD superposes by reflections",
        "analysis/measures.py",
        "    singular[:, 2] *= np.sign(np.linalg.det(covariance))\n",
        "",
        "analysis/test_validate.py::test_rmsd_does_not_see_motion_but_sees_the_mirror",
    ),
    Mutant(
        "Torsions of frames have the other sign",
        "core/geometry.py",
        "np.linalg.norm(v, axis=-1) * (u * n).sum(axis=-1)",
        "-np.linalg.norm(v, axis=-1) * (u * n).sum(axis=-1)",
        f"{_MEASURES}::test_against_mdtraj",
    ),
    Mutant(
        "The error of a mean is divided by the number of blocks once more",
        "analysis/statistics.py",
        "np.sqrt(b / (b - 1) * square) / total",
        "np.sqrt(square / b) / total",
        f"{_STATISTICS}::test_the_error_is_that_of_repeated_runs",
    ),
    Mutant(
        "The statistical inefficiency counts every lag once, not twice",
        "analysis/statistics.py",
        "1.0 + 2.0 * ((1.0 - t / n) * c[1:last]).sum()",
        "1.0 + ((1.0 - t / n) * c[1:last]).sum()",
        f"{_STATISTICS}::test_inefficiency_is_pymbars",
    ),
    Mutant(
        "A block is left out, and another counts twice",
        "analysis/statistics.py",
        "found += [(k, a, b) for a, b in itertools.pairwise(edges) if b > a]",
        "found += [(k, a, b - 1) for a, b in itertools.pairwise(edges) if b > a]",
        f"{_STATISTICS}::test_blocks_cover_every_frame_once",
    ),
    Mutant(
        "A fitted spring is twice as stiff",
        "training/inversion.py",
        '"k": float(min(0.5 * kT / max(variance, 1e-12), STEEPEST))',
        '"k": float(min(kT / max(variance, 1e-12), STEEPEST))',
        f"{_INVERSION}::test_a_spring_comes_back_whatever_the_room_at_q",
    ),
    Mutant(
        "Fits leave out how much room there is at a distance",
        "training/inversion.py",
        "    weights = 1.0 / jacobian\n",
        "    weights = np.ones_like(jacobian)\n",
        f"{_INVERSION}::test_a_spring_comes_back_whatever_the_room_at_q",
    ),
    Mutant(
        "Mapped forces are drawn with the wrong sign from free atoms",
        "sampling/forcemap.py",
        "weights[:, free] = -np.linalg.solve(",
        "weights[:, free] = np.linalg.solve(",
        "sampling/test_forcemap.py::test_optimised_map_has_less_noise_on_frames_it_has_not_seen",
    ),
)

"""Integrators, noise, impulses, guards and minimization."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_SCHEMES = "integrators/test_schemes.py"
_PHILOX = "compiled/test_philox.py"

MUTANTS: Final = (
    # --- integrators ------------------------------------------------------------------------------------------------
    Mutant(
        "BAOAB kicks by a whole step before the drift, and by half a step after",
        "integrators/langevin.py",
        "(Part(KICK, 0.5), Part(DRIFT, 0.5), Part(FLUCTUATE), Part(DRIFT, 0.5))",
        "(Part(KICK), Part(DRIFT, 0.5), Part(FLUCTUATE), Part(DRIFT, 0.5))",
        f"{_SCHEMES}::test_langevin_samples_a_harmonic_well_exactly",
    ),
    Mutant(
        "The second half kick of velocity Verlet is a whole one",
        "integrators/verlet.py",
        "last_kick: ClassVar[float] = 0.5",
        "last_kick: ClassVar[float] = 1.0",
        f"{_SCHEMES}::test_verlet_is_symplectic_and_conserves_its_shadow_energy",
    ),
    Mutant(
        "Velocity Verlet drifts by half a step",
        "integrators/verlet.py",
        "(Part(KICK, 0.5), Part(DRIFT))",
        "(Part(KICK, 0.5), Part(DRIFT, 0.5))",
        f"{_SCHEMES}::test_verlet_is_symplectic_and_conserves_its_shadow_energy",
    ),
    Mutant(
        "Friction damps by exp(-gamma dt / 2), with the noise that belongs to it",
        "integrators/base.py",
        "c = math.exp(-gamma * h)",
        "c = math.exp(-0.5 * gamma * h)",
        f"{_SCHEMES}::test_langevin_middle_without_noise_is_openmm",
    ),
    Mutant(
        "The noise of the thermostat is sqrt(1 - c), not sqrt(1 - c^2)",
        "integrators/base.py",
        "math.sqrt(1.0 - c * c)",
        "math.sqrt(1.0 - c)",
        f"{_SCHEMES}::test_langevin_samples_a_harmonic_well_exactly",
    ),
    Mutant(
        "Brownian displacements lack the factor sqrt(2)",
        "integrators/base.py",
        "math.sqrt(2.0 * h / gamma)",
        "math.sqrt(h / gamma)",
        f"{_SCHEMES}::test_brownian_samples_a_harmonic_well_as_euler_maruyama_does",
    ),
    Mutant(
        "Thermal velocities are too large by sqrt(2)",
        "integrators/cpu.py",
        "thermal = math.sqrt(kT * per_mass)",
        "thermal = math.sqrt(2.0 * kT * per_mass)",
        f"{_SCHEMES}::test_langevin_samples_a_harmonic_well_exactly",
    ),
    Mutant(
        "Every bead moves with the mass of the first",
        "integrators/cpu.py",
        "per_mass = ACCELERATION / mass[i]\n        if s.takes_noise:",
        "per_mass = ACCELERATION / mass[0]\n        if s.takes_noise:",
        f"{_SCHEMES}::test_compiled_step_is_the_reference_step",
    ),
    Mutant(
        "One random number is used for x, y and z",
        "integrators/cpu.py",
        "noise = (normal[k], normal[EIGHT + k], normal[2 * EIGHT + k])",
        "noise = (normal[k], normal[k], normal[k])",
        f"{_SCHEMES}::test_compiled_step_is_the_reference_step",
    ),
    Mutant(
        "Every step uses the noise of step 0",
        "integrators/cpu.py",
        "normals8(seed, replica, step, i,",
        "normals8(seed, replica, np.int64(0), i,",
        f"{_SCHEMES}::test_compiled_step_is_the_reference_step",
    ),
    Mutant(
        "Start velocities all have the mass of the first bead",
        "integrators/cpu.py",
        "np.sqrt(kT * ACCELERATION / masses)",
        "np.sqrt(kT * ACCELERATION / masses[:1])",
        "engine/test_engine.py::test_maxwell_boltzmann",
    ),
    Mutant(
        "The mean velocity, not that of the center of mass, is removed",
        "integrators/cpu.py",
        "        total += mass[i]\n        px += mass[i] * v[i, 0]",
        "        total += mass[i]\n        px += v[i, 0]",
        "engine/test_engine.py::test_centre_of_mass_motion_is_removed",
    ),
    Mutant(
        "The kinetic energy is twice what it is",
        "integrators/cpu.py",
        "return 0.5 * twice / ACCELERATION",
        "return twice / ACCELERATION",
        "engine/test_engine.py::test_each_replica_is_held_at_its_own_temperature",
    ),
    Mutant(
        "The temperature counts the three degrees of freedom that were removed",
        "engine/engine.py",
        "(3 if self.dynamics.remove_com_motion else 0)",
        "0",
        "engine/test_engine.py::test_centre_of_mass_motion_is_removed",
    ),
    # --- Philox -----------------------------------------------------------------------------------------------------
    Mutant(
        "Philox does nine rounds",
        "compiled/philox.py",
        "for _ in range(ROUNDS):",
        "for _ in range(ROUNDS - 1):",
        f"{_PHILOX}::test_philox_known_answers",
    ),
    Mutant(
        "Seed and replica change places in the key",
        "compiled/noise.py",
        "k0, k1 = plus(seed_, n * WEYL[0]), plus(replica_, n * WEYL[1])",
        "k0, k1 = plus(replica_, n * WEYL[0]), plus(seed_, n * WEYL[1])",
        f"{_PHILOX}::test_normals_are_box_muller_of_the_philox_words",
    ),
    Mutant(
        "The low word of the step is not in the counter",
        "compiled/noise.py",
        "c0, c1, c2, c3 = spread(step_),",
        "c0, c1, c2, c3 = high(spread(step_)),",
        f"{_PHILOX}::test_beads_and_steps_are_independent",
    ),
    Mutant(
        "The high word of the step is not in the counter",
        "compiled/noise.py",
        "high(spread(step_)), spread(first)",
        "same(0), spread(first)",
        f"{_PHILOX}::test_normals_are_box_muller_of_the_philox_words",
    ),
    Mutant(
        "Start velocities and Langevin noise share their random numbers",
        "compiled/noise.py",
        "spread(first), spread(purpose_)",
        "spread(first), same(0)",
        f"{_PHILOX}::test_every_part_of_the_key_gives_independent_noise",
    ),
    Mutant(
        "The noise of eight beads at once does nine rounds",
        "compiled/noise.py",
        "for n in range(ROUNDS):",
        "for n in range(ROUNDS - 1):",
        f"{_PHILOX}::test_compiled_words_are_those_of_the_definition",
    ),
    Mutant(
        "Noise ends at 3.7 standard deviations",
        "compiled/box_muller.py",
        "    m, k = split(t)\n",
        "    m, k = split(where(t > 1e-3, t, 1e-3))\n",
        f"{_PHILOX}::test_normals_are_within_three_units_of_box_muller",
    ),
    Mutant(
        "Coordinates that a step has copied are never freed",
        "potentials/priors/eights.py",
        "        release(y)\n",
        "",
        "engine/test_memory.py::test_steps_give_back_the_arrays_that_they_make",
    ),
    # --- r-RESPA ----------------------------------------------------------------------------------------------------
    Mutant(
        "Impulses of networks are as large as forces of one step",
        "engine/blocks/plain.py",
        "self._every if step % self._every == 0 else 0)",
        "1 if step % self._every == 0 else 0)",
        "integrators/test_respa.py::test_it_is_the_nested_splitting",
    ),
    Mutant(
        "Impulses fall on the steps before the multiples",
        "engine/blocks/plain.py",
        "self._every if step % self._every == 0 else 0)",
        "self._every if (step + 1) % self._every == 0 else 0)",
        "integrators/test_respa.py::test_it_is_the_nested_splitting",
    ),
    Mutant(
        "A retried stretch with a shorter step gives too many impulses",
        "engine/settings.py",
        "network_every=self.network_every << halvings if self.network_every > 1 else 1,",
        "network_every=self.network_every,",
        "integrators/test_respa.py::test_a_retry_gives_every_impulse_once",
    ),
    # --- guards and minimization ------------------------------------------------------------------------------------
    Mutant(
        "A frozen replica moves on with every block",
        "engine/guards.py",
        "for r in (*np.flatnonzero(out), *new):",
        "for r in new:",
        "engine/test_guards.py::test_the_others_keep_their_bits_when_one_explodes",
    ),
    Mutant(
        "A retried stretch repeats the noise of the run's first steps",
        "engine/guards.py",
        "(engine.dynamics.seed + level * _SEED_STEP) % 2**32",
        "engine.dynamics.seed",
        "engine/test_guards.py::test_the_finer_steps_have_noise_of_their_own",
    ),
    Mutant(
        "A checkpoint lacks the state that an unstable replica goes back to",
        "engine/guards.py",
        'found |= {f"anchor_{name}": getattr(self._anchor, name).numpy() for name in self._anchor.results()}',
        'found |= {f"anchor_{name}": getattr(self._anchor, name).numpy() * 1.0001 for name in self._anchor.results()}',
        "engine/test_guards.py::test_resumed_runs_freeze_and_retry_the_same",
    ),
    Mutant(
        "Minimization goes on when it moves uphill, and stops when it moves downhill",
        "engine/minimize.py",
        "if power > 0.0:",
        "if power < 0.0:",
        "engine/test_minimize.py::test_a_distorted_helix_finds_its_native_structure",
    ),
    Mutant(
        "The steps of a minimization are not limited",
        "engine/minimize.py",
        "            v[i, k] *= shrink\n",
        "",
        "engine/test_minimize.py::test_overlapping_beads_part_gently",
    ),
)

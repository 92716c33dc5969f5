"""What changes between blocks of steps: exchange, hills, moving biases; and replicas on many ranks."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_EXCHANGE = "engine/test_exchange.py"
_DEPOSITS = "engine/test_deposits.py"

MUTANTS: Final = (
    # --- exchange ---------------------------------------------------------------------------------------------------
    Mutant(
        "Exchange accepts what it should refuse",
        "engine/exchange/permute.py",
        "gain = (reduced[i, a] + reduced[j, b]) - (reduced[i, b] + reduced[j, a])",
        "gain = (reduced[i, b] + reduced[j, a]) - (reduced[i, a] + reduced[j, b])",
        f"{_EXCHANGE}::test_neighbors_against_the_rule_as_written",
    ),
    Mutant(
        "Exchange tries the even pairs alone",
        "engine/exchange/permute.py",
        "first = attempt % 2 if len(members) > 2 else 0",
        "first = 0 if len(members) > 2 else 0",
        f"{_EXCHANGE}::test_even_pairs_come_first_and_alternate",
    ),
    Mutant(
        "All pairs of a Gibbs attempt have the same random numbers",
        "engine/exchange/permute.py",
        "random, one, other = _uniform(seed, ladder, step, swap)",
        "random, one, other = _uniform(seed, ladder, step, 0)",
        f"{_EXCHANGE}::test_the_permutations_are_drawn_from_their_distribution[gibbs]",
    ),
    Mutant(
        "Exchange and Langevin noise share their random numbers",
        "engine/exchange/permute.py",
        "np.uint64(swap), np.uint64(EXCHANGE)",
        "np.uint64(swap), np.uint64(0)",
        f"{_EXCHANGE}::test_neighbors_against_the_rule_as_written",
    ),
    Mutant(
        "Velocities keep the temperature from before an exchange",
        "engine/exchange/replica_exchange.py",
        "faster = np.sqrt(self.temperatures[after] / self.temperatures[before])",
        "faster = np.sqrt(self.temperatures[before] / self.temperatures[before])",
        f"{_EXCHANGE}::test_a_swap_changes_temperature_and_speed_and_nothing_else",
    ),
    Mutant(
        "Replicas that have traded windows keep the forces of their old ones",
        "engine/exchange/replica_exchange.py",
        "if self.biases and (after != before).any():",
        "if self.biases and (after != after).any():",
        "engine/test_hamiltonian_exchange.py::test_an_attempt_moves_labels_and_nothing_else",
    ),
    Mutant(
        "Windows are traded by the energies of their own biases alone",
        "engine/exchange/replica_exchange.py",
        "total = total + (share - share[labels, np.arange(len(labels))])",
        "total = total + share",
        "engine/test_hamiltonian_exchange.py::test_reduced_energies_are_those_of_an_evaluation_in_every_state",
    ),
    Mutant(
        "Frozen replicas take part in exchange",
        "engine/exchange/replica_exchange.py",
        "active = ~engine.frozen",
        "active = engine.frozen | True",
        "engine/test_guards.py::test_frozen_replicas_take_no_part_in_exchange",
    ),
    Mutant(
        "A way to the highest temperature alone counts as a round trip",
        "engine/exchange/replica_exchange.py",
        "home = (labels == 0) & (self._heading == 2)",
        "home = (labels == 0) & (self._heading >= 1)",
        f"{_EXCHANGE}::test_labels_stay_permutations_and_counts_add_up",
    ),
    Mutant(
        "Every ladder has the random numbers of the first",
        "engine/exchange/replica_exchange.py",
        "ladder=ladder.number,",
        "ladder=0,",
        f"{_EXCHANGE}::test_ladders_decide_independently_of_each_other",
    ),
    # --- metadynamics and OPES --------------------------------------------------------------------------------------
    Mutant(
        "Heights of hills fall without kT",
        "potentials/bias/metadynamics.py",
        "np.exp(-energies / (self.kT[group] * (self.bias_factor - 1.0)))",
        "np.exp(-energies / (self.bias_factor - 1.0))",
        "potentials/test_surface.py::test_heights_and_offset",
    ),
    Mutant(
        "c(t) of metadynamics has the bias factor of its denominator twice",
        "potentials/bias/metadynamics.py",
        "np.exp(gamma / (gamma - 1.0) * (v - top))",
        "np.exp(1.0 / (gamma - 1.0) * (v - top))",
        "potentials/test_surface.py::test_heights_and_offset",
    ),
    Mutant(
        "Every hill is deposited twice",
        "potentials/bias/metadynamics.py",
        "        self.deposit(group, centers, heights)\n",
        "        self.deposit(group, centers, heights)\n        self.deposit(group, centers, heights)\n",
        f"{_DEPOSITS}::test_what_is_deposited_is_what_is_told",
    ),
    Mutant(
        "The free energy of metadynamics is not scaled by its bias factor",
        "potentials/bias/metadynamics.py",
        "from_lowest(-self.bias_factor / (self.bias_factor - 1.0) * self.surfaces[..., 0])",
        "from_lowest(-self.surfaces[..., 0])",
        f"{_DEPOSITS}::test_free_energy_of_a_double_well",
    ),
    Mutant(
        "Forces are those from before a deposit",
        "engine/engine.py",
        "        if any(changing.moves_forces for changing in due):",
        "        if not any(changing.moves_forces for changing in due):",
        f"{_DEPOSITS}::test_forces_are_those_of_the_bias_after_a_deposit",
    ),
    Mutant(
        "A walker outside the grid deposits hills",
        "engine/deposits.py",
        "good = walks & ~engine.frozen & bias.inside(values) & np.isfinite(energies)",
        "good = walks & ~engine.frozen & np.isfinite(energies)",
        f"{_DEPOSITS}::test_a_walker_outside_deposits_nothing_and_comes_back",
    ),
    Mutant(
        "Two kernels of OPES merge to their midpoint, whatever their heights",
        "potentials/bias/kernels_cpu.py",
        "share = g / (h + g)",
        "share = 0.5",
        "potentials/test_opes.py::test_kernels_merge_by_the_rule",
    ),
    Mutant(
        "OPES forgets the kernels of a checkpoint",
        "potentials/bias/opes.py",
        'self.kernels = [part.copy() for part in np.split(state["kernels"], np.cumsum(state["kept"])[:-1])]',
        "self.kernels = [part[:0] for part in self.kernels]",
        "potentials/test_opes.py::test_a_copy_and_a_checkpoint_continue_alike",
    ),
    # --- moving biases ----------------------------------------------------------------------------------------------
    Mutant(
        "The work on a pulled molecule has the wrong sign",
        "engine/steering.py",
        "self.work[b, acts] += new - old",
        "self.work[b, acts] += old - new",
        "engine/test_steering.py::test_the_path_and_its_work",
    ),
    # --- ranks ------------------------------------------------------------------------------------------------------
    Mutant(
        "Results of the first rank go to the replicas of the last",
        "engine/blocks/ranks.py",
        "for each in zip(self.parts, received, strict=True)])",
        "for each in zip(self.parts, received[::-1], strict=True)])",
        "engine/test_ranks.py::test_results_of_every_rank_go_to_its_replicas",
    ),
    Mutant(
        "Every rank numbers its replicas from 0, so all have the same noise",
        "core/partition.py",
        "layout.replica_ids[first:stop],",
        "tuple(range(stop - first)),",
        "engine/test_ranks.py::test_every_replica_is_carried_once_and_the_load_is_even",
    ),
    Mutant(
        "A part of a batch brings home the results of a replica that was lent to it",
        "core/partition.py",
        "        own += [True] * len(mine) or [False]\n",
        "        own += [True] * max(len(mine), 1)\n",
        "core/test_state.py::test_parts_of_a_memory_bring_results_home",
    ),
)

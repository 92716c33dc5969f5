"""What frames weigh, and relative entropy."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_ENTROPY = "training/test_entropy.py::test_what_is_logged_is_what_is_descended"

MUTANTS: Final = (
    Mutant(
        "Every temperature counts in the gradient as if it were the only one",
        "training/entropy/loss.py",
        "group.share / group.kT * np.concatenate",
        "1.0 / group.kT * np.concatenate",
        _ENTROPY,
    ),
    Mutant(
        "The likelihood of forces has twice its weight beside the relative entropy",
        "training/entropy/loop.py",
        "count = 2.0 * self.progress.variance * len(chosen)",
        "count = self.progress.variance * len(chosen)",
        _ENTROPY,
    ),
    Mutant(
        "Relative entropy forgets how far from its start it has come",
        "training/entropy/pool.py",
        "self.free = self.free[0, 0] + self.kT * solved.reshape(self.counts.shape)",
        "self.free = self.kT * solved.reshape(self.counts.shape)",
        "training/test_entropy_loss.py::test_renewals_together_know_free_energies_and_averages",
    ),
    Mutant(
        "Frames held out are weighed as if those that are learned from were among them",
        "training/weights.py",
        "counts = np.bincount(states.state[part], minlength=k)",
        "counts = np.bincount(states.state, minlength=k)",
        "training/test_weights.py::test_a_part_is_weighed_by_its_own_states",
    ),
)

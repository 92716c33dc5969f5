"""How much each frame of a dataset counts at a temperature: MBAR over all windows and temperatures.

A trajectory was sampled at a temperature T_k from exp(-beta_k (U + V_k)), with the energy U of its model and V_k of the
window that held it (0 in none). With N_k frames of state k and its free energy f_k in kT, a frame x has at beta

    w(x) ~ exp(-beta U(x)) / sum over k of N_k exp(f_k - beta_k (U(x) + V_k(x)))

M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008), eqs. 9 and 13. At one temperature U drops out, so
windows need no energies. At several they are those that the trajectories store (/potential, or /energy); where one
stores none, only frames at the temperature itself are weighed, which exchange leaves in equilibrium.

The free energies come from at most `MOST` numbers u_kn, of frames drawn at random from every state (even distances can
meet the same replicas again and again); the weights are of every frame. Their
statistical error is that of the frames' number: a free energy from n effective frames in a bin is uncertain by
kT / sqrt(n), more where frames are correlated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import minimum_spanning_tree

from mdflash.core.mbar import log_mixture, mbar, overlap_matrix, weights
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.potentials.variables.base import Variable
from mdflash.sampling.restraint import Restraint, values_of
from mdflash.training.frames import MoleculeFrames, TrainingData, load_frames
from mdflash.training.recipe import Data
from mdflash.training.redrawn import MOST as REDRAWN
from mdflash.training.redrawn import TIMES, Redrawn, block_counts
from mdflash.training.split import SAME_TEMPERATURE, temperatures
from mdflash.units import BOLTZMANN

MOST = 4_000_000
"""Reduced energies [states x frames] that the free energies are computed from."""
FEWEST = 50.0
"""Effective frames; fewer say nothing of a distribution."""
APART, THIN = 1e-3, 0.03
"""Overlap of two states below which their weights are unrelated, and below which they are uncertain."""
CHUNK = 65_536
"""Frames that are weighed together."""
KEY = "data.weights"


@dataclass(frozen=True, eq=False)
class Along:
    """The frames along what windows act on.

    Attributes:
        variable: in words.
        dimension: "length" (values in Å), "angle" (rad) or None.
        values: [F].
    """

    variable: str
    dimension: str | None
    values: FloatArray


@dataclass(frozen=True, eq=False)
class FrameWeights:
    """The weights of the frames of a molecule.

    Attributes:
        values: [F] float64, 0 or more, sum 1.
        temperature: K, at which they hold.
        states: windows and temperatures that frames were sampled in, in words; one for weights without MBAR.
        overlap: the weakest link between these states, from 0 (none) to 0.5 (two states that are the same); 1 for one.
        along: the variables of windows.
        notes: messages for the user.
        state: [F] the number of each frame's state, -1 where it has no weight.
        within: weights of some of the frames that have one, by their place among these; None where `values` hold in
            any part.
        redrawn: weights of frames drawn anew, which say how uncertain an average is.
    """

    values: FloatArray
    temperature: float
    states: tuple[str, ...]
    overlap: float
    along: tuple[Along, ...]
    notes: tuple[str, ...]
    state: IntArray
    within: Callable[[IntArray], FloatArray] | None = None
    redrawn: Redrawn | None = None

    @property
    def effective(self) -> float:
        """Frames of equal weight that are worth as much: 1 / sum of w^2 (L. Kish, Survey Sampling, 1965)."""
        return float(1.0 / np.square(self.values).sum())

    def error(self, values: FloatArray, edges: FloatArray) -> FloatArray:
        """[bins] standard error of the free energy along a variable with values [F], see `Redrawn.error`."""
        if self.redrawn is None:
            return np.full(len(edges) - 1, np.inf)
        return self.redrawn.error(values[self.redrawn.frames], edges, self.temperature)

    def of(self, part: npt.NDArray[np.bool_]) -> FloatArray:
        """The weights of some frames ([F] which), sum 1.

        By MBAR they are not shares of `values`: a part has frames of its states in other numbers than the whole.

        Raises:
            InputError: none of them has a weight.
        """
        mine, used = self.values[part].copy(), self.state >= 0
        if self.within is not None and used[part].any():
            mine[used[part]] = self.within(np.flatnonzero(part[used]))
        if not mine.sum() > 0:
            raise InputError(
                f"no frame of this part has a weight at {self.temperature:g} K; hold out a larger share "
                "(data.validation)",
                key=KEY,
            )
        return np.asarray(mine / mine.sum())


def load_weighted(section: Data) -> tuple[TrainingData, tuple[FrameWeights, ...]]:
    """The frames of a recipe at all temperatures, and their weights at its own, for each molecule.

    Raises:
        InputError: as `load_frames` and `frame_weights`; frames at several temperatures and none asked for.
    """
    how = section.weights or "mbar"
    data = load_frames(section.dataset, section.validation, section.mapping, None, section.windows, how)
    kelvin = section.temperature
    if kelvin is None:
        there = np.unique(np.concatenate([m.temperature for m in data.molecules]).round(2))
        if len(there) > 1:
            raise InputError(
                f"is needed to weigh frames of {', '.join(f'{t:g} K' for t in there)}; write for example "
                f"`temperature: {there[0]:g} K`",
                key="data.temperature",
            )
        kelvin = float(there[0])
    return data, tuple(frame_weights(m, kelvin, how) for m in data.molecules)


def weigh_all(section: Data, data: TrainingData) -> tuple[tuple[FrameWeights, ...], ...]:
    """For each molecule the weights of its frames at each of its temperatures, or at that of the recipe.

    Raises:
        InputError: as `frame_weights`.
    """
    return tuple(
        tuple(
            frame_weights(molecule, kelvin, section.weights or "mbar")
            for kelvin in (temperatures(molecule.temperature) if section.temperature is None else [section.temperature])
        )
        for molecule in data.molecules
    )


def frame_weights(molecule: MoleculeFrames, temperature: float, how: str = "mbar") -> FrameWeights:
    """The weight of each frame at a temperature, [F] float64, sum 1; see the module.

    Args:
        molecule: all of its frames.
        temperature: K.
        how: "mbar"; "equal", all frames at the temperature alike; or the column that was read, frames at the
            temperature by its numbers.

    Raises:
        InputError: no frame at the temperature, a held trajectory of which nobody knows the window, windows or
            temperatures that do not overlap, a column with numbers that are no weights, fewer than 50 effective frames
            (by MBAR or a column).
    """
    there = np.abs(molecule.temperature.astype(np.float64) - temperature) <= SAME_TEMPERATURE
    if how == "mbar":
        found = _by_mbar(molecule, temperature, there)
    else:
        _need_frames(molecule, temperature, there)
        w = np.where(there, 1.0 if how == "equal" else _column(molecule, how, there), 0.0)
        held = how == "equal" and bool((molecule.biased & there).any())
        note = (
            f"'{molecule.system.name}': frames held in windows count like all others (weights: equal), so populations "
            "are those of the windows; write `weights: mbar`"
        )
        state = np.where(w > 0.0, 0, -1)
        found = FrameWeights(w / w.sum(), temperature, (f"{temperature:g} K",), 1.0, (), (note,) if held else (), state)
        own = np.flatnonzero(w)
        found = replace(found, redrawn=_redrawn(molecule, own, state[own], lambda some, times: w[own[some]] * times))
    if found.effective >= FEWEST:
        return found
    said = (
        f"'{molecule.system.name}' has {found.effective:.3g} effective frames at {temperature:g} K (of {len(there):,}, "
        f"from {molecule.files[0].parent})"
    )
    if how == "equal":
        return replace(found, notes=(*found.notes, f"{said}; sample more"))
    raise InputError(
        f"{said}, and fewer than {FEWEST:g} say nothing of a distribution; "
        + ("sample longer, or nearer to that temperature and to where the molecule is at home without windows"
           if how == "mbar" else f"look at the numbers of /{how}, or write `weights: mbar`"),
        key=KEY,
    )  # fmt: skip


def _need_frames(molecule: MoleculeFrames, temperature: float, there: npt.NDArray[np.bool_]) -> None:
    if not there.any():
        kelvin = ", ".join(f"{t:g} K" for t in np.unique(molecule.temperature.round(2)))
        raise InputError(
            f"'{molecule.system.name}' has no frames at {temperature:g} K; its temperatures are {kelvin}",
            file=molecule.files[0].parent,
            key="data.temperature",
        )


def _column(molecule: MoleculeFrames, name: str, there: npt.NDArray[np.bool_]) -> FloatArray:
    """[F] a column that can be weights."""
    assert molecule.column is not None  # whoever asks for a column has it read
    for what, bad in (
        ("finite", ~np.isfinite(molecule.column)),
        ("0 or more", molecule.column < 0),
    ):
        if bad.any():
            frame = int(np.argmax(bad))
            own = frame - int(np.searchsorted(molecule.source, molecule.source[frame]))
            raise InputError(
                f"weights must be {what}: frame {own} of column /{name} is {molecule.column[frame]:g}",
                file=molecule.files[molecule.source[frame]],
                key=KEY,
            )
    if not molecule.column[there].any():
        raise InputError(f"column /{name} is 0 in every frame", file=molecule.files[0].parent, key=KEY)
    return molecule.column


def _by_mbar(molecule: MoleculeFrames, temperature: float, there: npt.NDArray[np.bool_]) -> FrameWeights:
    for k in np.unique(molecule.source[molecule.biased]):
        if not molecule.restraints or molecule.restraints[k] is None:
            raise InputError(
                "was held in a window (attribute biased), but neither it nor the recipe of its dataset says in which; "
                "say it in `data.windows`, for example `windows: [{name: fold, variable: rmsd, center: {min: 1 "
                "angstrom, max: 7 angstrom, count: 13}, force_constant: 5 kcal/mol/angstrom^2}]`, or leave it out",
                file=molecule.files[k],
                key=KEY,
            )
    kelvin = molecule.temperature.astype(np.float64).round(2)
    energy = np.zeros(len(kelvin)) if molecule.potential is None else molecule.potential
    notes, used = [], np.ones(len(kelvin), bool)
    if not there.all():
        unknown = np.unique(molecule.source[~np.isfinite(energy)])
        if len(unknown):
            _need_frames(molecule, temperature, there)
            used = there
            notes.append(
                f"'{molecule.system.name}': only the {there.sum():,} of {len(there):,} frames at {temperature:g} K "
                f"have a weight, since {molecule.files[unknown[0]]} has no energies of its model, which frames of "
                "other temperatures are weighed by"
            )
    if used is there or there.all():
        energy, kelvin = np.zeros(len(kelvin)), np.full(len(kelvin), temperature)
    rows = np.flatnonzero(used)
    states = _States(molecule, rows, kelvin[rows], energy[rows] - energy[rows].mean())
    k = len(states.labels)
    notes += _few(molecule.system.name, states)
    pick = _some(states.state, MOST // k)
    few = np.bincount(states.state[pick], minlength=k).astype(np.float64)
    reduced = states.reduced(pick)
    free = mbar(reduced, few)
    link, (a, b) = _weakest(overlap_matrix(reduced, few, free), few)
    pair = f"{states.labels[a]} ({states.files[a]}) and {states.labels[b]} ({states.files[b]})"
    if link < APART:
        raise InputError(
            f"'{molecule.system.name}': {pair} do not overlap ({link:.1g}; needed: {THIN:g}), so what their frames "
            "weigh against each other is not known; sample windows or temperatures between them",
            key=KEY,
        )
    if link < THIN:
        notes.append(
            f"'{molecule.system.name}': {pair} hardly overlap ({link:.1g}; wanted: {THIN:g}), so their weights are "
            "uncertain; sample between them"
        )

    def within(part: IntArray) -> FloatArray:
        counts = np.bincount(states.state[part], minlength=k).astype(np.float64)
        chunks = (part[begin : begin + CHUNK] for begin in range(0, len(part), CHUNK))
        mixture = np.concatenate([log_mixture(states.reduced(chunk), counts, free) for chunk in chunks])
        return weights(states.energy[part] / (BOLTZMANN * temperature), mixture)

    def again(some: IntArray, times: FloatArray) -> FloatArray:
        u = states.reduced(some)
        counts = np.bincount(states.state[some], weights=times, minlength=k).astype(np.float64)
        mixture = log_mixture(u, counts, mbar(u, counts, free, times))
        return weights(states.energy[some] / (BOLTZMANN * temperature), mixture, times)

    drawn = _redrawn(molecule, rows, states.state, again)
    found, state = np.zeros(len(molecule.source)), np.full(len(molecule.source), -1)
    found[rows], state[rows] = within(np.arange(len(rows))), states.state
    along = tuple(Along(v.name.replace("_", " "), v.dimension, values) for v, values in states.variables)
    return FrameWeights(found, temperature, states.labels, link, along, tuple(notes), state, within, drawn)


class _States:
    """In which states frames were sampled.

    Attributes:
        labels, files: of each state, its name and one of its trajectories.
        state: [M] of each frame.
        energy: [M] kcal/mol of the model.
    """

    def __init__(self, molecule: MoleculeFrames, rows: IntArray, kelvin: FloatArray, energy: FloatArray) -> None:
        self.energy, self._rows = energy, rows
        self._variables: dict[str, tuple[Variable, FloatArray]] = {}
        keys: list[str] = []
        own: list[tuple[Restraint, str] | None] = []  # different restraints, and the digest of the variable of each
        place = np.zeros(len(molecule.files), np.int64)  # of each trajectory, among these
        for k, restraint in enumerate(molecule.restraints or (None,) * len(molecule.files)):
            digest = "" if restraint is None else self._add(restraint, molecule)
            key = "" if restraint is None else f"{digest} {restraint.words}"
            if key not in keys:
                keys.append(key)
                own.append(None if restraint is None else (restraint, digest))
            place[k] = keys.index(key)
        temperatures, at = np.unique(kelvin, return_inverse=True)
        pairs = place[molecule.source[rows]] * len(temperatures) + at
        used, first, state = np.unique(pairs, return_index=True, return_inverse=True)
        self.state: IntArray = state.astype(np.int64)
        self._restraint = [own[p // len(temperatures)] for p in used]
        self._beta = 1.0 / (BOLTZMANN * temperatures[used % len(temperatures)])
        self.labels = tuple(
            f"{'' if r is None else r[0].label + ' at '}{t:g} K"
            for r, t in zip(self._restraint, temperatures[used % len(temperatures)], strict=True)
        )
        self.files = tuple(molecule.files[molecule.source[rows[f]]].name for f in first)

    def _add(self, restraint: Restraint, molecule: MoleculeFrames) -> str:
        """Have the values of a restraint's variable; returns its digest."""
        variable = restraint.variable(molecule.system)
        if variable.digest not in self._variables:
            self._variables[variable.digest] = variable, values_of(variable, molecule.positions)
        return variable.digest

    @property
    def variables(self) -> Sequence[tuple[Variable, FloatArray]]:
        """What restraints act on, and its values [F] in every frame of the molecule."""
        return list(self._variables.values())

    def reduced(self, frames: IntArray) -> FloatArray:
        """[K, M] energies in kT of all states at some frames, by their place among those weighed."""
        u = np.empty((len(self._beta), len(frames)))
        bias: dict[int, FloatArray] = {}
        for k, (restraint, beta) in enumerate(zip(self._restraint, self._beta, strict=True)):
            total = self.energy[frames]
            if restraint is not None:
                if id(restraint) not in bias:
                    values = self._variables[restraint[1]][1][self._rows[frames]]
                    bias[id(restraint)] = restraint[0].energy(values)
                total = total + bias[id(restraint)]
            u[k] = beta * total
        return u


def _redrawn(
    molecule: MoleculeFrames,
    rows: IntArray,
    state: IntArray,
    again: Callable[[IntArray, FloatArray], FloatArray],
) -> Redrawn:
    """Weights of frames drawn anew.

    Args:
        molecule: their molecule.
        rows: [M] the frames that have a weight.
        state: [M] of each.
        again: weights of some of these, by their place, of which each counts so and so often.
    """
    some = _some(state, REDRAWN)
    source = molecule.source[rows[some]]
    found = np.stack([again(some, block_counts(source, draw)) for draw in range(TIMES)])
    return Redrawn(rows[some], found / found.sum(axis=1, keepdims=True))


def _few(name: str, states: _States) -> list[str]:
    """What to say of states with few frames."""
    counts = np.bincount(states.state, minlength=len(states.labels))
    return [
        f"'{name}': {label} has {n} frames (in {file}), and with fewer than {FEWEST:g} what it weighs against the "
        "others is uncertain; sample it longer, or leave it out"
        for label, file, n in zip(states.labels, states.files, counts.tolist(), strict=True)
        if n < FEWEST and len(counts) > 1
    ]


def _some(state: IntArray, most: int) -> IntArray:
    """About `most` frames, drawn at random from each state [M] by its share of them; all where there are not more."""
    if len(state) <= most:
        return np.arange(len(state))
    rng = np.random.default_rng(len(state))
    mine = (np.flatnonzero(state == k) for k in np.unique(state))
    drawn = [rng.choice(own, max(1, round(most * len(own) / len(state))), replace=False) for own in mine]
    return np.sort(np.concatenate(drawn))


def _weakest(overlap: FloatArray, counts: FloatArray) -> tuple[float, tuple[int, int]]:
    """The weakest of the strongest links that join all states, and its two states; 1 for a single state.

    Of equal counts a link is the overlap; of others the overlap that they would have with equal ones.
    """
    used = np.flatnonzero(counts)
    if len(used) < 2:
        return 1.0, (0, 0)
    share = overlap[np.ix_(used, used)] / counts[used]
    link = 0.5 * share * (counts[used][:, None] + counts[used])
    tree = minimum_spanning_tree(np.triu(1.0 / np.maximum(link, 1e-300), 1)).tocoo()
    worst = int(np.argmax(tree.data))
    a, b = int(tree.row[worst]), int(tree.col[worst])
    return float(link[a, b]), (int(used[a]), int(used[b]))

"""Checkpoints, trajectories, tables and units."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_CHECKPOINT = "io/test_checkpoint.py"
_TRAJECTORY = "io/test_trajectory.py"
_RUN = "runs/test_run.py"

MUTANTS: Final = (
    # --- checkpoints ------------------------------------------------------------------------------------------------
    Mutant(
        "A checkpoint lacks the hills of metadynamics",
        "runs/writers.py",
        "            arrays |= changing.arrays()\n        save_checkpoint(",
        "            arrays |= {}\n        save_checkpoint(",
        "runs/test_metadynamics.py::test_cut_and_resumed_it_has_the_same_bits",
    ),
    Mutant(
        "A run goes on one step late",
        "runs/writers.py",
        'engine.state.step = int(checkpoint.header["step"])',
        'engine.state.step = int(checkpoint.header["step"]) + 1',
        f"{_RUN}::test_longer_goes_on_and_equals_a_long_run",
    ),
    Mutant(
        "A run goes on with velocities at rest",
        "runs/writers.py",
        "{name: checkpoint.arrays[name] for name in engine.state.names()}",
        '{name: checkpoint.arrays[name] * (name != "velocities") for name in engine.state.names()}',
        f"{_RUN}::test_longer_goes_on_and_equals_a_long_run",
    ),
    Mutant(
        "A run goes on with another seed than it drew",
        "runs/identity.py",
        'update={"seed": seed}',
        'update={"seed": seed ^ 1}',
        f"{_RUN}::test_a_drawn_seed_is_recorded_and_kept",
    ),
    Mutant(
        "Counts of exchange begin anew where a run goes on",
        "engine/exchange/replica_exchange.py",
        "array[...] = arrays[name]",
        "array[...] = array",
        "engine/test_exchange_runs.py::test_resumed_runs_write_the_same_bytes",
    ),
    Mutant(
        "Work on pulled molecules begins anew where a run goes on",
        "engine/steering.py",
        'self.work[...] = arrays["work"]',
        "self.work[...] = 0.0",
        "runs/test_pulling.py::test_a_run_its_work_and_its_analysis",
    ),
    Mutant(
        "Changed numbers of a checkpoint are not noticed",
        "io/checkpoint.py",
        "header.pop(DIGEST, None) not in (None, _digest(arrays, header))",
        "header.pop(DIGEST, None) is ...",
        f"{_CHECKPOINT}::test_numbers_that_were_changed_are_noticed",
    ),
    Mutant(
        "Only the newest checkpoint is kept",
        "io/checkpoint.py",
        "for old in _files(folder)[max(keep, 1) :]:",
        "for old in _files(folder)[1:]:",
        f"{_CHECKPOINT}::test_the_newest_are_kept",
    ),
    # --- trajectories -----------------------------------------------------------------------------------------------
    Mutant(
        "XTC files are in Å, not nm",
        "io/formats/xtc.py",
        "    scale = NM_PER_ANGSTROM\n",
        "    scale = 1.0\n",
        f"{_TRAJECTORY}::test_mdtraj_reads_positions_and_times",
    ),
    Mutant(
        "HDF5 files are in Å, not nm",
        "io/formats/hdf5.py",
        "    scale = NM_PER_ANGSTROM\n",
        "    scale = 1.0\n",
        f"{_TRAJECTORY}::test_mdtraj_reads_positions_and_times",
    ),
    Mutant(
        "A single frame in memory is lost when a file is closed",
        "io/formats/base.py",
        "        if self._steps:\n            self._write(",
        "        if len(self._steps) > 1:\n            self._write(",
        f"{_TRAJECTORY}::test_any_number_of_frames_is_kept",
    ),
    Mutant(
        "A DCD frame is written over the one before",
        "io/formats/dcd.py",
        "offset = header.size + self.frames * header.frame.itemsize",
        "offset = header.size + max(self.frames - 1, 0) * header.frame.itemsize",
        f"{_TRAJECTORY}::test_own_reader_gives_positions_steps_and_times",
    ),
    Mutant(
        "Frames of a DCD file have no box",
        "io/formats/dcd.py",
        "header = DcdHeader(target.system.n_beads, target.box is not None)\n        create_files",
        "header = DcdHeader(target.system.n_beads, False)\n        create_files",
        f"{_TRAJECTORY}::test_the_box_reaches_both_readers",
    ),
    Mutant(
        "The box of an XTC file is in Å",
        "io/formats/xtc.py",
        "edges = np.diag(np.array(box) * NM_PER_ANGSTROM)",
        "edges = np.diag(np.array(box))",
        f"{_TRAJECTORY}::test_the_box_reaches_both_readers",
    ),
    Mutant(
        "Frames behind a checkpoint stay when a run goes on",
        "io/formats/stream.py",
        "sizes = [int(scan.offsets[frames]) for scan in scans]",
        "sizes = [int(scan.offsets[-1]) for scan in scans]",
        f"{_TRAJECTORY}::test_resume_gives_the_file_of_an_uninterrupted_run",
    ),
    Mutant(
        "Times of a DCD file are those of another step",
        "io/formats/dcd.py",
        "timestep=times[frame - self.frames] / step",
        "timestep=times[frame - self.frames] / (step + 1)",
        f"{_TRAJECTORY}::test_own_reader_gives_positions_steps_and_times",
    ),
    # --- tables -----------------------------------------------------------------------------------------------------
    Mutant(
        "log.csv has kinetic energies where potential ones belong",
        "runs/writers.py",
        "            engine.state.energy.numpy().copy(),\n            engine.kinetic_energy() if",
        "            engine.kinetic_energy(),\n            engine.kinetic_energy() if",
        f"{_RUN}::test_the_log_is_what_the_checkpoint_says",
    ),
    Mutant(
        "colvars.csv names its columns in another order than it measures",
        "runs/writers.py",
        "values[:, order],",
        "values[:, order[::-1]],",
        "runs/test_umbrella.py::test_colvars_csv",
    ),
    # --- units ------------------------------------------------------------------------------------------------------
    Mutant(
        "Boltzmann's constant is converted by another calorie",
        "units.py",
        "BOLTZMANN: Final = 8.31446261815324e-3 / 4.184",
        "BOLTZMANN: Final = 8.31446261815324e-3 / 4.1868",
        "core/test_units.py::test_constants_against_first_principles",
    ),
    Mutant(
        "Nanometers are converted as if they were 100 Å",
        "units.py",
        '"nm": 10.0',
        '"nm": 100.0',
        "core/test_units.py::test_parse",
    ),
    Mutant(
        "Spring constants per square nanometer are converted by one factor 10",
        "units.py",
        'f"{e}/{x}^2": _ENERGY[e] / _LENGTH[x] ** 2',
        'f"{e}/{x}^2": _ENERGY[e] / _LENGTH[x]',
        "core/test_units.py::test_parse",
    ),
)

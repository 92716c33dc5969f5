#!/bin/bash
# The campaign @NAME@ as an array of jobs, one for each run. In this folder: qsub job.pbs
# Submit it again whenever runs are left: those that are done end at once, the others go on where they were.

# ---- what to change for your cluster ----
#PBS -N @SHORT@
#PBS -J 1-@RUNS@%@AT_ONCE@
#PBS -l walltime=@TIME@
#PBS -l select=1:ncpus=@CORES@@GPUS@
##PBS -q NAME
##PBS -A NAME
#PBS -j oe
#PBS -r y
export PATH=@PATH@:$PATH          # where mdflash is; or: module load, source .../activate
until=@UNTIL@                      # stop with a checkpoint: somewhat less than walltime
# -----------------------------------------

cd "$PBS_O_WORKDIR" || exit 2
mdflash campaign run . --task "$PBS_ARRAY_INDEX" --threads "${NCPUS:-1}" --until "$until"

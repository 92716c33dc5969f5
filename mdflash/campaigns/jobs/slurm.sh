#!/bin/bash
# The campaign @NAME@ as an array of jobs, one for each run. In this folder: mkdir -p jobs && sbatch job.slurm
# Submit it again whenever runs are left: those that are done end at once, the others go on where they were.

# ---- what to change for your cluster ----
#SBATCH --job-name=@NAME@
#SBATCH --array=1-@RUNS@%@AT_ONCE@
#SBATCH --time=@TIME@
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=@CORES@
@GPU@SBATCH --gpus-per-task=1
##SBATCH --partition=NAME
##SBATCH --account=NAME
#SBATCH --output=jobs/%A_%a.txt
#SBATCH --open-mode=append
#SBATCH --requeue
export PATH=@PATH@:$PATH          # where mdflash is; or: module load, source .../activate
until=@UNTIL@                      # stop with a checkpoint: somewhat less than --time
# -----------------------------------------

cd "$SLURM_SUBMIT_DIR" || exit 2
mdflash campaign run . --task "$SLURM_ARRAY_TASK_ID" --threads "${SLURM_CPUS_PER_TASK:-1}" --until "$until"
code=$?
if [ "$code" -eq 75 ]; then # stopped in time: the rest in another job
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"

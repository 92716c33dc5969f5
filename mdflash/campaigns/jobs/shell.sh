#!/bin/bash
# The @RUNS@ runs of the campaign @NAME@ on this machine. In this folder: nohup bash job.sh > job.txt &
# Start it again whenever runs are left: those that are done are skipped, the others go on where they were.

# ---- what to change for your machine ----
export PATH=@PATH@:$PATH          # where mdflash is; or: source .../activate
workers=@AT_ONCE@                 # runs at a time; with GPUs, one for each
threads=@CORES@                   # CPU threads of each
# -----------------------------------------

cd "$(dirname "$0")" || exit 2
exec mdflash campaign run . --workers "$workers" --threads "$threads"

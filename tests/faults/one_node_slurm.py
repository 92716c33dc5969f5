"""SLURM on this machine: munged, slurmctld and slurmd with a configuration of their own, as the present user.

    apt-get install --no-install-recommends slurmctld slurmd slurm-client munge

Nothing of an installed configuration is read or changed, and several of these can run side by side.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")


def missing() -> list[str]:
    """Programs that are not installed."""
    return [program for program in PROGRAMS if _find(program) is None]


@contextmanager
def slurm(folder: Path, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Start it in `folder` (a short path: sockets are in it); gives the environment of its commands, and ends it."""
    for name in ("state", "spool", "log"):
        (folder / name).mkdir(parents=True, mode=0o700)
    (folder / "key").write_bytes(os.urandom(128))
    (folder / "key").chmod(0o600)
    conf = folder / "slurm.conf"
    conf.write_text(_configuration(folder, cpus))
    env = {**os.environ, "SLURM_CONF": str(conf)}
    munge = [
        *("--foreground", "--force", f"--key-file={folder / 'key'}", f"--socket={folder / 'munge'}"),
        *(f"--pid-file={folder / 'munged.pid'}", f"--log-file={folder / 'log' / 'munged'}"),
        *(f"--seed-file={folder / 'seed'}", "--num-threads=1"),
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for program, words in (("munged", munge), ("slurmctld", ["-D"]), ("slurmd", ["-D"])):
            with (folder / "log" / f"{program}.out").open("wb") as said:
                started.append(subprocess.Popen([_find(program) or program, *words], env=env, stdout=said, stderr=said))
            time.sleep(1.0)
        _wait_until_idle(env, folder)
        yield env
    finally:
        if len(started) == 3:  # jobs would outlive it
            subprocess.run(["scancel", "--full", "-u", getpass.getuser()], env=env, timeout=60, check=False)
            end = time.monotonic() + 30
            while time.monotonic() < end and jobs_left(env):
                time.sleep(1.0)
        for process in reversed(started):
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def jobs_left(env: dict[str, str]) -> int:
    """How many jobs are in the queue."""
    said = subprocess.run(
        ["squeue", "-h", "-r", "-o", "%i"], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    return len(said.stdout.split())


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _wait_until_idle(env: dict[str, str], folder: Path) -> None:
    for _ in range(60):
        said = subprocess.run(["sinfo", "-h", "-o", "%T"], env=env, capture_output=True, text=True, timeout=60)
        if said.stdout.strip() == "idle":
            return
        time.sleep(1.0)
    logs = "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1000:]}" for log in (folder / "log").iterdir())
    raise RuntimeError(f"SLURM did not start: {said.stdout} {said.stderr}\n{logs}")


def _port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def _configuration(folder: Path, cpus: int) -> str:
    host, user = socket.gethostname().partition(".")[0], getpass.getuser()
    return f"""ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={_port()}
SlurmdPort={_port()}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=1
KillWait=10
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""

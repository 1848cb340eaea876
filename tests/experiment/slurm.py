"""A Slurm cluster of one node, this machine, for as long as a test needs it.

Its daemons are children of the tests and keep all they have in one folder, their own key and ports
included, so they meet neither a cluster nor a munged that the machine may belong to. Whatever knows
that folder, by its variable SLURM_CONF, is ended with them: jobs, and commands that wait for jobs.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
SlurmdParameters=config_overrides
KillWait=20
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> str:
    """What keeps a cluster from being started here; empty if nothing does."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    missing = [name for name in NEEDED if not shutil.which(name, path=path)]
    if missing:
        return f"apt-get install slurmctld slurmd slurm-client munge: no {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "Slurm's daemons are started as root here"


class CannotStart(Exception):  # noqa: N818 - it reads as what it says
    """The daemons are here, and do not run: in a container without privileges, for one."""


@contextlib.contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Yield the variables by which Slurm's commands find a cluster that is up.

    Raises:
        CannotStart: it does not come up.
    """
    # Not in pytest's folder: the path of a socket has 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    daemons: list[subprocess.Popen[bytes]] = []
    variables = {"SLURM_CONF": str(folder / "slurm.conf")}
    try:
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        ports = dict(zip(("controller", "node"), _free_ports(2), strict=True))
        conf = CONF.format(folder=folder, host=socket.gethostname(), **ports)
        (folder / "slurm.conf").write_text(conf)
        (folder / "cgroup.conf").write_text("IgnoreSystemd=yes\n")

        def start(program: str, *arguments: str) -> None:
            with (folder / f"{program}.out").open("wb") as output:
                command = [shutil.which(program, path="/usr/sbin:/usr/bin") or program, *arguments]
                environment = {**os.environ, **variables}
                daemons.append(
                    subprocess.Popen(command, env=environment, stdout=output, stderr=output)
                )

        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
        files |= {"seed-file": "seed"}
        options = [f"--{option}={folder}/munge.{name}" for option, name in files.items()]
        start("munged", "--foreground", "--force", *options)
        start("slurmctld", "-D")
        start("slurmd", "-D")
        deadline = time.monotonic() + 300
        while "idle" not in _node(variables):
            ended = [each.args for each in daemons if each.poll() is not None]
            logs = "".join(path.read_text()[-2000:] for path in folder.glob("*.out"))
            if ended:
                raise CannotStart(f"{ended} has ended: {logs}")
            if time.monotonic() > deadline:
                raise CannotStart(f"no node became idle: {logs}")
            time.sleep(0.05)
        yield variables
    finally:
        if daemons:
            cancel = ["scancel", "--signal=KILL", "--full", "--user=root"]
            with contextlib.suppress(subprocess.TimeoutExpired):
                _ask(cancel, variables)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            daemon.kill()
            daemon.wait()
        _end_all_that_know(variables)
        shutil.rmtree(folder, ignore_errors=True)


def _node(variables: dict[str, str]) -> str:
    try:
        return _ask(["sinfo", "--noheader", "--format=%T"], variables).stdout
    except subprocess.TimeoutExpired:
        return ""


def _ask(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


def _end_all_that_know(variables: dict[str, str]) -> None:
    known = {f"{name}={value}".encode() for name, value in variables.items()}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if known <= {*(process / "environ").read_bytes().split(b"\0")}:
                os.kill(int(process.name), signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]

"""A real SLURM cluster on this one machine, in one temporary folder: no systemd, no change outside the folder.

    python tests/slurm/cluster.py --nodes 4        # a shell in which sbatch, squeue, ... belong to the cluster

Needs the programs of Debian's packages slurm-wlm and munge; runs as root, or as any user for that user alone. A GPU is
a link to /dev/null: SLURM counts it, hands it out and sets CUDA_VISIBLE_DEVICES. ``--accounting`` brings up an
accounting database too (accounting.py beside this file, packages slurmdbd and mariadb-server).

Every daemon is a child of this process, in the foreground and in a session of its own, and dies with it. Nothing else
is ended than these, and what the cluster's own jobs left behind (their environment names the cluster's configuration).
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import accounting

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "setpriv")
COMMANDS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr", "sshare")
LOCAL = "127.0.0.1"
_SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

CONFIG = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock
CredType=cred/munge
StateSaveLocation={root}/spool/ctld
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# a node may claim more processors and memory than this machine has
SlurmdParameters=config_overrides
# without it a job that asks for no memory takes the whole node's
DefMemPerCPU=100
# a job starts within a second
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
# as many sites have it: what no partition can ever run is refused at once
EnforcePartLimits=ALL
KillWait={kill_wait_s}
# how long squeue knows a job that has ended
MinJobAge=300
ReturnToService=2
SlurmdTimeout=10
MessageTimeout=10
UnkillableStepTimeout=20
# a job above its memory is killed, by looking every second; needs no cgroup
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
{accounting}
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP
PartitionName=short Nodes=ALL MaxTime=5 DefaultTime=1 State=UP
"""


def missing_programs(*, accounting_too: bool = False) -> list[str]:
    """Return the programs that this machine lacks for a cluster, or for one with an accounting database."""
    wanted = PROGRAMS + (accounting.PROGRAMS if accounting_too else ())
    return [name for name in wanted if shutil.which(name, path=_SEARCH) is None]


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind((LOCAL, 0))
        return [item.getsockname()[1] for item in sockets]


def wait_until(condition: Callable[[], object], timeout_s: float, what: str, every_s: float = 0.05) -> None:
    """Wait until the condition holds; RuntimeError with ``what`` was awaited if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(every_s)


class Cluster:
    """A cluster; use it as a context manager, or call ``start`` and ``stop``.

    Args:
        nodes: virtual nodes, ``node1`` and so on, each a slurmd.
        cpus: processors of a node.
        mem_mb: memory of a node.
        gpus: fake GPUs of a node.
        kill_wait_s: seconds between SIGTERM and SIGKILL for a job whose time is up.
        accounting: whether there is an accounting database.
    """

    def __init__(
        self,
        nodes: int = 4,
        cpus: int = 4,
        mem_mb: int = 8000,
        gpus: int = 2,
        *,
        kill_wait_s: int = 15,
        accounting: bool = False,
    ) -> None:
        self.nodes = [f"node{number}" for number in range(1, nodes + 1)]
        self._shape = (cpus, mem_mb, gpus)
        self._kill_wait_s = kill_wait_s
        self._has_accounting = accounting
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        # Short: a socket's name has 108 characters at most.
        self.root = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.bin = self.root / "bin"
        self._conf = self.root / "etc" / "slurm.conf"

    def __enter__(self) -> Cluster:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # The whole

    def start(self) -> None:
        """Configure, start all daemons, and wait until every node is idle."""
        self._configure()
        run = self.root / "run"
        self._spawn(
            "munged",
            *("--foreground", "--force", f"--socket={run}/munge.sock", f"--key-file={self.root}/etc/munge.key"),
            *(f"--log-file={self.root}/log/munged.log", f"--pid-file={run}/munged.pid", f"--seed-file={run}/seed"),
        )
        wait_until((run / "munge.sock").exists, 10, "munged makes its socket")
        if self._has_accounting:
            self._start_accounting()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        wait_until(lambda: set(self.node_states().values()) == {"idle"}, 30, f"all nodes idle; see {self.root}/log")

    def stop(self) -> None:
        """End all jobs and daemons, and remove the folder."""
        if self._is_up("slurmctld"):
            self.cancel_all()
        for name in [*self.nodes, "slurmctld", "slurmdbd", "mariadbd", "munged"]:
            self._end(name, signal.SIGTERM)
        self._end_leftovers()
        shutil.rmtree(self.root, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """Return the variables under which SLURM's commands belong to this cluster; PATH is to be put in front."""
        return {"SLURM_CONF": str(self._conf), "PATH": str(self.bin)}

    # Asking

    def run(self, *command: str, timeout_s: float = 30) -> str:
        """Run one of SLURM's commands and return what it printed."""
        program = [str(self.bin / command[0]), *command[1:]]
        return subprocess.run(program, capture_output=True, text=True, check=True, timeout=timeout_s).stdout

    def node_states(self) -> dict[str, str]:
        """Return node -> state as sinfo says it (``idle``, ``mixed``, ``down*``, ...)."""
        lines = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").splitlines()
        return dict(line.split() for line in lines)

    def jobs(self) -> list[dict[str, str]]:
        """Return all jobs that SLURM still knows, ended ones too: id, state, name, comment, node."""
        lines = self.run("squeue", "-h", "-t", "all", "-o", "%i|%T|%j|%k|%N").splitlines()
        return [dict(zip(("id", "state", "name", "comment", "node"), line.split("|"))) for line in lines]

    def active(self) -> list[dict[str, str]]:
        """Return the jobs that are pending or run."""
        return [job for job in self.jobs() if job["state"] in ("PENDING", "RUNNING", "COMPLETING")]

    def submissions(self) -> list[str]:
        """Return the arguments of every call of sbatch so far, one line a call."""
        log = self.root / "log" / "sbatch.calls"
        return log.read_text().splitlines() if log.exists() else []

    # Breaking and mending

    def cancel_all(self) -> None:
        """Cancel every job and wait until none is left."""
        with contextlib.suppress(subprocess.SubprocessError, RuntimeError):
            self.run("scancel", "--full", "--user", getpass.getuser())
            wait_until(lambda: not self.active(), 20, "no job is left")

    def mend(self) -> None:
        """Start what is down, and undo what a test has set."""
        if not self._is_up("slurmctld"):
            self.start_controller()
        for node in self.nodes:
            if not self._is_up(node):
                self.start_node(node)
        if "MinJobAge=300" not in self._conf.read_text():
            self.forget_ended_jobs(after_s=300)

    def start_controller(self) -> None:
        """Start slurmctld, and wait until it answers."""
        self._spawn("slurmctld", "-D")
        wait_until(self._answers, 15, f"slurmctld answers; see {self.root}/log")

    def stop_controller(self) -> None:
        """End slurmctld as an administrator does: it saves its state first (SIGKILL would lose some seconds of it)."""
        self._end("slurmctld", signal.SIGTERM)

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self._spawn("slurmd", "-D", "-N", node, name=node)

    def kill_node(self, node: str, *, processes: bool) -> None:
        """Kill a node's slurmd; with ``processes`` all that its jobs do there too, as when the power fails."""
        self._end(node, signal.SIGKILL)
        if processes:
            self._end_leftovers(f"SLURMD_NODENAME={node}")

    def forget_ended_jobs(self, after_s: int) -> None:
        """Let squeue know a job for so long after its end."""
        text = re.sub(r"^MinJobAge=.*$", f"MinJobAge={after_s}", self._conf.read_text(), flags=re.MULTILINE)
        self._conf.write_text(text)
        self.run("scontrol", "reconfigure")

    def stop_snakemake(self, job: str) -> None:
        """Stop (SIGSTOP) the Snakemake processes inside a job; what they have started goes on."""
        for entry, words in self._processes():
            command = (entry / "cmdline").read_bytes().split(b"\0")
            if f"SLURM_JOB_ID={job}" in words and command[1:3] == [b"-m", b"snakemake"]:
                os.kill(int(entry.name), signal.SIGSTOP)

    def kill_processes(self, job: str) -> None:
        """Kill all that a job runs."""
        self._end_leftovers(f"SLURM_JOB_ID={job}")

    def drain(self, node: str) -> None:
        """Let a node take no new jobs."""
        self.run("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")

    def resume(self, node: str) -> None:
        """Let a node take jobs again."""
        self.run("scontrol", "update", f"nodename={node}", "state=resume")

    # Inside

    def _configure(self) -> None:
        cpus, mem_mb, gpus = self._shape
        for folder in ("etc", "run", "log", "bin", "dev", "spool/ctld", *(f"spool/{node}" for node in self.nodes)):
            (self.root / folder).mkdir(parents=True)
        for folder in (self.root, *(self.root / name for name in ("etc", "run", "log"))):
            folder.chmod(0o755)  # munged wants no folder above its socket that others could write
        key = self.root / "etc" / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        for number in range(gpus):
            (self.root / "dev" / f"nvidia{number}").symlink_to("/dev/null")
        (self.root / "etc" / "gres.conf").write_text(f"Name=gpu Type=t100 File={self.root}/dev/nvidia[0-{gpus - 1}]\n")
        host = socket.gethostname().partition(".")[0]
        ctld_port, *ports = free_ports(1 + len(self.nodes))
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr={LOCAL} Port={port} CPUs={cpus} "
            f"RealMemory={mem_mb} Gres=gpu:t100:{gpus}"
            for node, port in zip(self.nodes, ports)
        ]
        values = {"host": host, "user": getpass.getuser(), "root": self.root, "ctld_port": ctld_port}
        values |= {"nodes": "\n".join(nodes), "kill_wait_s": self._kill_wait_s, "accounting": accounting.NONE}
        if self._has_accounting:
            values["accounting"] = accounting.configure(self.root, getpass.getuser(), *free_ports(2))
        self._conf.write_text(CONFIG.format(**values))
        for command in COMMANDS:
            self._wrap(command)

    def _wrap(self, command: str) -> None:
        """Write a program that sets SLURM_CONF, which Snakemake's plugin takes out of a job's environment."""
        real = shutil.which(command, path=_SEARCH) or f"/usr/bin/{command}"
        line = 'printf "%s\\n" "$(printf "%s" "$*" | tr "\\n" " ")" >> ' + f"{self.root}/log/sbatch.calls\n"
        path = self.bin / command
        logged = line if command == "sbatch" else ""
        path.write_text(f'#!/bin/sh\n{logged}SLURM_CONF={self._conf} exec {real} "$@"\n')
        path.chmod(0o755)

    def _spawn(self, program: str, *arguments: str, name: str | None = None) -> None:
        with open(self.root / "log" / f"{name or program}.out", "ab") as log:
            self._daemons[name or program] = subprocess.Popen(
                # --pdeathsig: when this process is killed, its daemons go too
                ["setpriv", "--pdeathsig", "TERM", shutil.which(program, path=_SEARCH) or program, *arguments],
                env={**os.environ, "SLURM_CONF": str(self._conf)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _start_accounting(self) -> None:
        """Start MariaDB and slurmdbd, and make this cluster and this user known to them."""
        accounting.install(self.root, getpass.getuser())
        self._spawn("mariadbd", *accounting.mariadbd_arguments(self.root, getpass.getuser()))
        wait_until(lambda: accounting.prepare(self.root), 30, f"MariaDB answers; see {self.root}/log")
        self._spawn("slurmdbd", "-D")
        wait_until(lambda: self._succeeds("sacctmgr", "--noheader", "list", "cluster"), 30, "slurmdbd answers")
        for words in (("cluster", "lab"), ("account", "lab"), ("user", getpass.getuser(), "account=lab")):
            self.run("sacctmgr", "--immediate", "--quiet", "add", *words)

    def _succeeds(self, *command: str) -> bool:
        with contextlib.suppress(subprocess.SubprocessError):
            self.run(*command, timeout_s=5)
            return True
        return False

    def _is_up(self, name: str) -> bool:
        return name in self._daemons and self._daemons[name].poll() is None

    def _answers(self) -> bool:
        with contextlib.suppress(subprocess.SubprocessError):
            return "UP" in self.run("scontrol", "ping", timeout_s=5)
        return False

    def _end(self, name: str, number: signal.Signals) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        with contextlib.suppress(ProcessLookupError):
            daemon.send_signal(number)
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _processes(self) -> Iterator[tuple[Path, set[str]]]:
        """Yield /proc/PID and environment of each process whose environment names this cluster's configuration."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    words = set((entry / "environ").read_bytes().decode(errors="replace").split("\0"))
                    if f"SLURM_CONF={self._conf}" in words:
                        yield entry, words

    def _end_leftovers(self, also: str | None = None) -> None:
        """Kill what this cluster's jobs run (or only what has this in its environment), all at the same moment."""
        found = []
        for entry, words in self._processes():
            with contextlib.suppress(OSError):
                if also is None or also in words or _is_step_of(entry, also):
                    found.append(int(entry.name))
        for number in (signal.SIGSTOP, signal.SIGKILL):  # none may tell SLURM how another one ended
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


def _is_step_of(process: Path, node: str) -> bool:
    """Return whether this slurmstepd has processes of the node: its own environment does not say where it is."""
    if not (process / "comm").read_text().startswith("slurmstepd"):
        return False
    for thread in (process / "task").iterdir():
        for child in (thread / "children").read_text().split():
            with contextlib.suppress(OSError):
                if node in Path("/proc", child, "environ").read_bytes().decode(errors="replace").split("\0"):
                    return True
    return False


def main() -> int:
    """Bring a cluster up, give a shell on it, and take it down when the shell ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("nodes", 4), ("cpus", 4), ("mem-mb", 8000), ("gpus", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd and MariaDB")
    parser.add_argument("command", nargs="*", help="run this instead of a shell")
    args = parser.parse_args()
    if missing := missing_programs(accounting_too=args.accounting):
        packages = "slurm-wlm munge" + (" slurmdbd mariadb-server" if args.accounting else "")
        print(f"this machine lacks {', '.join(missing)}: apt-get install {packages}", file=sys.stderr)
        return 2
    started = time.monotonic()
    with Cluster(args.nodes, args.cpus, args.mem_mb, args.gpus, accounting=args.accounting) as cluster:
        print(f"{len(cluster.nodes)} nodes after {time.monotonic() - started:.2f} s in {cluster.root}", file=sys.stderr)
        settings = cluster.environment()
        path = os.pathsep.join([settings["PATH"], os.environ.get("PATH", os.defpath)])
        command = args.command or [os.environ.get("SHELL", "/bin/sh")]
        return subprocess.run(command, env={**os.environ, **settings, "PATH": path}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

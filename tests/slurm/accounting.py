"""The accounting database of a test cluster: slurmdbd on a MariaDB of its own, all of it in the cluster's folder."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PROGRAMS = ("slurmdbd", "sacctmgr", "mariadbd", "mariadb-install-db", "mariadb")
NONE = "AccountingStorageType=accounting_storage/none"

# With slurmdbd the socket of munge is taken from ...StoragePass. By job_comment sacct knows a job's batch.
SLURM_CONF = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStoragePass={root}/run/munge.sock
AccountingStoreFlags=job_comment
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=limits,qos
"""
SLURMDBD_CONF = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql_port}
StorageLoc=slurm_acct_db
StorageUser=slurm
StoragePass=slurm
LogFile={root}/log/slurmdbd.log
PidFile={root}/run/slurmdbd.pid
"""
SCHEMA = """
create database if not exists slurm_acct_db;
create user if not exists slurm@'127.0.0.1' identified by 'slurm';
grant all on slurm_acct_db.* to slurm@'127.0.0.1';
"""


def configure(root: Path, user: str, dbd_port: int, sql_port: int) -> str:
    """Write slurmdbd.conf (beside slurm.conf, where slurmdbd looks for it); return the lines for slurm.conf."""
    values = {"root": root, "user": user, "dbd_port": dbd_port, "sql_port": sql_port}
    path = root / "etc" / "slurmdbd.conf"
    path.touch(mode=0o600)  # slurmdbd takes no other
    path.write_text(SLURMDBD_CONF.format(**values))
    return SLURM_CONF.format(**values).rstrip()


def install(root: Path, user: str) -> None:
    """Make an empty database directory."""
    with open(root / "log" / "mariadb-install.out", "wb") as log:
        subprocess.run(
            [
                *("mariadb-install-db", "--no-defaults", f"--datadir={root}/mysql", f"--user={user}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"),
            ],
            stdout=log,
            stderr=log,
            check=True,
            timeout=120,
        )


def mariadbd_arguments(root: Path, user: str) -> tuple[str, ...]:
    """Return the arguments of mariadbd: small, on loopback, and quick rather than safe."""
    (port,) = re.findall(r"^StoragePort=(\d+)", (root / "etc" / "slurmdbd.conf").read_text(), re.MULTILINE)
    return (
        *("--no-defaults", f"--user={user}", f"--datadir={root}/mysql", f"--socket={root}/run/mysql.sock"),
        *(f"--pid-file={root}/run/mariadb.pid", "--bind-address=127.0.0.1", f"--port={port}", "--skip-name-resolve"),
        *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--innodb-lock-wait-timeout=900"),
        "--innodb-flush-log-at-trx-commit=0",
    )


def prepare(root: Path) -> bool:
    """Let slurmdbd in; return whether MariaDB has taken it, that is, whether it answers."""
    command = ["mariadb", "--no-defaults", "--user=root", f"--socket={root}/run/mysql.sock"]
    done = subprocess.run(command, input=SCHEMA, text=True, capture_output=True, check=False, timeout=30)
    return done.returncode == 0

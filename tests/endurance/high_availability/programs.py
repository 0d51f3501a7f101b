"""What the trial needs beside Python packages, and processes that end with it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support import postgres
from tests.support.tools import apt_get

# Debian's packages, and the programs that they have.
PACKAGES = {
    "postgresql": "pg_ctl",
    "patroni": "patroni",
    "etcd-server": "etcd",
    "haproxy": "haproxy",
    "pgbouncer": "pgbouncer",
    "iptables": "iptables",
    "iproute2": "ip",
}


def install() -> None:
    """Install what is missing; ends the program if that can't be done."""
    if os.geteuid() != 0:
        sys.exit("The trial needs root: each of its database hosts has a network of its own.")
    for package in PACKAGES:
        if not _found(package):
            print(f"Installing {package} ...", file=sys.stderr)
            apt_get(package)
    if missing := [package for package in PACKAGES if not _found(package)]:
        sys.exit(f"The trial needs more programs (Debian: apt-get install {' '.join(missing)}).")


def _found(package: str) -> bool:
    if package == "postgresql":
        return postgres.binaries() is not None
    return shutil.which(PACKAGES[package]) is not None


def run(*command: str) -> str:
    """The output of a command that has to succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def start(command: Sequence[str], log: Path, user: str = "") -> subprocess.Popen[bytes]:
    """A process that the kernel ends with this one, with its output in a file."""
    of_user = ["runuser", "-u", user, "--"] if user else []
    with log.open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *of_user, *command],
            cwd="/tmp",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

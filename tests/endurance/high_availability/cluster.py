"""Three PostgreSQL hosts that patroni looks after, and what stands before them.

Each host is a network namespace with an address of its own, so that it can be cut off without a sign, and all
its processes can be killed or frozen at once.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.request import Request, urlopen

from tests.endurance.high_availability.programs import run, start
from tests.support import postgres

NETWORK = "10.76.63"
OURS = f"{NETWORK}.1"
BRIDGE = "pdpp-ha"
ETCD_PORT, ETCD_PEER_PORT = 23790, 23800
POSTGRES_PORT, PATRONI_PORT, HAPROXY_PORT = 5432, 8008, 5000
BOUNCER_PORTS = {"session": 6432, "transaction": 6433}
Found = TypeVar("Found")
READY_SECONDS, REJOIN_SECONDS = 600, 90
RUNNING = ("running", "streaming")
# patroni's own defaults are 30, 10 and 10.
TTL, LOOP_WAIT, RETRY_TIMEOUT = 20, 5, 5

HAPROXY = """\
global
    maxconn 2000
defaults
    mode tcp
    retries 2
    timeout connect 3s
    timeout client 30m
    timeout server 30m
    timeout check 2s
listen primary
    bind {ours}:{port}
    option httpchk OPTIONS /primary
    http-check expect status 200
    default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
"""
BOUNCER = """\
[databases]
* = host={ours} port={haproxy} user=pdpp
[pgbouncer]
listen_addr = {ours}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 60
max_client_conn = 500
server_login_retry = 1
log_connections = 0
log_disconnections = 0
"""


class Host:
    """One database host: patroni, PostgreSQL, and their network."""

    def __init__(self, number: int, folder: Path) -> None:
        self.name = f"pdpp-ha-{number}"
        self.address = f"{NETWORK}.{10 + number}"
        self._folder = folder / self.name
        self._folder.mkdir()
        shutil.chown(self._folder, "postgres")
        (self._folder / "patroni.json").write_text(json.dumps(self._settings()))  # which is YAML

    def _settings(self) -> dict[str, object]:
        found = postgres.binaries()
        trusted = [f"host all all {NETWORK}.0/24 trust", f"host replication all {NETWORK}.0/24 trust"]
        return {
            "scope": "pdpp",
            "name": self.name,
            "etcd": {"hosts": f"{OURS}:{ETCD_PORT}"},
            "restapi": {
                "listen": f"{self.address}:{PATRONI_PORT}",
                "connect_address": f"{self.address}:{PATRONI_PORT}",
            },
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": LOOP_WAIT,
                    "retry_timeout": RETRY_TIMEOUT,
                    "synchronous_mode": True,
                    "postgresql": {
                        "use_pg_rewind": True,
                        "parameters": {"max_connections": 400, "wal_log_hints": "on"},
                    },
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}],
            },
            "postgresql": {
                "listen": f"{self.address}:{POSTGRES_PORT}",
                "connect_address": f"{self.address}:{POSTGRES_PORT}",
                "data_dir": str(self._folder / "data"),
                "bin_dir": str(found),
                "pgpass": str(self._folder / "pgpass"),
                "basebackup": {"checkpoint": "fast"},
                "remove_data_directory_on_rewind_failure": True,
                "remove_data_directory_on_diverged_timelines": True,
                "authentication": {
                    "superuser": {"username": "pdpp", "password": "pdpp"},
                    "replication": {"username": "replicator", "password": "pdpp"},
                    "rewind": {"username": "pdpp", "password": "pdpp"},
                },
                # A crash of the whole machine is not a part of this trial.
                "parameters": {"unix_socket_directories": str(self._folder), "fsync": "off"},
                "pg_hba": ["local all all trust", *trusted],
            },
        }

    # ---- network -------------------------------------------------------------------------------

    def connect(self) -> None:
        """Give it a network, and a link to ours."""
        ours, its = f"{self.name}-a", f"{self.name}-b"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", ours, "type", "veth", "peer", "name", its)
        run("ip", "link", "set", ours, "master", BRIDGE, "up")
        run("ip", "link", "set", its, "netns", self.name)
        inside = ("ip", "-n", self.name)
        run(*inside, "addr", "add", f"{self.address}/24", "dev", its)
        run(*inside, "link", "set", its, "up")
        run(*inside, "link", "set", "lo", "up")

    def cut_off(self) -> None:
        """Drop all packets in both directions, without an error to either side."""
        for chain in ("INPUT", "OUTPUT"):
            run(
                "ip",
                "netns",
                "exec",
                self.name,
                "iptables",
                "-A",
                chain,
                "!",
                "-i" if chain == "INPUT" else "-o",
                "lo",
                "-j",
                "DROP",
            )

    def reconnect(self) -> None:
        run("ip", "netns", "exec", self.name, "iptables", "-F")

    def remove(self) -> None:
        """Also what an earlier trial has left that was killed."""
        self.signal(signal.SIGKILL)
        for each in (("link", "delete", f"{self.name}-a"), ("netns", "delete", self.name)):
            subprocess.run(["ip", *each], check=False, capture_output=True)

    # ---- processes -----------------------------------------------------------------------------

    def start(self) -> None:
        command = ["patroni", str(self._folder / "patroni.json")]
        start(
            ["ip", "netns", "exec", self.name, "runuser", "-u", "postgres", "--", *command],
            self._folder / "patroni.log",
        )

    def signal(self, number: int) -> None:
        """To each process of this host, until none is left that has not got it."""
        done: set[int] = set()
        while left := self._processes() - done:
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, number)
            done |= left

    def _processes(self) -> set[int]:
        listed = subprocess.run(["ip", "netns", "pids", self.name], check=False, capture_output=True)
        return set(map(int, listed.stdout.split()))


class Cluster:
    """All hosts, with etcd, HAProxy and two pgbouncers in the network of this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.hosts = [Host(number, folder) for number in (1, 2, 3)]
        self._others: list[subprocess.Popen[bytes]] = []
        self.remove()
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{OURS}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")

    def start(self) -> None:
        self._start_etcd()
        for host in self.hosts:
            host.connect()
            host.start()
        self._start_haproxy()
        for mode, port in BOUNCER_PORTS.items():
            self._start_bouncer(mode, port)
        self.await_health()

    def _start_etcd(self) -> None:
        client, peer = f"http://{OURS}:{ETCD_PORT}", f"http://{OURS}:{ETCD_PEER_PORT}"
        self._others.append(
            start(
                [
                    "etcd",
                    f"--data-dir={self._folder / 'etcd'}",
                    "--name=one",
                    f"--listen-client-urls={client}",
                    f"--advertise-client-urls={client}",
                    f"--listen-peer-urls={peer}",
                    f"--initial-advertise-peer-urls={peer}",
                    f"--initial-cluster=one={peer}",
                    "--unsafe-no-fsync",
                    "--enable-v2",
                ],
                self._folder / "etcd.log",
            )
        )

    def _start_haproxy(self) -> None:
        servers = "\n".join(
            f"    server {host.name} {host.address}:{POSTGRES_PORT} check port {PATRONI_PORT}"
            for host in self.hosts
        )
        path = self._folder / "haproxy.cfg"
        path.write_text(HAPROXY.format(ours=OURS, port=HAPROXY_PORT, servers=servers))
        self._others.append(start(["haproxy", "-db", "-f", str(path)], self._folder / "haproxy.log"))

    def _start_bouncer(self, mode: str, port: int) -> None:
        path = self._folder / f"pgbouncer-{mode}.ini"
        path.write_text(BOUNCER.format(ours=OURS, haproxy=HAPROXY_PORT, port=port, mode=mode))
        self._others.append(
            start(["pgbouncer", str(path)], self._folder / f"pgbouncer-{mode}.log", user="postgres")
        )

    def remove(self) -> None:
        for host in self.hosts:
            host.remove()
        for process in self._others:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what runuser has started
            process.wait()
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)

    # ---- addresses -----------------------------------------------------------------------------

    def url(self, way: str) -> str:
        """The address of a database with the name of the way."""
        hosts = ",".join(f"{host.address}:{POSTGRES_PORT}" for host in self.hosts)
        return {
            "direct": f"postgresql://pdpp@{hosts}/direct?target_session_attrs=read-write",
            "haproxy": f"postgresql://pdpp@{OURS}:{HAPROXY_PORT}/haproxy",
            "session": f"postgresql://pdpp@{OURS}:{BOUNCER_PORTS['session']}/session",
            "transaction": f"postgresql://pdpp@{OURS}:{BOUNCER_PORTS['transaction']}/transaction",
        }[way]

    def primary_url(self, database: str) -> str:
        return f"postgresql://pdpp@{self.leader().address}:{POSTGRES_PORT}/{database}"

    # ---- state ---------------------------------------------------------------------------------

    def members(self, but: Host | None = None) -> dict[str, dict[str, object]]:
        """What patroni says of each host, by name; nothing if no host but this one answers."""
        for host in self.hosts:
            if host is not but:
                url = f"http://{host.address}:{PATRONI_PORT}/cluster"
                with suppress(OSError, ValueError), urlopen(url, timeout=2) as response:
                    return {each["name"]: each for each in json.load(response)["members"]}
        return {}

    def find_leader(self, but: Host | None = None) -> Host | None:
        for name, member in self.members(but).items():
            if member["role"] == "leader" and member["state"] == "running":
                return next((host for host in self.hosts if host.name == name and host is not but), None)
        return None

    def leader(self) -> Host:
        found = await_(self.find_leader, READY_SECONDS, "a leader")
        assert found
        return found

    def await_health(self) -> None:
        """Until all hosts run, and one that the primary waits for is among them.

        A host that can't follow the new primary, because it has files of another timeline, is filled again
        from its primary, as an operator would do.
        """
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                await_(self._is_healthy, REJOIN_SECONDS, "three hosts that run")
                return
            except TimeoutError:
                if time.monotonic() > until:
                    raise
            self._refill()

    def _refill(self) -> None:
        for name, member in self.members().items():
            is_behind = str(member.get("lag", 0)) != "0" and member["role"] != "leader"
            if member["state"] not in RUNNING or is_behind:
                print(f"{name} does not follow ({member['state']}), and is filled again", flush=True)
                (host,) = (each for each in self.hosts if each.name == name)
                with suppress(OSError):  # it may be filled already
                    post(host, "reinitialize", {"force": True})

    def _is_healthy(self) -> bool:
        members = self.members().values()
        roles = sorted(str(each["role"]) for each in members)
        running = [each for each in members if each["state"] in RUNNING]
        return len(running) == len(self.hosts) and roles == ["leader", "replica", "sync_standby"]

    def switch_over(self) -> None:
        """Make the synchronous replica the primary."""
        members = self.members()
        names = {str(each["role"]): name for name, each in members.items()}
        wanted: dict[str, object] = {"leader": names["leader"], "candidate": names["sync_standby"]}
        post(self.leader(), "switchover", wanted)


def post(host: Host, act: str, values: dict[str, object]) -> None:
    """Ask a host's patroni to act.  Raises OSError if it refuses."""
    request = Request(
        f"http://{host.address}:{PATRONI_PORT}/{act}",
        data=json.dumps(values).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=60):
        pass


def await_(ask: Callable[[], Found], seconds: float, what: str) -> Found:
    """The first answer that is not false.  Raises TimeoutError."""
    until = time.monotonic() + seconds
    while not (found := ask()):
        if time.monotonic() > until:
            raise TimeoutError(f"no {what} after {seconds:.0f} s")
        time.sleep(0.2)
    return found

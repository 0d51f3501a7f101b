"""The processes of `pdpp-ref serve`: how they end, and what happens if one does by itself."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.request import Request, urlopen

import httpx
import pytest

from tests.support.factories import PASSWORD, TOKEN
from tests.support.server_process import Server

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, WORKERS=2) as started:
        yield started


def children(process: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


def until(happened: Callable[[], object]) -> None:
    for _ in range(600):
        with suppress(OSError):
            if happened():
                return
        time.sleep(0.05)
    pytest.fail("it did not happen in time")


def get(server: Server, path: str) -> bytes:
    with urlopen(Request(server.url + path, headers=BEARER), timeout=30) as response:
        found: bytes = response.read()
        return found


def is_gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def held(process: int, port: int) -> int:
    """How many connections of clients a process holds."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = {line[9] for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "01"}
    links = (os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir() if entry.is_symlink())
    return sum(link.startswith("socket:") and link[8:-1] in established for link in links)


def test_each_process_gets_its_share_of_the_connections(server: Server) -> None:
    one, other = children(server.process.pid)
    port = int(server.url.rpartition(":")[2])
    with ExitStack() as opened:

        def connect() -> None:
            client = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 200")

        os.kill(other, signal.SIGSTOP)
        for _ in range(8):
            connect()
        assert (held(one, port), held(other, port)) == (8, 0)
        os.kill(other, signal.SIGCONT)
        for _ in range(8):
            connect()
        assert held(other, port) >= 6


def test_a_worker_that_dies_is_replaced(server: Server) -> None:
    workers = children(server.process.pid)
    assert len(workers) == 2
    died = workers.pop()
    os.kill(died, signal.SIGKILL)
    assert get(server, "/healthz"), "the other one serves meanwhile"
    until(lambda: len(children(server.process.pid) - {died}) == 2)
    assert workers < children(server.process.pid)


def test_no_worker_outlives_the_server(server: Server) -> None:
    workers = children(server.process.pid)
    server.process.kill()
    until(lambda: all(map(is_gone, workers)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_requests_end_and_new_ones_are_refused(server: Server, number: signal.Signals) -> None:
    """A body that arrives slowly makes a request that is running."""
    line = b'{"key":"a","data":{"t":"x"}}\n'
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        head = f"POST /v1/ingest/notes?connector_id=files HTTP/1.1\r\nHost: x\r\nContent-Length: {len(line)}\r\n"
        client.sendall(f"{head}Authorization: Bearer {TOKEN}\r\n\r\n".encode() + line[:5])
        time.sleep(0.3)
        server.process.send_signal(number)
        time.sleep(0.5)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        client.sendall(line[5:])
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"records_accepted":1' in answer
    assert server.process.wait(60) == 0


class FirstProcess(Server):
    """The first process of a container, which has to look after others' children too."""

    under = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def test_as_the_first_process_of_a_container_it_ends_and_leaves_no_zombies(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False).returncode:
        pytest.skip("it needs the right to make a container")
    with FirstProcess(tmp_path, WORKERS=2) as server:
        (first,) = children(server.process.pid)
        worker = min(children(first))
        # A process whose parent ends becomes a child of the first one.
        orphan = f"nsenter --target {first} --pid --mount sh -c 'sleep 0.2 & exec true'"
        subprocess.run(["sh", "-c", orphan], check=True)
        os.kill(worker, signal.SIGKILL)
        time.sleep(0.5)  # the orphan has ended by then
        until(lambda: len(children(first) - {worker}) == 2 and not any(map(is_gone, children(first))))
        os.kill(first, signal.SIGTERM)
        assert server.process.wait(60) == 0


def test_a_hangup_changes_nothing(server: Server) -> None:
    for process in (server.process.pid, *children(server.process.pid)):
        os.kill(process, signal.SIGHUP)
    time.sleep(0.3)
    assert get(server, "/healthz")
    assert server.process.poll() is None


def test_wrong_passwords_are_counted_over_all_workers(server: Server) -> None:
    statuses = []

    def guess() -> None:
        body = b'{"password": "wrong"}'
        request = Request(f"{server.url}/owner/login", body, {"Content-Type": "application/json"})
        try:
            urlopen(request, timeout=60)
        except OSError as refused:
            statuses.append(refused.code)  # type: ignore[attr-defined]

    threads = [threading.Thread(target=guess) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [401] * 10 + [429] * 20


def test_metrics_are_those_of_all_workers(server: Server) -> None:
    for _ in range(20):  # each on a connection of its own, which either may accept
        get(server, "/healthz?x")
        get(server, "/healthz")
    found = get(server, "/_ref/metrics").decode()
    assert 'pdpp_request_seconds_count{method="GET",route="/healthz",status="200"} 40.0' in found


def test_a_download_is_there_whichever_worker_is_asked(server: Server) -> None:
    server.add_record()
    # Each request comes on a connection of its own, which either may accept.
    with httpx.Client(base_url=server.url, timeout=60, headers={"Connection": "close"}) as owner:
        owner.post("/owner/login", json={"password": PASSWORD})
        page = owner.get("/dashboard").text
        token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
        form = {"connection": "laptop", "csrf_token": token}
        asked = owner.post("/dashboard/downloads", data=form)
        assert asked.status_code == 303
        path = asked.headers["Location"].removesuffix("/page")
        until(lambda: owner.get(path).status_code == 200)
        for _ in range(10):
            assert owner.get(path).text.count('"type":"RECORD"') == 1


def test_memory_is_bounded(server: Server) -> None:
    """In proportional shares: what processes share counts once."""
    for _ in range(20):
        get(server, "/_ref/dataset/top")
    processes = (server.process.pid, *children(server.process.pid))
    rollups = [Path(f"/proc/{each}/smaps_rollup").read_text().split() for each in processes]
    kilobytes = [int(words[words.index("Pss:") + 1]) for words in rollups]
    assert sum(kilobytes) < 120_000

"""A link to a PostgreSQL server that can be cut: whatever is sent stays where it is, and nothing says so."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from tests.support import postgres


class Link:
    """Forwards what comes to a port of this machine to the socket of a server that we started."""

    def __init__(self, url: str) -> None:
        self._to = str(postgres.folder_of(url) / ".s.PGSQL.5432")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._whole = threading.Event()
        self._whole.set()
        self._sockets = [self._listening]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def url(self, direct: str, before: str = "") -> str:
        """The address of a database through this link; `before` are other hosts, with commas."""
        parts = urlsplit(direct)
        return f"postgresql://{parts.username}@{before}127.0.0.1:{self.port}{parts.path}"

    def cut(self) -> None:
        self._whole.clear()

    def restore(self) -> None:
        self._whole.set()

    def remove(self) -> None:
        self.restore()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
        for each in self._sockets:
            each.close()

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._sockets.append(client)
                self._start(self._connect, client)

    def _connect(self, client: socket.socket) -> None:
        self._whole.wait()
        server = socket.socket(socket.AF_UNIX)
        self._sockets.append(server)
        server.connect(self._to)
        self._start(self._pass_on, client, server)
        self._start(self._pass_on, server, client)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._whole.wait()
                target.sendall(data)
            self._whole.wait()
            target.shutdown(socket.SHUT_RDWR)


@contextmanager
def silent_host() -> Iterator[int]:
    """A port that drops packets: its queue of connections is full, and nobody accepts any."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(address)
            waiting.append(client)
        try:
            yield int(address[1])
        finally:
            for client in waiting:
                client.close()

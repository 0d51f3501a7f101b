"""The processes of the server: one that looks after the others, which serve."""

import gc
import logging
import multiprocessing
import os
import resource
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

import uvicorn
from flask import Flask

from ..database import db
from ..services.auto_reconcile import AutoReconcile
from ..services.housekeeping import Housekeeping
from ..services.prepared_files import PreparedFiles
from ..shared_memory import be_process
from .accepting import Acceptor, Shares
from .connections import KEEP_ALIVE_SECONDS, Connection, Limits
from .gateway import Gateway

DRAIN_SECONDS = 20  # for requests that run when the server is to stop
KILL_SECONDS = 5  # after that, for a process that has not ended
RESTART_SECONDS = 1.0
POLL_SECONDS = 0.2
STOPS = (signal.SIGTERM, signal.SIGINT)
SPARE_DESCRIPTORS = 200  # for files and databases

log = logging.getLogger(__name__)


class Workers:
    """So many processes that serve the application.  One that ends by itself is replaced."""

    def __init__(self, app: Flask, sockets: list[socket.socket], count: int) -> None:
        self._app = app
        self._sockets = sockets
        self._count = count
        self._shares = Shares(count)
        self._processes: dict[int, BaseProcess] = {}
        self._signals = 0
        self._parent = os.getpid()

    def run(self) -> None:
        """Returns after SIGTERM or SIGINT, when running requests have ended; at once after a second one."""
        allow_connections()
        self._share()
        db.close()  # no connection may cross a fork
        gc.collect()
        gc.freeze()  # the processes share what is there now, as long as nobody writes to it
        for each in STOPS:
            signal.signal(each, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in range(self._count):
            self._start(number)
        while not self._signals:
            wait([process.sentinel for process in self._processes.values()], POLL_SECONDS)
            self._replace_ended()
            if os.getpid() == 1:
                self._reap_orphans()
        self._stop()

    def _share(self) -> None:
        files: PreparedFiles = self._app.extensions["prepared_files"]
        try:
            files.share()
        except OSError as error:
            log.warning("no downloads can be prepared in the instance folder: %s", error.strerror)

    def _on_signal(self, *_: object) -> None:
        self._signals += 1

    def _start(self, number: int) -> None:
        process = multiprocessing.get_context("fork").Process(target=self._serve, args=(number,))
        process.start()
        self._processes[number] = process

    def _replace_ended(self) -> None:
        for number, process in list(self._processes.items()):
            if process.exitcode is not None and not self._signals:
                log.error("a worker process ended with code %d; another takes its place", process.exitcode)
                time.sleep(RESTART_SECONDS)
                self._start(number)

    def _reap_orphans(self) -> None:
        """The first process of a container becomes the parent of processes whose own has ended."""
        ours = {process.pid for process in self._processes.values()}
        with suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid in ours:
                    return  # `_replace_ended` comes first
                os.waitpid(ended.si_pid, 0)

    def _stop(self) -> None:
        for opened in self._sockets:
            opened.close()
        deadline = time.monotonic() + DRAIN_SECONDS + KILL_SECONDS
        while (running := self._running()) and self._signals == 1 and time.monotonic() < deadline:
            for process in running:  # again and again: it may only just have started
                process.terminate()
            wait([process.sentinel for process in running], POLL_SECONDS)
        for process in running:
            process.kill()

    def _running(self) -> list[BaseProcess]:
        return [process for process in self._processes.values() if process.exitcode is None]

    def _serve(self, number: int) -> None:
        """In a process of its own."""
        be_process(number)
        self._shares.hold(0)
        server = Server(self._app, self._parent, self._shares)
        # Until uvicorn handles them; at the end it raises again those that it has handled.
        for each in STOPS:
            signal.signal(each, partial(_exit, server))
        auto: AutoReconcile = self._app.extensions["auto_reconcile"]
        auto.publish()
        housekeeping: Housekeeping = self._app.extensions["housekeeping"]
        housekeeping.start()
        code = 0
        try:
            server.run(sockets=self._sockets)
            housekeeping.stop()
        except BaseException as error:
            log.error("a worker process failed: %s", type(error).__name__)
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # without waiting for a thread that is still at a request


class Server(uvicorn.Server):
    """Serves until it is to exit, or its parent process has ended."""

    def __init__(self, app: Flask, parent: int, shares: Shares | None = None) -> None:
        self._parent = parent
        self._shares = shares or Shares(1)
        logging.getLogger("uvicorn.error").addFilter(_without_details)
        config = uvicorn.Config(
            Gateway(app),
            http=Connection,
            loop="uvloop",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # the application handles them: see PDPP_TRUSTED_PROXIES
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        state = self.server_state
        protocol = partial(
            Connection,
            config=self.config,
            server_state=state,
            app_state=self.lifespan.state,
            shares=self._shares,
        )
        self.servers = [
            Acceptor(each, protocol, self._shares, lambda: len(state.connections))  # type: ignore[misc]
            for each in sockets or ()
        ]

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or os.getppid() != self._parent


def allow_connections() -> None:
    """As many as the system allows this process, up to the usual limit."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = Limits.connections + SPARE_DESCRIPTORS
    allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    if usual < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    Limits.connections = max(1, min(Limits.connections, max(usual, allowed) - SPARE_DESCRIPTORS))


def _exit(server: Server, *_: object) -> None:
    server.should_exit = True


def _without_details(record: logging.LogRecord) -> bool:
    """Log no exceptions of uvicorn: they have paths of requests, which contain names, and of files."""
    if record.levelno < logging.ERROR:
        return False
    kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else "a fault"
    record.msg, record.args, record.exc_info = "a connection was ended by %s", (kind,), None
    return True

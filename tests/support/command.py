"""The command `pdpp-ref`, in processes that are forked from one that has imported it already.

Each call is a process with its own files, folder, environment and signals, as from a shell; it only saves
the time in which Python imports everything, which is most of what a short command takes.  A test of how the
program starts or of its inherited files starts `PROGRAM` itself.
"""

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

PROGRAM = str(Path(sys.executable).with_name("pdpp-ref"))
ROOT = Path(__file__).parents[2]


def run(
    *arguments: str, env: dict[str, str], cwd: Path = ROOT, stdin: bytes = b"", timeout: float = 60
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end; raises subprocess.TimeoutExpired, as subprocess.run does.

    Variables that Python itself reads as it starts have no effect.
    """
    ends = [os.pipe() for _ in range(3)]
    (child_in, to_child), (from_child, child_out), (errors, child_err) = ends
    with (
        os.fdopen(to_child, "wb") as into,
        os.fdopen(from_child, "rb") as output,
        os.fdopen(errors, "rb") as stderr,
        socket.socket(socket.AF_UNIX) as call,
    ):
        try:
            call.connect(_server())
            socket.send_fds(call, [b"-"], [child_in, child_out, child_err])
        finally:
            for end in (child_in, child_out, child_err):
                os.close(end)
        with call.makefile("rw") as reported:
            print(json.dumps([arguments, env, str(cwd)]), file=reported, flush=True)
            pid = int(reported.readline())
            printed: list[bytes] = [b"", b""]
            work = [
                threading.Thread(target=_write, args=(into, stdin)),
                *(
                    threading.Thread(target=_read, args=(file, printed, number))
                    for number, file in enumerate((output, stderr))
                ),
            ]
            for thread in work:
                thread.start()
            timer = threading.Timer(timeout, os.kill, (pid, signal.SIGKILL))
            timer.start()
            code = int(reported.readline())
            timer.cancel()
            for thread in work:
                thread.join()
    if timer.finished.is_set() and code == -signal.SIGKILL:
        raise subprocess.TimeoutExpired(arguments, timeout, *printed)
    return subprocess.CompletedProcess(arguments, code, *printed)


@contextmanager
def started(call: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process as of subprocess.Popen, which is killed at the end if it still runs, also of a test that fails."""
    with subprocess.Popen(call, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def _write(into: IO[bytes], content: bytes) -> None:
    try:
        with into:
            into.write(content)
    except BrokenPipeError:
        pass  # the command reads no further


def _read(file: IO[bytes], printed: list[bytes], number: int) -> None:
    printed[number] = file.read()


@cache
def _server() -> str:
    """The address of this process's server, which ends with it."""
    address = tempfile.mktemp(prefix="pdpp-command-", dir="/tmp")
    server = subprocess.Popen(
        [sys.executable, "-P", __file__, address], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout
    assert server.stdout.readline(), "it listens"
    atexit.register(server.communicate)  # the end of its input is its end
    return address


# ---- the server ----------------------------------------------------------------------------------


def _await_call(address: str) -> list[str]:
    """Serve calls until the input ends; return, in a new process for each call, its arguments."""
    with (
        socket.create_server(address, family=socket.AF_UNIX) as listener,
        selectors.DefaultSelector() as ready,
    ):
        ready.register(listener, selectors.EVENT_READ)
        ready.register(0, selectors.EVENT_READ)
        print("listening", flush=True)
        while 0 not in {key.fd for key, _ in ready.select()}:
            call, _ = listener.accept()
            with call:
                if not (pid := os.fork()):
                    return _begin(call)
            os.waitpid(pid, 0)
    os.unlink(address)
    sys.exit()


def _begin(call: socket.socket) -> list[str]:
    """Become the command; another process waits for it and reports its end."""
    if os.fork():
        os._exit(0)  # the server waits for no call
    _, files, _, _ = socket.recv_fds(call, 1, 3)
    with call.makefile("rw") as reported:
        arguments, environment, folder = json.loads(reported.readline())
        if pid := os.fork():
            for file in (0, 1, *files):
                os.close(file)
            print(pid, file=reported, flush=True)
            _, status = os.waitpid(pid, 0)
            print(os.waitstatus_to_exitcode(status), file=reported, flush=True)
            os._exit(0)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    return list(arguments)


if __name__ == "__main__":
    from pdpp_ref.cli.main import main
    from pdpp_ref.database import db

    # What is here before the fork stays shared: neither collected nor, at the end, taken apart.
    gc.freeze()
    sys.argv[:] = [PROGRAM, *_await_call(sys.argv[1])]
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    if db.obj and not db.is_closed():
        db.close()  # as the end of Python does, which takes a tenth of a second more
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else bool(code))

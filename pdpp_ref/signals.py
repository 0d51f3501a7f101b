"""Stopping on a signal, at a moment when nothing is lost.

A command calls `listen`; then SIGINT and SIGTERM raise KeyboardInterrupt, once.  Work that
must not be interrupted runs inside `uninterrupted`: a signal that arrives there is raised at its end, and
only a second one interrupts it.  After that all signals are ignored, so that counts can still be printed.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class _State:
    listening = False
    depth = 0
    requested = False  # a signal has arrived and waits for the end of an `uninterrupted`


_state = _State()


def listen() -> None:
    """Handle SIGTERM like SIGINT.  A signal that was ignored when this process started stays ignored."""
    _state.listening = True
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def ignore_hangup() -> None:
    """Continue if the terminal is closed."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def finish() -> None:
    """Ignore signals from now on: while Python exits, the system's default would kill the process."""
    if _state.listening:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _stop(_number: int, _frame: FrameType | None) -> None:
    if _state.depth and not _state.requested:
        _state.requested = True
        return
    _raise()


def _raise() -> None:
    _state.requested = False
    finish()
    raise KeyboardInterrupt


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Raises KeyboardInterrupt at the end if a signal arrived meanwhile."""
    if not _state.listening or threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
        if _state.requested and not _state.depth:
            _raise()


def is_requested() -> bool:
    """Whether a signal is waiting for the current work to end: then do not retry for long."""
    return _state.requested

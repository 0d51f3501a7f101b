"""Being stopped by a signal: at a moment that loses nothing.

A command calls `listen`; then SIGINT and SIGTERM raise KeyboardInterrupt, once.  What must not be
torn is done inside `uninterrupted`: a signal that comes there is raised at its end, and only a second
one breaks it off.  Once it was raised, all that come are ignored, so that counts can still be printed.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class _State:
    listening = False
    depth = 0
    requested = False  # a signal came and waits for the end of an `uninterrupted`


_state = _State()


def listen() -> None:
    """SIGTERM is like SIGINT from now on.  Either stays ignored if this process was started so."""
    _state.listening = True
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def ignore_hangup() -> None:
    """A terminal that is closed does not end the work."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def finish() -> None:
    """Nothing is left to be stopped.  Python's end would hand a late signal to the system, which kills."""
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
    """Raises KeyboardInterrupt at the end if a signal came meanwhile."""
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
    """Whether a signal waits for the end of what is being done: do not try for long."""
    return _state.requested

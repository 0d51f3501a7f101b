"""Waiting for a file descriptor, whatever its number: `select.select` fails from 1,024 on."""

import select


def can_read(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read, or the end, within so many seconds."""
    return _ready(descriptor, "POLLIN", seconds)


def can_write(descriptor: int, seconds: float) -> bool:
    """Whether there is room to write, or nobody reads any more, within so many seconds."""
    return _ready(descriptor, "POLLOUT", seconds)


def _ready(descriptor: int, event: str, seconds: float) -> bool:
    if not hasattr(select, "poll"):  # a platform that cannot wait for files and pipes
        return True
    poll = select.poll()
    poll.register(descriptor, getattr(select, event))
    return bool(poll.poll(seconds * 1000))

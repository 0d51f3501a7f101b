"""Waiting for descriptors of any number."""

import fcntl
import os
import resource
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pdpp_ref.descriptors import can_read, can_write
from pdpp_ref.parsing import lines

FIRST = 3_000  # more than a set of `select.select` holds


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Its end to read from and its end to write to, with high numbers."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], FIRST + 100), before[1]))
    low = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, FIRST) for end in low]
    for end in low:
        os.close(end)
    try:
        yield high[0], high[1]
    finally:
        for end in high:
            os.close(end)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_an_empty_pipe_can_be_written_alone(pipe: tuple[int, int]) -> None:
    assert not can_read(pipe[0], 0)
    assert can_write(pipe[1], 0)


def test_a_full_pipe_can_be_read_alone(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    while can_write(pipe[1], 0):
        os.write(pipe[1], bytes(65_536))
    assert can_read(pipe[0], 0)


def test_a_closed_pipe_has_an_end_to_be_read(pipe: tuple[int, int]) -> None:
    os.dup2(pipe[0], pipe[1])  # nobody writes any more
    assert can_read(pipe[0], 0)


def test_a_file_can_always_be_read_and_written(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        assert can_read(file.fileno(), 0)
        assert can_write(file.fileno(), 0)


def test_a_silent_source_of_a_high_number_is_idle(pipe: tuple[int, int]) -> None:
    """Then the lines so far are made durable; a wait that fails would block in the read."""
    os.write(pipe[1], b"one\n")
    with closing(lines.read_lines(pipe[0])) as found:
        assert next(found) == b"one"
        assert next(found) is None

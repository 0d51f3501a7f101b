"""A fuzzer, led by coverage, of how bytes become lines and lines become changes.

`make fuzz SECONDS=600`.  What it starts from is in `tests/corpus`, beside the hostile lines of the
suite; what it finds new is kept in a folder of its own.  It ends at the first input that raises what
nobody catches, or that is read in two ways.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pdpp_ref.services", "json"]):
    from pdpp_ref.parsing.lines import LineTooLong, split_lines
    from pdpp_ref.parsing.messages import (
        Change,
        Reader,
        Rejected,
        check_name,
    )
    from pdpp_ref.timestamps import is_time

from tests.support.hostile_input import LINES

CORPUS = Path(__file__).parents[1] / "corpus"


def try_one(data: bytes) -> None:
    """The first byte says how long the blocks are that the rest comes in."""
    size, content = 1 + (data[0] if data else 0), data[1:]
    blocks = (content[start : start + size] for start in range(0, len(content), size))
    lines = list(split_lines(blocks))
    expected = content.split(b"\n")
    assert lines == (expected if expected[-1] else expected[:-1]), "blocks make a difference"
    for stream in ("notes", None):
        reader = Reader(stream)
        for line in lines:
            assert line is not None
            assert not isinstance(line, LineTooLong)
            try:
                message = reader.read(line)
            except Rejected as reason:
                assert 0 < len(str(reason)) < 3_000
                assert reason.stream is None or check_name("stream", reason.stream)
                continue
            if isinstance(message, Change):
                check(message)


def check(change: Change) -> None:
    """What is to be stored can be stored, and sent again it is the same."""
    for text in (change.stream, change.key, change.data or "", change.record_time_field or ""):
        assert "\0" not in text
        text.encode()
    for time in (change.emitted_at, change.record_time):
        assert time is None or is_time(time)
    if change.data is not None:
        again = Reader(change.stream).read(b'{"key":"k","data":' + change.data.encode() + b"}")
        assert isinstance(again, Change)
        assert again.data == change.data, "canonical text is not its own canonical text"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for number, line in enumerate(each for each in LINES if len(each) < 4_096):
            Path(folder, str(number)).write_bytes(b"\x0f" + line)
        for file in CORPUS.iterdir():
            shutil.copy(file, folder)
        found = Path(os.environ.get("PDPP_FUZZ_FOUND", ".fuzz"))
        found.mkdir(exist_ok=True)
        options = ["-max_len=4096", f"-artifact_prefix={found}/", *sys.argv[1:]]
        atheris.Setup([sys.argv[0], str(found), folder, *options], try_one)
        atheris.Fuzz()

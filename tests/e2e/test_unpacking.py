"""Compressed input: every member is read, what is damaged is told, and nothing before it is lost."""

import bz2
import gzip
import importlib
import json
import lzma
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from pdpp_ref.blueprints import limits
from pdpp_ref.parsing import unpacking
from pdpp_ref.parsing.unpacking import (
    BZIP2,
    GZIP,
    XZ,
    Damaged,
    Format,
)
from tests.conftest import COMMAND, Run
from tests.e2e.test_cli import line, one_line
from tests.support.command import started
from tests.support.factories import TOKEN, DatabaseProbe

Pack = Callable[[bytes], bytes]
FORMATS = [
    pytest.param(GZIP, gzip.compress, id="gzip"),
    pytest.param(BZIP2, bz2.compress, id="bzip2"),
    pytest.param(XZ, lzma.compress, id="xz"),
]
packed = pytest.mark.parametrize(("made", "pack"), FORMATS)


def zstd() -> tuple[Format, Pack]:
    """Python 3.14 has it; before, a package of the tests."""
    made = unpacking._zstd()
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return made, importlib.import_module(name).compress


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def unpacked(made: Format, data: bytes, size: int = 1000, most: int | None = None) -> bytes:
    return b"".join(part for part in unpacking.unpacked(blocks(data, size), made, most) if part)


@packed
@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("padding", [0, 1, 512])
def test_all_members_are_read_empty_ones_too(made: Format, pack: Pack, size: int, padding: int) -> None:
    content = random.Random(1).randbytes(3000) + b"x" * 50_000
    data = pack(content) + pack(b"") + pack(b"the last") + b"\0" * padding
    assert unpacked(made, data, size) == content + b"the last"


def test_members_of_zstd_are_read_too() -> None:
    made, pack = zstd()
    skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    data = skipped + pack(b"a" * 300_000) + skipped + pack(b"") + pack(b"b")
    for size in (1, 7, 100_000):
        assert unpacked(made, data, size) == b"a" * 300_000 + b"b"
    with pytest.raises(Damaged, match="cut off"):
        unpacked(made, data[:-2])
    with pytest.raises(Damaged, match="damaged"):
        unpacked(made, data + b"no member")


@packed
@pytest.mark.parametrize(
    ("rest", "code"),
    [
        (lambda _: b"no member of it", "damaged"),
        (lambda _: b"\0\0x" * 9, "damaged"),
        (lambda one: one[:-3], "cut_off"),
    ],
)
def test_what_is_no_member_is_damage_and_what_came_before_is_not_lost(
    made: Format, pack: Pack, rest: Callable[[bytes], bytes], code: str
) -> None:
    found = unpacking.unpacked(blocks(pack(b"before") + rest(pack(b"after")), 4), made)
    assert next(part for part in found if part).startswith(b"b")
    with pytest.raises(Damaged) as raised:
        list(found)
    assert raised.value.code == code


@packed
def test_memory_stays_flat_whatever_a_small_input_unpacks_to(made: Format, pack: Pack) -> None:
    sizes = [len(part or b"") for part in unpacking.unpacked(iter([pack(b"x" * 50_000_000)]), made)]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= unpacking.PART_BYTES


def test_a_million_empty_members_take_linear_time() -> None:
    """Each costs the same, however many follow it in the block."""
    data = gzip.compress(b"") * 40_000

    def seconds(size: int) -> float:
        began = time.process_time()
        assert unpacked(GZIP, data, size) == b""
        return time.process_time() - began

    # TransferState all that follows would take a hundred times as long.
    assert seconds(len(data)) < 6 * seconds(4000) + 0.1


@packed
def test_the_limit_is_for_all_members_together(made: Format, pack: Pack) -> None:
    data = pack(b"x" * 600) * 2
    assert len(unpacked(made, data, most=1200)) == 1200
    with pytest.raises(Damaged) as raised:
        unpacked(made, data, most=1199)
    assert raised.value.code == "too_large"


@packed
@pytest.mark.parametrize("size", [1, 5, 100_000])
def test_the_first_bytes_decide_however_they_arrive(made: Format, pack: Pack, size: int) -> None:
    idle: list[bytes | None] = [None]
    for content in (pack(b"text"), b"text", b"", b"B", b"BZ", b"\x1f", b'{"a": 1}'):
        given = idle + [each for part in blocks(content, size) for each in (part, None)]
        found = list(unpacking.plain(iter(given)))
        expected = b"text" if content == pack(b"text") else content
        assert b"".join(part for part in found if part) == expected


# ---- over HTTP -----------------------------------------------------------------------------------


@pytest.fixture
def send(app: Flask) -> Callable[[bytes], Any]:
    client: FlaskClient = app.test_client()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Encoding": "gzip"}
    return lambda body: client.post("/v1/ingest/notes?connector_id=files", data=body, headers=headers)


def records(*keys: str) -> bytes:
    return "".join(json.dumps({"key": key, "data": {}}) + "\n" for key in keys).encode()


def test_a_body_of_several_members_is_stored_whole(
    send: Callable[[bytes], Any], probe: DatabaseProbe
) -> None:
    """Item 1: all but the first was dropped, with 200 and no line rejected."""
    one, two = records("a", "b")[:-9], records("a", "b")[-9:]
    answer = send(gzip.compress(one) + gzip.compress(b"") + gzip.compress(two + records("c")) + b"\0" * 9)
    assert (answer.status_code, answer.get_json()["records_accepted"]) == (200, 3)
    assert probe("SELECT key FROM records ORDER BY key") == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize(
    "rest", [b"not a member", gzip.compress(records("d"))[:12]], ids=["no member", "cut off"]
)
def test_a_body_that_ends_in_damage_is_400_and_says_what_is_stored(
    send: Callable[[bytes], Any], probe: DatabaseProbe, rest: bytes
) -> None:
    answer = send(gzip.compress(records("a", "b") + b"oops\n" + records("c")[:-3]) + rest)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_gzip")
    assert (
        "of the 3 lines before that, 2 were accepted and 1 rejected. Send all of it again"
        in error["message"]
    )
    assert probe("SELECT key FROM records ORDER BY key") == [("a",), ("b",)]


def test_a_body_of_too_much_says_what_is_stored(
    send: Callable[[bytes], Any], probe: DatabaseProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 60)
    answer = send(gzip.compress(records("a", "b")) + gzip.compress(records("c", "d")))
    assert answer.status_code == 413
    assert "of the 2 lines before that, 2 were accepted" in answer.get_json()["error"]["message"]
    assert probe("SELECT COUNT(*) FROM records") == [(2,)]


# ---- by command ----------------------------------------------------------------------------------


@pytest.mark.only("sqlite")
@packed
@pytest.mark.parametrize("piped", [False, True])
def test_a_compressed_file_is_imported(
    run: Run, tmp_path: Path, made: Format, pack: Pack, piped: bool
) -> None:
    lines = "".join(line(str(number)) for number in range(100)).encode()
    data = pack(lines[:1000]) + pack(lines[1000:])
    (tmp_path / "in").write_bytes(data)
    done = (
        run("import", "--connection", "c", stdin=data)
        if piped
        else run("import", "in", "--connection", "c")
    )
    assert (done.returncode, "100 new" in done.stderr) == (0, True)


@packed
def test_damage_counts_as_one_rejected_line_and_no_state_follows(
    run: Run, tmp_path: Path, made: Format, pack: Pack
) -> None:
    state = '{"type":"STATE","value":1}\n'
    whole = (line("a") + state + line("b")).encode()
    (tmp_path / "in").write_bytes(pack(whole + line("c")[:-5].encode()) + b"and no member")
    done = run("import", "in", "--connection", "c", "--rejects", "rejected")
    assert (done.returncode, done.stdout) == (1, state)
    assert f"line 4: the {made.name} data is damaged" in done.stderr
    assert "2 accepted (2 new, 0 changed, 0 deleted, 0 unchanged), 1 rejected" in done.stderr
    (stored,) = (json.loads(each) for each in (tmp_path / "rejected").read_text().splitlines())
    assert stored["text"] == line("c")[:-5]


@pytest.mark.only("sqlite")
def test_a_pipe_that_brings_one_byte_first_is_read(environment: dict[str, str]) -> None:
    read, write = os.pipe()
    call = [COMMAND, "import", "--connection", "c"]
    with started(call, stdin=read, stderr=subprocess.PIPE, env=environment, text=True) as work:
        os.close(read)
        data = gzip.compress(line("a").encode())
        for part in (data[:1], data[1:2], data[2:]):
            os.write(write, part)
            time.sleep(0.3)
        os.close(write)
        reported = work.communicate(timeout=60)[1]
    assert (work.returncode, "1 new" in reported) == (0, True)


@pytest.mark.only("sqlite")
def test_zstd_that_cannot_be_read_is_one_hint(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "in.zst").write_bytes(b"\x28\xb5\x2f\xfd" + b"rest")
    for name in ("backports", "zstandard", "compression"):  # none of them can be imported
        (tmp_path / "none" / name).mkdir(parents=True)
        (tmp_path / "none" / name / "__init__.py").write_text("raise ImportError")
    # The program itself, as Python reads this variable when it starts.
    done = subprocess.run(
        [COMMAND, "import", "in.zst", "--connection", "c"],
        env=environment | {"PYTHONPATH": str(tmp_path / "none")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    reported = one_line(done)
    assert "pip install backports.zstd" in reported
    assert "zstd -dc FILE | pdpp-ref import" in reported


@pytest.mark.only("sqlite")
def test_a_compressed_import_takes_flat_memory(environment: dict[str, str], tmp_path: Path) -> None:
    lines = line("a", data={"t": "x" * 1_000_000}).encode()
    (tmp_path / "in.gz").write_bytes(gzip.compress(lines) * 300)
    launch = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stderr=-3); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    call = [sys.executable, "-c", launch, COMMAND, "import", str(tmp_path / "in.gz"), "--connection", "c"]
    peak = int(subprocess.run(call, env=environment, check=True, capture_output=True).stdout)
    assert peak < 150 * 1024

"""The most memory that this process ever had, for input of two sizes: a program of its own.

    python -m tests.support.peak_memory FOLDER SMALL LARGE [SMALL LARGE]

Prints a JSON object: by kind of work, how many KiB more the peak was for LARGE lines than for SMALL ones.
The second pair is numbers of records to verify.
"""

import ctypes
import gc
import gzip
import json
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flask import Flask

from pdpp_ref.application import create_app
from pdpp_ref.database import db
from pdpp_ref.operations import verify
from tests.support.factories import PASSWORD, TOKEN, upsert, write

STATUS = Path("/proc/self/status")
BEARER = {"Authorization": f"Bearer {TOKEN}", "Content-Encoding": "gzip"}
LINES: dict[str, Callable[[int], str]] = {
    "distinct types": lambda n: f'{{"type":"T{n:07}"}}',
    "rejected lines": lambda n: f"no JSON {n}",
    "refused declarations": lambda n: f'{{"type":"SCHEMA","stream":"s{n:07}","key_properties":["id"]}}',
}


def peak_kib(work: Callable[[], None]) -> int:
    gc.collect()
    with suppress(OSError, AttributeError):  # else memory that was freed before hides what is used
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    work()
    found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    assert found
    return int(found[1])


def ingest(app: Flask, line: Callable[[int], str], count: int) -> Callable[[], None]:
    body = gzip.compress("\n".join(map(line, range(count))).encode())

    def send() -> None:
        response = app.test_client().post("/v1/ingest/a?connector_id=c", data=body, headers=BEARER)
        assert response.status_code == 200, response.text

    return send


def verify_records(from_number: int, count: int) -> Callable[[], None]:
    """Of so many records."""
    for start in range(from_number, count, 2000):
        write(*(upsert(f"key {n}", n) for n in range(start, start + 2000)))

    def run() -> None:
        assert list(verify.differences()) == []

    return run


def main() -> None:
    folder, (small, large, *to_verify) = sys.argv[1], map(int, sys.argv[2:])
    app = create_app({"INSTANCE_PATH": folder, "OWNER_PASSWORD": PASSWORD, "OPERATOR_TOKEN": TOKEN})
    db.execute_sql("PRAGMA cache_size = -500")  # so that what is kept besides can be seen
    more = {}
    for kind, line in LINES.items():
        more[kind] = -peak_kib(ingest(app, line, small)) + peak_kib(ingest(app, line, large))
    if to_verify:
        few, many = to_verify
        more["verified records"] = -peak_kib(verify_records(0, few)) + peak_kib(verify_records(few, many))
    print(json.dumps(more))


if __name__ == "__main__":
    main()

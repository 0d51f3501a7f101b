"""Pipes real Singer taps into the real command, twice, and kills one half-way: `make real-taps`.

tap-jsonl and tap-dbf read files, and tap-postgres a PostgreSQL server of the tests; none needs a
network once it is installed, each into a folder of its own.  What is stored is compared with the
tap's own lines, by Python's json alone.
"""

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.support import postgres
from tests.support.probe import DatabaseProbe

COMMAND = str(Path(sys.executable).with_name("pdpp-ref"))
ROWS = 30_000
HOST = "127.7.66.3"  # the tap takes no socket; nobody else listens here
TAPS = {
    "tap-jsonl": "tap-jsonl==0.3.1",
    "tap-dbf": "tap-dbf==0.1.25",
    "tap-postgres": "meltanolabs-tap-postgres==0.10.0",
}


def main() -> None:
    server = postgres.Server(listen_addresses=HOST, **postgres.QUICK)
    try:
        with tempfile.TemporaryDirectory() as folder, postgres.new_database(server.url, "tapped") as url:
            run_all(Path(folder), url)
    finally:
        server.remove()


def run_all(work: Path, url: str) -> None:
    taps = {name: installed(work, name) for name in TAPS}
    commands = {
        "tap-jsonl": [taps["tap-jsonl"], "--config", json_lines(work)],
        "tap-dbf": [taps["tap-dbf"], "--config", dbf(work)],
        "tap-postgres": [taps["tap-postgres"], *tables(work, url, taps["tap-postgres"])],
    }
    for name, command in commands.items():
        twice(work, name, command)
    killed(work, commands["tap-postgres"])


def installed(work: Path, name: str) -> str:
    print(f"Installing {TAPS[name]} ...", flush=True)
    folder = work / f"{name}-venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", TAPS[name]]
    subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
    return str(folder / "bin" / name)


# ---- what they read ----------------------------------------------------------------------------


def rows() -> Iterator[dict[str, Any]]:
    for number in range(1, ROWS + 1):
        yield {"id": number, "name": f"Zoë 😀 {number}", "amount": number / 8, "note": None}


def json_lines(work: Path) -> str:
    data = work / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    return config(work, "jsonl", {"path": str(data), "stream_name": "rows", "primary_keys": ["id"]})


def dbf(work: Path) -> str:
    """A table in dBase's format, version III."""
    fields = (("ID", b"N", 8, 0), ("NAME", b"C", 20, 0), ("AMOUNT", b"N", 12, 3))
    size = 1 + sum(width for _, _, width, _ in fields)
    with (work / "rows.dbf").open("wb") as file:
        head = 32 + 32 * len(fields) + 1
        file.write(struct.pack("<BBBBIHH20x", 3, 126, 1, 31, ROWS, head, size))
        for name, kind, width, decimals in fields:
            file.write(struct.pack("<11sc4xBB14x", name.encode(), kind, width, decimals))
        file.write(b"\r")
        for row in rows():
            name = f"name {row['id']}".encode().ljust(20)
            file.write(b" %8d%s%12.3f" % (row["id"], name, row["amount"]))
        file.write(b"\x1a")
    return config(work, "dbf", {"path": str(work / "rows.dbf")})


def tables(work: Path, url: str, tap: str) -> list[str]:
    """A table that is read by its rising id, so that a STATE tells where to go on."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE rows AS SELECT id, 'Zoë 😀 ' || id AS name, id / 8.0 AS amount, "
            "TIMESTAMPTZ '2020-01-01' + id * INTERVAL '1 minute' AS changed FROM "
            f"generate_series(1, {ROWS}) AS id"
        )
        connection.execute("ALTER TABLE rows ADD PRIMARY KEY (id)")
    server = {"host": HOST, "port": 5432, "user": "pdpp", "password": "none", "database": "tapped"}
    settings = config(work, "postgres", {**server, "filter_schemas": ["public"]})
    found = subprocess.run([tap, "--config", settings, "--discover"], check=True, capture_output=True)
    catalog = json.loads(found.stdout)
    for stream in catalog["streams"]:
        stream |= {"replication_method": "INCREMENTAL", "replication_key": "id"}
        for entry in stream["metadata"]:
            if entry["breadcrumb"] == []:
                entry["metadata"] |= {
                    "selected": True,
                    "replication-method": "INCREMENTAL",
                    "replication-key": "id",
                }
    file = work / "catalog.json"
    file.write_text(json.dumps(catalog))
    return ["--config", settings, "--catalog", str(file)]


def config(work: Path, name: str, settings: dict[str, Any]) -> str:
    file = work / f"{name}.json"
    file.write_text(json.dumps(settings))
    return str(file)


# ---- running them ------------------------------------------------------------------------------


def twice(work: Path, name: str, command: list[str]) -> None:
    """One run of the tap, imported twice: the same STATE lines, the same totals, nothing new."""
    said = work / f"{name}.said"
    with said.open("wb") as out:
        subprocess.run(command, check=True, stdout=out, stderr=subprocess.DEVNULL)
    database = work / f"{name}.sqlite3"
    states, totals = [], []
    for _ in range(2):
        done = subprocess.run(
            [COMMAND, "import", str(said), "--connection", name],
            env=environment(work, database),
            capture_output=True,
            check=True,
        )
        states.append(done.stdout)
        totals.append(summary(work, database))
        print(f"{name}: {done.stderr.decode().splitlines()[-1]}")
    sent = [line for line in said.read_bytes().splitlines() if b'"STATE"' in line]
    assert states[0] == states[1] == b"".join(line + b"\n" for line in sent), "STATE is not as it was sent"
    assert totals[0] == totals[1], "the second time has added something"
    assert stored(database) == records(said), "what is stored is not what was sent"
    print(
        f"  {len(sent):,} STATE lines and {totals[0]['record_count']:,} records as they were spelt, twice"
    )


def killed(work: Path, command: list[str]) -> None:
    """The tap is killed after its first STATE was printed; another goes on from there."""
    database, state = work / "killed.sqlite3", work / "state.json"
    importing = [COMMAND, "import", "--connection", "tap-postgres"]
    environ = environment(work, database)
    tap = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    importer = subprocess.Popen(
        importing, env=environ, stdin=tap.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert importer.stdout
    last = ""
    for line in importer.stdout:
        value = json.loads(line)["value"]
        if not last and value.get("bookmarks", {}).get("public-rows", {}).get("replication_key_value"):
            tap.send_signal(signal.SIGKILL)
        last = json.dumps(value)
    importer.wait()
    tap.wait()
    before = summary(work, database)["record_count"]
    state.write_text(last)
    again = subprocess.Popen(
        [*command, "--state", str(state)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    subprocess.run(importing, env=environ, stdin=again.stdout, capture_output=True, check=True)
    assert again.wait() == 0
    assert stored(database) == stored(work / "tap-postgres.sqlite3"), "something is missing"
    print(
        f"tap-postgres, killed at {before:,} of {ROWS:,} records and restarted with its last STATE: all there"
    )


def environment(work: Path, database: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PDPP_DATABASE_URL": f"sqlite:///{database}",
        "PDPP_INSTANCE_PATH": str(work / "instance"),
    }


def summary(work: Path, database: Path) -> dict[str, Any]:
    run = {"env": environment(work, database), "check": True, "capture_output": True}
    subprocess.run([COMMAND, "verify"], **run)  # type: ignore[call-overload]
    body = json.loads(subprocess.run([COMMAND, "summary"], **run).stdout)  # type: ignore[call-overload]
    assert body["projection"]["state"] == "fresh"
    return {name: value for name, value in body.items() if name != "projection"}


def stored(database: Path) -> list[str]:
    with DatabaseProbe(database) as probe:
        return sorted(spelt(json.loads(data, **AS_SPELT)) for (data,) in probe("SELECT data FROM records"))


def records(said: Path) -> list[str]:
    messages = (json.loads(line, **AS_SPELT) for line in said.open(encoding="utf-8"))
    return sorted(spelt(message["record"]) for message in messages if message["type"] == "RECORD")


# Each number as the text that it was.
AS_SPELT: dict[str, Any] = {"parse_float": "number {}".format, "parse_int": "number {}".format}


def spelt(record: Any) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main()

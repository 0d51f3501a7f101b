"""The same records give the same account on every database, to the byte, and in the same order."""

import json
import random
from pathlib import Path
from typing import Any

import peewee
import pytest

from pdpp_ref import database, migrations
from pdpp_ref.canonical import (
    blobs,
    importer,
    records,
    retention,
)
from pdpp_ref.database import db
from pdpp_ref.models import RetainedSizeGlobal
from pdpp_ref.operations import verify
from pdpp_ref.queries import rankings, sizes
from tests.conftest import Backend
from tests.support.factories import DatabaseProbe, upsert, write

NAMES = [
    "b",
    "A",
    "a",
    "_",
    "Z",
    "é",
    "e\u0301",
    "ä",
    "10",
    "9",
    " ",
    "😀",
    "\uffee",
    "-",
    "a b",
    "a-b",
    "ab",
]
TEXTS = [
    "",
    "plain",
    "é",
    "😀" * 7,
    'quote " and \\ and \t',
    "\x7f\u2028",
    "%s %% ? $1",
    "'; --",
    "\\u0000",
]


def lines(seed: int) -> list[bytes]:
    """Records under hostile names, good and bad lines mixed, in two dialects."""
    chance = random.Random(seed)
    made: list[bytes] = []
    for number in range(600):
        record = {
            "type": "RECORD",
            "stream": chance.choice(NAMES),
            "key": chance.choice(NAMES) if chance.random() < 0.5 else str(number),
            "data": {
                chance.choice(NAMES): chance.choice(TEXTS),
                "n": chance.choice([1, -0.0, 1e300, 2**70, None]),
            },
            "emitted_at": chance.choice(["2026-01-31T08:00:00Z", "2024-02-29T23:59:59.123+05:30"]),
        }
        if chance.random() < 0.15:
            record["op"] = "delete"
        made.append(json.dumps(record, ensure_ascii=chance.random() < 0.5).encode())
    made += [b'{"type":"RECORD","stream":"a","key":"\\u0000","data":{}}', b"nonsense", b'{"key":"\xff"}']
    chance.shuffle(made)
    return made


def account(seed: int) -> dict[str, Any]:
    """Import the lines, bind a file, prune, and give all figures that there are."""
    reported: list[tuple[int, str]] = []
    for connection in ("laptop", "Laptop", "lap top"):
        target = records.Target(connection, "files")
        work = importer.Importer(target, lambda _: None, lambda line: reported.append(line[:2]))
        work.run(iter(lines(seed)))
    write(upsert("filed", stream="a"))
    blobs.store("laptop", "a", "filed", iter([b"\x00\xff" * 1000]))
    pruned = retention.prune(2)
    assert list(verify.differences()) == []
    return {
        "rejected": reported,
        "pruned": pruned,
        "sizes": {
            grain: [unstamped(row) for row in sizes.rows(grain)]
            for grain in ("global", "connection", "stream")
        },
        "top": {
            (scope, measure): [unstamped(row) for row in rankings.rows(scope, measure, 25)]
            for scope, measures in rankings.MEASURES_OF.items()
            for measure in measures
        },
    }


def unstamped(row: Any) -> dict[str, Any]:
    """A row without its times, which are of the moment."""
    columns = row if isinstance(row, dict) else {name: getattr(row, name) for name in row.__struct_fields__}
    return {name: value for name, value in columns.items() if not str(name).endswith("_at")}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.only("postgres")
def test_the_same_lines_give_the_same_account(seed: int, backend: Backend, tmp_path: Path) -> None:
    found = []
    for url in (f"sqlite:///{tmp_path}/test.sqlite3", backend.url):
        database.connect(url, tmp_path)
        migrations.prepare()
        found.append(account(seed))
        db.close()
    assert found[0] == found[1]
    assert found[0]["sizes"]["global"][0]["record_count"] > 100


@pytest.mark.usefixtures("app")
class TestOnEach:
    def test_names_are_sorted_by_code_point(self) -> None:
        for name in NAMES:
            write(upsert("k", stream=name), connection=name, connector="x")
        found = [row.connector_instance_id for row in sizes.rows("connection")]
        assert found == sorted(NAMES)
        write(*(upsert("k", stream=name) for name in NAMES), connection="a", connector="x")
        assert [row.stream for row in sizes.rows("stream", "a")] == sorted(NAMES)

    def test_the_longest_names_can_be_stored_and_found(self) -> None:
        chance = random.Random(1)
        name, key = (
            "".join(chance.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", k=2048)) for _ in range(2)
        )
        assert write(upsert(key, stream=name), connection=name, connector=name).created == 1
        assert write(upsert(key, stream=name), connection=name, connector=name).unchanged == 1
        blobs.store(name, name, key, iter([b"x"]))
        assert list(verify.differences()) == []

    @pytest.mark.only("postgres")
    def test_a_nul_that_came_so_far_is_refused_and_leaves_nothing(self, probe: DatabaseProbe) -> None:
        """Messages with one are rejected; should one come by another way, the database has the last word."""
        with pytest.raises((peewee.DatabaseError, ValueError)):
            write(upsert("a\x00b"))
        assert probe("SELECT COUNT(*) FROM streams") == [(0,)]

    def test_sums_are_whole_numbers(self, probe: DatabaseProbe) -> None:
        write(upsert("a"))
        probe("UPDATE retained_size_stream SET blob_bytes = 4611686018427387904")
        probe("UPDATE retained_size_connection SET dirty = TRUE")
        probe("UPDATE retained_size_global SET dirty = TRUE")
        from pdpp_ref.services.reconcile import run_until_fresh

        run_until_fresh()
        (row,) = RetainedSizeGlobal.select().dicts()
        assert row["blob_bytes"] == 2**62
        assert {type(value) for value in row.values()} <= {int, str, bool, type(None)}

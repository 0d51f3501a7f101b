"""The records that are measured with: the same in every run, about 300 bytes of JSON each.

One stream of 5,000 records is alone in its connection; the rest is in streams of 250, twenty to a
connection.  So what a pass finds dirty is the same however large the corpus, from 10,000 records on.
"""

import json
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from pdpp_ref.canonical import records as canonical
from pdpp_ref.database import fetch_all
from pdpp_ref.parsing.messages import Change, Reader

LARGE, SMALL, STREAMS_PER_CONNECTION = 5_000, 250, 20
INTERLEAVED = 500
BATCH = 2_000
TEXT = '{"round":%d,"text":"' + "x" * 200 + '"}'
WORDS = [
    *("the", "of", "and", "photo", "letter", "march"),
    *("ticket", "garden", "train", "café", "river", "Zürich"),
]


def layout(records: int) -> Iterator[tuple[str, str, int]]:
    """(connection, stream, how many records) of a corpus."""
    large = min(LARGE, records // 2)
    yield "mail", "messages", large
    for number, begin in enumerate(range(large, records, SMALL)):
        yield f"account {number // STREAMS_PER_CONNECTION}", f"stream {number}", min(SMALL, records - begin)


def lines(stream: str, records: int, *, in_order: bool = False) -> Iterator[bytes]:
    """A stream's RECORD lines; `in_order`: each key comes after the one before."""
    chance = random.Random(stream)
    for number in range(records):
        key = number if in_order else chance.getrandbits(64)
        at = f"2026-01-{number % 28 + 1:02}T{number % 24:02}:30:00.000Z"
        data = {
            "id": f"{key:016x}",
            "at": at,
            "from": f"{chance.choice(WORDS)}@example.org",
            "labels": chance.sample(WORDS, 3),
            "size": chance.randrange(200_000),
            "score": round(chance.random(), 4),
            "read": chance.random() < 0.5,
            "text": " ".join(chance.choices(WORDS, k=22)),
        }
        message = {"type": "RECORD", "stream": stream, "key": data["id"], "data": data, "emitted_at": at}
        yield json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def write_file(file: Path, records: int) -> None:
    """A corpus as a file to import, one stream after the other."""
    _write(file, (line for _, stream, size in layout(records) for line in lines(stream, size)))


def write_one_stream(file: Path, records: int) -> None:
    _write(file, lines("stream 0", records))


def write_in_order(file: Path, records: int) -> None:
    _write(file, lines("stream 0", records, in_order=True))


def write_interleaved(file: Path, records: int) -> None:
    """As many records of 500 streams, which take turns."""
    share = -(-records // INTERLEAVED)
    streams = [lines(f"stream {number}", share) for number in range(INTERLEAVED)]
    _write(file, islice((line for turn in zip(*streams, strict=True) for line in turn), records))


def _write(file: Path, all_lines: Iterable[bytes]) -> None:
    with file.open("wb") as out:
        out.writelines(line + b"\n" for line in all_lines)


def load(records: int) -> None:
    """Write a corpus into the open database, in batches as the importer does."""
    for connection, stream, size in layout(records):
        changes = map(Reader().read, lines(stream, size))
        while part := list(islice(changes, 2_000)):
            canonical.write(canonical.Target(connection, connection), part)


def update_some() -> None:
    """Update one record of each stream in the open database."""
    rows = fetch_all(
        """
        SELECT c.connector_instance_id, c.connector_id, s.name, MIN(r.key)
        FROM records r
        JOIN streams s ON s.id = r.stream_id
        JOIN connections c ON c.id = s.connection_id
        GROUP BY c.connector_instance_id, c.connector_id, s.name
        """
    )
    for connection, connector, stream, key in rows:
        canonical.write(canonical.Target(connection, connector), [Change(stream, key, TEXT % 1)])


def streams_of(connection: str) -> list[tuple[int, int]]:
    """(stream, connection) ids."""
    return fetch_all(
        """
        SELECT s.id, s.connection_id
        FROM streams s
        JOIN connections c ON c.id = s.connection_id
        WHERE c.connector_instance_id = ?
        """,
        [connection],
    )


def write_versions(streams: int, keys: int, versions: int) -> None:
    """Streams of one connection, whose records all have so many versions."""
    target = canonical.Target("bench", "bench")
    for number in range(streams):
        stream = f"stream {number}"
        changes = [
            Change(stream, f"{key:08}", TEXT % turn) for turn in range(versions) for key in range(keys)
        ]
        for start in range(0, len(changes), BATCH):
            canonical.write(target, changes[start : start + BATCH])

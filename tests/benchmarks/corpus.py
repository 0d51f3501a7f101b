"""The records that are measured with: the same in every run, about 300 bytes of JSON each.

One stream of 5,000 records is alone in its connection; the rest is in streams of 250, twenty to a
connection.  So what a repair finds dirty is the same however large the corpus.
"""

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pdpp_ref.canonical import records as canonical
from pdpp_ref.database import fetch_all
from pdpp_ref.parsing.messages import Reader

LARGE, SMALL, STREAMS_PER_CONNECTION = 5_000, 250, 20
WORDS = (
    "the",
    "of",
    "and",
    "photo",
    "letter",
    "march",
    "ticket",
    "garden",
    "train",
    "café",
    "river",
    "Zürich",
)


def layout(records: int) -> Iterator[tuple[str, str, int]]:
    """(connection, stream, how many records) of a corpus."""
    yield "mail", "messages", LARGE
    for number in range((records - LARGE) // SMALL):
        yield f"account {number // STREAMS_PER_CONNECTION}", f"stream {number}", SMALL


def lines(stream: str, records: int) -> Iterator[bytes]:
    """A stream's RECORD lines."""
    chance = random.Random(stream)
    for number in range(records):
        at = f"2026-01-{number % 28 + 1:02}T{number % 24:02}:30:00.000Z"
        data = {
            "id": f"{chance.getrandbits(64):016x}",
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
    with file.open("wb") as out:
        for _, stream, size in layout(records):
            out.writelines(line + b"\n" for line in lines(stream, size))


def load(records: int) -> None:
    """Write a corpus into the open database, in batches as the importer does."""
    for connection, stream, size in layout(records):
        changes = map(Reader().read, lines(stream, size))
        while part := list(islice(changes, 2_000)):
            canonical.write(canonical.Target(connection, connection), part)


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

"""Sample data for the demo: made up, the same each time, and written as any other data is."""

import json
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice

from ..times import to_text
from . import ingest
from .messages import Change

START = datetime(2024, 1, 1)
WORDS = ("river", "stone", "lamp", "orbit", "maple", "cloud", "paper", "green", "quiet", "market")

Make = Callable[[random.Random, int], dict[str, object]]


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(WORDS, k=count))


def _photo(chance: random.Random, number: int) -> dict[str, object]:
    place = {"lat": round(chance.uniform(-60, 60), 5), "lon": round(chance.uniform(-180, 180), 5)}
    return {"name": f"IMG_{number:05}.jpg", "place": place, "tags": _words(chance, 4).split()}


def _message(chance: random.Random, number: int) -> dict[str, object]:
    return {"subject": _words(chance, 5), "body": _words(chance, chance.randint(20, 400))}


def _payment(chance: random.Random, number: int) -> dict[str, object]:
    return {"amount": f"{chance.uniform(1, 300):.2f}", "currency": "EUR", "payee": _words(chance, 2)}


def _heartbeat(chance: random.Random, number: int) -> dict[str, object]:
    return {"bpm": chance.randint(48, 175)}


def _note(chance: random.Random, number: int) -> dict[str, object]:
    return {"title": _words(chance, 3), "text": _words(chance, chance.randint(50, 900))}


# connection, connector, stream, how many records, how one is made
SAMPLES: tuple[tuple[str, str, str, int, Make], ...] = (
    ("sample photo library", "sample-photos", "photos", 4_000, _photo),
    ("sample mailbox (home)", "sample-mail", "messages", 2_500, _message),
    ("sample mailbox (work)", "sample-mail", "messages", 3_500, _message),
    ("sample bank", "sample-bank", "payments", 2_000, _payment),
    ("sample fitness tracker", "sample-fitness", "heart rate", 9_000, _heartbeat),
    ("sample fitness tracker", "sample-fitness", "workouts", 300, _note),
    ("sample notebook", "sample-notes", "notes", 900, _note),
)


def load() -> None:
    """Write every sample: first versions, then changes to some records, then a few deletes."""
    for connection, connector, stream, records, make in SAMPLES:
        target = ingest.Target(connection, connector)
        changes = _changes(random.Random(f"{stream} {records}"), stream, records, make)
        while part := list(islice(changes, 2_000)):
            ingest.write(target, part)


def _changes(chance: random.Random, stream: str, records: int, make: Make) -> Iterator[Change]:
    def change(number: int, deleted: bool = False) -> Change:
        at = to_text(START + timedelta(hours=number))
        data = {"at": at, **make(chance, number)}
        text = None if deleted else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return Change(stream, f"{number:05}", text, at)

    yield from (change(number) for number in range(records))
    yield from (change(number) for number in range(0, records, 9))
    yield from (change(number, deleted=True) for number in range(0, records, 100))

"""Sample data for the demo: generated, the same each time, and written like any other data."""

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise

from ..canonical import blobs, contacts, records
from ..database import execute, fetch_all, write_transaction
from ..parsing.messages import Change
from ..projection.grains import CONNECTION, GLOBAL, STREAM
from ..services import reconcile
from ..timestamps import days_before, to_text

START = datetime(2024, 1, 1)
SAMPLE_DAYS, STEP_DAYS = 84, 3
# One source has stopped: nothing came in its last steps.
STOPPED, STOPPED_STEPS = "sample bank", 6
WORDS = ("river", "stone", "lamp", "orbit", "maple", "cloud", "paper", "green", "quiet", "market")

Make = Callable[[random.Random, int], dict[str, object]]


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def _photo(rng: random.Random, number: int) -> dict[str, object]:
    place = {"lat": round(rng.uniform(-60, 60), 5), "lon": round(rng.uniform(-180, 180), 5)}
    return {"name": f"IMG_{number:05}.jpg", "place": place, "tags": _words(rng, 4).split()}


def _message(rng: random.Random, number: int) -> dict[str, object]:
    return {"subject": _words(rng, 5), "body": _words(rng, rng.randint(20, 400))}


def _payment(rng: random.Random, number: int) -> dict[str, object]:
    return {"amount": f"{rng.uniform(1, 300):.2f}", "currency": "EUR", "payee": _words(rng, 2)}


def _heartbeat(rng: random.Random, number: int) -> dict[str, object]:
    return {"bpm": rng.randint(48, 175)}


def _note(rng: random.Random, number: int) -> dict[str, object]:
    return {"title": _words(rng, 3), "text": _words(rng, rng.randint(50, 900))}


# connection, connector, stream, how many records, how one is made
Sample = tuple[str, str, str, int, Make]
SAMPLES: tuple[Sample, ...] = (
    ("sample photo library", "sample-photos", "photos", 4_000, _photo),
    ("sample mailbox (home)", "sample-mail", "messages", 2_500, _message),
    ("sample mailbox (work)", "sample-mail", "messages", 3_500, _message),
    ("sample bank", "sample-bank", "payments", 2_000, _payment),
    ("sample fitness tracker", "sample-fitness", "heart rate", 9_000, _heartbeat),
    ("sample fitness tracker", "sample-fitness", "workouts", 300, _note),
    ("sample notebook", "sample-notes", "notes", 900, _note),
)


def load() -> None:
    """Write every sample, spread over past days: first versions, then changes to some records, then a
    few deletes, and files for some photos.
    """
    parts = {sample: _parts(sample) for sample in SAMPLES}
    for step, days in enumerate(range(SAMPLE_DAYS, -1, -STEP_DAYS)):
        for (connection, connector, stream, _, _), changes in parts.items():
            if changes[step]:
                records.write(records.Target(connection, connector), changes[step])
            if stream == "photos":
                _add_files(connection, stream, changes[step])
        if days:
            _date_back(days)
    _note_contacts()
    reconcile.begin_rebuild()
    reconcile.finish_rebuild()  # the extents are still those from before the rows were dated back


def _parts(sample: Sample) -> list[list[Change]]:
    """A sample's changes by step; they begin after some steps, and their number varies."""
    connection, _, stream, records, make = sample
    rng = random.Random(f"steps of {stream} {records}")
    steps = SAMPLE_DAYS // STEP_DAYS + 1
    begin = rng.randrange(steps // 2)
    shares = [0.0] * begin + [rng.expovariate(1) for _ in range(steps - begin)]
    if connection == STOPPED:
        shares[-STOPPED_STEPS:] = [0.0] * STOPPED_STEPS
    every = list(_changes(random.Random(f"{stream} {records}"), stream, records, make))
    ends = [round(end / sum(shares) * len(every)) for end in accumulate(shares)]
    return [every[start:end] for start, end in pairwise([0, *ends])]


def _add_files(connection: str, stream: str, changes: list[Change]) -> None:
    for change in changes:
        number = int(change.key)
        if number % 61 == 30 and number % 100:  # every hundredth is deleted
            rng = random.Random(change.key)
            photo = rng.randbytes(rng.randint(9_000, 190_000))
            blobs.store(connection, stream, change.key, iter([photo]))


def _date_back(days: int) -> None:
    """Date everything that arrived today so many days back.  Only for generated data."""
    today, then = days_before(0), days_before(days)
    with write_transaction():
        for table, column in _TIMES:
            execute(
                f"""
                UPDATE {table}
                SET {column} = ? || SUBSTR({column}, 11)
                WHERE {column} >= ?
                """,
                (then, today),
            )
        for grain in (STREAM, CONNECTION, GLOBAL):
            execute(f"UPDATE {grain.days} SET day = ? WHERE day = ?", (then, today))


def _note_contacts() -> None:
    """Every source came at each step, whether it had something new or not."""
    now = datetime.now(UTC)
    with write_transaction():
        execute("DELETE FROM connection_contacts")
        for connection_id, name in fetch_all("SELECT id, connector_instance_id FROM connections"):
            last = STOPPED_STEPS * STEP_DAYS if name == STOPPED else 0
            for days in range(SAMPLE_DAYS, last - 1, -STEP_DAYS):
                contacts.note(connection_id, to_text(now - timedelta(days=days)))


_TIMES = (
    ("records", "ingested_at"),
    ("record_changes", "ingested_at"),
    ("retained_size_record", "changed_at"),
    ("blob_bindings", "bound_at"),
)


def _changes(rng: random.Random, stream: str, records: int, make: Make) -> Iterator[Change]:
    def change(number: int, deleted: bool = False) -> Change:
        at = to_text(START + timedelta(hours=number))
        data = {"at": at, **make(rng, number)}
        text = None if deleted else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return Change(stream, f"{number:05}", text, at, record_time=at, record_time_field="at")

    yield from (change(number) for number in range(records))
    yield from (change(number) for number in range(0, records, 9))
    yield from (change(number, deleted=True) for number in range(0, records, 100))

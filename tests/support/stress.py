"""Many processes at once on one database: writers, importers, markers, readers that repair, deleters.

While they work, an observer looks, each time at one moment, for a row that is wrong and not dirty.
Each process is a process of its own: of two SQLite libraries, or of two forks of one, neither sees
the other's locks.  What each does follows from the seed; when, from the machine.
"""

import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdpp_ref import database
from pdpp_ref.canonical import (
    blobs,
    deletion,
    retention,
)
from pdpp_ref.canonical.errors import NotFound
from pdpp_ref.database import PROBLEM_TEXT, Busy, db
from pdpp_ref.services import reconcile, summary
from pdpp_ref.services.auto_reconcile import AutoReconcile
from pdpp_ref.services.cooldown import Cooldown
from pdpp_ref.services.reconcile import Limits
from tests.support.broken_variants import applied
from tests.support.factories import delete, mark, upsert, write
from tests.support.probe import DatabaseProbe

CONNECTIONS = ("laptop", "phone", "camera")  # the last one is deleted now and then
STREAMS = ("notes", "photos", "mail")
KEYS = 40
BATCH = 300

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__])


# ---- what each of them does, again and again ---------------------------------------------------


def some_place(chance: random.Random) -> tuple[str, str]:
    return chance.choice(CONNECTIONS), chance.choice(STREAMS)


def write_some(chance: random.Random, _: int) -> int:
    """A few changes, often of several streams of a connection; now and then of a new stream."""
    connection = chance.choice(CONNECTIONS)
    changes = []
    for _ in range(chance.randint(1, 12)):
        key = str(chance.randrange(KEYS))
        stream = chance.choice(STREAMS) if chance.random() < 0.95 else f"rare {chance.randrange(5)}"
        text = "é" * chance.randrange(60)
        changes.append(delete(key, stream) if chance.random() < 0.2 else upsert(key, text, stream))
    return write(*changes, connection=connection).accepted


def import_many(chance: random.Random, number: int) -> int:
    """Batches of a stream of its own, which nobody deletes: all that was acknowledged must be there."""
    start = chance.randrange(10) * BATCH
    changes = (
        upsert(f"{start + n:06}", "x" * chance.randrange(200), f"bulk {number}") for n in range(BATCH)
    )
    return write(*changes, connection=CONNECTIONS[number % 2]).accepted


def mark_something(chance: random.Random, _: int) -> int:
    connection, stream = some_place(chance)
    mark(*((connection, stream), (connection,), ())[chance.randrange(3)])
    time.sleep(0.005)
    return 1


def read_and_reconcile(chance: random.Random, _: int) -> int:
    auto = AutoReconcile(Limits(rows=chance.choice([1, 3, 64]), seconds=0.05), Cooldown(0.01))
    summary.read(auto)
    # On a busy machine a pass, or one row of it, may reach its time-out, as it should.
    if auto.last_error and not auto.last_error.endswith(PROBLEM_TEXT["slow"]):
        raise AssertionError(auto.last_error)
    return auto.attempts


def delete_something(chance: random.Random, _: int) -> int:
    connection, stream = some_place(chance)
    what = chance.randrange(6)
    if what == 0:
        deletion.delete_connection(CONNECTIONS[-1])
    elif what < 3:
        deletion.delete_stream(connection, stream)
    else:
        deletion.delete_record(connection, stream, str(chance.randrange(KEYS)))
    time.sleep(0.02)
    return 1


def prune_some(chance: random.Random, _: int) -> int:
    time.sleep(0.05)
    return retention.prune(chance.randint(1, 3), chance.choice([None, *CONNECTIONS])).versions


def bind_files(chance: random.Random, _: int) -> int:
    content = b"content" * chance.randrange(4)
    blobs.store(*some_place(chance), str(chance.randrange(KEYS)), iter([content]))
    return 1


def rebuild_now_and_then(chance: random.Random, _: int) -> int:
    time.sleep(chance.uniform(0.2, 1))
    reconcile.begin_rebuild()
    return 1


Role = Callable[[random.Random, int], int]

CAST: tuple[tuple[Role, int], ...] = (
    (write_some, 8),
    (import_many, 2),
    (mark_something, 2),
    (read_and_reconcile, 4),
    (delete_something, 1),
    (prune_some, 1),
    (bind_files, 1),
    (rebuild_now_and_then, 1),
)


# ---- a trial -----------------------------------------------------------------------------------


@dataclass
class Report:
    """`done` and `busy` count by role; `errors` are what must not have come; `wrong` was seen."""

    done: Counter[str] = field(default_factory=Counter)
    busy: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    looks: int = 0
    bulk: set[int] = field(default_factory=set)


def play(role: Role, number: int, seed: int, url: str, naive: str, stop: Any, reported: Any) -> None:
    """One process: the role until it is told to stop."""
    chance, done, busy, errors = random.Random(f"{seed} {role.__name__} {number}"), 0, 0, []
    database.connect(url, Path())
    with applied(naive):
        while not stop.is_set() and len(errors) < 3:
            try:
                done += role(chance, number)
            except (Busy, NotFound, IndexError):  # not there: deleted, or not yet written
                busy += 1
                time.sleep(0.001)
            except Exception as error:
                errors.append(f"{role.__name__}: {type(error).__name__}: {error}"[:500])
    db.close()
    reported.put((role.__name__, done, busy, errors))


@contextmanager
def played(url: str, seed: int, naive: str, report: Report) -> Iterator[None]:
    """All processes at work; their reports once they have ended."""
    stop, reported = processes.Event(), processes.Queue()
    started = [
        processes.Process(target=play, args=(role, number, seed, url, naive, stop, reported), daemon=True)
        for role, number_of in CAST
        for number in range(number_of)
    ]
    for process in started:
        process.start()
    try:
        yield
    finally:
        stop.set()
        for _ in started:
            name, done, busy, errors = reported.get(timeout=120)
            report.done[name] += done
            report.busy[name] += busy
            report.errors += errors
        for process in started:
            process.join(60)


def run(url: str, seconds: float, seed: int, naive: str = "") -> Report:
    """A trial of so many seconds, or until a wrong row was seen."""
    report = Report()
    with closing(DatabaseProbe(url)) as probe, played(url, seed, naive, report):
        until = time.monotonic() + seconds
        while time.monotonic() < until and not report.wrong:
            report.wrong = probe.wrong_but_clean()
            report.looks += 1
            time.sleep(0.01)
    return report

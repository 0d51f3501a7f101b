"""Many processes at once: no row is ever wrong and not dirty, and nobody waits in a circle.

PDPP_TEST_LONG=1 tries for five minutes on each database, the ordinary run for some seconds.  Every
trial prints its seed; PDPP_TEST_SEED repeats one.
"""

import os
import random
from pathlib import Path

import pytest

from pdpp_ref import database, migrations
from pdpp_ref.operations import verify
from pdpp_ref.services import reconcile
from tests.conftest import Backend
from tests.support import postgres, stress

SECONDS = 300 if os.environ.get("PDPP_TEST_LONG") == "1" else 4
SEED = int(os.environ.get("PDPP_TEST_SEED") or random.randrange(10**6))


@pytest.fixture(autouse=True)
def _opened(backend: Backend) -> None:
    database.connect(backend.url, Path())
    with database.db.connection_context():
        migrations.prepare()


def test_no_row_is_wrong_and_clean_while_many_processes_work(backend: Backend) -> None:
    print(f"seed {SEED}")
    before = deadlocks(backend)
    idle = {"write_some", "import_many", "mark_something", "read_and_reconcile"}
    for attempt in range(5):  # on a busy machine a role may finish nothing in one
        report = stress.run(backend.url, SECONDS, SEED + attempt)
        print(f"{report.looks} looks; done {dict(report.done)}; busy or not there {dict(report.busy)}")
        assert (report.wrong, report.errors) == ([], [])
        idle -= (+report.done).keys()
        if not idle:
            break
    assert not idle
    with database.db.connection_context(), backend.probe() as probe:
        reconcile.run_until_fresh()
        assert list(verify.differences()) == []
        assert probe.wrong_but_clean() == []
        assert probe.dirty() == (0, 0, 0)
    assert deadlocks(backend) - before == 0, postgres.report_of_deadlocks(backend.url)


def deadlocks(backend: Backend) -> int:
    """How many the server has ended, ever; SQLite, with one writer, can have none."""
    if backend.kind == "sqlite":
        return 0
    with backend.probe() as probe:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int(probe(query)[0][0])


@pytest.mark.parametrize("variant", ["clear_without_compare", "mark_after_the_commit"])
def test_a_trial_finds_what_only_looks_right(variant: str, backend: Backend) -> None:
    print(f"seed {SEED}")
    assert stress.run(backend.url, 60, SEED, variant).wrong


@pytest.mark.only("postgres")
def test_a_trial_finds_that_rows_are_not_locked(backend: Backend) -> None:
    print(f"seed {SEED}")
    assert stress.run(backend.url, 60, SEED, "no_row_lock").wrong

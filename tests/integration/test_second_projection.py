"""The example of docs/second-projection.md, against a plain count, on both databases."""

import importlib.util
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pdpp_ref.canonical import deletion, retention
from pdpp_ref.database import Busy, db, fetch_all
from pdpp_ref.services import reconcile
from pdpp_ref.services.auto_reconcile import AutoReconcile
from pdpp_ref.services.cooldown import Cooldown
from pdpp_ref.services.reconcile import Limits, Pass
from tests.support.factories import Clock, delete, fill, mark, upsert, write

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
EXAMPLE = ROOT / "docs/examples/records_per_month.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("records_per_month", EXAMPLE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tables(app: object, example: ModuleType) -> Iterator[None]:
    models = [example.CountedStream, example.RecordMonth]
    db.create_tables(models)
    yield
    db.drop_tables(models)


@pytest.fixture
def auto(tables: None, example: ModuleType, clock: Clock) -> AutoReconcile:
    return AutoReconcile(
        Limits(), Cooldown(30, clock), projection="records_per_month", run_pass=example.run_pass
    )


def counted() -> dict[str, int]:
    months = fetch_all(
        "SELECT COALESCE(NULLIF(record_time, ''), ingested_at) FROM records JOIN streams ON id = stream_id "
        "WHERE connection_id IS NOT NULL"
    )
    return dict(Counter(month[:7] for (month,) in months))


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60


def test_the_document_shows_how_to_use_it(example: ModuleType, tables: None) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/second-projection.md").read_text(), re.S)
    fill(3)
    names = dict(vars(example))
    db.drop_tables([example.CountedStream, example.RecordMonth])
    exec(code, names)
    assert (names["state"], names["months"]) == ("fresh", counted())


def a_random_step(rng: random.Random) -> None:
    stream, connection, key = (
        rng.choice(["notes", "photos"]),
        rng.choice(["laptop", "phone"]),
        rng.choice("abc"),
    )
    steps: list[Callable[[], object]] = [
        lambda: write(upsert(key, rng.random(), stream), connection=connection),
        lambda: write(delete(key, stream), connection=connection),
        lambda: fill(3, stream, connection),
        mark,
        reconcile.run_until_fresh,
        lambda: retention.prune(1),
    ]
    rng.choice(steps)()


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_a_plain_count_after_any_history(
    seed: int, auto: AutoReconcile, example: ModuleType
) -> None:
    rng = random.Random(seed)
    for _ in range(30):
        a_random_step(rng)
        if rng.random() < 0.5:
            state, months = example.read(auto)
            assert state == "stale" or months == counted()
    reconcile.run_until_fresh()
    assert example.read(auto) == ("fresh", counted())


def test_a_deleted_stream_takes_its_months_along(auto: AutoReconcile, example: ModuleType) -> None:
    fill(3)
    fill(2, "photos")
    example.read(auto)
    deletion.delete_stream("laptop", "photos")
    assert example.read(auto) == ("fresh", counted())
    assert sum(counted().values()) == 3


def test_a_dirty_stream_is_stale_until_it_is_reconciled(auto: AutoReconcile, example: ModuleType) -> None:
    fill(3)
    assert example.read(auto)[0] == "fresh"
    mark("laptop", "notes")
    assert example.read(auto) == ("stale", counted())
    reconcile.run_until_fresh()
    assert example.read(auto) == ("fresh", counted())


def test_a_pass_is_bounded(auto: AutoReconcile, example: ModuleType) -> None:
    for number in range(5):
        fill(1, f"stream {number}")
    auto.limits = Limits(rows=2)
    states = [example.read(auto)[0] for _ in range(3)]
    assert states == ["stale", "stale", "fresh"]


def test_a_failure_starts_the_cooldown_of_this_projection_alone(
    example: ModuleType, tables: None, clock: Clock
) -> None:
    def fail(limits: Limits, *, wait: bool) -> Pass:
        raise RuntimeError

    cooldown = Cooldown(30, clock)
    failing = AutoReconcile(Limits(), cooldown, projection="records_per_month", run_pass=fail)
    fill(1)
    assert example.read(failing)[0] == "stale"
    assert (failing.failures, failing.retry_after_seconds) == (1, 30)
    assert AutoReconcile(Limits(), cooldown).retry_after_seconds == 0
    example.read(failing)
    assert failing.failures == 1
    clock.advance(31)
    working = AutoReconcile(Limits(), cooldown, projection="records_per_month", run_pass=example.run_pass)
    assert example.read(working) == ("fresh", counted())


def test_a_busy_database_is_not_a_failure(example: ModuleType, tables: None, clock: Clock) -> None:
    def busy(limits: Limits, *, wait: bool) -> Pass:
        raise Busy

    auto = AutoReconcile(Limits(), Cooldown(30, clock), projection="records_per_month", run_pass=busy)
    fill(1)
    assert example.read(auto)[0] == "stale"
    assert auto.failures == 0

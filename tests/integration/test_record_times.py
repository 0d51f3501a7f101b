"""When things happened, and how the store grew: times at each grain, and the figures of days."""

import io
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from pdpp_ref.canonical import importer, records
from pdpp_ref.canonical.importer import Importer
from pdpp_ref.parsing.lines import split_lines
from tests.support.factories import TOKEN, Calendar, DatabaseProbe, mark, upsert, write

Read = Callable[[], dict[str, Any]]


DECLARATION = {"type": "STREAM", "stream": "notes", "record_time_field": "source_created_at"}


def feed(messages: Sequence[dict[str, Any]], connection: str = "laptop") -> importer.Report:
    rejected: list[str] = []
    lines = io.BytesIO(b"".join(json.dumps(each).encode() + b"\n" for each in (DECLARATION, *messages)))
    work = Importer(
        records.Target(connection, connection), lambda _: None, lambda line: rejected.append(line.reason)
    )
    report = work.run(split_lines(iter(lambda: lines.read(100), b"")))
    assert rejected == []
    return report


def record(key: str, at: object = None, **more: Any) -> dict[str, Any]:
    data = {"n": key} if at is None else {"n": key, "source_created_at": at}
    return {"type": "RECORD", "stream": "notes", "key": key, "data": data, **more}


def singer(key: str, at: object) -> dict[str, Any]:
    return {"type": "RECORD", "stream": "notes", "record": {"id": key, "seen": at}}


def schema(field: str | list[str] | None = "seen") -> dict[str, Any]:
    bookmarks = (
        {} if field is None else {"bookmark_properties": field if isinstance(field, list) else [field]}
    )
    of = {"properties": {"seen": {"type": ["null", "string"], "format": "date-time"}}}
    return {"type": "SCHEMA", "stream": "notes", "schema": of, "key_properties": ["id"], **bookmarks}


@pytest.fixture
def bounds(summary: Read) -> Callable[[], tuple[str | None, str | None]]:
    def read() -> tuple[str | None, str | None]:
        body = summary()
        assert body["projection"]["state"] == "fresh"
        return body["earliest_record_time"], body["latest_record_time"]

    return read


@pytest.fixture
def stream(app: Any) -> Callable[[], dict[str, Any]]:
    caller: FlaskClient = app.test_client()

    def read() -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        found: dict[str, Any] = caller.get("/_ref/dataset/summary/streams", headers=headers).get_json()
        return dict(found["streams"][0])

    return read


def test_times_stay_right_through_deletes_and_changes(bounds: Any) -> None:
    feed([record("a", "2020-01-01T00:00:00Z"), record("b", "2021-05-01T10:00:00+02:00"), record("c")])
    assert bounds() == ("2020-01-01T00:00:00.000Z", "2021-05-01T08:00:00.000Z")
    feed([record("b", op="delete")])
    assert bounds() == ("2020-01-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z")
    feed([record("a", "2019-01-01")])
    assert bounds() == ("2019-01-01T00:00:00.000Z", "2019-01-01T00:00:00.000Z")
    feed([record("a", op="delete")])
    assert bounds() == (None, None)


def test_a_reconcile_finds_the_same_times(bounds: Any) -> None:
    feed([record("a", "2020-01-01T00:00:00Z")])
    feed([record("a", "2030-01-01T00:00:00Z")], connection="phone")
    expected = bounds()
    mark("laptop", "notes")
    mark("phone", "notes")
    assert bounds() == expected == ("2020-01-01T00:00:00.000Z", "2030-01-01T00:00:00.000Z")


def test_a_singer_replication_key_names_the_field(stream: Any) -> None:
    feed([schema(), singer("a", "2020-01-01 05:00:00"), singer("b", None)])
    row = stream()
    assert row["consent_time_field"] == "seen"
    assert row["earliest_record_time"] == "2020-01-01T05:00:00.000Z"
    assert row["dirty_record_time_bounds"] is False


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(
    "value", [17, "17", "20200101", "yesterday", "9999-99-99", ["2020-01-01"], "2020-01-01x"]
)
def test_what_is_no_time_is_no_time(stream: Any, value: object) -> None:
    feed([schema(), singer("a", value)])
    row = stream()
    assert (row["consent_time_field"], row["earliest_record_time"]) == ("seen", None)


def test_times_by_another_field_are_mixed_until_the_old_records_are_gone(stream: Any) -> None:
    feed([record("a", "2020-01-01T00:00:00Z"), record("b", "2020-01-02T00:00:00Z")])
    feed([schema(), singer("a", "2022-01-01T00:00:00Z")])
    assert stream()["consent_time_field"] == "seen"
    assert stream()["dirty_record_time_bounds"] is True
    feed([record("b", op="delete")])
    assert stream()["dirty_record_time_bounds"] is False


def test_a_record_sent_again_with_its_time_named_gets_it(bounds: Any) -> None:
    feed([schema(None), singer("a", "2022-01-01T00:00:00Z")])
    assert bounds() == (None, None)
    report = feed([schema(), singer("a", "2022-01-01T00:00:00Z")])
    assert report.counts.unchanged == 1
    assert bounds() == ("2022-01-01T00:00:00.000Z", "2022-01-01T00:00:00.000Z")


# ---- days --------------------------------------------------------------------------------------


def days(probe: DatabaseProbe, grain: str = "global") -> list[tuple[Any, ...]]:
    known = "CASE WHEN unknown THEN NULL ELSE record_count END"
    return probe(f"SELECT day, {known} FROM retained_size_{grain}_days ORDER BY 1")


@pytest.fixture
def today(calendar: type[Calendar]) -> Callable[[str], None]:
    def it_is(day: str) -> None:
        calendar.moment = datetime.fromisoformat(f"{day}T12:00:00Z")

    return it_is


@pytest.mark.usefixtures("app")
def test_a_day_holds_what_it_ended_with(probe: DatabaseProbe, today: Any) -> None:
    today("2026-01-30")
    write(upsert("a"))
    write(upsert("b"))
    today("2026-02-02")
    write(upsert("c"))
    assert days(probe) == [("2026-01-30", 2), ("2026-02-02", 3)]
    assert days(probe) == days(probe, "connection") == days(probe, "stream")


def test_a_reconcile_writes_its_own_day_and_a_gap_from_the_mark_on(
    probe: DatabaseProbe, today: Any, summary: Read
) -> None:
    today("2026-01-30")
    write(upsert("a"))
    today("2026-01-31")
    mark("laptop", "notes")
    write(upsert("b"))
    assert days(probe) == [("2026-01-30", 1)], "what a marked row holds is of before"
    today("2026-02-02")
    assert summary()["record_count"] == 2
    assert days(probe) == [("2026-01-30", 1), ("2026-01-31", None), ("2026-02-02", 2)]


@pytest.mark.usefixtures("app")
def test_a_day_that_cannot_be_stored_is_a_mark(probe: DatabaseProbe) -> None:
    write(upsert("a"))
    probe.fail("UPDATE ON retained_size_connection_days")
    write(upsert("b"))
    probe.restore()
    assert probe("SELECT dirty, record_count FROM retained_size_global") == [(1, 1)]
    assert probe.wrong_but_clean() == []

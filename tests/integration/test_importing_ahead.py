"""An import that reads ahead stores and reports what one does that does not."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pdpp_ref.canonical import importer
from pdpp_ref.canonical.records import Target
from pdpp_ref.operations import verify
from pdpp_ref.parsing.lines import Line
from tests.support.factories import DatabaseProbe

pytestmark = pytest.mark.usefixtures("app")


def lines(count: int) -> Iterator[Line | None]:
    """Records of three streams, some sent twice and some rejected, with STATE lines; the source pauses."""
    for number in range(count):
        if number % 97 == 0:
            yield None
        if number % 89 == 0:
            yield b'{"type":"RECORD","stream":"s0","key":"","data":{}}'
        if number % 61 == 0:
            yield json.dumps({"type": "STATE", "value": number}).encode()
        key = f"{number - number % 2 if number % 10 == 1 else number}"
        record = {
            "type": "RECORD",
            "stream": f"s{number % 3}",
            "key": key,
            "data": {"n": "x" * (number % 50)},
        }
        yield json.dumps(record).encode()


def imported(connection: str, given: Iterator[Line | None], **options: Any) -> list[Any]:
    heard: list[Any] = []
    work = importer.Importer(
        Target(connection, "files"),
        lambda state: heard.append(json.loads(state)["value"]),
        lambda rejected: heard.append((rejected.number, rejected.code)),
        stores_rejected=True,
        **options,
    )
    report = work.run(given)
    return [*heard, report.lines, report.rejected, report.counts]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "BATCH_LINES", 100)
    monkeypatch.setattr(importer, "BATCH_SECONDS", 3600)


@pytest.mark.usefixtures("small_batches")
def test_it_stores_and_reports_the_same(probe: DatabaseProbe) -> None:
    assert imported("one", lines(3_000)) == imported("two", lines(3_000), reads_ahead=True)
    stored = [
        probe(
            f"""
            SELECT name, r.key, r.version, r.data, c.data
            FROM connections
            JOIN streams s ON s.connection_id = connections.id AND connector_instance_id = '{name}'
            JOIN records r ON r.stream_id = s.id
            JOIN record_changes c ON c.stream_id = s.id AND c.version = r.version
            ORDER BY name, r.version
            """
        )
        for name in ("one", "two")
    ]
    assert stored[0] == stored[1]
    assert len(stored[0]) > 2_000
    assert list(verify.differences()) == []


@pytest.mark.usefixtures("small_batches")
def test_if_the_source_fails_what_came_before_is_stored_by_the_next_run(probe: DatabaseProbe) -> None:
    def failing() -> Iterator[Line | None]:
        yield from lines(1_000)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        imported("one", failing(), reads_ahead=True)
    ((before,),) = probe("SELECT COUNT(*) FROM record_changes")
    assert 800 < before < 1_000
    assert "read ahead" not in {thread.name for thread in threading.enumerate()}
    imported("one", lines(1_000), reads_ahead=True)
    ((count,),) = probe("SELECT COUNT(*) FROM records")
    imported("two", lines(1_000))
    assert probe("SELECT COUNT(*) FROM records") == [(2 * count,)]

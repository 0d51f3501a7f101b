"""The wire contract as its clients know it: field by field, literally, and apart from the code."""

import re
from typing import Any

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

FRESHNESS = ["computed_at", "state", "stale_since", "rebuild_status", "last_error"]
ATTEMPTS = [
    "attempts",
    "failures",
    "consecutive_failures",
    "last_attempt_at",
    "last_error",
    "retry_after_seconds",
]
PROJECTION = ["computed_at", "dirty", "metadata"]
SUMMARY = [
    "object",
    "connector_count",
    "stream_count",
    "record_count",
    "record_json_bytes",
    "record_changes_json_bytes",
    "blob_bytes",
    "total_retained_bytes",
    "earliest_record_time",
    "latest_record_time",
    "earliest_ingested_at",
    "latest_ingested_at",
    "top_connectors",
    "projection",
]
TOP_CONNECTOR = ["object", "connector_id", "record_count"]
STREAMS = ["object", "filters", "projection", "streams"]
STREAM = [
    "connector_id",
    "stream",
    "record_count",
    "record_json_bytes",
    "earliest_ingested_at",
    "latest_ingested_at",
    "earliest_record_time",
    "latest_record_time",
    "consent_time_field",
    "dirty_record_time_bounds",
    "computed_at",
]
FIGURES = [
    "record_count",
    "current_record_json_bytes",
    "record_history_count",
    "record_history_json_bytes",
    "blob_count",
    "blob_bytes",
    "total_retained_bytes",
    "dirty",
    "computed_at",
]
NAMES = {
    "global": [],
    "connection": ["connector_id", "connector_instance_id"],
    "stream": ["connector_id", "connector_instance_id", "stream"],
}
SIZES = ["object", "grain", "rows", "projection"]
ERROR = ["type", "code", "message", "request_id"]


def check_counts(body: dict[str, Any]) -> None:
    for name, value in body.items():
        if name.endswith(("_count", "_bytes")):
            assert type(value) is int, name
            assert value >= 0, name
        if name.endswith(("_at", "_time", "_since")):
            assert value is None or TIME.fullmatch(value), name


def check_freshness(block: dict[str, Any]) -> None:
    assert list(block) == FRESHNESS
    check_counts(block)
    assert block["state"] in ("fresh", "refreshing", "stale", "rebuilding", "failed")
    assert block["rebuild_status"] in ("idle", "running", "failed")


def check_projection(block: dict[str, Any]) -> None:
    assert list(block) == PROJECTION
    check_counts(block)
    assert type(block["dirty"]) is bool
    metadata = block["metadata"]
    assert list(metadata) == [*FRESHNESS, "rebuild_progress", "auto_reconcile"]
    assert list(metadata["auto_reconcile"]) == ATTEMPTS


def check_summary(body: dict[str, Any]) -> None:
    assert list(body) == SUMMARY
    assert body["object"] == "dataset_summary"
    check_counts(body)
    parts = ("record_json_bytes", "record_changes_json_bytes", "blob_bytes")
    assert body["total_retained_bytes"] == sum(body[name] for name in parts)
    assert len(body["top_connectors"]) <= 3
    for top in body["top_connectors"]:
        assert list(top) == TOP_CONNECTOR
        assert top["object"] == "dataset_connector_summary"
        check_counts(top)
    check_freshness(body["projection"])


def check_streams(body: dict[str, Any]) -> None:
    assert list(body) == STREAMS
    assert body["object"] == "dataset_summary_streams"
    assert list(body["filters"]) == ["connector_id"]
    check_freshness(body["projection"])
    for row in body["streams"]:
        assert list(row) == STREAM
        assert type(row["dirty_record_time_bounds"]) is bool
        check_counts(row)


def check_size_row(row: dict[str, Any], grain: str) -> None:
    assert list(row) == ["grain", *NAMES[grain], *FIGURES]
    assert row["grain"] == grain
    assert type(row["dirty"]) is bool
    check_counts(row)


def check_sizes(body: dict[str, Any], grain: str) -> None:
    assert list(body) == SIZES
    assert (body["object"], body["grain"]) == ("ref_dataset_size", grain)
    for row in body["rows"]:
        check_size_row(row, grain)
    check_projection(body["projection"])


def check_error(body: dict[str, Any]) -> None:
    assert list(body) == ["error"]
    assert list(body["error"]) == ERROR
    assert all(type(value) is str for value in body["error"].values())


TOP = ["object", "scope", "measure", "rows", "projection"]
TOP_ROW = ["scope", "measure", "rank", "grain_key", "record_key", "blob_id"]


def check_top(body: dict[str, Any]) -> None:
    assert list(body) == TOP
    assert body["object"] == "ref_dataset_top"
    assert len(body["rows"]) <= 25
    values = [row[body["measure"]] for row in body["rows"]]
    assert values == sorted(values, reverse=True)
    for rank, row in enumerate(body["rows"], 1):
        assert [name for name in row if name in TOP_ROW] == TOP_ROW
        assert (row["scope"], row["measure"], row["rank"]) == (body["scope"], body["measure"], rank)
        names = NAMES["connection" if body["scope"] == "connection" else "stream"]
        assert set(row) == {*TOP_ROW, "grain", *names, *FIGURES}
        check_counts(row)
    check_projection(body["projection"])

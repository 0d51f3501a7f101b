"""Any history at all: exported and imported into an empty server, it is the same, and so is its export.

PDPP_TEST_LONG=1 tries ten thousand of them on each database.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdpp_ref.canonical import blobs, importer, records, retention
from pdpp_ref.canonical.errors import NotFound
from pdpp_ref.database import execute
from pdpp_ref.operations import verify
from tests.conftest import Backend
from tests.support.exports import contents, emptied, read, written
from tests.support.factories import DatabaseProbe

EXAMPLES = 10_000 if os.environ.get("PDPP_TEST_LONG") == "1" else 6

HOSTILE = [
    "\u0085",
    "\u2028",
    "\u2029",
    "\v",
    "\f",
    "\r",
    "é",
    "e\u0301",
    "😀",
    '"',
    "\\",
    "=1+1",
    "\x7f",
    "\x01",
]
texts = st.lists(st.sampled_from([*HOSTILE, "a", "b"]), max_size=4).map("".join)
names = st.sampled_from(["notes", "Notes", "..", "a/b\r\n", "\u2028", "😀"])
connections = st.sampled_from(["laptop", "phone\u0085"])
keys = st.sampled_from(["a", "A", "..", "\u2029\v", "1"])
times = st.sampled_from([None, "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z", 1_600_000_000_000])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | texts
    | st.sampled_from([1.0, -0.0, 1e300, "2021-05-05", "\ud800", "\udc00x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
data = st.dictionaries(texts | st.sampled_from(["at", "when"]), values, max_size=3)
profile = st.fixed_dictionaries(
    {"type": st.just("RECORD"), "stream": names, "key": keys, "data": data},
    optional={"emitted_at": times, "op": st.sampled_from(["upsert", "delete"])},
)
singer = st.fixed_dictionaries(
    {
        "type": st.just("RECORD"),
        "stream": st.just("rows"),
        "record": st.builds(
            lambda key, more: {**more, "id": key}, st.integers(1, 3) | st.just("bad"), data
        ),
    },
    optional={"version": st.integers(1, 3), "time_extracted": st.sampled_from(["2020-01-01T00:00:00Z"])},
)
activations = st.builds(
    lambda version: {"type": "ACTIVATE_VERSION", "stream": "rows", "version": version}, st.integers(1, 3)
)
declarations = st.builds(
    lambda stream, field: {"type": "STREAM", "stream": stream, "record_time_field": field},
    names,
    st.sampled_from(["at", "when", None]),
)
SCHEMA = {"type": "SCHEMA", "stream": "rows", "key_properties": ["id"], "schema": {}}
messages = st.lists(
    profile | singer | activations | declarations | st.just({"type": "RECORD", "stream": 5}),
    min_size=1,
    max_size=12,
)
Step = Callable[[], object]


def imports(connection: str, sent: list[dict[str, Any]], size: int) -> Step:
    def run() -> None:
        importer.BATCH_LINES, before = size, importer.BATCH_LINES
        try:
            given = [json.dumps(message).encode() for message in (SCHEMA, *sent)]
            target = records.Target(connection, "files")
            importer.Importer(target, lambda _: None, lambda _: None).run(given)
        finally:
            importer.BATCH_LINES = before

    return run


def files(connection: str, stream: str, key: str, content: bytes, mime: str | None) -> Step:
    def run() -> None:
        try:
            stored = blobs.store(connection, stream, key, iter([content]))
        except NotFound:
            return
        execute(
            "UPDATE blob_bindings SET mime_type = ?, json_path = ? WHERE sha256 = ? AND key = ?",
            (mime, mime and f"/{mime}", stored.sha256, key),
        )

    return run


steps = st.lists(
    st.builds(imports, connections, messages, st.sampled_from([1, 2, 2_000]))
    | st.builds(files, connections, names, keys, st.sampled_from([b"", b"x", b"larger"]), texts | st.none())
    | st.builds(lambda keep: lambda: retention.prune(keep), st.integers(1, 2)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(history=steps, batch=st.sampled_from([1, 3, 2_000]))
def test_an_exported_history_is_imported_as_it_was(
    backend: Backend,
    prepared_file: Path,
    request: pytest.FixtureRequest,
    history: list[Step],
    batch: int,
) -> None:
    reused = request.getfixturevalue("reused") if backend.kind == "postgres" else None
    reset = reused.reset if reused else lambda: None
    emptied(backend, prepared_file, reset)
    for step in history:
        step()
    before, exported = contents(), written()
    assert exported.gaps == []
    emptied(backend, prepared_file, reset)
    importer.BATCH_LINES, usual = batch, importer.BATCH_LINES
    try:
        done = read(exported.data, exported.files)
        assert (done.rejected, done.notes) == ([], [])
        assert contents() == before
        again = written()
        assert (again.data, again.files) == (exported.data, exported.files)
        assert list(verify.differences()) == []
        repeated = read(exported.data, exported.files)
        assert (repeated.rejected, repeated.notes) == ([], [])
        assert repeated.report.counts.unchanged == repeated.report.counts.accepted
        assert contents() == before
    finally:
        importer.BATCH_LINES = usual
    with DatabaseProbe(backend.url) as probe:
        assert probe.wrong_but_clean() == []

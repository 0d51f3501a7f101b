"""All that the program does which commits: one table of acts, for the trials that cut them short.

A new way to change the database is given a line in ACTS, and with it each of those trials, on both
databases.
"""

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from pdpp_ref import credentials, database, migrations, tokens
from pdpp_ref.canonical import (
    activation,
    blobs,
    cleanup,
    deletion,
    erasure,
    importer,
    prunings,
    records,
    removal,
    retention,
    retention_rules,
    state,
)
from pdpp_ref.canonical.erased import Names as ErasedNames
from pdpp_ref.canonical.errors import NotFound
from pdpp_ref.canonical.export_progress import Options
from pdpp_ref.database.postgres import Postgres
from pdpp_ref.database.sqlite import Sqlite
from pdpp_ref.operations import transfer
from pdpp_ref.parsing.messages import Change
from pdpp_ref.projection import apart, record_rollups
from pdpp_ref.services import reconcile
from tests.support.factories import delete, mark, remove_deleted, upsert, write
from tests.support.probe import DatabaseProbe
from tests.support.targets import Before, Place, Statement

DATABASES = Path(__file__).parents[1] / "databases"

# Columns that tell when and how often, which a repeat may change, and not what is stored.
PASSING = (
    "_at",
    "_since",
    "day",
    "generation",
    "days_disordered",
    "incarnation",
    "history_id",
    "marked",
    "erasure_key",
    "hmac",
)

# Numbers that nothing refers to; one that was taken and rolled back is not given again.
OWN_NUMBERS = (("unclaimed_files", "id"),)

# What a (column, number) stands for.
Names = dict[tuple[str, Any], tuple[str, ...]]


@dataclass(frozen=True)
class Act:
    """`begin` makes the database that `do` is cut short on; None: there is nothing.

    `is_one` is False where `do` commits more than once, so that a part of it may stay.  `opens`:
    `do` is what brings the database to this program's schema, and finds it otherwise.
    """

    do: Callable[[], object]
    begin: Callable[[str], None] | None
    is_one: bool = True
    opens: bool = False


# ---- what there is before ----------------------------------------------------------------------


def stored(url: str) -> None:
    """Records of one and of several versions, a tombstone, files; two connections; all clean."""
    with opened(url):
        write(upsert("a"), upsert("b"), upsert("a", "again"), upsert("p", stream="photos"))
        write(upsert("a", "and again"), upsert("gone"), delete("gone"))
        write(upsert("c"), connection="phone")
        blobs.store("laptop", "notes", "a", iter([b"a file"]))
        blobs.store("phone", "notes", "c", iter([b"a file"]))


def run_passes_until(query: str) -> None:
    """Run the shortest passes until the query finds a row; `small_steps` makes them short enough."""
    for _ in range(100):
        if database.fetch_all(query):
            return
        reconcile.run_pass(reconcile.Limits(seconds=-1))
    raise AssertionError(f"no pass has ended where it was wanted: {query}")


def half_reconciled(url: str) -> None:
    """All is marked, and of the first stream two versions are counted."""
    stored(url)
    with opened(url):
        reconcile.begin_rebuild()
        run_passes_until("SELECT 1 FROM retained_size_recounts WHERE through_version >= 2")


def half_derived(url: str, until: str = "through_version >= 3") -> None:
    """Rows of single records are lost, and being derived again."""
    stored(url)
    with opened(url):
        database.execute("DELETE FROM retained_size_record")
        reconcile.begin_rebuild()
        run_passes_until(f"SELECT 1 FROM retained_size_record_recounts WHERE {until}")


def half_settled(url: str) -> None:
    half_derived(url, "after_key <> ''")


def of_two_versions(url: str) -> None:
    """And a stream that a Singer tap has sent a second version of."""
    stored(url)
    rows = [
        Change("rows", key, "{}", table_version=version)
        for key, version in zip("xyz", (1, 1, 2), strict=True)
    ]
    with opened(url):
        write(*rows)


def half_removed(url: str) -> None:
    """A stream and a connection are deleted, and some of their rows removed."""
    stored(url)
    with opened(url):
        deletion.delete_stream("laptop", "notes")
        deletion.delete_connection("phone")
        removal.Removal().step()


def of_schema_2(url: str) -> None:
    which = "" if url.startswith("sqlite") else "-postgres"
    with DatabaseProbe(url) as probe:
        probe.db.execute((DATABASES / f"schema-2{which}.sql").read_text())


# ---- acts --------------------------------------------------------------------------------------


def a_write() -> None:
    write(upsert("a", "changed"), delete("b"), upsert("new"), upsert("first", stream="new"))


def a_first_write() -> None:
    write(upsert("a"), upsert("b", stream="photos"), connection="new")


def a_write_whose_delta_fails() -> None:
    with suppress(Exception):  # they are there already, where a failure is tried again
        for table in ("global", "recounts"):
            fail_here(table)
    a_write()


def fail_here(table: str) -> None:
    """For as long as this connection lasts."""
    event = f"BEFORE UPDATE OF record_count ON retained_size_{table}"
    if isinstance(database.db.obj, Sqlite):
        fail = "BEGIN SELECT RAISE(ABORT, 'broken'); END"
        database.execute(f"CREATE TEMP TRIGGER broken_{table} {event} {fail}")
    else:
        function = f"pg_temp.broken_{table}()"
        fail = "$$ BEGIN RAISE EXCEPTION 'broken' USING ERRCODE = '23000'; END $$"
        database.execute(f"CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS {fail}")
        each = f"FOR EACH ROW EXECUTE FUNCTION {function}"
        database.execute(f"CREATE TRIGGER broken_{table} {event} {each}")


def an_import() -> None:
    lines = [b'{"stream":"notes","key":"%d","data":{"n":%d}}' % (number, number) for number in range(9)]
    importer.Importer(records.Target("laptop", "files"), print, print).run(iter(lines))


EXPORT = b"""\
{"type":"EXPORT","format":1,"history":true,"connections":1}
{"type":"STREAM","connector_id":"files","connector_instance_id":"new","stream":"notes","last_version":9}
{"type":"KEY_SPELLING","key":"1","spelling":"1.0"}
{"type":"RECORD","connector_instance_id":"new","stream":"notes","key":"a","history_version":2,"data":{}}
{"type":"RECORD","connector_instance_id":"new","stream":"notes","key":"a","history_version":5,"op":"delete",\
"files":[{"sha256":"DIGEST"}]}
{"type":"EXPORT_END","streams":[{"connector_instance_id":"new","stream":"notes","records":2}]}
"""


def an_import_of_an_export() -> None:
    file = b"a larger file"
    digest = hashlib.sha256(file).hexdigest()
    text = EXPORT.replace(b"DIGEST", digest.encode())
    options = Options(open_file=lambda _: iter([file]))
    work = importer.Importer(None, print, print, exports=options)
    work.run(text.splitlines())


def an_activation() -> None:
    activation.activate_version(records.Target("laptop", "files"), "rows", 2)


def a_file() -> None:
    blobs.store("laptop", "photos", "p", iter([b"a larger ", b"file"]))


def a_file_that_is_there() -> None:
    blobs.store("laptop", "notes", "b", iter([b"a file"]))


def an_early_file() -> None:
    blobs.store_early(records.Target("laptop", "files"), "notes", "late", iter([b"a late ", b"file"]))


def with_early_files(url: str) -> None:
    stored(url)
    with opened(url):
        an_early_file()
        blobs.store_early(records.Target("laptop", "files"), "new", "x", iter([b"a file"]))


def a_claim() -> None:
    write(upsert("late"), upsert("x", stream="new"))


def two_cleanups() -> None:
    one = cleanup.Cleanup(0)
    while database.fetch_all("SELECT 1 FROM unclaimed_files"):
        one.step()


def a_state() -> None:
    state.merge(records.Target("laptop", "files"), {"notes": "1", "photos": "2"})


def a_file_to_a_lost_row() -> None:
    blobs.store("laptop", "notes", "a", iter([b"another ", b"file"]))


def a_copy() -> None:
    """To a database beside this one, which is looked at too; one that is whole stays so."""
    here = database.db.obj
    if isinstance(here, Sqlite):
        afterwards = database.from_url(f"sqlite:///{here.database}.copy", Path())
    else:
        afterwards = Postgres(here._settings | {"dbname": f"{here.database}_copy"})
    with suppress(transfer.TargetNotEmpty):
        transfer.copy(afterwards)
    afterwards.close()


def a_token() -> None:
    fixed = mock.patch.object(credentials, "new_token", return_value="pdpp_0")
    with suppress(tokens.NameTaken), fixed:
        tokens.create("bank", ("write",), "laptop", 30)


def gone(remove: Callable[..., None], *names: str) -> Callable[[], None]:
    """Take something away; that a repeat finds nothing is no fault."""

    def act() -> None:
        with suppress(NotFound):
            remove(*names)

    return act


def a_pruning() -> None:
    prunings.ask("a request", prunings.Request(retention.Policy(1)), 3)
    process = prunings.Prunings()
    while process.step():
        pass


def a_rule() -> None:
    retention_rules.set_rule("laptop", "notes", 1)
    process = retention_rules.Rules()
    while process.step():
        pass


def an_erasure() -> None:
    erasure.erase(ErasedNames("laptop", "notes", "a"))


def an_erasure_of_a_file() -> None:
    erasure.erase(ErasedNames("laptop", "notes", "a", sha256(b"a file").hexdigest()))


def with_an_erasure(url: str) -> None:
    stored(url)
    with opened(url):
        an_erasure()


def a_rebuild() -> None:
    if database.fetch_all("SELECT 1 FROM retained_size_global WHERE rebuild_status <> 'running'"):
        reconcile.begin_rebuild()
    reconcile.finish_rebuild()


ACTS = {
    "write": Act(a_write, stored),
    "write during a recount": Act(a_write, half_reconciled),
    "first write": Act(a_first_write, stored),
    "write whose delta fails": Act(a_write_whose_delta_fails, stored),
    "write whose delta fails during a recount": Act(a_write_whose_delta_fails, half_reconciled),
    "import": Act(an_import, stored, is_one=False),
    "import an export": Act(an_import_of_an_export, stored, is_one=False),
    "activate a version": Act(an_activation, of_two_versions, is_one=False),
    "upload": Act(a_file, stored),
    "upload during a recount": Act(a_file, half_reconciled),
    "upload what is there": Act(a_file_that_is_there, stored),
    "upload early": Act(an_early_file, stored),
    "claim": Act(a_claim, with_early_files),
    "clean up": Act(two_cleanups, with_early_files, is_one=False),
    "store state": Act(a_state, stored),
    "delete a record": Act(gone(deletion.delete_record, "laptop", "notes", "a"), stored),
    "erase a record": Act(an_erasure, stored),
    "erase a record during a recount": Act(an_erasure, half_reconciled),
    "erase a record while rows are derived": Act(an_erasure, half_derived),
    "erase a file": Act(an_erasure_of_a_file, stored),
    "write what was erased": Act(a_write, with_an_erasure),
    "delete a stream": Act(gone(deletion.delete_stream, "laptop", "notes"), stored),
    "delete a connection": Act(gone(deletion.delete_connection, "laptop"), stored),
    "remove what was deleted": Act(remove_deleted, half_removed, is_one=False),
    "delete a stream during a recount": Act(
        gone(deletion.delete_stream, "laptop", "notes"), half_reconciled
    ),
    "prune as an owner asks": Act(a_pruning, stored, is_one=False),
    "apply a rule": Act(a_rule, stored, is_one=False),
    "prune": Act(lambda: retention.prune(1), stored, is_one=False),
    "prune during a recount": Act(lambda: retention.prune(1), half_reconciled, is_one=False),
    "write while rows are derived": Act(a_write, half_derived),
    "write while rows are settled": Act(a_write, half_settled),
    "upload to a lost row": Act(a_file_to_a_lost_row, half_settled),
    "prune while rows are derived": Act(lambda: retention.prune(1), half_derived, is_one=False),
    "reconcile while rows are derived": Act(reconcile.run_until_fresh, half_derived, is_one=False),
    "create a token": Act(a_token, stored),
    "mark": Act(lambda: mark("laptop", "notes"), stored),
    "pass": Act(lambda: reconcile.run_pass(reconcile.Limits()), half_reconciled),
    "reconcile": Act(reconcile.run_until_fresh, half_reconciled, is_one=False),
    "rebuild": Act(a_rebuild, stored, is_one=False),
    "copy": Act(a_copy, stored, is_one=False),
    "migrate": Act(migrations.prepare, of_schema_2, opens=True),
    "create": Act(migrations.prepare, None, opens=True),
}


def small_steps(monkeypatch: Any) -> None:
    """Let everything that works in parts have several, and as many on a busy machine as on a quiet one."""
    milliseconds = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(milliseconds) / 1000, sleep=time.sleep)
    for module in (apart, reconcile, record_rollups, retention, importer):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(reconcile, "CHUNK_VERSIONS", 1)
    for name in ("CHUNK_VERSIONS", "CHUNK_ROWS", "CHUNK_KEYS"):
        monkeypatch.setattr(record_rollups, name, 1)
    monkeypatch.setattr(retention, "VERSIONS_PER_TRANSACTION", 1)
    monkeypatch.setattr(removal, "ROWS_PER_STEP", 1)
    monkeypatch.setattr(removal, "FILES_PER_STEP", 1)
    monkeypatch.setattr(cleanup, "FILES_PER_STEP", 1)
    monkeypatch.setattr(importer, "BATCH_LINES", 4)
    monkeypatch.setattr(database.statements, "KEYS_PER_QUERY", 1)
    monkeypatch.setattr(activation, "KEYS_PER_PAGE", 1)
    monkeypatch.setattr(blobs, "CHUNK_BYTES", 4)


# ---- doing them, and looking -------------------------------------------------------------------


@contextmanager
def opened(url: str, *, prepare: bool = True) -> Iterator[None]:
    """The database in this process; at the end it is closed, whatever state it is in."""
    database.connect(url, Path())
    try:
        if prepare:
            migrations.prepare()
        yield
    finally:
        database.db.close()


def perform(
    act: Act, place: Place, before: Before = lambda _: None, done: Callable[[], None] = lambda: None
) -> None:
    """Do it in this process, `before` each of its statements.

    `done` is called when it may be acknowledged, and before the database is closed.
    """
    begun = False

    def watch(statement: Statement) -> None:
        if begun:
            before(statement)

    with place.watched(watch), opened(place.url, prepare=not act.opens):
        begun = True
        act.do()
        done()


def look(place: Place) -> dict[str, list[tuple[Any, ...]]]:
    """All that is stored, but for times, numbers and random ids; and nothing in it is both wrong and clean."""
    return {
        f"{number}: {table}": rows
        for number, url in enumerate(place.urls)
        for table, rows in _look(url).items()
    }


def _look(url: str) -> dict[str, list[tuple[Any, ...]]]:
    with DatabaseProbe(url) as probe:
        probe.await_the_dead()
        assert not probe.is_corrupt()
        tables = probe.columns()
        if _is_served(probe):
            assert probe.wrong_but_clean() == []
        names = probe.names() if "streams" in tables else {}
        found = {}
        for table, columns in tables.items():
            shown = [
                name for name in columns if not name.endswith(PASSING) and (table, name) not in OWN_NUMBERS
            ]
            rows = probe(f"SELECT {', '.join(shown)} FROM {table}")
            found[table] = sorted((_named(table, shown, row, names) for row in rows), key=repr)
        return found


def _is_served(probe: DatabaseProbe) -> bool:
    """A file of an earlier schema, or of a copy that has not arrived, is not."""
    return "pdpp_ref_copying" in probe.columns() and not probe("SELECT 1 FROM pdpp_ref_copying")


def _named(table: str, columns: list[str], row: tuple[Any, ...], names: Names) -> tuple[Any, ...]:
    """A row by names: a number that was taken and rolled back is not given again everywhere."""
    of = {"streams": "stream_id", "connections": "connection_id"}
    return tuple(
        names.get((of.get(table, "") if column == "id" else column, value), value)
        for column, value in zip(columns, row, strict=True)
    )


def settled(place: Place) -> dict[str, list[tuple[Any, ...]]]:
    """The same once all is repaired: what is left to see is what was written."""
    for url in place.urls:
        with DatabaseProbe(url) as probe:
            is_served = _is_served(probe)
        if is_served or url == place.url:
            with opened(url):
                reconcile.run_until_fresh()
    return look(place)

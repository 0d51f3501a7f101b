"""All that the program does which commits: one table of acts, for the trials that cut them short.

A new way to change the database is given a line in ACTS, and with it each of those trials.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdpp_ref import database, schema
from pdpp_ref.services import blobs, copying, deletion, importer, ingest, pruning, reconcile
from pdpp_ref.services.messages import Change
from tests.outside import Outside
from tests.world import delete, mark, upsert, write

DATABASES = Path(__file__).parent / "databases"


@dataclass(frozen=True)
class Act:
    """`begin` makes the database that `do` is cut short on; None: the file is not there.

    `is_one` is False where `do` commits more than once, so that a part of it may stay.  `opens`:
    `do` is what brings the file to this program's schema, and finds it otherwise.
    """

    do: Callable[[], object]
    begin: Callable[[Path], None] | None
    is_one: bool = True
    opens: bool = False


# ---- what there is before ----------------------------------------------------------------------


def kept(path: Path) -> None:
    """Records of one and of several versions, a tombstone, files; two connections; all clean."""
    with opened(path):
        write(upsert("a"), upsert("b"), upsert("a", "again"), upsert("p", stream="photos"))
        write(upsert("a", "and again"), upsert("gone"), delete("gone"))
        write(upsert("c"), connection="phone")
        blobs.store("laptop", "notes", "a", iter([b"a file"]))
        blobs.store("phone", "notes", "c", iter([b"a file"]))


def half_recounted(path: Path) -> None:
    """All is marked, and of the first stream two versions are counted."""
    kept(path)
    with opened(path):
        reconcile.begin_rebuild()
        for _ in range(2):
            reconcile.run_pass(reconcile.Limits(seconds=-1))


def of_two_versions(path: Path) -> None:
    """And a stream that a Singer tap has sent a second version of."""
    kept(path)
    rows = [
        Change("rows", key, "{}", source_version=version)
        for key, version in zip("xyz", (1, 1, 2), strict=True)
    ]
    with opened(path):
        write(*rows)


def of_schema_1(path: Path) -> None:
    with Outside(path) as outside:
        outside.db.execute((DATABASES / "schema-1.sql").read_text())


# ---- acts --------------------------------------------------------------------------------------


def a_write() -> None:
    write(upsert("a", "changed"), delete("b"), upsert("new"), upsert("first", stream="new"))


def a_first_write() -> None:
    write(upsert("a"), upsert("b", stream="photos"), connection="new")


def a_write_whose_delta_fails() -> None:
    for table in ("global", "recounts"):
        event = f"UPDATE OF record_count ON retained_size_{table}"
        fail = "BEGIN SELECT RAISE(ABORT, 'broken'); END"
        with suppress(Exception):  # it is there already, where a failure is tried again
            database.execute(f"CREATE TEMP TRIGGER broken_{table} BEFORE {event} {fail}")
    a_write()


def an_import() -> None:
    lines = [b'{"stream":"notes","key":"%d","data":{"n":%d}}' % (number, number) for number in range(9)]
    importer.Importer(ingest.Target("laptop", "files"), print, print).run(iter(lines))


def an_activation() -> None:
    ingest.activate_version(ingest.Target("laptop", "files"), "rows", 2)


def a_file() -> None:
    blobs.store("laptop", "photos", "p", iter([b"a larger ", b"file"]))


def a_file_that_is_there() -> None:
    blobs.store("laptop", "notes", "b", iter([b"a file"]))


def a_copy() -> None:
    """To another file beside this one, which is looked at too; one that is whole stays so."""
    with suppress(copying.NotEmpty):
        copying.copy(database.at(f"sqlite:///{database.db.database}.copy", Path()))


def gone(remove: Callable[..., None], *names: str) -> Callable[[], None]:
    """Take something away; that a repeat finds nothing is no fault."""

    def act() -> None:
        with suppress(ingest.Unknown):
            remove(*names)

    return act


def a_rebuild() -> None:
    if database.fetch_all("SELECT 1 FROM retained_size_global WHERE rebuild_status <> 'running'"):
        reconcile.begin_rebuild()
    reconcile.finish_rebuild()


ACTS = {
    "write": Act(a_write, kept),
    "write during a recount": Act(a_write, half_recounted),
    "first write": Act(a_first_write, kept),
    "write whose delta fails": Act(a_write_whose_delta_fails, kept),
    "write whose delta fails during a recount": Act(a_write_whose_delta_fails, half_recounted),
    "import": Act(an_import, kept, is_one=False),
    "activate a version": Act(an_activation, of_two_versions, is_one=False),
    "upload": Act(a_file, kept),
    "upload during a recount": Act(a_file, half_recounted),
    "upload what is there": Act(a_file_that_is_there, kept),
    "delete a record": Act(gone(deletion.delete_record, "laptop", "notes", "a"), kept),
    "delete a stream": Act(gone(deletion.delete_stream, "laptop", "notes"), kept),
    "delete a connection": Act(gone(deletion.delete_connection, "laptop"), kept),
    "delete a stream during a recount": Act(
        gone(deletion.delete_stream, "laptop", "notes"), half_recounted
    ),
    "prune": Act(lambda: pruning.prune(1), kept, is_one=False),
    "prune during a recount": Act(lambda: pruning.prune(1), half_recounted, is_one=False),
    "mark": Act(lambda: mark("laptop", "notes"), kept),
    "pass": Act(lambda: reconcile.run_pass(reconcile.Limits()), half_recounted),
    "reconcile": Act(reconcile.run_until_fresh, half_recounted, is_one=False),
    "rebuild": Act(a_rebuild, kept, is_one=False),
    "copy": Act(a_copy, kept, is_one=False),
    "migrate": Act(schema.prepare, of_schema_1, opens=True),
    "create": Act(schema.prepare, None, opens=True),
}


def small_steps(monkeypatch: Any) -> None:
    """What is done in parts has several of them, though there is little to do."""
    monkeypatch.setattr(reconcile, "CHUNK_VERSIONS", 1)
    monkeypatch.setattr(pruning, "VERSIONS_PER_TRANSACTION", 1)
    monkeypatch.setattr(importer, "BATCH_RECORDS", 4)
    monkeypatch.setattr(ingest, "KEYS_PER_QUERY", 1)
    monkeypatch.setattr(blobs, "CHUNK_BYTES", 4)


# ---- doing them, and looking -------------------------------------------------------------------


class opened:  # noqa: N801  # reads as what it is: with opened(path)
    """The database in this process; at the end it is closed, whatever state it is in."""

    def __init__(self, path: Path, *, prepare: bool = True) -> None:
        self.path, self.prepare = path, prepare

    def __enter__(self) -> Any:
        database.connect(f"sqlite:///{self.path}", self.path.parent)
        if self.prepare:
            schema.prepare()
        return database.db.connection()

    def __exit__(self, *_: object) -> None:
        database.db.close()


def perform(
    act: Act,
    path: Path,
    watch: Callable[[Any], None] = lambda _: None,
    done: Callable[[], None] = lambda: None,
) -> None:
    """Do it in this process.  `watch` gets the connection that it will be done on.

    `done` is called when it may be acknowledged, and before the database is closed.
    """
    with opened(path, prepare=not act.opens) as connection:
        watch(connection)
        act.do()
        done()


def restore(path: Path, content: bytes | None) -> None:
    """The file as it was, and nothing beside it."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    if content is not None:
        path.write_bytes(content)


def look(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All that is stored, but for times; and nothing in it is both wrong and clean."""
    with Outside(path) as outside:
        tables = [name for (name,) in outside("SELECT name FROM sqlite_master WHERE type = 'table'")]
        # A file of an earlier schema, or of a copy that has not arrived, is not served.
        if "pdpp_ref_copying" in tables and not outside("SELECT 1 FROM pdpp_ref_copying"):
            assert outside.wrong_but_clean() == []
        assert outside("PRAGMA integrity_check") == [("ok",)]
        found = {}
        for table in tables:
            columns = [row[0] for row in outside("SELECT name FROM pragma_table_info(?)", table)]
            names = ", ".join(name for name in columns if not name.endswith(("_at", "_since", "day")))
            found[table] = sorted(outside(f"SELECT {names} FROM {table}"), key=repr)
    copied = path.with_name(f"{path.name}.copy")
    return found | (
        {f"copy: {name}": rows for name, rows in look(copied).items()} if copied.exists() else {}
    )


def settled(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """The same once all is repaired: what is left to see is what was written."""
    with opened(path):
        reconcile.run_until_fresh()
    return look(path)

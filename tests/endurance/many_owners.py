"""Many owners in one PostgreSQL database, a schema for each: `python -m tests.endurance.many_owners`.

A few processes serve all of them, as a host would.  One owner's pass is running all the time; everybody
else's totals must become fresh.  Also prints what an owner costs: disk, catalogue, and memory of a session
that serves many owners, as behind a pooler.
"""

import multiprocessing
import time
from typing import Any, NamedTuple

import click
import psycopg

from pdpp_ref.database import DatabaseUnusable, db, execute, fetch_value, using
from pdpp_ref.operations import verify
from pdpp_ref.services.reconcile import Limits, run_pass
from tests.support import owners, postgres
from tests.support.factories import fill, mark

STEPS = (1, 10, 100, 1000)


class Served(NamedTuple):
    """What one process did: owners whose totals became fresh, owners whose did not, and seconds."""

    fresh: int
    stale: int
    seconds: float


def create(url: str, numbers: range) -> None:
    for number in numbers:
        owner = created(url, number)
        with using(owner):
            fill(10)
        owner.close()


def created(url: str, number: int) -> Any:
    """Again if the server is too busy with the catalogue."""
    while True:
        try:
            return owners.create(url, number)
        except DatabaseUnusable:
            time.sleep(1)


def serve(url: str, numbers: range) -> Served:
    """Mark, reconcile and verify each owner in turn, with one connection at a time."""
    fresh, began = 0, time.monotonic()
    for number in numbers:
        owner = owners.open_owner(url, number)
        with using(owner):
            mark("laptop", "notes")
            done = run_pass(Limits(seconds=10), wait=False)
            fresh += done.fresh and not list(verify.differences())
            db.close()
    return Served(fresh, len(numbers) - fresh, time.monotonic() - began)


def in_processes(work, url: str, first: int, number: int, processes: int) -> list:  # type: ignore[no-untyped-def,type-arg]
    parts = [(url, range(first + each, number, processes)) for each in range(processes)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.starmap(work, parts)


def memory_of_a_shared_session(url: str, number: int) -> dict[int, int]:
    """Bytes of a session that has read the totals of so many owners."""
    found = {}
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as session:
        for each in range(number):
            session.execute(
                f"""
                SET search_path TO {owners.name_of(each)};
                SELECT r.*, s.version
                FROM retained_size_global r
                CROSS JOIN pdpp_ref_schema s
                """
            )
            if each + 1 in STEPS:
                used = session.execute("SELECT SUM(total_bytes)::bigint FROM pg_backend_memory_contexts")
                (found[each + 1],) = used.fetchone() or (0,)
    return found


def report(url: str, number: int, processes: int) -> None:
    size = "SELECT pg_database_size(current_database()), (SELECT COUNT(*) FROM pg_class)"
    with psycopg.connect(url, autocommit=True) as admin:
        before, relations = admin.execute(size).fetchone() or (0, 0)
        began = time.monotonic()
        in_processes(create, url, 0, number, processes)
        click.echo(f"{number:,} owners created, {(time.monotonic() - began) / number:.2f} s each")
        after, all_relations = admin.execute(size).fetchone() or (0, 0)
        click.echo(
            f"an owner with 10 records: {(after - before) / number / 1e6:.1f} MB, "
            f"{(all_relations - relations) / number:.0f} relations"
        )
    busy = owners.open_owner(url, 0)
    with using(busy), busy.reconcile_transaction(True, 1):
        execute("UPDATE retained_size_global SET dirty = TRUE")
        parts = in_processes(serve, url, 1, number, processes)
        assert fetch_value("SELECT COUNT(*) FROM retained_size_global") == 1
    busy.close()
    fresh, stale = sum(each.fresh for each in parts), sum(each.stale for each in parts)
    seconds = max(each.seconds for each in parts)
    click.echo(
        f"while one owner's pass runs: {fresh:,} others fresh and verified, {stale:,} not, "
        f"{fresh / seconds:.0f} owners a second with {processes} connections"
    )
    for many, used in memory_of_a_shared_session(url, number).items():
        click.echo(f"a session that has served {many:,} owners: {used / 1e6:.1f} MB")
    if stale:
        raise SystemExit(1)


@click.command()
@click.option("--owners", "number", default=1000, show_default=True, type=click.IntRange(2))
@click.option("--processes", default=4, show_default=True, type=click.IntRange(1, 64))
def main(number: int, processes: int) -> None:
    server = postgres.Server()
    try:
        report(server.url, number, processes)
    finally:
        server.remove()


if __name__ == "__main__":
    main()

"""Owners in schemas of one PostgreSQL database do not hold up each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peewee
import pytest

from pdpp_ref.database import Busy, db, step_transaction, using, write_transaction
from pdpp_ref.operations import verify
from pdpp_ref.services.reconcile import Limits, run_pass
from tests.conftest import Backend
from tests.support import owners
from tests.support.factories import fill, mark

pytestmark = [pytest.mark.usefixtures("app"), pytest.mark.only("postgres")]


@pytest.fixture(scope="module")
def schemas(reused: Any) -> Iterator[list[peewee.Database]]:
    with owners.created(reused.url, 1, 2) as found:
        for owner in found:
            with using(owner):
                fill(3)
        yield found


@contextmanager
def reconciling(owner: Any) -> Iterator[None]:
    """Another process reconciles and keeps house there."""
    with owner.reconcile_transaction(True, 1):
        owner.execute_sql("SELECT 1")
        yield


def test_one_owners_pass_does_not_shut_out_anothers(schemas: list[peewee.Database]) -> None:
    first, second = schemas
    with using(second):
        mark("laptop", "notes")
    with reconciling(first), using(second):
        assert run_pass(Limits(seconds=60), wait=False).fresh
        assert list(verify.differences()) == []


def test_one_owners_housekeeping_does_not_shut_out_anothers(schemas: list[peewee.Database]) -> None:
    first, second = schemas
    with first.step_transaction(True), using(second), step_transaction(wait=False):  # type: ignore[attr-defined]
        pass


def test_one_owners_upgrade_does_not_shut_out_anothers(schemas: list[peewee.Database]) -> None:
    first, second = schemas
    with first.exclusive_transaction(), using(second):  # type: ignore[attr-defined]
        fill(1, "more")
        with second.exclusive_transaction():  # type: ignore[attr-defined]
            pass


def test_the_same_owners_passes_still_exclude_each_other(
    schemas: list[peewee.Database], reused: Any
) -> None:
    again = owners.open_owner(reused.url, 1)
    try:
        with reconciling(schemas[0]), using(again), pytest.raises(Busy):
            run_pass(Limits(), wait=False)
    finally:
        again.close()


def test_an_owner_in_the_usual_schema_is_one_too(schemas: list[peewee.Database], backend: Backend) -> None:
    fill(2)
    mark("laptop", "notes")
    with reconciling(schemas[0]):
        assert run_pass(Limits(seconds=60), wait=False).fresh
    with write_transaction():
        assert db.execute_sql("SELECT SUM(record_count) FROM retained_size_stream").fetchone() == (2,)

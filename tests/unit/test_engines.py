"""Engines that speak PostgreSQL's protocol: which are refused, by what they answer.  None of them runs here."""

from collections.abc import Callable
from types import SimpleNamespace

import psycopg
import pytest

from pdpp_ref.database import DatabaseUnusable, engines

POSTGRES = "PostgreSQL 16.4 on x86_64-pc-linux-gnu, compiled by gcc (Debian 12.2.0-14) 12.2.0, 64-bit"


def connection(**announced: str) -> SimpleNamespace:
    """With the parameters that a server announces."""
    found = {name.encode(): value.encode() for name, value in announced.items()}
    return SimpleNamespace(pgconn=SimpleNamespace(parameter_status=found.get))


def answers(
    version: str, *, citus: bool = False, distributed: bool = False
) -> Callable[[str], tuple[object, ...]]:
    def fetch(sql: str) -> tuple[object, ...]:
        if "version()" in sql:
            return version, citus
        assert citus, "the catalogue of Citus is read only where there is one"
        return (distributed,)

    return fetch


@pytest.mark.parametrize(
    "version",
    [
        POSTGRES,
        "PostgreSQL 15.7 on x86_64-pc-linux-gnu, compiled by Debian clang version 12.0.1, 64-bit",  # AlloyDB
        "PostgreSQL 17.2 (178558d) on aarch64-unknown-linux-gnu, compiled by gcc, 64-bit",  # Neon
        "PostgreSQL 16.4 on aarch64-unknown-linux-gnu, compiled by aarch64-unknown-linux-gnu-gcc",  # Aurora
    ],
)
def test_postgresql_by_any_vendor_is_accepted(version: str) -> None:
    engines.check(connection(server_version="16.4"), answers(version))


@pytest.mark.parametrize(
    ("announced", "version", "named"),
    [
        ({"crdb_version": "CockroachDB CCL v23.2.3"}, POSTGRES, "CockroachDB"),
        ({}, "CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu, built 2024/05/15)", "CockroachDB"),
        ({"server_version": "15.2-YB-2025.1.0.0-b0"}, POSTGRES, "YugabyteDB"),
        ({}, "PostgreSQL 11.2-YB-2.20.1.0-b0 on x86_64-pc-linux-gnu, compiled by clang", "YugabyteDB"),
    ],
)
def test_an_engine_whose_locks_differ_is_refused(
    announced: dict[str, str], version: str, named: str
) -> None:
    """Also behind a pooler, which announces what it likes."""
    with pytest.raises(DatabaseUnusable, match=f"{named}.*use PostgreSQL"):
        engines.check(connection(**announced), answers(version))


def test_citus_is_refused_only_if_a_table_is_distributed_by_a_column() -> None:
    engines.check(connection(), answers(POSTGRES, citus=True))
    with pytest.raises(DatabaseUnusable, match="undistribute_table"):
        engines.check(connection(), answers(POSTGRES, citus=True, distributed=True))


def test_the_refusal_of_a_pooler_is_recognised() -> None:
    refused = psycopg.OperationalError("transaction blocks not allowed in statement pooling mode")
    assert engines.pools_statements(refused)
    assert not engines.pools_statements(psycopg.OperationalError("server closed the connection"))

"""Many rows in one statement on PostgreSQL: by COPY, or given as an array for each column.

Each row is looked up by itself (LATERAL): otherwise the planner assumes that a stream without statistics is
small, and reads all of it for a handful of keys.  A row is looked up as the first one from its key to its
key: if statistics say that each stream has one row, any index that begins with the stream looks as good as
that of keys, and would be read as a whole for each key.  Only the latter has the order.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import peewee

from .statements import insert_text, with_given

# So many new rows are sent by COPY: it takes one more round trip.
COPIED_ROWS = 100

_TYPES = {"BIGAUTO": "bigint", "BIGINT": "bigint", "TEXT": "text", "BOOL": "boolean", "BLOB": "bytea"}


class ManyRows:
    """The part of a database object that sends them."""

    _in_transaction: Callable[[], AbstractContextManager[None]]
    cursor: Callable[..., Any]
    translate_placeholders: Callable[[str], str]

    def insert_rows(
        self,
        model: type[peewee.Model],
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        identity: tuple[str, ...],
    ) -> None:
        """By COPY, if they are many and new; all in binary, because the driver is slow at writing text."""
        if len(rows) >= COPIED_ROWS and not identity:
            self._copy_rows(model, columns, rows)
            return
        selected = f"SELECT * FROM {given(model, columns)}"
        self._execute_rows(insert_text(model._meta.table_name, columns, identity, selected), rows)

    def _copy_rows(
        self, model: type[peewee.Model], columns: tuple[str, ...], rows: Sequence[Sequence[Any]]
    ) -> None:
        with self._in_transaction(), self.cursor().copy(copy_text(model, columns)) as copy:
            copy.set_types(types_of(model, columns))
            for row in rows:
                copy.write_row(row)

    def update_rows(
        self,
        model: type[peewee.Model],
        columns: tuple[str, ...],
        rows: Sequence[Sequence[Any]],
        identity: tuple[str, ...],
        sets: str,
    ) -> int:
        """Each row is looked up by itself (see `look_up`); its place holds, as the row is locked."""
        return self._execute_rows(update_text(model, columns, identity, sets), rows)

    def delete_rows(
        self, model: type[peewee.Model], identity: tuple[str, ...], rows: Sequence[Sequence[Any]]
    ) -> int:
        return self._execute_rows(delete_text(model, identity), rows)

    def _execute_rows(self, sql: str, rows: Sequence[Sequence[Any]]) -> int:
        with self._in_transaction():
            cursor = self.cursor()
            cursor.execute(sql, [list(column) for column in zip(*rows, strict=True)])
            return int(cursor.rowcount)

    def execute_each(self, sql: str, rows: Sequence[Iterable[Any]]) -> None:
        with self._in_transaction():
            self.cursor().executemany(self.translate_placeholders(sql), rows)

    def look_up(
        self, sql: str, values: Sequence[Any], keys: Sequence[Any], most: int
    ) -> tuple[str, Sequence[Any]]:
        """Without LATERAL, the planner assumes that a stream without statistics is small, and reads all
        of it for a handful of keys.
        """
        columns = list(zip(*keys, strict=True)) if isinstance(keys[0], tuple) else [keys]
        kinds = ["text" if isinstance(column[0], str) else "bigint" for column in columns]
        sql = look_up_text(self.translate_placeholders(sql), kinds, most)
        return sql, [*map(list, columns), *values]

    def chains(
        self, columns: Sequence[str], stream_id: int, versions: Sequence[int], most: int
    ) -> tuple[str, Sequence[Any]]:
        """LATERAL for the same reason."""
        return chains_text(tuple(columns)), [list(versions), stream_id, stream_id, most]

    @staticmethod
    def among(column: str) -> str:
        return f"{column} = ANY (?::bigint[])"

    @staticmethod
    def id_list(ids: Iterable[int]) -> list[int]:
        return list(ids)


@cache
def types_of(model: type[peewee.Model], columns: tuple[str, ...]) -> list[str]:
    """The types of columns, as PostgreSQL names them."""
    return [_TYPES[model._meta.columns[name].field_type] for name in columns]


@cache
def copy_text(model: type[peewee.Model], columns: tuple[str, ...]) -> str:
    return f"COPY {model._meta.table_name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"


@cache
def given(model: type[peewee.Model], columns: tuple[str, ...]) -> str:
    """The rows that are given, as an array for each column."""
    arrays = ", ".join(f"%b::{name}[]" for name in types_of(model, columns))
    return f"unnest({arrays}) AS given({', '.join(f'given_{name}' for name in columns)})"


def _name_of_given(name: str) -> str:
    return f"given.given_{name}"


def _places(table: str, source: str, identity: tuple[str, ...]) -> str:
    """The place of each given row in the table, as `place`, with the columns given.

    A row that is found by its id exists, so its range needs no end.  With one, the planner expects a higher
    cost and makes a new plan for each run of the statement, which takes longer than the run.
    """
    first = [f"{name} = {_name_of_given(name)}" for name in identity[:-1]]
    last = identity[-1]
    ends = [f"{last} <= {_name_of_given(last)}"] if first else []
    return f"""
            SELECT found.place, given.*
            FROM {source}
            CROSS JOIN LATERAL (
                SELECT ctid AS place, {last} AS last_value
                FROM {table}
                WHERE {" AND ".join([*first, f"{last} >= {_name_of_given(last)}", *ends])}
                ORDER BY {last}
                LIMIT 1
            ) AS found
            WHERE found.last_value = {_name_of_given(last)}
        """


@cache
def update_text(
    model: type[peewee.Model], columns: tuple[str, ...], identity: tuple[str, ...], sets: str
) -> str:
    table = model._meta.table_name
    return f"""
        UPDATE {table}
        SET {with_given(sets, _name_of_given)}
        FROM ({_places(table, given(model, columns), identity)}) AS given
        WHERE {table}.ctid = given.place
        """


@cache
def delete_text(model: type[peewee.Model], identity: tuple[str, ...]) -> str:
    table = model._meta.table_name
    return f"""
        DELETE FROM {table}
        WHERE ctid = ANY (
            ARRAY (SELECT place FROM ({_places(table, given(model, identity), identity)}) AS found)
        )
        """


_BY_KEY = re.compile(r"(?P<column>\(stream_id, key\)|(?:\w+\.)?(?:key|sha256)) = :each\s*\Z")


def look_up_text(sql: str, kinds: Sequence[str], most: int) -> str:
    """A SELECT that ends with `= :each`, for keys whose columns are of these kinds."""
    names = [f"each{number}" for number in range(len(kinds))]
    wanted = [f"wanted.{name}" for name in names]
    by_key = _BY_KEY.search(sql)
    if by_key:
        column = by_key["column"]
        first = f"stream_id = {wanted[0]} AND " if column.startswith("(") else ""
        column = "key" if first else column
        key = f"{column} >= {wanted[-1]} AND {column} <= {wanted[-1]} ORDER BY {column}"
        inner = f"{sql[: by_key.start()]} {first}{key}"
    else:
        inner = sql.replace(":each", f"({', '.join(wanted)})")
    return f"""
        SELECT found.*
        FROM unnest({", ".join(f"%b::{kind}[]" for kind in kinds)}) AS wanted({", ".join(names)})
        CROSS JOIN LATERAL (
            {inner}
            LIMIT {most}
        ) AS found
        """


@cache
def chains_text(columns: tuple[str, ...]) -> str:
    """Values: the heads, the stream twice, how many versions of each."""
    names = ", ".join(f"{column} AS value{number}" for number, column in enumerate(columns))
    return f"""
        WITH RECURSIVE chain AS (
            SELECT wanted.each AS head, 1 AS place, c.*
            FROM unnest(%b::bigint[]) AS wanted(each)
            CROSS JOIN LATERAL (
                SELECT {names}, version AS at, previous_version AS previous
                FROM record_changes
                WHERE stream_id = %s AND version = wanted.each
                LIMIT 1
            ) AS c
            UNION ALL
            SELECT chain.head, chain.place + 1, c.*
            FROM chain
            CROSS JOIN LATERAL (
                SELECT {names}, version AS at, previous_version AS previous
                FROM record_changes
                WHERE stream_id = %s AND version = chain.previous AND version < chain.at
                LIMIT 1
            ) AS c
            WHERE chain.place < %s
        )
        SELECT head, {", ".join(f"value{number}" for number in range(len(columns)))} FROM chain
        """

"""PostgreSQL's statements for many rows at once, which are given as an array for each column.

Each row is looked up by itself (LATERAL): otherwise the planner assumes that a stream without statistics is
small, and reads all of it for a handful of keys.  A row is looked up as the first one from its key on: if
statistics say that each stream has one row, any index that begins with the stream looks as good as that of
keys, and would be read as a whole for each key.  Only the latter has the order.
"""

import re
from collections.abc import Sequence
from functools import cache

import peewee

from .statements import with_given

_ARRAYS = {"BIGAUTO": "bigint", "BIGINT": "bigint", "TEXT": "text", "BOOL": "boolean", "BLOB": "bytea"}


@cache
def given(model: type[peewee.Model], columns: tuple[str, ...]) -> str:
    """The rows that are given, as an array for each column."""
    types = (_ARRAYS[model._meta.columns[name].field_type] for name in columns)
    arrays = ", ".join(f"%b::{name}[]" for name in types)
    return f"unnest({arrays}) AS given({', '.join(f'given_{name}' for name in columns)})"


def _name_of_given(name: str) -> str:
    return f"given.given_{name}"


def _places(table: str, source: str, identity: tuple[str, ...]) -> str:
    """The place of each given row in the table, as `place`, with the columns given."""
    first = [f"{name} = {_name_of_given(name)}" for name in identity[:-1]]
    last = identity[-1]
    return f"""
            SELECT found.place, given.*
            FROM {source}
            CROSS JOIN LATERAL (
                SELECT ctid AS place, {last} AS last_value
                FROM {table}
                WHERE {" AND ".join([*first, f"{last} >= {_name_of_given(last)}"])}
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


_BY_KEY = re.compile(r"(?P<column>\(stream_id, key\)|(?:\w+\.)?key) = :each\s*\Z")


def look_up_text(sql: str, kinds: Sequence[str]) -> str:
    """A SELECT that ends with `= :each`, for keys whose columns are of these kinds."""
    names = [f"each{number}" for number in range(len(kinds))]
    wanted = [f"wanted.{name}" for name in names]
    by_key = _BY_KEY.search(sql)
    if by_key:
        column = by_key["column"]
        first = f"stream_id = {wanted[0]} AND " if column.startswith("(") else ""
        column = "key" if first else column
        inner = f"{sql[: by_key.start()]} {first}{column} >= {wanted[-1]} ORDER BY {column}"
        outer = f"WHERE found.key = {wanted[-1]}"
    else:
        inner, outer = sql.replace(":each", f"({', '.join(wanted)})"), ""
    return f"""
        SELECT found.*
        FROM unnest({", ".join(f"%b::{kind}[]" for kind in kinds)}) AS wanted({", ".join(names)})
        CROSS JOIN LATERAL (
            {inner}
            LIMIT 1
        ) AS found
        {outer}
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

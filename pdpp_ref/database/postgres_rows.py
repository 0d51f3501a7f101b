"""PostgreSQL's statements for many rows at once, which are given as an array for each column.

Each row is looked up by itself (LATERAL): otherwise the planner assumes that a stream without statistics is
small, and reads all of it for a handful of keys.
"""

from collections.abc import Iterable, Sequence
from functools import cache

import peewee

from .statements import equal_to_given, with_given

_ARRAYS = {"BIGAUTO": "bigint", "BIGINT": "bigint", "TEXT": "text", "BOOL": "boolean", "BLOB": "bytea"}


@cache
def given(model: type[peewee.Model], columns: tuple[str, ...]) -> str:
    """The rows that are given, as an array for each column."""
    types = (_ARRAYS[model._meta.columns[name].field_type] for name in columns)
    arrays = ", ".join(f"%b::{name}[]" for name in types)
    return f"unnest({arrays}) AS given({', '.join(f'given_{name}' for name in columns)})"


def _name_of_given(name: str) -> str:
    return f"given.given_{name}"


@cache
def update_text(
    model: type[peewee.Model], columns: tuple[str, ...], identity: tuple[str, ...], sets: str
) -> str:
    table = model._meta.table_name
    return f"""
        UPDATE {table}
        SET {with_given(sets, _name_of_given)}
        FROM (
            SELECT found.place, given.*
            FROM {given(model, columns)}
            CROSS JOIN LATERAL (
                SELECT ctid AS place
                FROM {table}
                WHERE {with_given(equal_to_given(identity), _name_of_given)}
                LIMIT 1
            ) AS found
        ) AS given
        WHERE {table}.ctid = given.place
        """


@cache
def delete_text(model: type[peewee.Model], identity: tuple[str, ...]) -> str:
    table = model._meta.table_name
    return f"""
        DELETE FROM {table}
        WHERE ctid = ANY (
            ARRAY (
                SELECT found.place
                FROM {given(model, identity)}
                CROSS JOIN LATERAL (
                    SELECT ctid AS place
                    FROM {table}
                    WHERE {with_given(equal_to_given(identity), _name_of_given)}
                    LIMIT 1
                ) AS found
            )
        )
        """


def among(column: str) -> str:
    return f"{column} = ANY (?::bigint[])"


def id_list(ids: Iterable[int]) -> list[int]:
    return list(ids)


def look_up_text(sql: str, kinds: Sequence[str]) -> str:
    """A SELECT that ends with `= :each`, for keys whose columns are of these kinds."""
    names = [f"each{number}" for number in range(len(kinds))]
    each = f"({', '.join(f'wanted.{name}' for name in names)})"
    return f"""
        SELECT found.*
        FROM unnest({", ".join(f"%b::{kind}[]" for kind in kinds)}) AS wanted({", ".join(names)})
        CROSS JOIN LATERAL (
            {sql.replace(":each", each)}
            LIMIT 1
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

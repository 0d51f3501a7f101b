"""The tables as SQL, generated from the models.

`python -m tests.support.schema_sql` writes docs/schema-sqlite.sql and docs/schema-postgres.sql.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path

from pdpp_ref.database import db, from_url, using
from pdpp_ref.database.sqlite import Sqlite
from pdpp_ref.models import TABLES, Table

DOCS = Path(__file__).parents[2] / "docs"
URLS = {"sqlite": "sqlite:///never-opened.sqlite3", "postgres": "postgresql:///never-opened"}


def file_of(dialect: str) -> Path:
    return DOCS / f"schema-{dialect}.sql"


def schema(dialect: str) -> str:
    """All tables and indexes in the SQL of a dialect; no database is opened."""
    with using(from_url(URLS[dialect], Path())):
        tables = "\n\n".join("\n".join([*_comment(model), *_statements(model)]) for model in TABLES)
    return f"-- Generated from pdpp_ref/models by: python -m tests.support.schema_sql\n\n{tables}\n"


def _comment(model: type[Table]) -> Iterator[str]:
    """The model's docstring."""
    for line in inspect.cleandoc(model.__doc__ or "").splitlines():
        yield f"-- {line}".rstrip()


def _statements(model: type[Table]) -> Iterator[str]:
    model._meta.strict_tables = isinstance(db.obj, Sqlite)  # as create_tables does
    sql, _ = model._schema._create_table(safe=False).query()
    yield f"{_one_column_per_line(sql)};"
    for index in model._schema._create_indexes(safe=False):
        yield f"{index.query()[0].replace(' IF NOT EXISTS', '')};"


def _one_column_per_line(sql: str) -> str:
    """`CREATE TABLE name (column, column)` with each column and constraint on a line of its own."""
    head, _, rest = sql.partition("(")
    body, _, tail = rest.rpartition(")")
    columns = ",\n".join(f"    {part}" for part in _split(body))
    return f"{head}(\n{columns}\n){tail}"


def _split(body: str) -> Iterator[str]:
    """The parts between commas that are in no further parentheses."""
    start = depth = 0
    for place, character in enumerate(body):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            yield body[start:place].strip()
            start = place + 1
    yield body[start:].strip()


if __name__ == "__main__":
    for name in URLS:
        file_of(name).write_text(schema(name))

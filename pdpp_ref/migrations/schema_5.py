"""From schema 4 to 5: the ranking by size has an entry for records that may be among the largest."""

from ..database import execute
from .columns import add_column, flag, text


def migrate() -> None:
    add_column("records", "ranked", flag(default=True))
    add_column("streams", "largest_sizes", f"{text()} NOT NULL DEFAULT ''")
    execute("DROP INDEX IF EXISTS records_by_json_bytes")  # it is made again, with `ranked`

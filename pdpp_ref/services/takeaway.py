"""What the owner takes away: the rows of a list as the page has them, and as of when they are."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ..measures import MEASURES, TOTAL
from . import export, wire
from .growth import COMPARED_DAYS
from .kept import GROWTH, Row

GROWTH_COLUMN = f"growth_{COMPARED_DAYS}_days"
_NOT_KNOWN = "Null where it is not known."
Figure = Annotated[int | None, Meta(description=f"A number of bytes, or of things.  {_NOT_KNOWN}")]
Growth = Annotated[int | None, Meta(description=f"Bytes that came in {COMPARED_DAYS} days.  {_NOT_KNOWN}")]


def _kind(grain: str, about: str, *names: tuple[str, Any]) -> type[Struct]:
    figures = [(name, Figure) for name in (*(measure.name for measure in MEASURES), TOTAL)]
    growth = [(GROWTH_COLUMN, Growth)] if grain == "connection" else []
    return msgspec.defstruct(
        f"Kept{grain.capitalize()}",
        [*names, *figures, *growth, ("may_lag", bool), ("as_of", wire.Time | None)],
        bases=(wire.Body,),
        namespace={"__doc__": about},
        module=__name__,
        kw_only=True,
        forbid_unknown_fields=True,
        tag_field="kept",
        tag=grain,
    )


_CONNECTION = ("connection", wire.Connection)
_STREAM = ("stream", wire.Stream)
_KEY = ("record_key", wire.Key)
KINDS = {
    "connection": _kind("connection", "A connection's line.", ("connector", wire.Connector), _CONNECTION),
    "stream": _kind("stream", "A stream's line.", _CONNECTION, _STREAM),
    "record": _kind("record", "A record's line, without what it holds.", _CONNECTION, _STREAM, _KEY),
    "file": _kind("file", "A file's line.", _CONNECTION, _STREAM, _KEY, ("sha256", wire.Sha256)),
}

if TYPE_CHECKING:
    KeptRow = Struct
else:
    KeptRow = KINDS["connection"] | KINDS["stream"] | KINDS["record"] | KINDS["file"]


class Kept(wire.Body, tag_field="object", tag="owner_list"):
    """A list of the owner's, with the rows and in the order of the page."""

    as_of: Annotated[wire.Time | None, Meta(description="When the totals were last exact.")]
    may_lag: Annotated[bool, Meta(description="True where any figure may lag.")]
    rows: list[KeptRow]


def lines(kind: str, rows: Iterable[Row], **names: str) -> list[Struct]:
    """The rows as `kind` has them; `names` are those that all of them share."""
    return [_line(KINDS[kind], row, names) for row in rows]


def _line(kind: type[Struct], row: Row, names: dict[str, str]) -> Struct:
    known = row["computed_at"] is not None
    own = {
        "connector": row.get("connector_id"),
        "connection": row.get("connector_instance_id", row.get("name")),
        "stream": row.get("stream", row.get("name")),
        "record_key": row.get("key"),
        "sha256": row.get("sha256"),
        GROWTH_COLUMN: row.get(GROWTH),
        "may_lag": bool(row["dirty"]),
        "as_of": row["computed_at"],
    }
    own |= {name: row[name] if known else None for name in (*_MEASURES, TOTAL)} | names
    return kind(**{name: own[name] for name in kind.__struct_fields__})


_MEASURES = tuple(measure.name for measure in MEASURES)


def csv_text(kind: str, body: Kept) -> str:
    return export.csv_text(KINDS[kind], body.rows)

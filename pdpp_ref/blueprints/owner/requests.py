"""The query parameters of the owner's pages."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ...models.measures import TOTAL
from ...queries import listings
from ...queries.growth import Range
from ...schemas.types import Connection, Key, Stream, one_of

MAX_ROWS = 500  # rows of a page; a file has all
ALL_ROWS = "It has all rows, not only those of a page, and ends with a total; `PDPP-Rows` is their number."


class HeroQuery(Struct):
    seen: Annotated[str, Meta(description="The revision that the page shows.")] = ""


class ListQuery(Struct):
    sort: Annotated[str, one_of(listings.SORTS)] = TOTAL
    order: Annotated[
        Literal["asc", "desc"] | None,
        Meta(description="By default names ascend and numbers descend."),
    ] = None
    q: Annotated[str, Meta(description="Return only rows with this in their name.")] = ""
    limit: Annotated[int, Meta(description=f"How many rows a page shows, at most {MAX_ROWS}.")] = (
        listings.MAX_ROWS
    )
    days: Annotated[Range, Meta(description="How far back growth is drawn.")] = 90
    format: Annotated[
        Literal["page", "csv", "json"], Meta(description=f"The list as a file, in its order.  {ALL_ROWS}")
    ] = "page"

    @property
    def descends(self) -> bool:
        return self.order == "desc" if self.order else self.sort not in (listings.NAME, listings.SILENCE)

    @property
    def listing_order(self) -> listings.Order:
        limit = min(max(self.limit, 1), MAX_ROWS)
        return listings.Order(self.sort, self.descends, self.q.strip(), limit)


class ConnectionByNameQuery(ListQuery):
    name: Connection = ""


Day = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d\d-\d\d$(?!\n)",
        description="A day in UTC.",
        extra={"wanted": "a day, such as 2026-01-31"},
    ),
]


class DayQuery(Struct):
    day: Day
    connection: Annotated[Connection, Meta(description="Show only this connection's streams.")] = ""


class StreamQuery(Struct):
    connection: Connection = ""
    stream: Stream = ""
    days: Annotated[Range, Meta(description="How far back growth is drawn.")] = 90
    q: Annotated[str, Meta(description="List only records whose key begins with this.")] = ""
    after: Annotated[Key | None, Meta(description="List records after this key.")] = None
    before: Annotated[Key | None, Meta(description="List the records before this key.")] = None
    of: Annotated[Literal["record", "file"], Meta(description="The rows of the file.")] = "record"
    format: Annotated[
        Literal["page", "csv", "json"], Meta(description=f"All of them as a file, by name.  {ALL_ROWS}")
    ] = "page"


Version = Annotated[int, Meta(ge=1, le=2**62)]


class RecordQuery(Struct):
    connection: Connection = ""
    stream: Stream = ""
    key: Key = ""
    version: Annotated[Version | None, Meta(description="Show this version; by default the newest.")] = None
    older: Annotated[Version | None, Meta(description="List versions from this one back.")] = None


class DownloadQuery(Struct):
    seen: Annotated[str, Meta(description="The state that the page shows.")] = ""

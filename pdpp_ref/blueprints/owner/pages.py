"""The data of the owner's pages: a template receives one of these, as `page`, and nothing else.

They hold numbers, times, names and enumerated states; there is no field for the text of an error of the
database.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple
from urllib.parse import urlencode

from flask import url_for
from msgspec import structs

from ...canonical.retention_rules import Rule
from ...projection.rows import ProjectionRow
from ...queries.browsing import BrowsedFile, BrowsedPage, BrowsedVersion
from ...queries.day_changes import DayChanges, Origin
from ...queries.growth import RANGES, Day
from ...queries.items import ItemRow
from ...queries.listings import List, ListedRow
from ...services.freshness import Hero, Kind
from ...services.prepared_files import Problem, State
from ...services.room import Forecast, Room
from ...tokens import Token
from .chart import Chart, chart
from .requests import MAX_ROWS, ListQuery


@dataclass(frozen=True)
class ListView:
    """A list of connections or streams: search, columns to sort by, rows, the sum of other rows, the whole.

    `whole` is the row of all rows together, and `whole_growth` its growth.  `is_lagging`: rows show
    their own times.  `path` is the page's; `connection` is the one whose streams these are.  `silent` is
    how many connections are silent.
    """

    kind: Literal["connection", "stream"]
    path: str
    query: ListQuery
    list: List
    whole: ProjectionRow
    whole_growth: int | None
    is_lagging: bool
    connection: str = ""
    max_rows: int = MAX_ROWS
    silent: int = 0

    def address(self, **changes: Any) -> str:
        """The page's own address with other parameters; defaults are left out."""
        default = structs.asdict(type(self.query)())
        parameters = {
            name: value
            for name, value in (structs.asdict(self.query) | changes).items()
            if value not in (default[name], None) and name != "name"  # which is in the path already
        }
        if not parameters:
            return self.path
        return self.path + ("&" if "?" in self.path else "?") + urlencode(parameters)

    def sort_address(self, column: str) -> str:
        """Sorts by a column; if that is the current one, in the other direction."""
        reverse = "asc" if self.query.descends else "desc"
        return self.address(sort=column, order=reverse if column == self.query.sort else None)

    def row_address(self, name: str) -> str:
        return connection_url(name) if self.kind == "connection" else stream_url(self.connection, name)


class RangeLink(NamedTuple):
    days: int
    address: str
    is_current: bool


@dataclass(frozen=True)
class GrowthView:
    """Growth as a chart and as a table.  `change`: the bytes of growth.COMPARED_DAYS, None if unknown.

    It is of everything, of a `connection` or of its `stream`.
    """

    chart: Chart | None
    shown: int
    ranges: list[RangeLink]
    change: int | None
    as_of: str | None
    connection: str | None = None
    stream: str | None = None

    @property
    def file_address(self) -> str:
        return url_for(
            "growth.dataset_growth",
            connector_instance_id=self.connection,
            stream=self.stream,
            days=self.shown,
            format="csv",
        )

    def day_address(self, day: str) -> str:
        return url_for("days.day", day=day, connection=self.connection)


def growth_view(listing: ListView, days: Sequence[Day], as_of: str | None) -> GrowthView:
    """The growth of a list's whole, over the days that its query asks for."""
    shown = listing.query.days
    return GrowthView(
        chart=chart(days, shown),
        shown=shown,
        ranges=[RangeLink(each, listing.address(days=each), each == shown) for each in RANGES],
        change=listing.whole_growth,
        as_of=as_of,
        connection=listing.connection or None,
    )


def stream_growth(connection: str, row: ListedRow, days: Sequence[Day], shown: int) -> GrowthView:
    return GrowthView(
        chart=chart(days, shown),
        shown=shown,
        ranges=[
            RangeLink(each, stream_url(connection, row.name, days=each), each == shown) for each in RANGES
        ],
        change=row.growth,
        as_of=row.computed_at,
        connection=connection,
        stream=row.name,
    )


@dataclass(frozen=True)
class DayPage:
    """What a day's growth comes from, of everything or of a `connection`."""

    template: ClassVar[str] = "day.html"
    state: ClassVar[None] = None
    found: DayChanges
    connection: str
    earlier: str
    later: str | None

    def address(self, day: str) -> str:
        return url_for("days.day", day=day, connection=self.connection or None)

    def origin_address(self, origin: Origin) -> str:
        """The day of one connection."""
        return url_for("days.day", day=self.found.day, connection=origin.connection)


@dataclass(frozen=True)
class DashboardPage:
    """The totals, how they grew, and the connections."""

    template: ClassVar[str] = "dashboard.html"
    hero: Hero
    poll_seconds: int
    listing: ListView
    growth: GrowthView
    room: Room
    forecast: Forecast | None

    @property
    def state(self) -> Kind:
        return self.hero.kind


@dataclass(frozen=True)
class HeroFragment:
    """The polled part of the dashboard.  `announce`: its state has changed, so screen readers say so."""

    template: ClassVar[str] = "_hero_fragment.html"
    hero: Hero
    poll_seconds: int
    announce: bool


@dataclass(frozen=True)
class ConnectionPage:
    """A connection, how it grew, and its streams."""

    template: ClassVar[str] = "connection.html"
    state: Kind
    connection: ListedRow
    listing: ListView
    growth: GrowthView


@dataclass(frozen=True)
class RecordsView:
    """A page of a stream's records; `prefix` is what their keys begin with."""

    connection: str
    stream: str
    prefix: str
    page: BrowsedPage

    def _address(self, **place: str) -> str:
        found = {"q": self.prefix} if self.prefix else {}
        return stream_url(self.connection, self.stream, **found, **place)

    @property
    def earlier(self) -> str | None:
        return self._address(before=self.page.records[0].key) if self.page.has_earlier else None

    @property
    def later(self) -> str | None:
        return self._address(after=self.page.records[-1].key) if self.page.has_later else None


@dataclass(frozen=True)
class StreamPage:
    """A stream with a page of its records, and its largest records and files.

    `all_searched` is False if only its newest versions were searched for these.  `rule` says how many
    versions of its records the server retains.
    """

    template: ClassVar[str] = "stream.html"
    state: Kind
    connection_name: str
    stream: ListedRow
    growth: GrowthView
    listing: RecordsView
    records: list[ItemRow]
    files: list[ItemRow]
    all_searched: bool
    rule: Rule | None = None


@dataclass(frozen=True)
class RecordPage:
    """A record, or what is left of a deleted one.

    `text` is the content of the version that is `shown`, or its beginning if `is_cut`.  `older` is the
    number of the first version after those that are listed, if there are more.
    """

    template: ClassVar[str] = "record.html"
    state: ClassVar[None] = None
    connection_name: str
    stream_name: str
    key: str
    newest: int
    is_live: bool
    shown: BrowsedVersion
    text: str
    is_cut: bool
    versions: list[BrowsedVersion]
    older: int | None
    files: list[BrowsedFile]
    file_count: int

    def address(self, **changes: Any) -> str:
        return record_url(self.connection_name, self.stream_name, self.key, **changes)


@dataclass(frozen=True)
class DownloadView:
    """A download: `records` of them are expected, and `written` so far; `gaps` could not be read.

    `size` is known once it is ready.
    """

    state: State | Literal["gone"]
    id: str = ""
    name: str = ""
    records: int = 0
    written: int = 0
    size: int = 0
    problem: Problem | None = None
    gaps: Sequence[str] = ()

    @property
    def is_ending(self) -> bool:
        """Whether it has all records that were expected, and is not ready."""
        return self.written >= self.records


GONE = DownloadView("gone")


@dataclass(frozen=True)
class DownloadPage:
    template: ClassVar[str] = "download.html"
    state: ClassVar[None] = None
    download: DownloadView


@dataclass(frozen=True)
class DownloadFragment:
    """The polled part of a download's page.  `announce`: it has a new state, so screen readers say so."""

    template: ClassVar[str] = "_download_fragment.html"
    download: DownloadView
    announce: bool


@dataclass(frozen=True)
class TokensPage:
    """The tokens.  The owner is asked whether to revoke `revoking`; `revoked` was just revoked."""

    template: ClassVar[str] = "tokens.html"
    state: ClassVar[None] = None
    tokens: list[Token]
    revoking: Token | None = None
    revoked: Token | None = None


FormProblem = Literal["expired", "no_cookie"]


@dataclass(frozen=True)
class LoginPage:
    """`return_to`: a path of this server.  `problem`: why the form is shown again."""

    template: ClassVar[str] = "login.html"
    state: ClassVar[None] = None
    return_to: str
    problem: FormProblem | Literal["wrong"] | None = None


@dataclass(frozen=True)
class ErrorPage:
    """`back_to`: the path of the form that was refused.  `again`: that of a page to try once more."""

    template: ClassVar[str] = "error.html"
    state: ClassVar[None] = None
    message: str
    back_to: str | None = None
    again: str | None = None


def connection_url(name: str) -> str:
    """Names that a browser would take for folders are a parameter instead of a part of the path."""
    if any(part in ("", ".", "..") for part in name.split("/")):
        return url_for("dashboard.connection_by_name", name=name)
    return url_for("dashboard.connection", name=name)


def stream_url(connection: str, stream: str, **more: Any) -> str:
    return url_for("dashboard.stream", connection=connection, stream=stream, **more)


def record_url(connection: str, stream: str, key: str, **more: Any) -> str:
    return url_for("records.record", connection=connection, stream=stream, key=key, **more)

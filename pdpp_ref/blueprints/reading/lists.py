"""Pages of records and of versions."""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import UNSET

from ...queries import records, versions
from ...queries.records import PAGE_BYTES, StoredRecord
from ...queries.streams import ReadStream
from ...schemas.reads import (
    NO_COUNT,
    CountResult,
    ReadWarning,
    RecordList,
    VersionList,
    record_body,
    version_body,
)
from . import cursors
from .cursors import Order, RecordsCursor, VersionsCursor
from .parameters import (
    ListQuery,
    PageQuery,
    count_downgraded,
    field_names,
    links,
    list_address,
    list_meta,
    page_size,
    record_filter,
)


def records_of_one(query: ListQuery, stream: ReadStream, warnings: list[ReadWarning]) -> RecordList:
    """A page of a stream's live records, by key.  Raises ApiError."""
    limit, fields = page_size(query.limit, warnings), field_names(query)
    order, wanted = query.order or "desc", record_filter(query.filter)
    digest = wanted.digest if wanted else ""
    after = None if query.cursor is None else _last_key(query.cursor, stream, order, digest)
    accepts = wanted.accepts if wanted else None
    page = records.page(stream.id, after, limit, descending=order == "desc", accepts=accepts)
    cursor = None
    if page.last_key is not None:
        cursor = cursors.encode(
            RecordsCursor(
                of=cursors.names_digest(stream),
                stream=stream.incarnation,
                order=order,
                filter=digest,
                key=page.last_key,
            )
        )
    seen = len(page.records) if after is None and cursor is None else None
    return RecordList(
        url=list_address(),
        data=[record_body(stream, record, fields) for record in page.records],
        has_more=cursor is not None,
        next_cursor=UNSET if cursor is None else cursor,
        links=links(cursor, stream.connection),
        meta=list_meta(warnings, _count(query, stream, seen, warnings)),
    )


def _last_key(text: str, stream: ReadStream, order: Order, digest: str) -> str:
    """Raises ApiError for a cursor of another stream, order or filter."""
    place = cursors.decode(text, RecordsCursor, "cursor")
    expected = (cursors.names_digest(stream), stream.incarnation, order, digest)
    if (place.of, place.stream, place.order, place.filter) != expected:
        raise cursors.invalid("cursor")
    return place.key


def _count(
    query: ListQuery, stream: ReadStream, seen: int | None, warnings: list[ReadWarning]
) -> CountResult:
    """`seen`: how many there are, if this page has them all."""
    if query.count == "none":
        return NO_COUNT
    if seen is not None:
        return CountResult(kind="exact", value=seen)
    if not query.filter and not stream.dirty:
        return CountResult(kind="exact", value=stream.record_count or 0)
    if query.count == "exact":
        why = "a filtered list is not counted" if query.filter else "the stream is being counted again"
        warnings.append(count_downgraded(f"The number is an estimate: {why}."))
    return CountResult(kind="estimated", value=stream.record_count or 0)


# ---- several connections -------------------------------------------------------------------------


class _Labelled(NamedTuple):
    """A record with the place of its stream."""

    record: StoredRecord
    place: int


def records_of_several(
    query: ListQuery, streams: list[ReadStream], warnings: list[ReadWarning]
) -> RecordList:
    """The first records of streams of one name, by key.  There is no cursor over several streams."""
    if query.cursor is not None:
        raise cursors.invalid("cursor")
    limit, fields = page_size(query.limit, warnings), field_names(query)
    wanted, descending = record_filter(query.filter), query.order != "asc"
    accepts = wanted.accepts if wanted else None
    first: list[_Labelled] = []
    has_more = False
    for place, stream in enumerate(streams):
        page = records.page(stream.id, None, limit, descending=descending, accepts=accepts)
        labelled = sorted(
            [*first, *(_Labelled(record, place) for record in page.records)],
            key=lambda each: each.record.key,
            reverse=descending,
        )
        first = _fitting(labelled, limit)
        has_more = has_more or page.last_key is not None or len(first) < len(labelled)
    if has_more:
        message = "There is more.  Name a connection to read all of it."
        warnings.append(ReadWarning(code="partial_results", message=message, param="connection_id"))
    return RecordList(
        url=list_address(),
        data=[record_body(streams[each.place], each.record, fields) for each in first],
        has_more=has_more,
        links=links(),
        meta=list_meta(warnings, _count_several(query, streams, warnings)),
    )


def _fitting(rows: Iterable[_Labelled], limit: int) -> list[_Labelled]:
    """As many as a page holds, and at least one."""
    found: list[_Labelled] = []
    size = 0
    for row in rows:
        size += row.record.json_bytes
        if len(found) == limit or (found and size > PAGE_BYTES):
            break
        found.append(row)
    return found


def _count_several(query: ListQuery, streams: list[ReadStream], warnings: list[ReadWarning]) -> CountResult:
    if query.count == "none":
        return NO_COUNT
    if query.filter or any(stream.dirty for stream in streams):
        warnings.append(
            count_downgraded("The records of several connections could not be counted exactly.")
        )
        return NO_COUNT
    return CountResult(kind="exact", value=sum(stream.record_count or 0 for stream in streams))


# ---- versions ------------------------------------------------------------------------------------


def versions_of(
    query: PageQuery, stream: ReadStream, key: str, newest: int, warnings: list[ReadWarning]
) -> VersionList:
    """A page of a record's versions, newest first.  Raises ApiError."""
    limit, fields = page_size(query.limit, warnings), field_names(query)
    of, record = cursors.names_digest(stream), cursors.digest(key)
    version = newest
    if query.cursor is not None:
        place = cursors.decode(query.cursor, VersionsCursor, "cursor")
        if (place.of, place.stream, place.record) != (of, stream.incarnation, record):
            raise cursors.invalid("cursor")
        version = place.version
    page = versions.page(stream.id, key, version, limit)
    cursor = None
    if page.next_version is not None:
        following = VersionsCursor(
            of=of, stream=stream.incarnation, record=record, version=page.next_version
        )
        cursor = cursors.encode(following)
    return VersionList(
        url=list_address(),
        data=[version_body(stream, key, each, fields) for each in page.versions],
        has_more=cursor is not None,
        next_cursor=UNSET if cursor is None else cursor,
        links=links(cursor, stream.connection),
        meta=list_meta(warnings),
    )

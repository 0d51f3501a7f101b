"""Pages of the change feed, and its tokens."""

from msgspec import UNSET

from ...queries import changes, streams
from ...queries.streams import ReadStream
from ...schemas.reads import ReadWarning, RecordList, change_body
from ..errors import ApiError
from . import cursors
from .cursors import ChangesCursor, ChangesToken
from .parameters import (
    ListQuery,
    count_downgraded,
    field_names,
    links,
    list_address,
    list_meta,
    page_size,
)
from .rollups import check_deletes_known
from .selection import Selection, check_connection_exists, only

BEGINNING = "beginning"


def is_asked_for(query: ListQuery) -> bool:
    """Whether the request is for changes: by `changes_since`, or by a cursor of changes alone."""
    return query.changes_since is not None or cursors.is_of_changes(query.cursor)


def changes_of(query: ListQuery, chosen: Selection, name: str, warnings: list[ReadWarning]) -> RecordList:
    """A page of what has changed in a stream, in the order of versions.  Raises ApiError."""
    _check_parameters(query, warnings)
    limit, fields = page_size(query.limit, warnings), field_names(query)
    given = _given(query)
    stream = _stream(chosen, name, given)
    walk = _begin(stream) if given is None else _continue(stream, given)
    if walk.start:
        check_deletes_known([stream])
    page = changes.page(stream.id, walk.start, walk.after, walk.horizon, limit)
    cursor = token = None
    if page.last_version is not None:
        walk.after = page.last_version
        cursor = cursors.encode(walk)
    else:
        token = cursors.encode(
            ChangesToken(
                of=walk.of,
                stream=walk.stream,
                history=walk.history,
                proof=walk.proof,
                version=walk.horizon,
            )
        )
    return RecordList(
        url=list_address(),
        data=[change_body(stream, change, fields) for change in page.changes],
        has_more=cursor is not None,
        next_cursor=UNSET if cursor is None else cursor,
        next_changes_since=UNSET if token is None else token,
        links=links(cursor, stream.connection),
        meta=list_meta(warnings),
    )


def _check_parameters(query: ListQuery, warnings: list[ReadWarning]) -> None:
    if query.filter:
        raise ApiError("invalid_request", "Changes can't be filtered.", param="filter")
    if query.order == "desc":
        raise ApiError("invalid_request", "Changes come in the order of versions.", param="order")
    if query.count != "none":
        warnings.append(count_downgraded("Changes are not counted."))


def _given(query: ListQuery) -> ChangesCursor | ChangesToken | None:
    """The place that the request continues from; None is the beginning.

    A client may append a cursor to its first address: then the cursor counts.
    """
    if query.cursor is not None:
        return cursors.decode(query.cursor, ChangesCursor, "cursor")
    if query.changes_since == BEGINNING:
        return None
    return cursors.decode(query.changes_since or "", ChangesToken, "changes_since")


def _stream(chosen: Selection, name: str, given: ChangesCursor | ChangesToken | None) -> ReadStream:
    found = streams.find(chosen.connector, chosen.connection, name)
    if found:
        return only(found)
    check_connection_exists(chosen)
    if given is not None:
        raise ApiError("cursor_expired", "The stream has been deleted.")
    raise ApiError("not_found", "There is no such stream.")


def _begin(stream: ReadStream) -> ChangesCursor:
    return ChangesCursor(
        of=cursors.names_digest(stream),
        stream=stream.incarnation,
        history=changes.history_id(),
        proof=changes.proof(stream.id, stream.last_version),
        start=0,
        after=0,
        horizon=stream.last_version,
    )


def _continue(stream: ReadStream, given: ChangesCursor | ChangesToken) -> ChangesCursor:
    """Raises ApiError if something that the follower needs is not known any more."""
    is_token = isinstance(given, ChangesToken)
    if given.of != cursors.names_digest(stream):
        raise cursors.invalid("changes_since" if is_token else "cursor")
    if isinstance(given, ChangesToken):
        last = known = given.version
    else:
        last, known = given.horizon, given.start or given.horizon
    is_same = (given.stream, given.history) == (stream.incarnation, changes.history_id())
    if (
        not is_same
        or known < stream.removed_through
        or last > stream.last_version
        or not changes.holds(stream.id, given.proof)
    ):
        raise ApiError("cursor_expired")
    if isinstance(given, ChangesCursor):
        return given
    walk = _begin(stream)
    walk.start = walk.after = given.version
    return walk

"""The owner's page of one record: its content as text, its versions and its files."""

from flask import Blueprint

from ..database import read_snapshot
from ..queries import browsing
from ..queries.browsing import Found
from .auth import owner_only
from .errors import ApiError
from .openapi.decorator import PAGE, operation
from .owner.pages import RecordPage
from .owner.readable import indented
from .owner.requests import RecordQuery
from .responses import render

blueprint = Blueprint("records", __name__)

SHOWN_CHARACTERS = 100_000
MAX_VERSIONS = 20
MAX_FILES = 100


@blueprint.get("/dashboard/records")
@owner_only
@operation("A record's page", PAGE, query=RecordQuery, errors=("record_not_found", "invalid_request"))
def record(query: RecordQuery) -> str:
    with read_snapshot():
        found = browsing.find(query.connection, query.stream, query.key)
        if found is None:
            raise ApiError("record_not_found")
        return render(_page(found, query))


def _page(found: Found, query: RecordQuery) -> RecordPage:
    stream_id, key = found.stream_id, query.key
    shown, _ = browsing.version_page(stream_id, key, query.version or found.version, 1)
    listed, older = browsing.version_page(stream_id, key, query.older or found.version, MAX_VERSIONS)
    if not shown or not listed:
        raise ApiError("record_not_found", "There is no such version of this record.")
    text = browsing.content(stream_id, key, shown[0].version, SHOWN_CHARACTERS + 1) or ""
    return RecordPage(
        connection_name=query.connection,
        stream_name=query.stream,
        key=key,
        newest=found.version,
        is_live=found.is_live,
        shown=shown[0],
        text=indented(text[:SHOWN_CHARACTERS]),
        is_cut=len(text) > SHOWN_CHARACTERS,
        versions=listed,
        older=older,
        files=browsing.files(stream_id, key, MAX_FILES),
        file_count=browsing.file_count(stream_id, key),
    )

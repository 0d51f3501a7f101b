"""Reading from a PostgreSQL database whose own order of texts is that of American English."""

import pytest
from flask import Flask

from pdpp_ref.canonical import records
from pdpp_ref.canonical.records import Target
from pdpp_ref.database import fetch_all
from pdpp_ref.parsing.messages import Change
from pdpp_ref.queries import changes, streams
from pdpp_ref.queries import records as record_pages
from pdpp_ref.schemas.record_text import Filter

# In American English: "_", "10", "a", "A", "b", "B", "é", "z".
KEYS = sorted(["a", "A", "b", "B", "z", "é", "_", "10", "9", "a-b", "ab", "a b", "Ω", "😀"])


@pytest.mark.only("postgres")
def test_walks_and_filters_do_not_depend_on_the_locale(app: Flask) -> None:
    assert fetch_all("SELECT 'a' COLLATE \"default\" < 'B', 'B' < 'a' COLLATE \"C\"") == [(True, True)]
    made = [Change("notes", key, f'{{"f":"{key}"}}') for key in KEYS]
    records.write(Target("laptop", "files"), made)
    records.write(Target("Ärger", "files"), made)
    assert [each.connection for each in streams.find(None, None, "notes")] == ["laptop", "Ärger"]
    (stream,) = streams.find(None, "laptop", "notes")
    for descending in (False, True):
        found: list[str] = []
        after = None
        while True:
            page = record_pages.page(stream.id, after, 1, descending=descending)
            found += [record.key for record in page.records]
            after = page.last_key
            if after is None:
                break
        assert found == (KEYS[::-1] if descending else KEYS)
    for key in ("a", "A", "é"):
        page = record_pages.page(stream.id, None, 100, descending=False, accepts=Filter({"f": key}).accepts)
        assert [record.key for record in page.records] == [key]
    fed = changes.page(stream.id, 0, 0, stream.last_version, 100)
    assert [change.key for change in fed.changes] == KEYS

"""Reading as a data client does: walks of lists and of the change feed."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from flask.testing import FlaskClient

RECORDS = "/v1/streams/notes/records"
BEGINNING = "beginning"

Row = dict[str, Any]


def read(client: FlaskClient, path: str, status: int = 200, **query: Any) -> Row:
    response = client.get(path, query_string=query or None)
    assert response.status_code == status, response.text
    body: Row = response.get_json()
    return body


def refused(client: FlaskClient, path: str, **query: Any) -> tuple[int, str]:
    response = client.get(path, query_string=query or None)
    return response.status_code, response.get_json()["error"]["code"]


def pages(client: FlaskClient, path: str, **query: Any) -> Iterator[Row]:
    """The pages of a walk that follows `links.next` alone."""
    page = read(client, path, **query)
    yield page
    while page["links"]["next"]:
        assert page["has_more"]
        assert page["next_cursor"]
        page = read(client, page["links"]["next"])
        yield page
    assert not page["has_more"]
    assert "next_cursor" not in page


def walk(client: FlaskClient, path: str, **query: Any) -> list[Row]:
    return [row for page in pages(client, path, **query) for row in page["data"]]


def keys(rows: list[Row]) -> list[str]:
    return [row["id"] for row in rows]


def encoded(name: str) -> str:
    return quote(name, safe="")


class Follower:
    """A copy of a stream, made by following its changes."""

    def __init__(self, client: FlaskClient, path: str = RECORDS, limit: int = 100) -> None:
        self.client, self.path, self.limit = client, path, limit
        self.copy: dict[str, Any] = {}
        self.token = BEGINNING
        self.seen: list[Row] = []

    def follow(self) -> None:
        """One walk to its end."""
        for page in pages(self.client, self.path, changes_since=self.token, limit=self.limit):
            for row in page["data"]:
                self.seen.append(row)
                if row.get("deleted"):
                    self.copy.pop(row["id"], None)
                else:
                    self.copy[row["id"]] = row["data"]
            token = page.get("next_changes_since")
            assert (token is None) is page["has_more"]
        assert token
        self.token = token

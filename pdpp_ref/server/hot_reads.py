"""The reads that clients repeat, answered without Flask: the summary, the hero, and `/healthz`.

Each answer is what the route responds, header by header.  Whatever is not plain is left to the route:
totals that are not fresh, a caller that has to be looked up, an unusual header, any problem.  An encoded
summary or hero is used again only while the database itself says that nothing was committed since.
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
from flask import Flask

from ..access import AccessRecord
from ..authentication import BearerTokens
from ..blueprints.dashboard import fragment_of
from ..blueprints.middleware import final_headers, new_request_id
from ..blueprints.responses import render
from ..blueprints.sessions import OwnerSessions
from ..credentials import FIGURES
from ..database import db
from ..schemas import dataset
from ..schemas.server import Health
from ..services import summary as summaries
from ..services.auto_reconcile import AutoReconcile
from ..services.freshness import ARRIVING, Hero, has_just_arrived, hero
from ..timestamps import to_moment
from .responses import header_list
from .shared_reads import SharedReads

HEALTH, HERO = b"/healthz", b"/dashboard/hero"
HERO_HEADERS = {"content-type": "text/html; charset=utf-8", "vary": "Cookie"}
_HEALTHY = msgspec.json.encode(Health(status="ok")) + b"\n"
# With any other, a request is left to its route.
_USUAL_HOST = re.compile(rb"[A-Za-z0-9.-]{1,253}(?::\d{1,5})?|\[[0-9a-f:]{2,39}\](?::\d{1,5})?")
# What a page that shows fresh totals asks for.
_SEEN = re.compile(rb"seen=(fresh-[0-9a-f]{12})")
_UNUSUAL = {b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"range"}


class Answer(NamedTuple):
    """The two messages of a response."""

    start: dict[str, Any]
    body: dict[str, Any]


class _Shown:
    """The hero of one moment, as the route responds with it to a page that shows an earlier one."""

    def __init__(self, app: Flask, shown: Hero) -> None:
        self._app, self._hero = app, shown
        self.revision = shown.revision

    @cached_property
    def fragment(self) -> bytes | None:
        """None if the state is another, which the route announces."""
        if self._hero.kind != "fresh":
            return None
        # The addresses in the hero name no host, but Flask asks for one that is trusted.
        host = next(iter(self._app.config["TRUSTED_HOSTS"] or ["localhost"])).removeprefix(".")
        with self._app.test_request_context(HERO.decode(), base_url=f"http://{host}"):
            return render(fragment_of(self._hero, self.revision)).encode()


class _Fresh(NamedTuple):
    """What is answered while the database is at a version.

    The hero is `arriving` for some seconds after `arrived_at`, and then `settled`.
    """

    version: Any
    body: bytes
    settled: _Shown
    arriving: _Shown
    arrived_at: str | None

    @property
    def shown(self) -> _Shown:
        is_arriving = has_just_arrived(self.arrived_at, datetime.now(UTC))
        return self.arriving if is_arriving else self.settled


# The body of a response, empty for a 204; None if it is left to its route.
Body = Callable[[_Fresh], bytes | None]
Route = Callable[[Any, dict[bytes, bytes]], Body | None]


class HotReads:
    """The hot reads of one process."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._record: AccessRecord = app.extensions["access_record"]
        self._bearers: BearerTokens = app.extensions["bearer_tokens"]
        self._sessions: OwnerSessions = app.extensions["owner_sessions"]
        self._auto: AutoReconcile = app.extensions["auto_reconcile"]
        self._hosts = frozenset(host.encode() for host in app.config["TRUSTED_HOSTS"] or ())
        self._fresh: _Fresh | None = None
        self._routes: dict[bytes, Route] = {b"/_ref/dataset/summary": self._summary, HERO: self._hero}
        # A database in another process may not answer, which must not hold up the event loop.
        self._shared = None if db.is_in_process else SharedReads(self._read)

    async def answer(self, scope: Any) -> Answer | None:
        """None if the request is left to its route."""
        path = scope["raw_path"]
        if scope["method"] != "GET" or not (path in self._routes or path == HEALTH):
            return None
        headers = dict(scope["headers"])
        if len(headers) != len(scope["headers"]) or not self._is_usual(headers):
            return None
        began = time.perf_counter()
        try:
            body = await self._body(path, scope, headers)
        except Exception:
            return None  # the route itself says what is wrong
        return None if body is None else self._made(scope, body, began)

    async def _body(self, path: bytes, scope: Any, headers: dict[bytes, bytes]) -> bytes | None:
        if path == HEALTH:
            return None if scope["query_string"] else _HEALTHY
        body = self._routes[path](scope, headers)
        if body is None:
            return None
        fresh = await self._shared.read() if self._shared else self._read()
        return body(fresh) if fresh else None

    def _made(self, scope: Any, body: bytes, began: float) -> Answer:
        path = scope["path"]
        status = 200 if body else 204
        request_id = new_request_id()
        self._record.add(request_id, "GET", path, status, began)
        headers = final_headers(path, request_id)
        if body:
            headers["content-length"] = str(len(body))
        if scope["raw_path"] == HERO:
            headers |= HERO_HEADERS
        else:
            headers["content-type"] = "application/json"
        start = {"type": "http.response.start", "status": status, "headers": header_list(headers.items())}
        return Answer(start, {"type": "http.response.body", "body": body})

    def _is_usual(self, headers: dict[bytes, bytes]) -> bool:
        host = headers.get(b"host", b"")
        if self._hosts:
            is_known = host in self._hosts and b"x-forwarded-host" not in headers
        else:
            is_known = _USUAL_HOST.fullmatch(host) is not None
        return is_known and _UNUSUAL.isdisjoint(headers)

    # ---- the routes ----------------------------------------------------------------------------------

    def _summary(self, scope: Any, headers: dict[bytes, bytes]) -> Body | None:
        if scope["query_string"] or b"cookie" in headers:
            return None
        caller = self._bearers.known_caller(headers.get(b"authorization", b"").decode("latin-1"))
        if caller is None or FIGURES not in caller.scopes:
            return None
        return lambda fresh: fresh.body

    def _hero(self, scope: Any, headers: dict[bytes, bytes]) -> Body | None:
        query = _SEEN.fullmatch(scope["query_string"])
        # The addresses in the hero begin with the prefix that a proxy has removed.
        if not query or b"x-forwarded-prefix" in headers:
            return None
        if not self._sessions.is_known(headers.get(b"cookie", b"")):
            return None
        seen = query[1].decode()
        return lambda fresh: b"" if seen == fresh.shown.revision else fresh.shown.fragment

    # ---- the database --------------------------------------------------------------------------------

    def _read(self) -> _Fresh | None:
        """The summary, if it is fresh."""
        db.connect(reuse_if_open=True)
        try:
            version = db.data_version()
            if self._fresh is None or version is None or self._fresh.version != version:
                self._fresh = self._load(version)
            return self._fresh
        finally:
            db.rest()

    def _load(self, version: Any) -> _Fresh | None:
        summary = summaries.load(self._auto)
        if summary.state != "fresh":
            return None
        arrived_at = summary.totals.latest_ingested_at
        moment = to_moment(arrived_at) if arrived_at else datetime.now(UTC)
        return _Fresh(
            version=version,
            body=msgspec.json.encode(dataset.summary_body(summary)) + b"\n",
            settled=_Shown(self._app, hero(summary, moment + ARRIVING)),
            arriving=_Shown(self._app, hero(summary, moment)),
            arrived_at=arrived_at,
        )

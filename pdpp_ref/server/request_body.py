"""Receiving the body of a request: whole, before a thread works on it; a large one from no stranger."""

import asyncio
import errno
import logging
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO, Any, NamedTuple

from ..authentication import BearerTokens
from ..blueprints.limits import MAX_BLOB_BYTES, MAX_FORM_BYTES, MAX_INGEST_BYTES
from ..credentials import WRITE, Caller
from ..database import for_request
from .refusals import Refused

log = logging.getLogger(__name__)

MAX_BODY_BYTES = max(MAX_INGEST_BYTES, MAX_BLOB_BYTES)
SILENT_SECONDS = 30.0  # for which a client may send nothing of its body
IN_MEMORY_BYTES = 512 * 1024
LOOK_UP_SECONDS = 4.0
# Their own, so that a database that does not answer holds no others.
_look_ups = ThreadPoolExecutor(2, thread_name_prefix="look-up")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Body:
    """A body that was received: in memory, or in a file without a name if it is large."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115
        self.size = 0
        self.is_there = False

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what could not be written before
            self.file.close()

    def write(self, part: bytes) -> None:
        """Raises Refused if the temporary folder has no room for it, or can't be used."""
        with _storing():
            self.file.write(part)
        self.size += len(part)

    def finish(self) -> None:
        """Write what `write` has not yet, and prepare to read.  Raises Refused too."""
        with _storing():
            self.file.seek(0)

    @property
    def is_on_disk(self) -> bool:
        return self.size > IN_MEMORY_BYTES


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("a body can't be stored in the temporary folder: %s", os.strerror(error.errno or 0))
        raise Refused("insufficient_storage" if error.errno in _FULL else "storage_unavailable") from None


class Limit(NamedTuple):
    """How large a body may be, and the code of the error for a larger one."""

    size: int
    code: str


async def receive_body(scope: Any, receive: Any, bearers: BearerTokens, threads: Executor) -> Body:
    """Raises Refused before anything is received that is not accepted."""
    headers = dict(scope["headers"])
    declared = int(headers.get(b"content-length", 0))
    body = Body()
    if not declared and b"transfer-encoding" not in headers:
        return body
    body.is_there = True
    try:
        limit = await _limit(headers, declared, bearers)
        if declared > limit.size:
            raise Refused(limit.code)
        await _receive(body, limit, receive, threads)
        body.finish()
    except BaseException:
        body.__exit__()
        raise
    return body


async def _receive(body: Body, limit: Limit, receive: Any, threads: Executor) -> None:
    loop = asyncio.get_running_loop()
    more = True
    while more:
        part, more = await _next_part(receive)
        if body.size + len(part) > limit.size:
            raise Refused(limit.code)
        if body.is_on_disk:
            await loop.run_in_executor(threads, body.write, part)
        else:
            body.write(part)


async def _next_part(receive: Any) -> tuple[bytes, bool]:
    """A part, and whether there are more.  Raises Refused if the client stops sending."""
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            message = await receive()
    except TimeoutError:
        raise Refused("request_timeout") from None
    if message["type"] == "http.disconnect":
        raise Refused("request_timeout")
    return message["body"], message["more_body"]


async def _limit(headers: dict[bytes, bytes], declared: int, bearers: BearerTokens) -> Limit:
    if 0 < declared <= MAX_FORM_BYTES:
        return Limit(MAX_FORM_BYTES, "body_too_large")
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    code = await _why_refused(bearers, authorization)
    if code is not None:
        return Limit(MAX_FORM_BYTES, code)
    return Limit(MAX_BODY_BYTES, "body_too_large")


async def _why_refused(bearers: BearerTokens, authorization: str) -> str | None:
    """The code of the error; None for a caller who may write."""
    try:
        caller = bearers.known_caller(authorization) or await _look_up(bearers, authorization)
    except Exception:  # of the database: without it, nothing large could be stored either
        return "storage_unavailable"
    if caller is None:
        return "bearer_token_required"
    return None if WRITE in caller.scopes else "insufficient_scope"


async def _look_up(bearers: BearerTokens, authorization: str) -> Caller | None:
    """In the database.  Raises its errors, and TimeoutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LOOK_UP_SECONDS):
        return await loop.run_in_executor(_look_ups, _find, bearers, authorization)


def _find(bearers: BearerTokens, authorization: str) -> Caller | None:
    with for_request(LOOK_UP_SECONDS):
        return bearers.caller(authorization)

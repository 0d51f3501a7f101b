"""Sending responses.  A client that takes nothing for a while is disconnected."""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from .refusals import Refusal

STALLED_SECONDS = 60.0
PART_BYTES = 256 * 1024
# After a refusal the client may still be sending: closing at once could take the response away from it.
LINGER_SECONDS, LINGER_BYTES = 2.0, 1024 * 1024


class Stalled(Exception):
    """The client is gone, or was disconnected because it took nothing."""


class Head(NamedTuple):
    """A response's status and headers, as ASGI has them."""

    status: int
    headers: list[tuple[bytes, bytes]]

    @property
    def length(self) -> int | None:
        """Of the body, in bytes, if it is known."""
        if self.status in (204, 304):
            return 0
        return next((int(value) for name, value in self.headers if name == b"content-length"), None)


class FileBody:
    """A file to be sent, which WSGI calls `wsgi.file_wrapper`."""

    def __init__(self, file: Any, block_size: int = PART_BYTES) -> None:
        self.file = file
        self.close = getattr(file, "close", lambda: None)

    def __iter__(self) -> Any:
        return iter(self.read, b"")

    def read(self) -> bytes:
        data: bytes = self.file.read(PART_BYTES)
        return data


class Sender:
    """Sends one response."""

    def __init__(self, send: Any, connection: Any) -> None:
        self._send = send
        self._connection = connection
        self.has_begun = False

    async def whole(self, head: Head, body: "bytes | FileBody") -> None:
        await self.begin(head)
        if isinstance(body, FileBody):
            await self._file(body)
        else:
            await self._put({"type": "http.response.body", "body": body})

    async def begin(self, head: Head) -> None:
        self.has_begun = True
        await self._put({"type": "http.response.start", "status": head.status, "headers": head.headers})

    async def part(self, data: bytes) -> None:
        """Returns when the client has taken most of what was sent before.  Raises Stalled."""
        for start in range(0, len(data), PART_BYTES):
            part = data[start : start + PART_BYTES]
            await self._put({"type": "http.response.body", "body": part, "more_body": True})

    async def end(self) -> None:
        await self._put({"type": "http.response.body", "body": b""})

    def break_off(self) -> None:
        """After an error: the client notices, as its body has no end."""
        if self._connection is not None:
            self._connection.break_off()

    async def refuse(self, refusal: Refusal, receive: Any) -> None:
        """Respond, and close when the client has stopped sending, or after a while."""
        await self.begin(Head(refusal.status, header_list(refusal.headers.items())))
        await self.part(refusal.body)
        taken = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while taken < LINGER_BYTES:
                    message = await receive()
                    taken += len(message.get("body", b""))
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            pass
        await self.end()

    async def _file(self, body: FileBody) -> None:
        loop = asyncio.get_running_loop()
        try:
            while part := await loop.run_in_executor(None, body.read):
                await self.part(part)
            await self.end()
        except OSError:  # the file has lost bytes
            self.break_off()
        finally:
            body.close()

    async def _put(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._send(message)
        except TimeoutError:
            if self._connection is not None:
                self._connection.abort()
            raise Stalled from None
        if self._connection is not None and self._connection.is_gone:
            raise Stalled


def header_list(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]

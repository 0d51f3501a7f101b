"""The access log: a line of JSON for each request.  It has the route's pattern: paths may be personal."""

from typing import TextIO

from .timestamps import utc_now


class AccessLog:
    """Where it goes; nowhere until there is a stream."""

    stream: TextIO | None = None


def write(request_id: str, method: str, route: str, status: int, seconds: float) -> None:
    if AccessLog.stream:
        AccessLog.stream.write(
            f'{{"time": "{utc_now()}", "level": "info", "request_id": "{request_id}", '
            f'"method": "{method}", "route": "{route}", "status": {status}, "ms": {seconds * 1000:.1f}}}\n'
        )

"""Whether the database answers, asked without ever waiting for long."""

from concurrent.futures import Future, ThreadPoolExecutor

from ..database import check_ready, db, for_request

WAIT_SECONDS = 2.0


class Readiness:
    """Asks the database in a thread of its own: a host that has disappeared can hold that one only."""

    def __init__(self, wait: float = WAIT_SECONDS) -> None:
        self._wait = wait
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="readiness")
        self._asked: Future[None] | None = None

    def check(self) -> None:
        """Raises DatabaseNotReady or peewee.DatabaseError; TimeoutError if it takes too long."""
        if self._asked is None or self._asked.done():
            self._asked = self._thread.submit(_ask)
        self._asked.result(self._wait)


def _ask() -> None:
    try:
        with for_request(WAIT_SECONDS):
            db.connect(reuse_if_open=True)
            check_ready()
    except BaseException:
        db.close()  # whatever state it is in, the next question starts with a new connection
        raise

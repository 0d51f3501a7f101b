"""What SQLite's connections do."""

from pathlib import Path

import apsw
import pytest

from pdpp_ref.database import db
from tests.support.factories import upsert, write

pytestmark = [pytest.mark.only("sqlite"), pytest.mark.usefixtures("app")]


def test_a_connection_that_was_opened_while_the_file_was_read_only_is_replaced(tmp_path: Path) -> None:
    write(upsert("a"))
    db.close()
    db.connect()
    db.connection().close()
    file = str(tmp_path / "test.sqlite3")
    opened = db.obj._brief.opened_by(lambda: apsw.Connection(file, flags=apsw.SQLITE_OPEN_READONLY))
    db.obj._state.set_connection(opened)
    assert write(upsert("b")).created == 1
    db.rest()
    assert not db.is_closed(), "it can write"

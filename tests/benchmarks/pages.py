"""What the owner's pages and files cost of many connections: `python -m tests.benchmarks.pages [URL]`.

Of each, the best of five: processor time of this process, time until the last byte, and bytes.  URL is an empty PostgreSQL database;
without one it is an SQLite file in a temporary directory.
"""

import sys
import tempfile
import time

from pdpp_ref import create_app
from tests.support.factories import PASSWORD, make_connections
from tests.support.probe import DatabaseProbe

CONNECTIONS = 12_000
PATHS = (
    "/dashboard",
    "/dashboard?sort=growth",
    "/dashboard?q=99",
    "/dashboard?limit=500",
    "/dashboard?format=csv",
    "/dashboard?format=json&sort=growth",
)


def main(url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = url or f"sqlite:///{folder}/bench.sqlite3"
        settings = {"INSTANCE_PATH": folder, "DATABASE_URL": url, "OWNER_PASSWORD": PASSWORD}
        app = create_app(settings | {"OPERATOR_TOKEN": "of a benchmark", "SECRET_KEY": "of a benchmark"})
        with DatabaseProbe(url) as probe:
            make_connections(probe, CONNECTIONS)
        client = app.test_client()
        client.post("/owner/login", json={"password": PASSWORD})
        for path in PATHS:
            taken = []
            for _ in range(5):
                began = (time.process_time(), time.perf_counter())
                size = len(client.get(path).data)
                taken.append((time.process_time() - began[0], time.perf_counter() - began[1]))
            work, wait = (min(each) * 1000 for each in zip(*taken, strict=True))
            print(f"{work:6.0f} ms of work  {wait:6.0f} ms  {size:>9,} bytes  {path}")


if __name__ == "__main__":
    main(*sys.argv[1:2] or [""])

"""What comes in and goes out: the commands, and the same records over HTTP."""

import http.client
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from threading import Lock
from urllib.parse import quote

from tests.benchmarks import corpus
from tests.benchmarks.figures import COMMAND, Goal, Run, Times, figure, peaks, run, seconds
from tests.benchmarks.places import Place
from tests.benchmarks.servers import TOKEN, Server
from tests.support.probe import DatabaseProbe

HERE = Path(__file__).parent
HTTP_BATCH = 500
IMPORTS = 3  # at most: each takes seconds
Write = Callable[[Path, int], None]  # writes a file with so many records
TOTALS = """
    SELECT record_count, current_record_json_bytes, record_history_count, record_history_json_bytes
    FROM retained_size_global
"""


@figure(
    "import",
    other="a program that parses each line, stores the same texts and totals, and does nothing else",
    goal=Goal(ratio=1 / 0.55),
)
def import_file(place: Place) -> Times:
    """`pdpp-ref import` of a file into an empty database, its start included."""
    with _file(corpus.write_file, place) as file:
        ours, raw = [], []
        for _ in range(min(place.repeat, IMPORTS)):
            ours.append(_import(place, file))
            raw.append(_import_raw(place, file))
            assert ours[-1].printed == raw[-1].printed, "the two stored different totals"
    started = run([*COMMAND, "import", "--help"]).seconds
    note = f"{peaks(ours, raw)}; {started:.2f} s is start"
    return Times([each.seconds for each in ours], [each.seconds for each in raw], note, place.records)


@figure("import, its floor", other="the same program without these indexes")
def import_floor(place: Place) -> Times:
    """The raw import with the indexes that pdpp-ref has: no import into its tables can cost less."""
    with _file(corpus.write_file, place) as file:
        pairs = [
            (_import_raw(place, file, "--indexed"), _import_raw(place, file))
            for _ in range(min(place.repeat, IMPORTS))
        ]
    return _pairs(pairs)


@figure("import, 500 streams in turn", other="the same import of one stream", goal=Goal(ratio=1 / 0.7))
def import_interleaved(place: Place) -> Times:
    """`pdpp-ref import` of a file whose lines take turns between 500 streams."""
    with _file(corpus.write_interleaved, place) as mixed, _file(corpus.write_one_stream, place) as single:
        pairs = [(_import(place, mixed), _import(place, single)) for _ in range(min(place.repeat, IMPORTS))]
    return _pairs(pairs)._replace(amount=place.records)


@figure("ingest over HTTP", other="`pdpp-ref import` of the same file", goal=Goal(ratio=1 / 0.7))
def ingest(place: Place) -> Times:
    """`POST /v1/ingest/...` of one stream in batches of 500, by one client, into a running server."""
    return _ingest(place, HTTP_BATCH)


@figure("ingest over HTTP, 2 clients", other="`pdpp-ref import` of the same file", goal=Goal(ratio=1 / 0.7))
def ingest_from_two(place: Place) -> Times:
    """The same by two clients: the server reads the one's records while it commits the other's."""
    return _ingest(place, HTTP_BATCH, clients=2)


@figure("ingest over HTTP, in order", other="`pdpp-ref import` of the same file", goal=Goal(ratio=1 / 0.7))
def ingest_in_order(place: Place) -> Times:
    """By one client, but each key comes after the one before, so that a request changes few pages of indexes."""
    return _ingest(place, HTTP_BATCH, write=corpus.write_in_order)


@figure("ingest over HTTP, 5,000 lines", other="`pdpp-ref import` of the same file")
def ingest_in_large_bodies(place: Place) -> Times:
    """The same in batches of 5,000: half of what the command commits at a time."""
    return _ingest(place, 10 * HTTP_BATCH)


@figure("ingest over HTTP, its floor", other="`pdpp-ref import` of the same file")
def ingest_floor(place: Place) -> Times:
    """The raw import with the same indexes, and a transaction for 500 records, as each request has one."""
    with _file(corpus.write_one_stream, place) as file:
        pairs = [
            (_import_raw(place, file, "--indexed", f"--batch={HTTP_BATCH}"), _import(place, file))
            for _ in range(min(place.repeat, IMPORTS))
        ]
    return _pairs(pairs)


@figure("export with history", other="selecting the same texts and writing them", goal=Goal(rate=100_000))
def export(place: Place) -> Times:
    """`pdpp-ref export --history` of everything into a pipe, its start included."""
    url = place.stored_url
    ours, raw = [], []
    for _ in range(min(place.repeat, IMPORTS)):
        ours.append(run([*COMMAND, "export", "--history"], place.environment(url), count=True))
        raw.append(run([HERE / "raw_export.py", url.removeprefix("sqlite:///")], count=True))
    written, texts = (int(runs[0].printed) for runs in (ours, raw))
    assert written > texts > 0, "an export has more than the texts"
    note = f"{peaks(ours, raw)}; {written / 1e6:,.0f} MB"
    return Times([each.seconds for each in ours], [each.seconds for each in raw], note, place.records)


def _ingest(place: Place, batch: int, clients: int = 1, write: Write = corpus.write_one_stream) -> Times:
    ours, other = [], []
    with _file(write, place) as file:
        for _ in range(min(place.repeat, IMPORTS)):
            with place.empty() as url, Server.ours(place.environment(url)) as server:
                ours.append(seconds(lambda server=server: _send(server.port, file, batch, clients)))
            other.append(_import(place, file).seconds)
    return Times(ours, other, f"{-(-place.records // batch)} requests", place.records)


@contextmanager
def _file(write: Write, place: Place) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(dir=place.folder, suffix=".jsonl") as file:
        write(Path(file.name), place.records)
        yield Path(file.name)


def _import(place: Place, file: Path) -> Run:
    """`printed` is the totals, as `raw_import.py` prints them."""
    with place.empty() as url:
        done = run([*COMMAND, "import", file, "--connection", "bench"], place.environment(url))
        with DatabaseProbe(url) as probe:
            ((*totals,),) = probe(TOTALS)
    return done._replace(printed=" ".join(map(str, totals)))


def _import_raw(place: Place, file: Path, *options: str) -> Run:
    with place.empty() as url:
        done = run([HERE / "raw_import.py", file, url.removeprefix("sqlite:///"), *options])
    return done._replace(printed=done.printed.strip())


def _pairs(pairs: list[tuple[Run, Run]]) -> Times:
    ours, other = zip(*pairs, strict=True)
    return Times([each.seconds for each in ours], [each.seconds for each in other], peaks(ours, other))


def _send(port: int, file: Path, batch: int, clients: int = 1) -> None:
    """Send a file's lines in batches, as connectors do."""
    reading = Lock()
    path = f"/v1/ingest/{quote('stream 0')}?connector_id=bench"

    def next_body() -> bytes:
        with reading:
            return b"".join(islice(lines, batch))

    def work() -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        while body := next_body():
            client.request("POST", path, body, {"Authorization": f"Bearer {TOKEN}"})
            answer = client.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()
        client.close()

    with file.open("rb") as lines, ThreadPoolExecutor(clients) as threads:
        for done in [threads.submit(work) for _ in range(clients)]:
            done.result()

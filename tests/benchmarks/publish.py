"""Write stored results into the documents: `python -m tests.benchmarks.publish FILE ...`.

The files are those of `python -m tests.benchmarks --json FILE`, of one or several runs.  The tables of
`docs/performance.md` are replaced, and the charts next to it.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks import charts, http_load, report
from tests.benchmarks.results import Load, Results, Row, growth_of, load

DOCS = Path(__file__).parents[2] / "docs"
SIZE_CHART, LOAD_CHART = "performance-size.svg", "performance-load.svg"
IN_CHART = (
    "import", "rebuild", "prune", "reconcile 1 stream of 5,000", "reconcile the totals", "fresh summary",
    "page of 100 records", "dashboard",
)  # fmt: skip


def main(names: Sequence[str]) -> None:
    found = [load(Path(name)) for name in names]
    rows = [row for each in found for row in each.rows]
    loads = [each for results in found for each in results.loads]
    document = DOCS / "performance.md"
    text = document.read_text()
    if rows:
        text = replaced(text, "figures", _figures(found, rows))
        text = replaced(text, "durations", report.durations(rows))
        (DOCS / SIZE_CHART).write_text(size_chart(rows))
    if loads:
        text = replaced(text, "load", _loads(found, loads))
        (DOCS / LOAD_CHART).write_text(load_chart(loads))
    document.write_text(text)


def replaced(text: str, name: str, lines: Iterator[str]) -> str:
    """A document with other lines between `<!-- name -->` and `<!-- end of name -->`."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    assert begin in text, f"the document has no {begin}"
    body = "\n".join([begin, "", *lines, "", end])
    return re.sub(f"{begin}.*?{end}", lambda _: body, text, flags=re.S)


def size_chart(rows: Sequence[Row]) -> str:
    """Milliseconds against size, on SQLite."""
    series: dict[str, dict[float, float]] = {}
    for row in rows:
        if row.database == "sqlite" and row.name in IN_CHART:
            series.setdefault(row.name, {})[row.records] = row.ours.median * 1000
    title = "Cost against the number of records, on SQLite"
    return charts.lines(title, "records", "ms", series)


def load_chart(loads: Sequence[Load]) -> str:
    """Requests a second against connections, on SQLite, while nothing is imported."""
    series: dict[str, dict[float, float]] = {}
    for each in loads:
        if each.database == "sqlite" and each.state == http_load.IDLE and each.per_second.median:
            is_bare = each.path == http_load.BARE
            name = each.server if is_bare else f"{each.server}: {each.path}"
            series.setdefault(name, {})[each.connections] = each.per_second.median
    title = "Requests a second, by the number of open connections"
    return charts.lines(title, "connections", "requests/s", series)


def _commands(found: Sequence[Results]) -> Iterator[str]:
    for each in found:
        yield f"`{each.command}`; {each.machine}"
        yield ""


def _figures(found: Sequence[Results], rows: Sequence[Row]) -> Iterator[str]:
    yield from _commands([each for each in found if each.rows])
    yield from report.figures_table(rows, growth_of(rows))
    yield ""
    yield from report.meanings(rows)


def _loads(found: Sequence[Results], loads: Sequence[Load]) -> Iterator[str]:
    yield from _commands([each for each in found if each.loads])
    yield from report.loads_table(loads)
    yield ""
    yield "| server | database | memory |"
    yield "|---|---|---:|"
    for each in (memory for results in found for memory in results.memory):
        yield f"| {each.server} | {each.database} | {each.mb:.0f} MB |"


if __name__ == "__main__":
    main(sys.argv[1:])

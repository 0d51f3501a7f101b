"""Results as text: lines while a run lasts, and the tables of `docs/performance.md`."""

from collections.abc import Iterable, Iterator, Sequence

from tests.benchmarks.figures import milliseconds
from tests.benchmarks.results import Growth, Load, Row, Spread

HEADING = f"{'figure':<30}{'database':<10}{'size':>10}{'ours':>12}{'half within':>26}{'other':>12}{'ratio':>8}  note"
LOAD_HEADING = (
    f"{'server':<40}{'path':<18}{'state':<11}{'connections':>11}{'requests/s':>12}{'p50':>10}{'p99':>10}"
)


def line(row: Row) -> str:
    within = f"{milliseconds(row.ours.low)} to {milliseconds(row.ours.high)}"
    return (
        f"{row.name:<30}{row.database:<10}{row.records:>10,}{_cost(row, row.ours):>12}{within:>26}"
        f"{_cost(row, row.other):>12}{row.ratio:>8.2f}  {row.note}"
    )


def load_line(load: Load) -> str:
    failed = f"  {load.failed:,} failed" if load.failed else ""
    return (
        f"{load.server:<40}{load.path:<18}{load.state:<11}{load.connections:>11}{load.per_second.median:>12,.0f}"
        f"{load.p50_ms:>8.2f}ms{load.p99_ms:>8.1f}ms{failed}"
    )


def goal_lines(rows: Sequence[Row]) -> Iterator[tuple[bool, str]]:
    """(whether it is met, what is aimed at and what was measured), at the largest size of each."""
    for row in largest(rows):
        if row.goal:
            yield (
                row.is_met,
                f"{row.name}, {row.database}: {row.goal}: {_cost(row, row.ours)}, ratio {row.ratio:.2f}",
            )


def growth_line(growth: Growth) -> str:
    return f"{growth.name:<30}{growth.database:<10}{growth.ours:>8.2f}{growth.other:>8.2f}"


def largest(rows: Iterable[Row]) -> list[Row]:
    """Of each figure on each database, the row of the largest size."""
    found: dict[tuple[str, str], Row] = {}
    for row in sorted(rows, key=lambda row: row.records):
        found[row.name, row.database] = row
    return list(found.values())


def figures_table(rows: Sequence[Row], growth: Sequence[Growth]) -> Iterator[str]:
    """Markdown: each figure at its largest size, with the exponents over all sizes."""
    exponents = {(each.name, each.database): each for each in growth}
    yield "| figure | database | size | pdpp-ref | compared with | ratio | exponent | its | goal | note |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---|---|"
    for row in largest(rows):
        grown = exponents.get((row.name, row.database))
        ours, other = (f"{grown.ours:.2f}", f"{grown.other:.2f}") if grown else ("", "")
        goal = f"{row.goal}: {'met' if row.is_met else '**not met**'}" if row.goal else ""
        costs = f"{_cost(row, row.ours)} | {_cost(row, row.other)} | {row.ratio:.2f}"
        yield (
            f"| {row.name} | {row.database} | {row.records:,} | {costs} | {ours} | {other} | {goal} | {row.note} |"
        )


def durations(rows: Sequence[Row]) -> Iterator[str]:
    """Markdown: how long what is proportional to the records would take with many more, at the measured rate."""
    yield "| work | database | measured | 100 million | 10 billion |"
    yield "|---|---|---:|---:|---:|"
    for row in largest(rows):
        if row.rate is not None:
            lengths = (_length(records / row.rate) for records in (10**8, 10**10))
            yield f"| {row.name} | {row.database} | {row.rate:,.0f}/s | {' | '.join(lengths)} |"


def _length(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s"


def meanings(rows: Sequence[Row]) -> Iterator[str]:
    """Markdown: what each figure measures, and what it is compared with."""
    yield "| figure | what is measured | compared with |"
    yield "|---|---|---|"
    for row in {row.name: row for row in rows}.values():
        yield f"| {row.name} | {row.what} | {row.compared_with} |"


def loads_table(loads: Sequence[Load]) -> Iterator[str]:
    """Markdown: requests a second, with p50 and p99 in ms, by the number of open connections."""
    numbers = sorted({load.connections for load in loads})
    yield f"| server | path | database | state | {' | '.join(map(str, numbers))} |"
    yield "|---|---|---|---|" + "---:|" * len(numbers)
    found: dict[tuple[str, str, str, str], dict[int, Load]] = {}
    for load in loads:
        found.setdefault((load.server, load.path, load.database, load.state), {})[load.connections] = load
    for names, by_number in found.items():
        cells = (
            f"{each.per_second.median:,.0f} ({each.p50_ms:.1f}, {each.p99_ms:.1f})"
            for each in (by_number[number] for number in numbers)
        )
        yield f"| {' | '.join(names)} | {' | '.join(cells)} |"


def _cost(row: Row, of: Spread) -> str:
    """Records a second if the figure is a rate, else a time."""
    if row.rate is None:
        return milliseconds(of.median)
    return f"{row.rate * row.ours.median / of.median:,.0f}/s"
